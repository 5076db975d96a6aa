"""Discriminant analysis as a fit."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.fits.auto import AutoFit
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.parameters import MLParameterKey as Key


def test_it_is_the_head_bit_for_bit(clouds):
    """One iteration, the same arrays, the same metrics; with other parameters too."""
    X, labels = clouds(80)
    data = FitData(X, np.array([int(label[-1]) for label in labels]), ("class 0", "class 1", "class 2"))
    for given in ({}, {"shrinkage": 0.7, "prior": "empirical"}):
        fit, head = LDAFit.begin(data, given, 0), LDAHead(12)
        assert fit.head().classes_ == ()
        metrics = fit.step()
        *_, last = head.train(
            MatrixBatchProvider(X, labels), {Key(name): value for name, value in given.items()}
        )

        assert fit.converged
        assert fit.head().describe() == head.describe()
        assert all(np.array_equal(fit.arrays()[name], array) for name, array in head.arrays().items())
        assert (metrics.loss, metrics.accuracy) == (last.metrics["loss_value"], last.metrics["accuracy"])


@pytest.mark.parametrize("kind", [LDAFit, AutoFit])
def test_pictures_with_copies_leave_new_ones_known(kind):
    """A label's new pictures are known although each learned one lay beside its own copies; strangers are unknown."""
    rng = np.random.default_rng(5)
    n, copies, D = 30, 8, 40
    centres = rng.normal(size=(3, D)) * 0.5

    def pictures(of: np.ndarray, count: int) -> np.ndarray:
        return np.maximum(3.0 + of + 0.5 * rng.normal(size=(count, D)), 0.0)

    whole = np.concatenate([pictures(centres[label], n) for label in range(2)])
    X = np.repeat(whole, copies, axis=0)
    X[np.arange(len(X)) % copies > 0] += 0.02 * rng.normal(size=(len(X) - len(whole), D))
    owners = np.repeat(np.arange(len(whole)), copies)
    y = np.repeat(np.repeat([0, 1], n), copies)
    fit = kind.begin(FitData(X.astype(np.float32), y, ("a", "b"), pictures=owners), {}, 0)
    fit.step()
    head = fit.head()

    def unknown(rows: np.ndarray) -> float:
        distances = head.distances(rows.astype(np.float32))
        return float((distances > head.learned.estimates.unknown_threshold).mean())

    assert unknown(np.concatenate([pictures(centres[label], 200) for label in range(2)])) < 0.2
    assert unknown(pictures(4.0 * centres[2], 200)) > 0.8
    # Without the pictures of the copies nothing could be known.
    blind = kind.begin(FitData(X.astype(np.float32), y, ("a", "b")), {}, 0)
    blind.step()
    head = blind.head()
    assert unknown(pictures(centres[0], 200)) > 0.5
