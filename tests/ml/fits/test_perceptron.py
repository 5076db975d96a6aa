"""The multilayer perceptron in iterations."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.fits.perceptron import PerceptronFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.layers import Function, InnerProduct


def fit_data(clouds, n, **given):
    """Clouds as the data of a fit."""
    X, labels = clouds(n, **given)
    return FitData(X, np.array([int(label[6:]) for label in labels]), tuple(dict.fromkeys(labels)))


@pytest.mark.parametrize("sizes", [[5], [7, 4], (6, 5, 4)])
def test_checklist_114_the_hidden_layers_have_the_sizes_given(clouds, sizes):
    """ReLU behind each, one output a class with softmax at the end; all of them learn, whatever the label."""
    data = fit_data(clouds, 60)
    fit = PerceptronFit.begin(data, {"hidden_layer_sizes": sizes}, 0)
    before = fit.head().network
    fit.step()
    network = fit.head().network
    shapes = [layer.weights.shape for layer in network.inner_products]

    assert shapes == list(zip([*sizes, 3], [12, *sizes], strict=True))
    functions = [layer.function for layer in network.layers if isinstance(layer, Function)]
    assert functions == ["signed_root", *["relu"] * len(sizes), "softmax"]
    assert [isinstance(layer, InnerProduct) for layer in network.layers[1:-1]] == [
        *[True, False] * len(sizes),
        True,
    ]
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names)
    fit.step()
    for old, new in zip(before.inner_products, fit.head().network.inner_products, strict=True):
        assert not np.array_equal(old.weights, new.weights)


def test_the_seed_decides(clouds):
    """The same one gives the same bits, another one other weights from the start."""
    data = fit_data(clouds, 60)
    one, same, other = (PerceptronFit.begin(data, {}, seed) for seed in (1, 1, 2))
    assert not np.array_equal(one.arrays()["layer1_weights"], other.arrays()["layer1_weights"])
    for fit in (one, same, other):
        fit.step()

    assert all(np.array_equal(array, same.arrays()[name]) for name, array in one.arrays().items())
    assert one.describe()["metrics"] != other.describe()["metrics"]


def test_every_iteration_has_an_order_of_its_own(clouds):
    """With a learning rate of zero the loss is the same, and the last mini-batch another."""
    fit = PerceptronFit.begin(fit_data(clouds, 60), {}, 1)
    orders = set()
    for _ in range(4):
        fit.step()
        orders.add(fit.describe()["head"]["parameters"]["seed"])

    assert len(orders) == 4


def test_checklist_125_it_stops_when_the_loss_no_longer_falls(clouds):
    """Ten iterations without a gain of 1e-4; without learning these are the first eleven."""
    fit = PerceptronFit.begin(fit_data(clouds, 60), {"learning_rate": 0.0}, 1)
    while not fit.converged:
        fit.step()

    assert fit.iteration == 11


def test_the_head_is_ready_for_an_ordinary_update(clouds):
    """Its epochs and seed are the usual ones, not those of one iteration."""
    fit = PerceptronFit.begin(fit_data(clouds, 60), {"learning_rate": 0.02}, 1)
    fit.step()
    parameters = fit.head().describe()["parameters"]

    assert (parameters["epochs"], parameters["seed"], parameters["learning_rate"]) == (20, 0, 0.02)
