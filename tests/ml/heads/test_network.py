"""The network: gradients, losses, layers that keep their bits, classes that join, an optimizer that remembers."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_squared_error

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, SQUARED_ERROR, Loss
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.networks import Network
from edge_agent.ml.optimizers import SGD, Adam
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.transforms import signed_root
from edge_agent.ml.update import (
    MLMetricKey,
    MLTaskState,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    MLUpdateTask,
)

LOSSES = (CROSS_ENTROPY, SQUARED_ERROR)


def named(**given):
    """Parameters by name."""
    return {Key(name): value for name, value in given.items()}


def network(*, loss=CROSS_ENTROPY, activation="tanh", updatable=("first", "second"), D=12, C=3, seed=0):
    """Two fully connected layers with an activation between, and what goes with the loss behind."""
    rng = np.random.default_rng(seed)
    layers = [
        InnerProduct.random("first", D, 6, rng),
        Function("middle", activation),
        InnerProduct.random("second", 6, C, rng),
        Function("end", "softmax" if loss == CROSS_ENTROPY else "sigmoid"),
    ]
    for layer in layers:
        if layer.name in updatable:
            layer.is_updatable = True
    return Network(layers, Loss("loss", loss))


def head_of(*, classes=("class 0", "class 1", "class 2"), D=12, **given):
    """A head around such a network, which knows the labels already."""
    return NeuralNetworkHead(D, network=network(D=D, C=len(classes), **given), classes=classes)


def trained(X, labels, head=None, **given):
    """A head that learned the samples, and everything its training reported."""
    head = head or NeuralNetworkHead(X.shape[1])
    return head, list(head.train(MatrixBatchProvider(X, labels), named(**given)))


def layer_arrays(head):
    """Weights and biases of every layer, as they are."""
    arrays = {}
    for layer in head.network.inner_products:
        arrays[Key.WEIGHTS.scoped_to(layer.name)] = layer.weights
        arrays[Key.BIASES.scoped_to(layer.name)] = layer.biases
    return arrays


def bits(head):
    """Everything it learned."""
    return {name: array.tobytes() for name, array in head.arrays().items()}


def accuracy(head, X, labels):
    """The share of right answers."""
    answers = head.predict_proba(X).argmax(axis=1)
    return np.mean([head.classes_[k] == label for k, label in zip(answers, labels, strict=True)])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("updatable", [("first", "second"), ("first",), ("second",)])
def test_checklist_79_gradients_are_those_of_finite_differences(loss, activation, updatable):
    """Each entry of each array, for both losses, all activations and layers marked by name."""
    net = network(loss=loss, activation=activation, updatable=updatable, D=4)
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    value, answers, gradients = net.gradients(X, y)

    assert value == net.loss.value(answers, y)
    assert len(gradients) == 2 * len(updatable)
    h = 1e-6
    for array, gradient in zip(net.updatable_arrays, gradients, strict=True):
        assert gradient.shape == array.shape
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + h
            above = net.gradients(X, y)[0]
            array[at] = kept - h
            below = net.gradients(X, y)[0]
            array[at] = kept
            assert gradient[at] == pytest.approx((above - below) / (2 * h), abs=1e-8)


def test_checklist_80_the_losses_are_scikit_learns():
    """Cross-entropy is log_loss, mean squared error that of the targets as 0 and 1; neither is below 0."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(9, 12)), rng.integers(0, 3, 9)
    value, P, _ = network().gradients(X, y)
    assert value == pytest.approx(log_loss(y, P, labels=range(3)))
    assert value == pytest.approx(-np.log(P[range(9), y]).mean())

    value, answers, _ = network(loss=SQUARED_ERROR).gradients(X, y)
    assert value == pytest.approx(mean_squared_error(np.eye(3)[y], answers))
    assert value > 0.0


def test_a_forward_pass_is_the_textbooks():
    """Two layers by hand, with and without biases."""
    first = InnerProduct("first", np.array([[1.0, -2.0], [0.5, 1.0]]), None)
    second = InnerProduct("second", np.array([[1.0, 1.0], [0.0, -1.0]]), np.array([0.25, 0.5]))
    net = Network([first, Function("r", "relu"), second, Function("s", "softmax")], None)
    x = np.array([[2.0, 0.5]])
    scores = np.array([1.0 + 1.5 + 0.25, -1.5 + 0.5])

    assert net.answers(x)[0] == pytest.approx(np.exp(scores) / np.exp(scores).sum())


