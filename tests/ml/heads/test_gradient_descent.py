"""The short names: what they inherit, what they begin with, that they learn."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.gradient_descent import AdamHead, MLPHead, SGDHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.parameters import resolve


def trained(head, X, labels, **given):
    """A head that learned the samples."""
    for _ in head.train(MatrixBatchProvider(X, labels), {Key(name): value for name, value in given.items()}):
        pass
    return head


@pytest.mark.parametrize(
    ("kind", "whole", "given"),
    [
        (SGDHead, SoftmaxHead, {"optimizer": "sgd", "learning_rate": 1.0}),
        (AdamHead, SoftmaxHead, {"optimizer": "adam"}),
        (MLPHead, NeuralNetworkHead, {"epochs": 50}),
    ],
)
def test_each_is_its_parent_told_something(clouds, kind, whole, given):
    """The same bits as `softmax` or `network` with these parameters."""
    X, labels = clouds(40)

    one, other = trained(kind(X.shape[1]), X, labels), trained(whole(X.shape[1]), X, labels, **given)

    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize(
    ("kind", "foreign"), [(SGDHead, Key.BETA1), (AdamHead, Key.MOMENTUM), (SGDHead, Key.OPTIMIZER)]
)
def test_parameters_of_the_other_optimizer_are_unknown(kind, foreign):
    """What would change nothing is refused instead of ignored."""
    with pytest.raises(MLModelError, match=f"parameter {foreign} is unknown") as caught:
        resolve(kind.parameter_descriptions, {foreign: 0.5})
    assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize("name", ["sgd", "adam", "mlp"])
def test_each_is_found_by_its_name_saved_and_learns_on(name, clouds, tmp_path):
    """`MLModel.factory`, a file and back: the same kind, the same answers; a new label is learned with it."""
    X, labels = clouds(60)
    model = MLModel.factory(name, X.shape[1])
    trained(model.head, X, labels)
    model.write(tmp_path / "m")
    again = MLModel.load(tmp_path / "m")

    assert again.head.name == name
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    hits = np.array(model.classes)[model.predict_proba(X).argmax(axis=1)] == labels
    assert hits.mean() > 0.95

    trained(again.head, np.vstack([X, X[:5] * 0 + 9]).astype(np.float32), [*labels, *["new"] * 5])
    assert set(again.classes) == {*labels, "new"}
