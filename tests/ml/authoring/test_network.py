"""Authoring networks: coremltools' words and defaults, and a sentence for every rule."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.authoring import AdamParams, Array, NeuralNetworkBuilder, SgdParams
from edge_agent.ml.batches import MLArrayBatchProvider
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import MLTaskState, MLUpdateTask


def layers(builder, *, C=3, **given):
    """Hidden layer, ReLU, output and softmax on 12 features; `given` goes to the output layer."""
    builder.add_inner_product(
        "hidden", input_channels=12, output_channels=8, input_name="x", output_name="hidden_out"
    )
    builder.add_activation("relu", "RELU", "hidden_out", "relu_out")
    builder.add_inner_product(
        "out", input_channels=8, output_channels=C, input_name="relu_out", output_name="scores", **given
    )
    builder.add_softmax("softmax", "scores", "shares")
    builder.set_class_labels([f"class {at}" for at in range(C)], "label")


def started():
    """A builder with layers and labels."""
    builder = NeuralNetworkBuilder([("x", Array(12))])
    layers(builder)
    return builder


def finished(**epochs):
    """A builder with everything an updatable model needs."""
    builder = started()
    builder.make_updatable(["hidden", "out"])
    builder.set_categorical_cross_entropy_loss("loss", "shares")
    builder.set_adam_optimizer(AdamParams())
    builder.set_epochs(**(epochs or {"epochs": 5}))
    return builder


def batch(X, labels):
    """Samples under the names the author gave."""
    return MLArrayBatchProvider(dictionary={"x": list(X), "label": labels})


def updated(model, data, **given):
    """The task of an update, when it is over."""
    configuration = MLModelConfiguration({Key(name): value for name, value in given.items()})
    task = MLUpdateTask(model, data, configuration)
    task.resume()
    assert task.wait(30)
    return task


def test_checklist_85_a_model_is_authored_written_and_trained(clouds, tmp_path):
    """From the builder to a recognised class, through disk, under names of its own."""
    X, labels = clouds(90, noise=0.2)
    builder = finished(epochs=30)
    builder.set_shuffle(seed=4)
    builder.set_training_input([("x", Array(12)), ("label", MLFeatureType.STRING)])
    builder.author, builder.description = "Anna", "three clouds"
    builder.model().write(to=tmp_path / "m")
    task = updated(tmp_path / "m", batch(X, labels))
    assert task.state is MLTaskState.COMPLETED, task.error
    task.model.write(to=tmp_path / "n")
    model = MLModel.load(tmp_path / "n")

    answers = model.predictions(batch(X, labels)).array
    assert (
        np.mean([a.feature_value("label").string_value == b for a, b in zip(answers, labels, strict=True)])
        > 0.95
    )
    assert set(answers[0].feature_names) == {"label", "label_probabilities"}
    assert model.parameter_value(Key.SEED) == 4
    description = model.model_description
    assert description.is_updatable
    assert set(description.training_input_descriptions_by_name) == {"x", "label"}
    assert (description.metadata.author, description.metadata.description) == ("Anna", "three clouds")


def test_checklist_81_the_defaults_are_coremltools():
    """SGD 0.01, 10, 0 and Adam 0.01, 10, 0.9, 0.999, 1e-8; shuffle on."""
    builder = finished()
    assert builder.inspect_optimizer() == {
        "name": "adam",
        "learning_rate": 0.01,
        "mini_batch_size": 10,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
    }
    assert builder.model().parameter_value(Key.SHUFFLE) is True
    builder.set_sgd_optimizer(SgdParams())
    assert builder.inspect_optimizer() == {
        "name": "sgd",
        "learning_rate": 0.01,
        "mini_batch_size": 10,
        "momentum": 0.0,
    }
    model = builder.model()
    assert Key.BETA1 not in model.model_description.parameter_descriptions_by_key
    assert model.parameter_value(Key.OPTIMIZER) == "sgd"


def test_checklist_83_by_default_batch_and_epochs_are_locked(clouds, tmp_path):
    """As in coremltools; also after loading. Rates are free between 0 and 1."""
    X, labels = clouds(12)
    finished().model().write(to=tmp_path / "m")
    for given in ({"mini_batch_size": 11}, {"epochs": 6}, {"learning_rate": 1.5}, {"beta1": -0.1}):
        with pytest.raises(MLModelError, match=next(iter(given))) as caught:
            updated(tmp_path / "m", batch(X, labels), **given)
        assert caught.value.code is MLModelErrorCode.PARAMETERS
    fine = updated(tmp_path / "m", batch(X, labels), mini_batch_size=10, epochs=5, learning_rate=1.0)
    assert fine.state is MLTaskState.COMPLETED


def test_checklist_83_an_author_declares_sets_and_ranges_that_hold_after_loading(clouds, tmp_path):
    """They are in the file, in the description, and on the next generation."""
    X, labels = clouds(12)
    params = SgdParams(lr=0.2)
    params.set_lr(0.2, 0.1, 0.3)
    params.set_batch(4, {4, 8})
    builder = finished(epochs=2, allowed_set=[1, 2, 10])
    builder.set_sgd_optimizer(params)
    builder.model().write(to=tmp_path / "m")
    first = updated(tmp_path / "m", batch(X, labels), epochs=10, mini_batch_size=8, learning_rate=0.1)
    first.model.write(to=tmp_path / "n")

    for name in ("m", "n"):
        told = MLModel.load(tmp_path / name).model_description.parameter_descriptions_by_key
        assert told[Key.EPOCHS].default_value == 2
        assert told[Key.EPOCHS].numeric_constraint.enumerated_numbers == {1, 2, 10}
        assert told[Key.MINI_BATCH_SIZE].numeric_constraint.enumerated_numbers == {4, 8}
        limits = told[Key.LEARNING_RATE].numeric_constraint
        assert (limits.min_number, limits.max_number) == (0.1, 0.3)
        for given in ({"epochs": 3}, {"mini_batch_size": 5}, {"learning_rate": 0.31}, {"optimizer": "adam"}):
            with pytest.raises(MLModelError, match=next(iter(given))):
                updated(tmp_path / name, batch(X, labels), **given)


def test_checklist_82_a_layer_that_was_not_marked_keeps_its_bits(clouds):
    """The others change."""
    X, labels = clouds(30)
    builder = started()
    builder.make_updatable(["out"])
    builder.set_categorical_cross_entropy_loss("loss", "shares")
    builder.set_sgd_optimizer(SgdParams())
    builder.set_epochs(2)
    model = builder.model()
    after = updated(model, batch(X, labels)).model

    for name, same in (("hidden", True), ("out", False)):
        key = Key.WEIGHTS.scoped_to(name)
        assert (model.parameter_value(key).tobytes() == after.parameter_value(key).tobytes()) is same


def test_given_weights_are_used():
    """[out, in], as in coremltools; the builder's arrays are not the model's."""
    builder = NeuralNetworkBuilder([("x", Array(2))])
    W, b = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]], dtype=np.float32), np.array([0.0, 0.0, 1.0])
    builder.add_inner_product("p", W, b, input_channels=2, output_channels=3, input_name="x", output_name="y")
    builder.add_softmax("s", "y", "z")
    builder.set_class_labels(["a", "b", "c"])
    model = builder.model()
    W[:] = 0.0
    scores = np.array([5.0, 2.0, 4.0])

    assert model.predict_proba(np.array([[1.0, 2.0]]))[0] == pytest.approx(
        np.exp(scores) / np.exp(scores).sum()
    )


def test_class_labels_may_be_whole_numbers(tmp_path, clouds):
    """In predictions, in training and after loading; the training input is INT64 then."""
    X, labels = clouds(60, noise=0.2)
    numbers = [int(label[-1]) for label in labels]
    builder = finished(epochs=30)
    builder.set_class_labels([0, 1, 2], "label")
    builder.set_training_input([("x", Array(12)), ("label", MLFeatureType.INT64)])
    updated(builder.model(), batch(X, numbers)).model.write(to=tmp_path / "m")
    model = MLModel.load(tmp_path / "m")
    answers = model.predictions(batch(X, numbers)).array

    assert model.classes == (0, 1, 2)
    assert (
        np.mean([a.feature_value("label").int64_value == b for a, b in zip(answers, numbers, strict=True)])
        > 0.95
    )
    with pytest.raises(MLModelError):
        updated(model, batch(X, labels))


def test_a_network_that_was_not_made_updatable_says_so(tmp_path, clouds):
    """It predicts, is written and loaded; a task refuses it with the reason."""
    X, labels = clouds(6)
    started().model().write(to=tmp_path / "m")
    model = MLModel.load(tmp_path / "m")

    assert not model.is_updatable
    assert not model.model_description.is_updatable
    assert model.model_description.training_input_descriptions_by_name == {}
    with pytest.raises(MLModelError, match="cannot be updated: no layer was made updatable") as caught:
        MLUpdateTask(model, batch(X, labels))
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_mean_squared_error_trains_too(clouds):
    """On the last layer's numbers, which are brought to sum to 1 for an answer."""
    X, labels = clouds(90, noise=0.2)
    builder = NeuralNetworkBuilder([("x", Array(12))])
    builder.add_inner_product(
        "out", input_channels=12, output_channels=3, input_name="x", output_name="scores"
    )
    builder.add_activation("squash", "SIGMOID", "scores", "squashed")
    builder.set_class_labels(["class 0", "class 1", "class 2"], "label")
    builder.make_updatable(["out"])
    builder.set_mean_squared_error_loss("loss", ("squashed", Array(3)))
    builder.set_adam_optimizer(AdamParams(lr=0.05))
    builder.set_epochs(40)
    model = updated(builder.model(), batch(X, labels)).model
    P = model.predict_proba(X)

    assert P.sum(axis=1) == pytest.approx(1.0)
    assert (
        np.mean([model.classes[k] == label for k, label in zip(P.argmax(axis=1), labels, strict=True)]) > 0.95
    )
    assert builder.inspect_loss_layers() == [
        {"name": "loss", "type": "mean_squared_error", "input": "squashed", "target": "label"}
    ]