def test_the_default_network_learns_what_logistic_regression_learns(clouds):
    """Within three points of scikit-learn on new samples; the loss falls."""
    X, labels = clouds(300, noise=1.0)
    new, truth = clouds(300, noise=1.0, seed=1)
    head, progress = trained(X, labels)
    losses = [one.metrics["loss_value"] for one in progress if one.kind == "epoch"]

    peer = LogisticRegression(C=100.0, max_iter=1000).fit(signed_root(X), labels)
    assert accuracy(head, new, truth) > peer.score(signed_root(new), truth) - 0.03
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.3), ("adam", 0.01)])
def test_checklist_81_both_optimizers_bring_the_loss_down(clouds, loss, optimizer, rate):
    """With either loss, to an accuracy of 95 % on well separated classes."""
    X, labels = clouds(150, noise=0.2)
    head, _ = trained(X, labels, head_of(loss=loss), optimizer=optimizer, learning_rate=rate, epochs=60)

    assert accuracy(head, X, labels) > 0.95


def test_checklist_81_the_defaults_are_coremltools():
    """SGD 0.01, 10, 0; Adam 0.01, 10, 0.9, 0.999, 1e-8."""
    defaults = {one.key: one.default_value for one in NeuralNetworkHead.parameter_descriptions}
    assert [defaults[key] for key in (Key.LEARNING_RATE, Key.MINI_BATCH_SIZE, Key.MOMENTUM)] == [
        0.01,
        10,
        0.0,
    ]
    assert [defaults[key] for key in (Key.BETA1, Key.BETA2, Key.EPS)] == [0.9, 0.999, 1e-8]


def test_checklist_82_layers_that_are_not_updatable_keep_their_bits(clouds, tmp_path):
    """Also through disk; those that are change."""
    X, labels = clouds(60)
    for frozen, free in (("first", "second"), ("second", "first")):
        head = head_of(updatable=(free,))
        keys = [key.scoped_to(frozen) for key in (Key.WEIGHTS, Key.BIASES)]
        before = {key: array.tobytes() for key, array in layer_arrays(head).items()}
        model = MLModel(head, is_writable=True)
        task = MLUpdateTask(model, MatrixBatchProvider(X, labels))
        task.resume()
        assert task.wait(30)
        task.model.write(to=tmp_path / frozen)
        after = MLModel.load(tmp_path / frozen)

        for key, old in before.items():
            assert (after.parameter_value(key).tobytes() == old) == (key in keys)
        assert {key: array.tobytes() for key, array in layer_arrays(head).items()} == before


def test_checklist_42_the_same_seed_gives_the_same_bits(clouds):
    """Equal data, parameters and seed: equal arrays, the optimizer's among them; another seed: others."""
    X, labels = clouds(50)
    one, other, third = (trained(X, labels, epochs=3, seed=seed)[0] for seed in (-7, -7, 8))

    assert bits(one) == bits(other)
    assert bits(one) != bits(third)


def test_checklist_43_shuffling_is_on_and_can_be_switched_off(clouds):
    """Each epoch has an order of its own, from the seed; without it the batch's order is kept."""
    X, labels = clouds(50)

    def orders(**given):
        asked = []

        class Watched(MatrixBatchProvider):
            def arrays(self, indices):
                if not isinstance(indices, slice):
                    asked.append(list(indices))
                return super().arrays(indices)

        head = NeuralNetworkHead(12)
        list(head.train(Watched(X, labels), named(epochs=2, mini_batch_size=25, **given)))
        return asked[1:]  # the first look is the check of one sample

    first, second = np.concatenate(orders()[:2]), np.concatenate(orders()[2:])
    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second) != list(range(50))
    assert orders(shuffle=False) == []
    one, other = (trained(X, labels, epochs=3, shuffle=False, seed=seed)[0] for seed in (7, 8))
    assert bits(one) == bits(other)


