"""The agent's default as a fit."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.fits.auto import AutoFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.parameters import MLParameterKey as Key


@pytest.mark.parametrize("given", [{}, {"shrinkage": 0.7, "prior": "empirical"}])
@pytest.mark.parametrize("n", [3, 80, 450])
def test_it_is_the_head_of_the_agent_bit_for_bit(clouds, n, given):
    """One iteration, the same arrays and metrics as the head `auto`: with one picture each, with few and with many."""
    X, labels = clouds(n)
    data = FitData(X, np.array([int(label[-1]) for label in labels]), ("class 0", "class 1", "class 2"))
    fit, head = AutoFit.begin(data, given, 0), BUILT_IN_HEADS["auto"](12)
    metrics = fit.step()
    *_, last = head.train(MatrixBatchProvider(X, labels), {Key(name): value for name, value in given.items()})

    assert fit.converged
    assert type(fit.head()) is type(head)
    assert fit.head().describe() == head.describe()
    assert all(np.array_equal(fit.arrays()[name], array) for name, array in head.arrays().items())
    assert np.array_equal(fit.head().predict_proba(X), head.predict_proba(X))
    assert (metrics.loss, metrics.accuracy) == (last.metrics["loss_value"], last.metrics["accuracy"])
