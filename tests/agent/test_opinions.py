"""A version is asked, and what it does then is told as one kind of error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_agent.agent.opinions import UnsoundError, heard, opinion
from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.model import MLModel


def answering(P: Any, unknown: Any = None) -> MLModel:
    """A model of two labels that answers this to whatever it is asked."""
    return cast(
        "MLModel",
        SimpleNamespace(
            classes=["cat", "dog"], predict_proba=lambda X: P, is_unknown=unknown or (lambda X: None)
        ),
    )


@pytest.mark.parametrize("P", [[[1.0, 0.0]], [[0.3, 0.7 + 9e-7]], np.float32([[0.1, 0.9]])])
def test_probabilities_are_passed_on(P: Any) -> None:
    """As float64, with what rounding leaves of their sum."""
    assert np.array_equal(opinion(answering(P), np.zeros((1, 3))), np.asarray(P, dtype=np.float64))


@pytest.mark.parametrize(
    "P", [[[0.3, 0.7 + 2e-6]], [[0.5, 0.4]], [[1.5, -0.5]], [[np.nan, 1.0]], [[1.0]], [[1.0, 0.0]] * 2, []]
)
def test_anything_else_is_no_opinion(P: Any) -> None:
    """Sums, signs, numbers that are none, and shapes."""
    with pytest.raises(UnsoundError, match="it answered no probabilities"):
        opinion(answering(P), np.zeros((1, 3)))


def test_no_pictures_have_no_opinion_to_doubt() -> None:
    """Nothing asked, nothing answered."""
    assert opinion(answering(np.zeros((0, 2))), np.zeros((0, 3))).shape == (0, 2)


def test_whatever_a_method_raises_is_told_by_its_kind() -> None:
    """Its own errors and the library's alike, and those of its distances too."""

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    def ours() -> None:
        raise MLModelError(MLModelErrorCode.GENERIC, "no")

    with pytest.raises(UnsoundError, match="it failed with ZeroDivisionError"):
        opinion(answering([[0.5, 0.5]], unknown=fails), np.zeros((1, 3)))
    with pytest.raises(UnsoundError, match="it failed with MLModelError"):
        heard(ours)
