"""Features that are of no use are told by what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.separation import Separation
from edge_agent.ml.soundness import soundness

GOOD = np.random.default_rng(2).exponential(size=(40, 32)).astype(np.float32)


def mostly(dead: int) -> np.ndarray:
    """So many of 32 features never change."""
    X = GOOD.copy()
    X[:, :dead] = 1.0
    return X


@pytest.mark.parametrize(
    ("X", "problem", "warning"),
    [
        (GOOD, "", ""),
        (np.where(np.eye(40, 32) > 0, np.nan, GOOD), "not finite", ""),
        (np.tile(GOOD[:1], (40, 1)), "the same whatever it sees", ""),
        (mostly(29), "of the 32 features never change", ""),
        (mostly(20), "", "of the 32 features never change"),
        (np.minimum(GOOD, 0.4), "too small a range", ""),
        (np.minimum(GOOD, 1.6), "", "too small a range"),
        (np.minimum(GOOD, 1.0).round() + 1e-9, "too large a range", ""),
        (GOOD.round(), "", "too large a range"),
        (1000.0 + GOOD, "", "nearly the same"),
    ],
)
def test_what_is_wrong_is_said(X: np.ndarray, problem: str, warning: str) -> None:
    """One thing each: a problem, a warning or nothing."""
    most = float(np.nanmax(X)) if "small" in problem + warning else None
    found = soundness(X, most)

    assert problem in "; ".join(found.problems)
    assert bool(found.problems) == bool(problem)
    assert warning in "; ".join(found.warnings)
    assert bool(found.warnings) == bool(warning)


def test_guessing_is_a_problem() -> None:
    """A third of three labels is chance; two thirds are not."""
    chance = Separation(60, 3, 0.36, None, 1.1)

    assert "no better than guessing" in soundness(GOOD, None, chance).problems[0]
    assert not soundness(GOOD, None, Separation(60, 3, 0.66, None, 0.8)).problems
    assert not soundness(GOOD, None, Separation(9, 3, 0.33, None, 1.1)).problems, "too few to say"
