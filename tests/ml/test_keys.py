"""Checklist 32 to 38: what a model or an update may be told, by which key."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, Loss
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel, MLModelConfiguration
from edge_agent.ml.networks import Network
from edge_agent.ml.parameters import (
    MLKey,
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    resolve,
)
from edge_agent.ml.progress import MLMetricKey
from edge_agent.ml.stages import parameters_by_stage, scoped_descriptions, stage_names
from edge_agent.ml.update import MLUpdateTask

Key = MLParameterKey

APPLES = [
    "learning_rate", "momentum", "mini_batch_size", "beta1", "beta2", "eps", "epochs", "shuffle", "seed",
    "number_of_neighbors",
]  # fmt: skip


@pytest.mark.parametrize("name", APPLES)
def test_checklist_32_apples_keys(name):
    """Each is an attribute of the class, equal to a key made of its name, and some head knows it."""
    key = getattr(Key, name.upper())

    assert key == Key(name)
    assert isinstance(key, MLKey)
    assert str(key) == key.name == name
    assert key.scope is None
    assert any(one.key == key for head in BUILT_IN_HEADS.values() for one in head.parameter_descriptions)


def layered_model(**options):
    """A network of two layers of which only the last is updatable, and its keys."""
    rng = np.random.default_rng(1)
    frozen = InnerProduct.random("first", 3, 4, rng)
    output = InnerProduct.random("last", 4, 2, rng)
    output.is_updatable = True
    network = Network(
        [frozen, Function("relu", "relu"), output, Function("p", "softmax")], Loss("l", CROSS_ENTROPY)
    )
    head = NeuralNetworkHead(3, network=network, classes=("a", "b"))
    return MLModel(head, is_writable=True, **options)


def test_checklist_33_weights_and_biases_of_every_layer_can_be_read(tmp_path):
    """By scoped keys, of frozen layers too; what is read is a copy."""
    model = layered_model()
    for layer, shape in (("first", (4, 3)), ("last", (2, 4))):
        weights = model.parameter_value(Key.WEIGHTS.scoped_to(layer))
        assert weights.shape == shape
        assert model.parameter_value(Key.BIASES.scoped_to(layer)).shape == shape[:1]
        before = weights.copy()
        weights[:] = 0
        assert np.array_equal(model.parameter_value(Key.WEIGHTS.scoped_to(layer)), before)


def test_checklist_33_updatable_layers_can_be_overridden(tmp_path):
    """By a configuration, at load; the loaded model answers by them and the one on disk is as it was."""
    layered_model().write(to=tmp_path / "model")
    zeros = {
        Key.WEIGHTS.scoped_to("last"): np.zeros((2, 4)),
        Key.BIASES.scoped_to("last"): np.array([0.0, 9.0]),
    }
    loaded = MLModel.load(tmp_path / "model", MLModelConfiguration(parameters=zeros))

    assert loaded.predict_proba(np.ones((1, 3)))[0, 1] > 0.99
    assert loaded.parameter_value(Key.BIASES.scoped_to("last")).tolist() == [0.0, 9.0]
    assert MLModel.load(tmp_path / "model").parameter_value(Key.WEIGHTS.scoped_to("last")).any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (Key.WEIGHTS, np.zeros((2, 4))),
        (Key.WEIGHTS.scoped_to("first"), np.zeros((4, 3))),
        (Key.WEIGHTS.scoped_to("middle"), np.zeros((2, 4))),
        (Key.WEIGHTS.scoped_to("last"), np.zeros((4, 2))),
        (Key.WEIGHTS.scoped_to("last"), np.full((2, 4), np.nan)),
        (Key.WEIGHTS.scoped_to("last"), [[0.0] * 4] * 2),
        (Key.BIASES.scoped_to("last"), 1.0),
    ],
)
def test_checklist_33_other_overrides_are_refused(key, value):
    """Without a scope, of a frozen or unknown layer, of another shape, not finite, or no array."""
    for configured in (
        lambda: layered_model(configuration=MLModelConfiguration(parameters={key: value})),
        lambda: MLUpdateTask(
            layered_model(),
            MatrixBatchProvider(np.zeros((1, 3)), ["a"]),
            MLModelConfiguration(parameters={key: value}),
        ),
    ):
        with pytest.raises(MLModelError, match=str(key)) as caught:
            configured()
        assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_34_keys_of_linked_models():
    """They are there, scoped to a stage like all others."""
    assert str(Key.LINKED_MODEL_FILE_NAME.scoped_to("model0")) == "model0.linked_model_file_name"
    assert str(Key.LINKED_MODEL_SEARCH_PATH.scoped_to("model0")) == "model0.linked_model_search_path"


def test_checklist_35_scopes_chain_and_print():
    """A scoped key is a new key; scopes are printed outermost first; equal keys hash alike."""
    inner = Key.BIASES.scoped_to("model1").scoped_to("FullyConnected")

    assert str(inner) == "model1.FullyConnected.biases"
    assert inner == Key("biases", "model1.FullyConnected")
    assert len({inner, copy.copy(inner), Key("biases", "model1.FullyConnected"), Key.BIASES}) == 2
    assert Key.BIASES.scope is None
    assert Key("loss_value") != MLMetricKey("loss_value")
    assert isinstance(MLMetricKey.LOSS_VALUE, MLKey)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Key(""),
        lambda: Key(3),
        lambda: Key("a", ""),
        lambda: Key("a", 1),
        lambda: Key.SEED.scoped_to(None),
    ],
)
def test_checklist_35_keys_are_made_of_text(make):
    """A name or scope that is no text is refused as a bad parameter."""
    with pytest.raises(MLModelError) as caught:
        make()
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_36_stages_are_numbered_unless_named():
    """model0, model1 ..., or the names given."""
    assert stage_names(3) == ("model0", "model1", "model2")
    assert stage_names(2, ["eyes", "memory"]) == ("eyes", "memory")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "a"], "'a' is taken"),
        (["a"], "2 stages need 2 names"),
        (["a", ""], "cannot be a name"),
        (["a", "b.c"], "cannot be a name"),
        (["a", 1], "cannot be a name"),
        ("ab", "need 2 names"),
    ],
)
def test_checklist_36_bad_names_are_refused(names, says):
    """Twice the same, another number, and what could not be told from a scope."""
    with pytest.raises(MLModelError, match=says) as caught:
        stage_names(2, names)
    assert caught.value.code is MLModelErrorCode.GENERIC


def test_checklist_36_a_parameter_finds_its_stage():
    """A stage gets its parameters under the keys it knows itself, and a pipeline describes them scoped."""
    given = {
        Key.EPOCHS.scoped_to("model1"): 3,
        Key.BIASES.scoped_to("model1").scoped_to("FullyConnected"): "b",
        Key.LINKED_MODEL_FILE_NAME.scoped_to("model0"): "x",
    }
    described = MLParameterDescription(Key.EPOCHS, 1)

    assert parameters_by_stage(given, stage_names(2)) == {
        "model0": {Key.LINKED_MODEL_FILE_NAME: "x"},
        "model1": {Key.EPOCHS: 3, Key.BIASES.scoped_to("FullyConnected"): "b"},
    }
    assert [one.key for one in scoped_descriptions([described], "model1")] == [Key.EPOCHS.scoped_to("model1")]
    for key in (Key.EPOCHS, Key.EPOCHS.scoped_to("model2")):
        with pytest.raises(MLModelError, match=f"parameter {key}: .*model0, model1") as caught:
            parameters_by_stage({key: 1}, stage_names(2))
        assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_37_the_configuration_goes_before_the_model(clouds):
    """An update takes what its configuration says, and the model's defaults for the rest."""
    base = MLModel.factory("softmax", 12, parameters={Key.EPOCHS: 2, Key.LEARNING_RATE: 0.25})
    seen = []
    task = MLUpdateTask(
        base,
        MatrixBatchProvider(*clouds(6)),
        MLModelConfiguration(parameters={Key.EPOCHS: 3}),
        completion_handler=lambda context: seen.append(context.parameters),
    )
    task.resume()

    assert task.wait(30)
    assert (seen[0][Key.EPOCHS], seen[0][Key.LEARNING_RATE], seen[0][Key.SHUFFLE]) == (3, 0.25, True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (Key.EPOCHS, 0),
        (Key.EPOCHS, 1.5),
        (Key.EPOCHS, "3"),
        (Key.LEARNING_RATE, -1.0),
        (Key.LEARNING_RATE, float("inf")),
        (Key.LEARNING_RATE, 10**400),
        (Key.OPTIMIZER, "lbfgs"),
        (Key.SHUFFLE, 1),
        (Key("learning_rte"), 0.1),
        (Key.EPOCHS.scoped_to("model0"), 3),
    ],
)
def test_checklist_38_wrong_values_and_keys_are_refused(key, value):
    """For a factory, for loading and for an update: the error has the parameters code and names the key."""
    model = MLModel.factory("softmax", 2)
    for use in (
        lambda: MLModel.factory("softmax", 2, parameters={key: value}),
        lambda: MLModel(model.head, configuration=MLModelConfiguration(parameters={key: value})),
        lambda: MLUpdateTask(
            model, MatrixBatchProvider(np.eye(2), ["a", "b"]), MLModelConfiguration(parameters={key: value})
        ),
    ):
        with pytest.raises(MLModelError, match=str(key)) as caught:
            use()
        assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize(
    ("allowed", "says"),
    [
        ({1, 5, 3}, "is not one of 1, 3, 5"),
        (range(1, 101), "is not one of 1 to 100"),
        ({1, 2}, "is not one of 1, 2"),
        ({10}, "is not 10, and nothing else is allowed"),
        ({0.5, 1.5, 2.5}, "is not one of 0.5, 1.5, 2.5"),
        ({1, 2, float("inf")}, "is not one of 1, 2, inf"),
    ],
)
def test_what_is_allowed_is_told_briefly(allowed, says):
    """Many numbers in a row by the first and the last."""
    assert MLNumericConstraint(enumerated_numbers=allowed).problem(1000) == says


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLNumericConstraint(2, 1),
        lambda: MLNumericConstraint(float("nan")),
        lambda: MLNumericConstraint("0"),
        lambda: MLNumericConstraint(max_number=True),
        lambda: MLNumericConstraint(10**400, 1),
        lambda: MLNumericConstraint(enumerated_numbers=set()),
        lambda: MLNumericConstraint(enumerated_numbers=3),
        lambda: MLNumericConstraint(enumerated_numbers=["1"]),
        lambda: MLParameterDescription("epochs", 1),
        lambda: MLParameterDescription(Key.EPOCHS, None),
        lambda: MLParameterDescription(Key.EPOCHS, 1, (1, 2)),
        lambda: MLParameterDescription(Key.EPOCHS, 5, MLNumericConstraint(enumerated_numbers={1, 2})),
        lambda: resolve([MLParameterDescription(Key.EPOCHS, 1)], [1]),
    ],
)
def test_checklist_38_descriptions_that_make_no_sense_are_refused(make):
    """No description can be made that allows nothing, or whose default is not allowed."""
    with pytest.raises(MLModelError) as caught:
        make()
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_keys_are_short_when_they_are_printed() -> None:
    """Dictionaries of parameters and metrics can be read, wherever they are shown."""
    key = Key.BIASES.scoped_to("model1").scoped_to("FullyConnected")

    assert repr({key: 1}) == "{<MLParameterKey model1.FullyConnected.biases>: 1}"
    assert repr(MLMetricKey.LOSS_VALUE) == "<MLMetricKey loss_value>"