def test_checklist_40_a_rate_of_zero_from_the_middle_on_changes_nothing_more(clouds):
    """What is sent holds from the next mini-batch; by the generator and by the task, annealing too."""
    X, labels = clouds(40)
    head = head_of()
    training = head.train(MatrixBatchProvider(X, labels), named(optimizer="sgd", learning_rate=0.5, epochs=2))
    for _ in range(3):
        next(training)
    middle = bits_of_layers(head)
    for _ in training_with(training, named(learning_rate=0.0)):
        assert bits_of_layers(head) == middle

    seen = []

    def anneal(context):
        seen.append(context.parameters[Key.LEARNING_RATE])
        context.task.resume(with_parameters={Key.LEARNING_RATE: seen[-1] / 2})

    run(MLModel(head_of()), X, labels, MLUpdateProgressEvent.EPOCH_END, anneal, epochs=4)
    assert seen == [0.01, 0.005, 0.0025, 0.00125]


def training_with(training, parameters):
    """Go on with a training whose next mini-batch gets these parameters."""
    yield training.send(parameters)
    yield from training


def bits_of_layers(head):
    """Weights and biases."""
    return {key: array.tobytes() for key, array in layer_arrays(head).items()}


def run(model, X, labels, events, handler, **given):
    """Run an update with a progress handler and answer the task when it is over."""
    handlers = MLUpdateProgressHandlers(events, handler, lambda context: None)
    configuration = MLModelConfiguration(named(**given))
    task = MLUpdateTask(model, MatrixBatchProvider(X, labels), configuration, progress_handlers=handlers)
    task.resume()
    assert task.wait(60)
    return task


@pytest.mark.parametrize(
    ("name", "value"),
    [("momentum", 0.5), ("beta1", 0.5), ("beta2", 0.5), ("eps", 0.1), ("epochs", 3), ("learning_rate", 0.1)],
)
def test_checklist_40_what_may_change_on_the_way(clouds, name, value):
    """Rates and epochs may."""
    X, labels = clouds(20)

    def handler(context):
        context.task.resume(with_parameters=named(**{name: value}))

    task = run(MLModel(head_of()), X, labels, MLUpdateProgressEvent.EPOCH_END, handler, epochs=1)
    assert task.state is MLTaskState.COMPLETED
    assert task.model.head.describe()["parameters"][name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mini_batch_size", 5),
        ("shuffle", False),
        ("seed", 3),
        ("optimizer", "sgd"),
        ("keep_old_outputs", True),
    ],
)
def test_checklist_40_what_may_not_change_on_the_way(clouds, name, value):
    """Everything that says how the epochs are cut; the task fails with the parameters error."""
    X, labels = clouds(20)

    def handler(context):
        context.task.resume(with_parameters=named(**{name: value}))

    task = run(MLModel(head_of()), X, labels, MLUpdateProgressEvent.EPOCH_END, handler, epochs=1)
    assert task.state is MLTaskState.FAILED
    assert task.error.code is MLModelErrorCode.PARAMETERS
    assert f"{name} cannot change" in str(task.error)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (named(k=3), "parameter k is unknown"),
        (named(learning_rate=-1.0), "below 0"),
        (named(epochs=0), "below 1"),
        (named(epochs=2.5), "whole number"),
        (named(optimizer="lbfgs"), "not one of adam, sgd"),
        (named(shuffle=1), "true or false"),
        ({Key.EPOCHS.scoped_to("first"): 3}, "first.epochs is unknown"),
    ],
)
def test_checklist_38_wrong_parameters_are_refused(clouds, given, what):
    """Unknown keys, types, ranges and sets, before training and on the way."""
    X, labels = clouds(20)
    with pytest.raises(MLModelError, match=what) as caught:
        MLUpdateTask(MLModel(head_of()), MatrixBatchProvider(X, labels), MLModelConfiguration(given))
    assert caught.value.code is MLModelErrorCode.PARAMETERS

    task = run(
        MLModel(head_of()),
        X,
        labels,
        MLUpdateProgressEvent.EPOCH_END,
        lambda context: context.task.resume(with_parameters=given),
    )
    assert task.error.code is MLModelErrorCode.PARAMETERS
    assert what in str(task.error)


def test_checklist_39_resume_with_parameters_merges_and_holds_from_the_next_batch(clouds):
    """What is not named stays; the context of the next event shows the values in force."""
    X, labels = clouds(30)
    seen = []

    def handler(context):
        seen.append((context.parameters[Key.LEARNING_RATE], context.parameters[Key.BETA1]))
        if len(seen) == 2:
            context.task.resume(with_parameters={Key.LEARNING_RATE: 0.5})

    run(MLModel(head_of()), X, labels, MLUpdateProgressEvent.MINI_BATCH_END, handler, epochs=1, beta1=0.8)
    assert seen == [(0.01, 0.8), (0.01, 0.8), (0.5, 0.8)]