def test_an_empty_network_grows_all_its_classes(clouds):
    """No output channel and no label to begin with."""
    X, labels = clouds(60, noise=0.2)
    builder = NeuralNetworkBuilder([("x", Array(12))])
    layers(builder, C=0)
    builder.make_updatable(["hidden", "out"])
    builder.set_categorical_cross_entropy_loss("loss", "shares")
    builder.set_adam_optimizer(AdamParams())
    builder.set_epochs(30)
    builder.set_default_class_label("nobody", 0.5)
    model = builder.model()
    assert model.predict(batch(X, labels).features(0)).feature_value("label").string_value == "nobody"
    model = updated(model, batch(X, labels)).model

    assert model.classes == ("class 0", "class 1", "class 2")
    assert model.predict(batch(X, labels).features(0)).feature_value("label").string_value == "class 0"
    assert model.unknown_threshold == 0.5


def test_the_builder_can_be_used_on(clouds):
    """A model that was made does not change when the builder goes on."""
    X, labels = clouds(30)
    builder = started()
    frozen = builder.model()
    builder.make_updatable(["out"])
    builder.set_categorical_cross_entropy_loss("loss", "shares")
    builder.set_sgd_optimizer(SgdParams())
    builder.set_epochs(1)
    updated(builder.model(), batch(X, labels))

    assert frozen.head.updatable_layers == ()
    assert np.array_equal(frozen.predict_proba(X), builder.model().predict_proba(X))


