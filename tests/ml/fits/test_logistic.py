"""Logistic regression in iterations: its peer, its head."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.fits.logistic import LogisticFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.logistic import LogisticHead
from edge_agent.ml.transforms import signed_root


def fit_data(clouds, n, **given):
    """Clouds as the data of a fit."""
    X, labels = clouds(n, **given)
    return FitData(X, np.array([int(label[6:]) for label in labels]), tuple(dict.fromkeys(labels)))


def finished(fit):
    """The metrics of all iterations."""
    found = []
    while not fit.converged:
        found.append(fit.step())
    return found


@pytest.mark.parametrize("l2", [1e-4, 1e-3])
def test_checklist_114_its_loss_is_scikit_learns(clouds, l2):
    """With the penalty to 1e-4, and the same labels for 99.5 % of new samples."""
    data = fit_data(clouds, 400, D=100, C=8, noise=3.0)
    new, _ = clouds(2000, D=100, C=8, noise=3.0, seed=1)
    fit = LogisticFit.begin(data, {"l2": l2}, 0)
    metrics = finished(fit)
    head = fit.head()
    Z = signed_root(data.X)
    peer = LogisticRegression(C=1.0 / (len(data) * l2), tol=1e-8, max_iter=10_000).fit(Z, data.y)
    own = peer.predict_proba(Z)[np.arange(len(data)), data.y]
    theirs = -np.log(own).mean() + l2 / 2 * (peer.coef_**2).sum()

    assert metrics[-1].loss + l2 / 2 * (head.coef**2).sum() == pytest.approx(theirs, rel=1e-4)
    predicted = head.predict_proba(new).argmax(axis=1)
    assert np.mean(predicted == peer.predict(signed_root(new))) >= 0.995
    assert metrics[-1].accuracy == (head.predict_proba(data.X).argmax(axis=1) == data.y).mean()


def test_it_is_the_head_of_the_same_name_in_iterations(clouds):
    """One iteration is one epoch, to the same bits at the end."""
    data = fit_data(clouds, 120, noise=1.0)
    fit = LogisticFit.begin(data, {}, 0)
    metrics = finished(fit)
    head = LogisticHead(12)
    labels = [data.classes[k] for k in data.y]
    epochs = [one for one in head.train(MatrixBatchProvider(data.X, labels), {}) if one.kind == "epoch"]

    assert len(epochs) == fit.iteration
    assert [one.metrics["loss_value"] for one in epochs] == [one.loss for one in metrics]
    assert np.array_equal(head.coef, fit.head().coef)