def test_checklist_41_parameters_outside_of_a_handler_are_refused(clouds):
    """Before the start, and when all is over."""
    X, labels = clouds(20)
    task = MLUpdateTask(MLModel(head_of()), MatrixBatchProvider(X, labels))
    for _ in range(2):
        with pytest.raises(MLModelError) as caught:
            task.resume(with_parameters={Key.LEARNING_RATE: 0.5})
        assert caught.value.code is MLModelErrorCode.UPDATE
        task.resume() if task.state is MLTaskState.SUSPENDED else None
        assert task.wait(30)


def test_checklist_29_metrics_are_loss_epoch_and_mini_batch(clouds):
    """A number and two whole numbers, counted from 0 within each epoch; the epoch's loss is the mean."""
    X, labels = clouds(25)
    seen = []
    events = MLUpdateProgressEvent.MINI_BATCH_END | MLUpdateProgressEvent.EPOCH_END
    run(MLModel(head_of()), X, labels, events, lambda c: seen.append((c.event, c.metrics)), epochs=2)
    batches = [m for event, m in seen if event is MLUpdateProgressEvent.MINI_BATCH_END]
    epochs = [m for event, m in seen if event is MLUpdateProgressEvent.EPOCH_END]

    indices = [(m[MLMetricKey.EPOCH_INDEX], m[MLMetricKey.MINI_BATCH_INDEX]) for m in batches]
    assert indices == list(itertools.product(range(2), range(3)))
    assert all(type(index) is int for pair in indices for index in pair)
    assert [m[MLMetricKey.EPOCH_INDEX] for m in epochs] == [0, 1]
    for at, epoch in enumerate(epochs):
        losses = [m[MLMetricKey.LOSS_VALUE] for m in batches[3 * at : 3 * at + 3]]
        assert type(epoch[MLMetricKey.LOSS_VALUE]) is float
        assert epoch[MLMetricKey.LOSS_VALUE] == pytest.approx(np.average(losses, weights=[10, 10, 5]))


def test_checklist_99_a_new_class_joins_without_touching_old_outputs(clouds):
    """Old weights keep their bits when it joins, and the scores of old classes too."""
    X, labels = clouds(60)
    head, _ = trained(X, labels)
    old = head.copy()
    head.grow({"odd", "class 0"})

    assert head.classes_ == (*old.classes_, "odd")
    for key, before in layer_arrays(old).items():
        after = layer_arrays(head)[key]
        assert after[: len(before)].tobytes() == before.tobytes()
        assert not after[len(before) :].any()
    P = head.predict_proba(X)[:, :3]
    assert P / P.sum(axis=1, keepdims=True) == pytest.approx(old.predict_proba(X))


def test_checklist_99_with_keep_old_outputs_training_leaves_them_too(clouds):
    """After momentum was gathered as well; only the output of the new class learns."""
    X, labels = clouds(60)
    odd = X + 30 * (np.arange(12) % 2).astype(np.float32)
    for optimizer in ("sgd", "adam"):
        head = head_of(updatable=("second",))
        trained(X, labels, head, optimizer=optimizer, momentum=0.9, learning_rate=0.01, epochs=5)
        before = {key: array.copy() for key, array in layer_arrays(head).items()}
        trained(
            np.vstack([X, odd]),
            labels + ["odd"] * 60,
            head,
            optimizer=optimizer,
            keep_old_outputs=True,
            epochs=5,
        )

        for key, old in before.items():
            assert layer_arrays(head)[key][: len(old)].tobytes() == old.tobytes()
        assert layer_arrays(head)[Key.WEIGHTS.scoped_to("second")][3].any()
        assert accuracy(head, odd, ["odd"] * 60) > 0.9


def test_checklist_99_what_is_kept_gathers_no_momentum(clouds):
    """Else a later update would move the old outputs for what they did not learn."""
    X, _ = clouds(60)
    head = head_of(updatable=("second",))
    given = {"optimizer": "sgd", "momentum": 0.9, "keep_old_outputs": True, "epochs": 2}
    trained(X, ["odd"] * 60, head, **given)

    for velocity in head.optimizer.velocities:
        assert not velocity[:3].any()
        assert velocity[3:].any()


