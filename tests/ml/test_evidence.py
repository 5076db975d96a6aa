"""What a head says of itself, against pictures it has not seen."""

from __future__ import annotations

import numpy as np

from edge_agent.ml.evidence import evidence
from edge_agent.ml.linear_answers import Recipe

MIX = Recipe(discriminant=0.7, regression=0.3)


def bursts(copies, rng, things=12, classes=3, D=40):
    """Features of `things` things a class, each photographed several times, with their labels."""
    y = np.repeat(np.arange(classes), things)
    X = np.maximum(rng.normal(size=(len(y), D)) + np.eye(classes, D)[y], 0.0)
    X = np.repeat(X, copies, axis=0) * rng.uniform(0.95, 1.05, (len(y) * copies, D))
    return X.astype(np.float32), [f"class {c}" for c in np.repeat(y, copies)]


def test_bursts_flatter_single_samples_and_not_groups():
    """Left out alone every copy is found by its brothers; left out together they answer as one picture would."""
    rng = np.random.default_rng(0)
    X, labels = bursts(6, rng)

    burst, plain = evidence(X, labels, MIX), evidence(X[::6], labels[::6], MIX)

    assert burst.single > 0.95
    low, high = burst.interval
    assert low <= high < 0.9
    assert abs(high - plain.single) < 0.15
    assert set(burst.per_class) == {"class 0", "class 1", "class 2"}
    assert abs(np.mean(list(burst.per_class.values())) - high) < 1e-12


def test_nothing_is_said_of_single_pictures():
    """With one picture a class none can be left out; with one burst a class no group can."""
    X, labels = bursts(1, np.random.default_rng(1), things=1)
    assert evidence(X, labels, MIX).single is None

    X, labels = bursts(4, np.random.default_rng(1), things=1)
    assert evidence(X, labels, MIX).single == 1.0
    assert evidence(X, labels, MIX).interval is None
    assert evidence(X, labels, MIX).per_class == {}
