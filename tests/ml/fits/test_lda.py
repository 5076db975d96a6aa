"""Discriminant analysis as a fit."""

from __future__ import annotations

import numpy as np

from edge_agent.ml.batches import MatrixBatchProvider
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