def test_checklist_74_an_update_with_a_new_label_creates_the_class(clouds):
    """It is recognised after a few samples, and the old ones still are."""
    X, labels = clouds(60, noise=0.2)
    known = [at for at, label in enumerate(labels) if label != "class 2"]
    head, _ = trained(X[known], [labels[at] for at in known])
    assert head.classes_ == ("class 0", "class 1")
    trained(X, labels, head)

    assert head.classes_ == ("class 0", "class 1", "class 2")
    assert accuracy(head, X, labels) > 0.95


def test_a_new_label_needs_an_output_that_learns(clouds):
    """The error names label and layer."""
    X, labels = clouds(12)
    head = head_of(updatable=("first",), classes=("class 0", "class 1"))
    with pytest.raises(MLModelError, match="'class 2' is new, and the output layer 'second'") as caught:
        trained(X, labels, head)
    assert caught.value.code is MLModelErrorCode.UPDATE


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", SGD), ("adam", Adam)])
def test_checklist_100_what_the_optimizer_remembers_survives(clouds, tmp_path, optimizer, kind):
    """Two updates of one epoch are one of two, also with a write and a load between; a fresh one differs."""
    X, labels = clouds(40)
    given = {"optimizer": optimizer, "learning_rate": 0.05, "momentum": 0.9, "shuffle": False}
    straight, _ = trained(X, labels, head_of(), epochs=2, **given)

    half, _ = trained(X, labels, head_of(), epochs=1, **given)
    MLModel(half, is_writable=True).write(to=tmp_path / "m")
    second = MLModel.load(tmp_path / "m").head
    assert isinstance(second.optimizer, kind)
    trained(X, labels, second, epochs=1, **given)
    assert bits(second) == bits(straight)

    fresh = half.copy()
    fresh.optimizer = kind()
    trained(X, labels, fresh, epochs=1, **given)
    assert bits_of_layers(fresh) != bits_of_layers(straight)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_checklist_100_the_memory_grows_with_the_classes(clouds, optimizer):
    """Of what is new it remembers nothing, of the rest what it did."""
    X, labels = clouds(40)
    head, _ = trained(X, labels, optimizer=optimizer, momentum=0.5)
    before = [array.copy() for name, array in head.arrays().items() if not name.startswith("layer")]
    trained(X[:1], ["odd"], head, optimizer=optimizer, momentum=0.5, learning_rate=0.0, epochs=1)
    after = [array for name, array in head.arrays().items() if not name.startswith("layer")]

    assert [a.shape[0] - b.shape[0] for a, b in zip(after, before, strict=True)] in (
        [0, 0, 1, 1],
        [0, 0, 1, 1] * 2,
    )


def test_another_optimizer_starts_afresh(clouds):
    """A velocity is of no use to Adam."""
    X, labels = clouds(40)
    head, _ = trained(X, labels, head_of(), optimizer="sgd", epochs=1)
    trained(X, labels, head, optimizer="adam", epochs=1)

    assert isinstance(head.optimizer, Adam)
    assert head.optimizer.steps == 4


def test_a_copy_goes_its_own_way(clouds):
    """Training one changes neither the numbers nor the optimizer of the other."""
    X, labels = clouds(40)
    head, _ = trained(X, labels)
    before = bits(head)
    trained(X, labels, head.copy())

    assert bits(head) == before

    training = head.train(MatrixBatchProvider(X, labels), {})
    next(training)
    middle = head.copy()
    before = bits(middle)
    list(training)
    assert bits(middle) == before


def test_weights_that_grow_without_bounds_fail_with_advice(clouds):
    """No warning, no answer that is not a number."""
    X, labels = clouds(40)
    with pytest.raises(MLModelError, match=r"epoch 0, mini-batch .*lower learning_rate"):
        trained(X * 1e30, labels, head_of(activation="relu"), optimizer="sgd", learning_rate=1e300)
    with pytest.raises(MLModelError, match="grew without bounds"):
        trained(X, labels, head_of(), beta1=1.0)


