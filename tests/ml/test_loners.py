"""Pictures that look like nothing else of their label."""

from __future__ import annotations

import numpy as np

from edge_agent.ml import loners as module
from edge_agent.ml.loners import likeness, loners


def classes(n=20, C=3, D=64, seed=0):
    """C clouds of n rows."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(C), n)
    return np.abs(rng.normal(size=(C, D)))[y] + 0.3 * np.abs(rng.normal(size=(C * n, D))), y


def test_likeness_is_that_of_the_nearest_of_the_same_class(monkeypatch):
    """Held against the definition, also across blocks; a row that is alone in its class has none."""
    X, y = classes()
    X, y = np.vstack([X, X[:1]]), np.append(y, 3)
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    expected = [
        max(float(U[i] @ U[j]) for j in range(len(U)) if j != i and y[j] == y[i]) for i in range(len(U) - 1)
    ]
    monkeypatch.setattr(module, "_BLOCK", 6)

    found = likeness(X, y)

    np.testing.assert_allclose(found[:-1], expected, rtol=1e-5)
    assert np.isnan(found[-1])


def test_what_does_not_belong_is_found_and_nothing_else():
    """Two planted rows come first, the stranger one before the other; without them there is nothing to find."""
    X, y = classes()
    assert loners(X, y) == []
    rng = np.random.default_rng(5)
    X[7] = np.abs(rng.normal(size=64)) * (rng.random(64) < 0.2)
    X[45] = 0.5 * X[45] / np.linalg.norm(X[45]) + X[7] / np.linalg.norm(X[7])

    found = loners(X, y)

    assert [one.index for one in found] == [7, 45]
    assert found[0].likeness < found[1].likeness < 0.9


def test_small_labels_say_nothing():
    """Of four pictures one may be as strange as it likes; with five in the label it is told."""
    X, y = classes()
    stranger = np.zeros((1, 64))
    stranger[0, 3] = 1.0
    few = [0, 1, 2, *range(20, 60)]

    assert loners(np.vstack([X[few], stranger]), np.append(y[few], 0)) == []
    more = [3, *few]
    assert [one.index for one in loners(np.vstack([X[more], stranger]), np.append(y[more], 0))] == [len(more)]
