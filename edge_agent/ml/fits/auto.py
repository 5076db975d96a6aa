"""This is where the agent's default, a mixture of two linear answers, is trained in one iteration."""

from __future__ import annotations

from typing import ClassVar

from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.mixed import AutoHead


class AutoFit(LDAFit):
    """An `AutoHead` that learns all samples in its only iteration, as an agent's versions do.

    Its parameters are those of `LDAFit`, and so are its metrics and what it lays down.
    """

    name: ClassVar[str] = "auto"
    kind: ClassVar[type[LDAHead]] = AutoHead