def test_checklist_98_below_the_least_confidence_the_answer_is_the_default_label(clouds):
    """The same threshold tells `is_unknown`."""
    X, labels = clouds(60, noise=0.2)
    head, _ = trained(X, labels, NeuralNetworkHead(12, default_label="nothing"))
    model = MLModel(head, parameters=named(min_confidence=0.9))
    between = ((X[0] + X[1]) / 2)[None]
    batch = MatrixBatchProvider(np.vstack([X[:1], between]), ["", ""])

    assert model.predict_proba(batch.arrays(slice(0, 2))[0]).max(axis=1)[1] < 0.9
    assert [one.feature_value("label").string_value for one in model.predictions(batch).array] == [
        labels[0],
        "nothing",
    ]
    assert model.is_unknown(batch.arrays(slice(0, 2))[0]).tolist() == [False, True]
    assert model.with_head(model.head.copy(), is_writable=False).unknown_threshold == pytest.approx(0.1)
    assert MLModel(head, parameters=named(min_confidence=0.0)).unknown_threshold is None


@pytest.mark.parametrize("key", [Key.WEIGHTS, Key.BIASES])
def test_checklist_33_weights_are_read_of_any_layer_and_replaced_in_updatable_ones(clouds, tmp_path, key):
    """Only under a scope; at load and for an update."""
    X, labels = clouds(20)
    model = MLModel(head_of(updatable=("second",)), is_writable=True)
    model.write(to=tmp_path / "m")
    for layer in ("first", "second"):
        array = model.parameter_value(key.scoped_to(layer))
        assert array.shape == layer_arrays(model.head)[key.scoped_to(layer)].shape
    second = key.scoped_to("second")
    other = np.full_like(model.parameter_value(second), 0.5)
    configuration = MLModelConfiguration({second: other})

    read = MLModel.load(tmp_path / "m", configuration=configuration)
    assert np.array_equal(read.parameter_value(second), other)
    assert not np.array_equal(read.predict_proba(X), model.predict_proba(X))
    still = MLModelConfiguration({second: other, **named(optimizer="sgd", learning_rate=0.0)})
    task = MLUpdateTask(model, MatrixBatchProvider(X, labels), still)
    task.resume()
    assert task.wait(30)
    assert np.array_equal(task.model.parameter_value(second), other)
    assert not np.array_equal(model.parameter_value(second), other)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        (Key.WEIGHTS, np.zeros((3, 6)), "scope"),
        (Key.WEIGHTS.scoped_to("third"), np.zeros((3, 6)), "no layer with numbers is named"),
        (Key.WEIGHTS.scoped_to("first"), np.zeros((6, 12)), "not updatable"),
        (Key.WEIGHTS.scoped_to("second"), np.zeros((6, 3)), "shape"),
        (Key.WEIGHTS.scoped_to("second"), np.full((3, 6), np.nan), "finite"),
        (Key.WEIGHTS.scoped_to("second"), 3, "array"),
        (Key.BIASES.scoped_to("second"), np.array(["a", "b", "c"]), "array of numbers"),
    ],
)
def test_checklist_33_other_overrides_are_refused(clouds, key, value, what):
    """With the parameters error, which names the key."""
    X, labels = clouds(20)
    model = MLModel(head_of(updatable=("second",)), is_writable=True)
    with pytest.raises(MLModelError, match=what) as caught:
        MLUpdateTask(model, MatrixBatchProvider(X, labels), MLModelConfiguration({key: value}))
    assert caught.value.code is MLModelErrorCode.PARAMETERS
    assert str(key) in str(caught.value)


def test_a_reader_of_weights_cannot_change_the_model():
    """What is read is a copy."""
    model = MLModel(head_of())
    key = Key.WEIGHTS.scoped_to("first")
    read = model.parameter_value(key)
    assert not np.shares_memory(read, layer_arrays(model.head)[key])
    for wrong in (Key.WEIGHTS, Key.WEIGHTS.scoped_to("middle")):
        with pytest.raises(MLModelError) as caught:
            model.parameter_value(wrong)
        assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.measured
def test_memory_is_that_of_a_mini_batch():
    """20,000 lazily made samples of 256 features (20 MB as a matrix) need less than 4 MB more than 2,000."""

    class Lazy(MatrixBatchProvider):
        def __init__(self, count):
            self._count = count

        @property
        def count(self):
            return self._count

        def arrays(self, indices):
            rows = range(*indices.indices(self._count)) if isinstance(indices, slice) else indices
            X = np.zeros((len(rows), 256), dtype=np.float32)
            X[np.arange(len(rows)), [at % 256 for at in rows]] = 1.0
            return X, [f"{at % 4}" for at in rows]

    def peak(count):
        tracemalloc.start()
        list(NeuralNetworkHead(256).train(Lazy(count), named(epochs=1, mini_batch_size=50)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(20_000) - peak(2_000) < 4 * 2**20