def test_checklist_85_inspecting_returns_and_prints(capsys):
    """A line for each layer, loss, optimizer and input; nothing where there is nothing."""
    builder = started()
    assert builder.inspect_updatable_layers() == builder.inspect_loss_layers() == []
    assert builder.inspect_optimizer() == {}
    builder = finished()
    seen = builder.inspect_layers()
    assert [one["name"] for one in seen] == ["hidden", "relu", "out", "softmax"]
    assert [one["type"] for one in seen] == ["inner_product", "relu", "inner_product", "softmax"]
    assert [one["name"] for one in builder.inspect_updatable_layers()] == ["hidden", "out"]
    assert builder.inspect_input_features() == [{"name": "x", "size": 12}]
    builder.inspect_loss_layers()
    printed = capsys.readouterr().out

    assert "name: hidden, type: inner_product, input: x, output: hidden_out" in printed
    assert "name: x, size: 12" in printed
    assert "type: categorical_cross_entropy" in printed


def test_checklist_86_unknown_keywords_are_refused():
    """No word is taken and forgotten."""
    with pytest.raises(TypeError, match="k"):
        NeuralNetworkBuilder([("x", Array(2))], k=3)
    for make in (SgdParams, AdamParams):
        with pytest.raises(TypeError, match="learning_rate"):
            make(learning_rate=0.1)
    with pytest.raises(TypeError, match="allowed"):
        started().set_epochs(3, allowed={3})
    with pytest.raises(TypeError, match="beta1"):
        SgdParams(beta1=0.9)


