"""This is where pictures are looked at for a classifier that a training session made, as they were in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.agent.serving import same_extractor
from edge_agent.cli.settings import Settings
from edge_agent.errors import UserError

if TYPE_CHECKING:
    from edge_agent.ml.feature_source import ExtractedFeatures
    from edge_agent.ml.session_outcome import SessionOutcome


def looked_at(
    settings: Settings, outcome: SessionOutcome, files: Sequence[Path]
) -> Iterator[ExtractedFeatures]:
    """What the session's extractor sees in each file, in their order, with the reason where one cannot be read.

    Raises `UserError` when the extractor is not the one it was then, `ExtractorError` when it cannot work.
    """
    session = outcome.session
    with closing(settings.open_source(session.model_parameters.algorithm.feature_extractor)) as source:
        if not same_extractor(source.fingerprint, session.facts.fingerprint):
            raise UserError(
                f"{session.folder}: was trained on what {session.facts.fingerprint!r} sees; the extractor here is"
                f" {source.fingerprint!r}"
            )
        yield from source.extract_pictures(files)
