"""How well features tell labels apart is what refitting without each sample would say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from edge_agent.ml.separation import (
    SHRINKAGE,
    Separation,
    _state,
    clearly_better,
    held_out_accuracy,
    separation,
)
from edge_agent.ml.transforms import signed_root

RNG = np.random.default_rng(4)


def blobs(apart: float, n: int = 12, labels: int = 3, size: int = 16) -> tuple[np.ndarray, list[str]]:
    """Samples of labels whose means are so far apart."""
    means = RNG.normal(size=(labels, size)) * apart
    X = np.concatenate([mean + RNG.normal(size=(n, size)) for mean in means]).astype(np.float32)
    return X, [f"label {number}" for number in range(labels) for _ in range(n)]


def answers(Z: np.ndarray, y: np.ndarray, asked: np.ndarray, ridge: float) -> np.ndarray:
    """The nearest mean in the metric of the scatter, from scratch."""
    classes = np.unique(y)
    means = np.stack([Z[y == c].mean(axis=0) for c in classes])
    within = sum((Z[y == c] - means[i]).T @ (Z[y == c] - means[i]) for i, c in enumerate(classes))
    inverse = np.linalg.inv(within + ridge * np.eye(Z.shape[1]))
    far = np.stack([np.einsum("nd,de,ne->n", asked - mean, inverse, asked - mean) for mean in means])
    return far.argmin(axis=0)


def test_left_out_accuracy_is_that_of_refitting() -> None:
    """Each sample is answered by a fit of all others, with the same ridge; equal counts make the bias cancel."""
    X, labels = blobs(0.5)
    y, Z = np.repeat(np.arange(3), 12), signed_root(X)
    ridge = _state(Z, y, 3).ridge(SHRINKAGE) * len(y)

    said = [answers(np.delete(Z, i, 0), np.delete(y, i), Z[i : i + 1], ridge)[0] for i in range(len(y))]

    assert separation(X, labels).leave_one_out == pytest.approx(accuracy_score(y, said), abs=1.5 / len(y))


def test_copies_do_not_answer_for_each_other() -> None:
    """Noise with every sample there twice is told apart one at a time, and not with its copies left out too."""
    X = np.repeat(RNG.normal(size=(20, 64)), 2, axis=0)
    found = separation(X, [f"{number // 20}" for number in range(40)])

    assert found.leave_one_out is not None
    assert found.leave_duplicates_out is not None
    assert found.leave_one_out > 0.9 > found.leave_duplicates_out + 0.1


def test_nothing_is_said_where_nothing_can_be_left_out() -> None:
    """One label, one sample of each label, and features that never change give no figures."""
    X = RNG.normal(size=(4, 8))
    for features, labels in ((X, ["a"] * 4), (X, list("abcd")), (np.ones((4, 8)), list("aabb"))):
        assert separation(features, labels).leave_one_out is None


def test_only_a_clear_difference_counts() -> None:
    """Much better features are clearly better, the same are not, and nothing is better than what says nothing."""
    X, labels = blobs(3.0)
    good, poor = separation(X, labels), separation(RNG.normal(size=X.shape), labels)

    assert clearly_better(good, poor)
    assert not clearly_better(poor, good)
    assert not clearly_better(good, good)
    assert clearly_better(good, separation(np.ones_like(X), labels))


@pytest.mark.parametrize(
    ("gains", "clear"),
    [
        ([0.1] * 40, True),
        ([0.01] * 40, False),  # sure, and of no use
        ([2.0, -1.8] * 20, False),  # a tenth on the average, by chance
        ([0.3, -0.1] * 20, True),
    ],
)
def test_a_clear_difference_is_neither_chance_nor_little(gains: list[float], clear: bool) -> None:
    """By the loss of each picture: the mean gain is more than 0.02 and more than 1.96 of its standard errors."""
    other = Separation(40, 2, 0.5, None, 2.0, (2.0,) * 40)
    one = Separation(40, 2, 0.5, None, 2.0, tuple(2.0 - gain for gain in gains))

    assert clearly_better(one, other) is clear


def test_held_out_samples_are_asked_of_the_others() -> None:
    """Of labels far apart all are right; without samples set aside there is no figure."""
    X, labels = blobs(4.0)
    aside = [place % 4 == 0 for place in range(len(labels))]

    assert held_out_accuracy(X, labels, aside) == (1.0, 9)
    assert held_out_accuracy(X, labels, [False] * len(labels)) is None