# Each breaks one rule: what is done to a builder with layers and labels, and what the error says.
BROKEN = {
    "no name": (lambda b: b.add_softmax("", "shares", "y"), "name of a layer is a text"),
    "a dot": (lambda b: b.add_softmax("a.b", "shares", "y"), "has no dot"),
    "layer twice": (lambda b: b.add_softmax("relu", "shares", "y"), "two layers are named 'relu'"),
    "takes nothing": (lambda b: b.add_softmax("s", "nobody", "y"), "which nothing before it gives"),
    "not in a row": (lambda b: b.add_softmax("s", "relu_out", "y"), "layers lie in a row"),
    "output twice": (lambda b: b.add_softmax("s", "shares", "scores"), "a name that is taken"),
    "activation": (
        lambda b: b.add_activation("s", "relu", "shares", "y"),
        "'relu' is not known; activations",
    ),
    "width": (
        lambda b: b.add_inner_product(
            "p", input_channels=4, output_channels=2, input_name="shares", output_name="y"
        ),
        "takes 4 input_channels, but 'shares' has 3",
    ),
    "channels": (
        lambda b: b.add_inner_product(
            "p", input_channels=3, output_channels=-1, input_name="shares", output_name="y"
        ),
        "output_channels is a whole number from 0",
    ),
    "weights' shape": (
        lambda b: b.add_inner_product(
            "p", np.zeros((3, 2)), input_channels=3, output_channels=2, input_name="shares", output_name="y"
        ),
        r"weights are float64 of shape \(3, 2\), expected numbers of shape \(2, 3\)",
    ),
    "weights not finite": (
        lambda b: b.add_inner_product(
            "p",
            np.full((2, 3), np.inf),
            input_channels=3,
            output_channels=2,
            input_name="shares",
            output_name="y",
        ),
        "not finite",
    ),
    "biases' shape": (
        lambda b: b.add_inner_product(
            "p", None, np.zeros(3), input_channels=3, output_channels=2, input_name="shares", output_name="y"
        ),
        "biases are float64",
    ),
    "biases without bias": (
        lambda b: b.add_inner_product(
            "p",
            None,
            np.zeros(2),
            has_bias=False,
            input_channels=3,
            output_channels=2,
            input_name="shares",
            output_name="y",
        ),
        "given biases and has_bias=False",
    ),
    "labels twice": (lambda b: b.set_class_labels(["a", "a", "b"]), "more than once"),
    "labels mixed": (lambda b: b.set_class_labels(["a", 1, "b"]), "label 1 is among labels that are texts"),
    "label empty": (
        lambda b: b.set_class_labels(["", "a", "b"]),
        "class label 0 is a text or a whole number",
    ),
    "labels missing": (lambda b: (b.set_class_labels(["a", "b"]), b.model()), "2 class labels for 3 outputs"),
    "prediction is input": (
        lambda b: (b.set_class_labels(["a", "b", "c"], "x"), b.model()),
        "input and prediction have the same name",
    ),
    "confidence": (lambda b: b.set_default_class_label("a", 1.5), "min_confidence is between 0 and 1"),
    "nothing updatable": (lambda b: b.make_updatable([]), "at least one layer"),
    "a text": (lambda b: b.make_updatable("out"), "in a list"),
    "unknown layer": (lambda b: b.make_updatable(["out", "nobody"]), "there is no layer 'nobody'"),
    "not a product": (lambda b: b.make_updatable(["relu"]), "'relu' is no inner product"),
    "entropy without softmax": (
        lambda b: b.set_categorical_cross_entropy_loss("loss", "scores"),
        "takes what a softmax gives, and 'scores' comes from layer 'out'",
    ),
    "loss of nothing": (
        lambda b: b.set_categorical_cross_entropy_loss("loss", "nobody"),
        "takes 'nobody', which no layer gives",
    ),
    "loss named as a layer": (
        lambda b: b.set_categorical_cross_entropy_loss("out", "shares"),
        "loss 'out' has the name of a layer",
    ),
    "loss without name": (
        lambda b: b.set_categorical_cross_entropy_loss("", "shares"),
        "name of a loss is a text",
    ),
    "squares of a softmax": (
        lambda b: b.set_mean_squared_error_loss("loss", ("shares", Array(3))),
        "a softmax may feed categorical cross-entropy only",
    ),
    "squares in the middle": (
        lambda b: b.set_mean_squared_error_loss("loss", ("scores", Array(3))),
        "not what the last layer gives",
    ),
    "squares of another size": (
        lambda b: b.set_mean_squared_error_loss("loss", ("shares", Array(4))),
        r"it is Array\(3\)",
    ),
    "squares of no pair": (lambda b: b.set_mean_squared_error_loss("loss", "shares"), "a pair of a name"),
    "training without a layer": (
        lambda b: (b.set_epochs(1), b.model()),
        "there is a training and no layer that learns",
    ),
    "sgd with adam's": (lambda b: b.set_sgd_optimizer(AdamParams()), "takes SgdParams, not AdamParams"),
    "adam with sgd's": (lambda b: b.set_adam_optimizer(SgdParams()), "takes AdamParams, not SgdParams"),
    "epochs 0": (lambda b: b.set_epochs(0), "epochs is at least 1"),
    "epochs half": (lambda b: b.set_epochs(1.5), "epochs is a whole number"),
    "epochs not allowed": (
        lambda b: b.set_epochs(3, {1, 2}),
        r"default 3 of epochs is not in its allowed set",
    ),
    "epochs allowed 0": (lambda b: b.set_epochs(3, {0, 3}), "every allowed value of epochs is at least 1"),
    "epochs allowed none": (lambda b: b.set_epochs(3, []), "allowed set of epochs is empty"),
    "seed": (lambda b: b.set_shuffle(1.5), "seed is a whole number"),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda name: name.replace(" ", "-"))
