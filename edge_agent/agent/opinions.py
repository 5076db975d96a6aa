"""This is where a version is asked, whatever its learning method does then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EdgeAgentError
from edge_agent.ml.model import MLModel

SUM_TOLERANCE = 1e-6
"""So far may the probabilities of a picture be from one together; float32 is ten times closer."""

_A = TypeVar("_A")


class UnsoundError(EdgeAgentError):
    """A version failed to answer, or answered what is no probability; the text says which, as "it ..."."""


class Opinion(NamedTuple):
    """What a version makes of n pictures."""

    P: NDArray[np.float64]
    """Probabilities [n, C]."""
    unknown: NDArray[np.bool_]
    """Whether each is like nothing that was learned [n]."""


def opinion(model: MLModel, X: NDArray[Any]) -> NDArray[np.float64]:
    """The probabilities [n, C] of `full_opinion`."""
    return full_opinion(model, X).P


def full_opinion(model: MLModel, X: NDArray[Any]) -> Opinion:
    """What a version makes of features [n, D]; `UnsoundError` where it fails or answers no probabilities."""

    def ask() -> Opinion:
        # Copies: a learning method may answer the next question in the same memory.
        return Opinion(np.array(model.predict_proba(X), dtype=np.float64), np.array(model.is_unknown(X)))

    said = heard(ask)
    P = said.P
    shaped = P.shape == (len(X), len(model.classes)) and np.isfinite(P).all() and (P >= 0.0).all()
    if not shaped or (np.abs(P.sum(axis=1) - 1.0) > SUM_TOLERANCE).any():
        raise UnsoundError("it answered no probabilities")
    return said


def heard(ask: Callable[[], _A]) -> _A:
    """What a learning method makes of a question; `UnsoundError` for whatever it raises."""
    try:
        return ask()
    except Exception as error:
        raise UnsoundError(f"it failed with {type(error).__name__}") from error