def test_checklist_84_every_rule_has_its_own_sentence(broken):
    """What an author can do wrong is refused with what is wrong."""
    break_it, sentence = BROKEN[broken]
    with pytest.raises(MLModelError, match=sentence):
        break_it(started())


INCOMPLETE = {
    "no loss": ({"loss"}, "needs exactly one loss"),
    "no optimizer": ({"optimizer"}, "needs an optimizer"),
    "no epochs": ({"epochs"}, "needs epochs"),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_checklist_84_an_updatable_network_needs_everything(what):
    """Loss, optimizer and epochs."""
    missing, sentence = INCOMPLETE[what]
    builder = started()
    builder.make_updatable(["out"])
    if "loss" not in missing:
        builder.set_categorical_cross_entropy_loss("loss", "shares")
    if "optimizer" not in missing:
        builder.set_sgd_optimizer(SgdParams())
    if "epochs" not in missing:
        builder.set_epochs()
    with pytest.raises(MLModelError, match=sentence):
        builder.model()


def test_checklist_80_there_is_exactly_one_loss():
    """A second is refused, whatever it is."""
    builder = finished()
    with pytest.raises(MLModelError, match="exactly one loss, and 'loss' is there"):
        builder.set_categorical_cross_entropy_loss("other", "shares")
    with pytest.raises(MLModelError, match="exactly one loss"):
        builder.set_mean_squared_error_loss("other", ("shares", Array(3)))


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_checklist_84_half_and_quantised_weights_do_not_learn(dtype):
    """They may be in a layer that does not."""
    builder = NeuralNetworkBuilder([("x", Array(2))])
    builder.add_inner_product(
        "p",
        np.ones((2, 2), dtype=dtype),
        input_channels=2,
        output_channels=2,
        input_name="x",
        output_name="y",
    )
    builder.set_class_labels(["a", "b"])
    assert builder.model().predict_proba(np.ones((1, 2))).tolist() == [[0.5, 0.5]]
    with pytest.raises(MLModelError, match=f"numbers of type {np.dtype(dtype)}"):
        builder.make_updatable(["p"])


def test_checklist_84_gradients_have_to_come_through():
    """A softmax in the middle blocks those below it, in Apple's words; not those above."""
    for trainables, blocked in ((["low"], True), (["low", "high"], True), (["high"], False)):
        builder = NeuralNetworkBuilder([("x", Array(4))])
        builder.add_inner_product("low", input_channels=4, output_channels=3, input_name="x", output_name="a")
        builder.add_softmax("between", "a", "b")
        builder.add_inner_product(
            "high", input_channels=3, output_channels=2, input_name="b", output_name="c"
        )
        builder.add_softmax("end", "c", "d")
        builder.set_class_labels(["a", "b"], "label")
        builder.make_updatable(trainables)
        builder.set_categorical_cross_entropy_loss("loss", "d")
        builder.set_sgd_optimizer(SgdParams())
        builder.set_epochs()
        if not blocked:
            assert builder.model().is_updatable
            continue
        with pytest.raises(
            MLModelError,
            match=r"There is a layer \(between\), which does not support backpropagation, between an updatable"
            " marked layer and the loss function",
        ):
            builder.model()


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([("x", Array(12))], "at least two training inputs"),
        ([("y", Array(12)), ("label", MLFeatureType.STRING)], "lack 'x'"),
        ([("x", Array(12)), ("target", MLFeatureType.STRING)], "lack 'label'"),
        ([("x", Array(12)), ("label", MLFeatureType.INT64)], "the labels are"),
        ([("x", Array(11)), ("label", MLFeatureType.STRING)], r"it is Array\(12\)"),
        ([("x", Array(12)), ("x", Array(12))], "the same name"),
        ([("x", Array(12)), ("label", MLFeatureType.STRING), ("z", Array(1))], "neither the network's input"),
    ],
)
def test_checklist_84_training_inputs_are_held_against_the_network(inputs, sentence):
    """Input and target, with their types, and nothing else."""
    builder = finished()
    builder.set_training_input(inputs)
    with pytest.raises(MLModelError, match=sentence):
        builder.model()


def test_the_target_is_not_made_inside():
    """A layer cannot give what the loss compares with."""
    builder = finished()
    builder.set_class_labels(["a", "b", "c"], "scores")
    with pytest.raises(MLModelError, match="target 'scores' is made inside"):
        builder.model()


def test_a_layer_behind_the_loss_is_refused():
    """The loss has to see what is answered."""
    builder = finished()
    builder.add_activation("late", "TANH", "shares", "late_out")
    with pytest.raises(MLModelError, match="does not take what the last layer, 'late', gives"):
        builder.model()


@pytest.mark.parametrize(
    "inputs", [[], [("x", Array(1)), ("y", Array(1))], [("x", 12)], [("", Array(1))], [("x", Array(0))]]
)
def test_a_network_has_one_input(inputs):
    """With a name and a size."""
    with pytest.raises(MLModelError):
        NeuralNetworkBuilder(inputs)


def test_a_network_has_layers_and_labels():
    """Both are asked for."""
    builder = NeuralNetworkBuilder([("x", Array(2))])
    with pytest.raises(MLModelError, match="no inner product"):
        builder.model()
    builder.add_inner_product("p", input_channels=2, output_channels=2, input_name="x", output_name="y")
    with pytest.raises(MLModelError, match="set_class_labels"):
        builder.model()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SgdParams(lr=1.5), "default 1.5 of learning_rate is not in its range 0 to 1"),
        (lambda: SgdParams(lr=float("nan")), "default of learning_rate is a finite number"),
        (lambda: SgdParams(lr="fast"), "default of learning_rate is a finite number"),
        (lambda: SgdParams(momentum=True), "default of momentum is a finite number"),
        (lambda: SgdParams().set_lr(0.1, 0.5, 0.2), "range of learning_rate is empty"),
        (lambda: SgdParams().set_lr(0.1, -0.5, 0.2), "minimum of learning_rate is at least 0"),
        (lambda: SgdParams(batch=0), "mini_batch_size is at least 1"),
        (lambda: SgdParams().set_batch(8, {16}), "default 8 of mini_batch_size is not in its allowed set"),
        (lambda: AdamParams(beta2=2), "beta2"),
        (lambda: AdamParams(eps=-1e-8), "eps"),
        (lambda: AdamParams().set_momentum(0.5), "Adam has no momentum"),
    ],
)
def test_checklist_83_hyperparameters_lie_in_what_they_allow(make, sentence):
    """A default outside of its own range or set is refused, with the parameters error."""
    with pytest.raises(MLModelError, match=sentence) as caught:
        make()
    assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize(("number", "age"), [(0, "old"), (99, "new")])
def test_checklist_87_other_formats_are_refused(tmp_path, number, age):
    """Too old and too new, by number and path."""
    finished().model().write(to=tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["format"] >= 1
    file.write_text(json.dumps({**content, "format": number}), encoding="utf-8")
    with pytest.raises(MLModelError, match=f"format {number} is too {age}") as caught:
        MLModel.load(tmp_path / "m")
    assert caught.value.code is MLModelErrorCode.IO


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c["learned"]["network"]["layers"][1].update(function="sinus"),
        lambda c: c["learned"]["network"]["layers"][0].update(outputs=7),
        lambda c: c["learned"]["network"].update(layers=[]),
        lambda c: c["learned"]["network"]["loss"].update(kind="hinge"),
        lambda c: c["learned"].update(classes=["class 0"]),
        lambda c: c["parameter_descriptions"][0].pop("min"),
        lambda c: c.update(parameter_descriptions=[{}]),
    ],
)
def test_a_damaged_network_is_refused(tmp_path, damage):
    """With the input and output error and the path."""
    finished().model().write(to=tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    damage(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(MLModelError, match="m") as caught:
        MLModel.load(tmp_path / "m")
    assert caught.value.code is MLModelErrorCode.IO
