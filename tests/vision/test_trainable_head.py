"""A `.tflite` that trains itself is updated, written and read like any other model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.heads.protocol import FileHead, Head
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import (
    MLMetricKey,
    MLTaskState,
    MLUpdateContext,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    MLUpdateTask,
)
from edge_agent.vision.trainable import TrainableModel
from edge_agent.vision.trainable_head import (
    TRAINABLE_HEADS,
    RegressionBatchProvider,
    TrainableHead,
    trainable_model,
)

SMALL = Path(__file__).parent / "data" / "trainable_classifier.tflite"
DIGITS = tuple("0123456789")
EPOCH_END, MINI_BATCH_END = MLUpdateProgressEvent.EPOCH_END, MLUpdateProgressEvent.MINI_BATCH_END
WAIT = 60.0


@pytest.fixture(name="digits", scope="module")
def _digits() -> tuple[Any, list[str]]:
    """1797 handwritten digits of 8 x 8 pixels, from -1 to 1."""
    data = load_digits()
    return (data.data / 8 - 1).astype(np.float32), [str(label) for label in data.target]


@pytest.fixture(name="regression")
def _regression(testdata: Path) -> Path:
    """A linear regression with built-in operators, one sample a step."""
    return testdata / "models" / "odd" / "train_linreg_builtin.tflite"


def updated(model: MLModel | Path, data: Any, **parameters: Any) -> MLModel:
    """The model after an update that must succeed."""
    configuration = MLModelConfiguration({Key(name): value for name, value in parameters.items()})
    task = MLUpdateTask(model, data, configuration, heads=TRAINABLE_HEADS)
    task.resume()
    assert task.wait(WAIT)
    assert task.error is None
    assert task.model is not None
    return task.model


def failure(model: MLModel, data: Any, **parameters: Any) -> MLModelError:
    """The error of an update that must fail, at the latest when it runs."""
    configuration = MLModelConfiguration({Key(name): value for name, value in parameters.items()})
    task = MLUpdateTask(model, data, configuration)
    task.resume()
    assert task.wait(WAIT)
    assert task.state is MLTaskState.FAILED
    assert isinstance(task.error, MLModelError)
    return task.error


def accuracy(model: MLModel, X: Any, labels: list[str]) -> float:
    """The share of samples whose likeliest label is theirs."""
    said = [model.classes[column] for column in model.predict_proba(X).argmax(axis=1)]
    return float(np.mean([one == other for one, other in zip(said, labels, strict=True)]))


def test_a_classifier_is_personalised(digits: tuple[Any, list[str]]) -> None:
    """Handwritten digits that nobody taught it: guessed before, told apart after half a second of training."""
    X, labels = digits
    model = trainable_model(SMALL, labels=DIGITS)
    before = SMALL.read_bytes()

    better = updated(model, MatrixBatchProvider(X[:500], labels[:500]), epochs=40)

    assert accuracy(model, X[1000:], labels[1000:]) < 0.25
    assert accuracy(better, X[1000:], labels[1000:]) > 0.88
    assert SMALL.read_bytes() == before


def test_a_second_update_adds_to_the_first(digits: tuple[Any, list[str]]) -> None:
    """New labels take free outputs; what was learned about the old ones is still known."""
    X, labels = digits
    low = [index for index in range(400) if labels[index] in "01234"]
    first = updated(
        trainable_model(SMALL), MatrixBatchProvider(X[low], [labels[index] for index in low]), epochs=30
    )

    second = updated(first, MatrixBatchProvider(X[:400], labels[:400]), epochs=30)

    assert first.classes == tuple("01234")
    assert second.classes == DIGITS
    assert first.predict_proba(X[:3]).shape == (3, 5)
    assert accuracy(second, X[1000:], labels[1000:]) > 0.85
    np.testing.assert_allclose(second.predict_proba(X[:50]).sum(axis=1), 1.0)


def test_labels_are_columns_in_the_order_given(digits: tuple[Any, list[str]]) -> None:
    """A model whose labels are named keeps their order, and predicts by name."""
    X, labels = digits
    backwards = tuple(reversed(DIGITS))
    model = updated(trainable_model(SMALL, labels=backwards), MatrixBatchProvider(X[:500], labels[:500]))

    assert model.classes == backwards
    answer = model.predict(MLDictionaryFeatureProvider({"features": X[0]}))
    assert answer["label"].string_value == labels[0]


NEW_PROCESS = """
import sys
import numpy as np
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel
from edge_agent.vision.trainable_head import TRAINABLE_HEADS

model = MLModel.load(sys.argv[1], heads=TRAINABLE_HEADS)
np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2])))
"""


def test_weights_survive_in_a_new_process(digits: tuple[Any, list[str]], tmp_path: Path) -> None:
    """Written, read by another process without the original file: the same answers to the last bit."""
    X, labels = digits
    file = tmp_path / "mine.tflite"
    file.write_bytes(SMALL.read_bytes())
    model = updated(trainable_model(file), MatrixBatchProvider(X[:100], labels[:100]))
    model.write(tmp_path / "model")
    file.unlink()
    np.save(tmp_path / "X.npy", X[100:200])

    command = [sys.executable, "-c", NEW_PROCESS, "model", "X.npy", "P.npy"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)

    np.testing.assert_array_equal(np.load(tmp_path / "P.npy"), model.predict_proba(X[100:200]))


def test_a_written_model_is_updated_again(digits: tuple[Any, list[str]], tmp_path: Path) -> None:
    """Read back, trained on and written again, as if it had never been away."""
    X, labels = digits
    data = MatrixBatchProvider(X[:200], labels[:200])
    first = updated(trainable_model(SMALL), data, epochs=3)
    first.write(tmp_path / "model")

    second = updated(tmp_path / "model", data, epochs=3)

    np.testing.assert_array_equal(
        second.predict_proba(X[:20]), updated(first, data, epochs=3).predict_proba(X[:20])
    )


def test_a_task_takes_the_path_of_the_file(digits: tuple[Any, list[str]]) -> None:
    """With the heads that read such files, a `.tflite` is a model like a directory is."""
    X, labels = digits

    model = updated(SMALL, MatrixBatchProvider(X[:200], labels[:200]), epochs=10)

    assert accuracy(model, X[:200], labels[:200]) > 0.8
    assert isinstance(TrainableHead, FileHead)
    assert isinstance(model.head, Head)


def test_labels_may_be_whole_numbers(digits: tuple[Any, list[str]], tmp_path: Path) -> None:
    """0 is a label like any other, also after writing and reading."""
    X, labels = digits
    data = MatrixBatchProvider(X[:300], [int(label) for label in labels[:300]])
    updated(trainable_model(SMALL, labels=range(10)), data).write(tmp_path / "model")

    model = MLModel.load(tmp_path / "model", heads=TRAINABLE_HEADS)

    assert model.classes == tuple(range(10))
    answer = model.predict(MLDictionaryFeatureProvider({"features": X[0]}))
    assert answer["label"].int64_value == 0


def test_the_built_in_heads_read_no_such_file() -> None:
    """Where only they are given, the sentence says so, rather than that a directory is missing."""
    with pytest.raises(MLModelError, match="no head given reads such files") as caught:
        MLModel.load(SMALL, heads=BUILT_IN_HEADS)

    assert caught.value.code is MLModelErrorCode.IO


def test_the_same_seed_gives_the_same_bits(digits: tuple[Any, list[str]]) -> None:
    """Equal seeds, equal weights; another seed or no shuffling, others."""
    X, labels = digits
    data = MatrixBatchProvider(X[:150], labels[:150])
    model = trainable_model(SMALL)

    def weights(**more: Any) -> bytes:
        arrays = updated(model, data, epochs=3, **more).head.arrays()
        return b"".join(arrays[name].tobytes() for name in sorted(arrays))

    assert weights(seed=1) == weights(seed=1)
    assert len({weights(seed=1), weights(seed=2), weights(shuffle=False)}) == 3


def test_an_update_is_one_step_a_mini_batch(digits: tuple[Any, list[str]]) -> None:
    """Without shuffling the weights are those of the steps done by hand, the last batch being smaller."""
    X, labels = digits
    updated_model = updated(
        trainable_model(SMALL, labels=DIGITS),
        MatrixBatchProvider(X[:50], labels[:50]),
        epochs=2,
        mini_batch_size=20,
        shuffle=False,
        learning_rate=0.25,
    )

    by_hand = TrainableModel(SMALL, data=SMALL.read_bytes())
    y = np.array([int(label) for label in labels[:50]])
    for _ in range(2):
        for start in (0, 20, 40):
            part = slice(start, min(start + 20, 50))
            by_hand.train(X[part], y[part], learning_rate=0.25)

    arrays = updated_model.head.arrays()
    for name, array in by_hand.weights().items():
        np.testing.assert_array_equal(arrays[f"weights/{name}"], array)


def test_handlers_are_told_the_loss_and_may_change_the_rate(digits: tuple[Any, list[str]]) -> None:
    """Every event comes with its loss and a model that predicts; a rate of 0 stops the learning."""
    X, labels = digits
    seen: list[tuple[str, float]] = []
    models: list[MLModel] = []

    def progress(context: MLUpdateContext) -> None:
        kind = "epoch" if context.event is EPOCH_END else "batch"
        seen.append((kind, context.metrics[MLMetricKey.LOSS_VALUE]))
        if context.event is EPOCH_END:
            models.append(context.model)
            if len(models) == 2:
                context.task.resume(with_parameters={Key.LEARNING_RATE: 0.0})

    handlers = MLUpdateProgressHandlers(EPOCH_END | MINI_BATCH_END, progress, lambda context: None)
    task = MLUpdateTask(
        trainable_model(SMALL),
        MatrixBatchProvider(X[:64], labels[:64]),
        MLModelConfiguration({Key.EPOCHS: 4}),
        progress_handlers=handlers,
    )
    task.resume()
    assert task.wait(WAIT)

    assert task.error is None
    assert [kind for kind, _ in seen] == ["batch", "batch", "epoch"] * 4
    epochs = [loss for kind, loss in seen if kind == "epoch"]
    batches = [loss for kind, loss in seen if kind == "batch"]
    assert epochs[0] == pytest.approx(np.mean(batches[:2]))
    assert epochs[0] > epochs[1] > epochs[2]
    P = [model.predict_proba(X[:5]) for model in models]
    assert not np.array_equal(P[0], P[1])
    np.testing.assert_array_equal(P[1], P[3])


def test_a_handlers_model_stays_as_it_was_and_can_be_written(
    digits: tuple[Any, list[str]], tmp_path: Path
) -> None:
    """What a handler kept of the first epoch is not changed by those after it, nor is the model begun with."""
    X, labels = digits
    kept: list[MLModel] = []
    written = []

    def progress(context: MLUpdateContext) -> None:
        kept.append(context.model)
        written.append(context.model.predict_proba(X[:5]))
        context.model.write(tmp_path / f"epoch-{len(kept)}")

    base = trainable_model(SMALL, labels=DIGITS)
    before = base.predict_proba(X[:5])
    task = MLUpdateTask(
        base,
        MatrixBatchProvider(X[:64], labels[:64]),
        MLModelConfiguration({Key.EPOCHS: 3}),
        progress_handlers=MLUpdateProgressHandlers(EPOCH_END, progress, lambda context: None),
    )
    task.resume()
    assert task.wait(WAIT)

    np.testing.assert_array_equal(base.predict_proba(X[:5]), before)
    for number, (model, P) in enumerate(zip(kept, written, strict=True), 1):
        np.testing.assert_array_equal(model.predict_proba(X[:5]), P)
        again = MLModel.load(tmp_path / f"epoch-{number}", heads=TRAINABLE_HEADS)
        np.testing.assert_array_equal(again.predict_proba(X[:5]), P)


def test_cancelling_keeps_nothing(digits: tuple[Any, list[str]]) -> None:
    """A task that is cancelled by its handler ends as CANCELLED with the model it began with."""
    X, labels = digits
    task = MLUpdateTask(
        trainable_model(SMALL),
        MatrixBatchProvider(X[:64], labels[:64]),
        progress_handlers=MLUpdateProgressHandlers(
            MINI_BATCH_END, lambda context: context.task.cancel(), lambda context: None
        ),
    )
    task.resume()
    assert task.wait(WAIT)

    assert task.state is MLTaskState.CANCELLED
    assert task.model is None


def test_what_does_not_fit_the_outputs_fails_by_name(digits: tuple[Any, list[str]]) -> None:
    """An eleventh label has no output left; it is named."""
    X, _ = digits
    eleven = [f"label-{index:02}" for index in range(11)]
    model = trainable_model(SMALL)

    error = failure(model, MatrixBatchProvider(X[:11], eleven))
    assert error.code is MLModelErrorCode.UPDATE
    assert "no room for the label 'label-10'" in str(error)
    assert "10 classes" in str(error)


def test_training_that_blows_up_fails(regression: Path) -> None:
    """Samples without measure make the loss infinite; the task says so and nothing is kept."""
    X = np.full((50, 1), 1e15, np.float32)

    error = failure(trainable_model(regression), RegressionBatchProvider(X, np.ones(50)))

    assert error.code is MLModelErrorCode.UPDATE
    assert "not finite" in str(error)


@pytest.mark.parametrize("labels", [(*DIGITS, "10"), ("a", "a"), ("a", "")])
def test_labels_that_cannot_be_told_apart_are_refused(labels: tuple[str, ...]) -> None:
    """Too many for the outputs, one twice, or one that is empty."""
    with pytest.raises(MLModelError, match="each needs one of its own") as caught:
        trainable_model(SMALL, labels=labels)

    assert caught.value.code is MLModelErrorCode.GENERIC


def test_it_begins_from_a_file_only() -> None:
    """There is no empty one for any number of features."""
    with pytest.raises(MLModelError, match=r"begins from a \.tflite file") as caught:
        MLModel.factory("tflite", 64, heads=TRAINABLE_HEADS)

    assert caught.value.code is MLModelErrorCode.CUSTOM_MODEL


def test_an_untrained_model_without_labels_knows_nothing() -> None:
    """Before the first update the label is undefined, as with every head."""
    model = trainable_model(SMALL)

    assert model.classes == ()
    assert model.predict_proba(np.zeros((2, 64))).shape == (2, 0)
    assert model.predict(MLDictionaryFeatureProvider({"features": np.zeros(64)}))["label"].is_undefined
    assert model.model_description.is_updatable
    assert model.unknown_threshold is None
    assert model.distances(np.zeros((1, 64))) is None


def test_a_regression_is_driven_by_the_same_task(regression: Path, tmp_path: Path) -> None:
    """It finds 3 x - 1 from numbers; written and read back it answers the same."""
    X = np.linspace(-2, 2, 40, dtype=np.float32)[:, None]

    model = updated(regression, RegressionBatchProvider(X, 3 * X[:, 0] - 1), epochs=30)
    model.write(tmp_path / "line")

    again = MLModel.load(tmp_path / "line")
    answers = again.predictions(
        MLArrayBatchProvider(dictionary={"features": [np.array([2.0]), np.array([0.0])]})
    )
    numbers = [answers.features(at).feature_value("label").double_value for at in range(2)]
    np.testing.assert_allclose(numbers, [5.0, -1.0], atol=1e-3)
    assert again.model_description.predicted_probabilities_name is None
    assert again.model_description.class_labels is None


def test_a_regression_learns_from_samples_of_doubles_and_whole_numbers(regression: Path) -> None:
    """The number to answer with is a value of its own, not a text."""
    rows = [
        MLDictionaryFeatureProvider({"features": np.array([x], np.float32), "label": label})
        for x, label in ((-1.0, -4), (0.0, -1.0), (1.0, 2), (2.0, 5.0))
    ]

    model = updated(regression, MLArrayBatchProvider(rows * 5), epochs=60)

    answer = model.prediction(MLDictionaryFeatureProvider({"features": np.array([3.0])}))
    assert answer["label"].double_value == pytest.approx(8.0, abs=1e-2)


def test_a_file_for_one_sample_a_step_fixes_the_mini_batch(regression: Path) -> None:
    """Its description says 1; another size and a learning rate that it does not take are refused."""
    model = trainable_model(regression)

    assert model.parameter_value(Key.MINI_BATCH_SIZE) == 1
    assert Key.LEARNING_RATE not in model.model_description.parameter_descriptions_by_key
    for given in ({Key.MINI_BATCH_SIZE: 2}, {Key.LEARNING_RATE: 0.1}):
        with pytest.raises(MLModelError) as caught:
            trainable_model(regression, parameters=given)
        assert caught.value.code is MLModelErrorCode.PARAMETERS
    assert Key.LEARNING_RATE in trainable_model(SMALL).model_description.parameter_descriptions_by_key


def test_a_label_that_is_no_number_is_named(regression: Path) -> None:
    """The sample's index and its label, before anything is learned."""
    for label in ("five", float("nan"), float("inf")):
        with pytest.raises(MLModelError) as caught:
            MLUpdateTask(trainable_model(regression), MatrixBatchProvider(np.ones((3, 1)), [1.0, 2, label]))
        assert caught.value.code is MLModelErrorCode.FEATURE_TYPE
        assert f"sample 2: the label is {label!r}" in str(caught.value)


def test_the_last_mini_batch_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file wants so many samples a step, those of the first mini-batch come again at the end."""
    head = TrainableHead.from_file(SMALL)
    rows = 4
    monkeypatch.setattr(head, "_layout", head._layout.__class__(**{**vars(head._layout), "train_rows": rows}))
    numbers = np.arange(10, dtype=np.float32)[:, None]
    blocks = [
        (numbers[start : start + rows], [str(index) for index in range(start, min(start + rows, 10))])
        for start in range(0, 10, rows)
    ]

    filled = list(head._filled(iter(blocks)))
    alone = list(head._filled(iter([(numbers[:3], ["0", "1", "2"])])))

    assert [n for n, _ in filled] == [4, 4, 2]
    assert filled[2][1][1] == ["8", "9", "0", "1"]
    np.testing.assert_array_equal(filled[2][1][0][:, 0], [8, 9, 0, 1])
    assert alone[0][1][1] == ["0", "1", "2", "0"]


def tampered(arrays: dict[str, Any] | None = None, description: dict[str, Any] | None = None) -> MLModelError:
    """What is said when a head is restored from arrays or a description of which some were changed."""
    head = TrainableHead.from_file(SMALL)
    with pytest.raises(MLModelError) as caught:
        TrainableHead.restore(head.arrays() | (arrays or {}), head.describe() | (description or {}))
    return caught.value


def test_damaged_packages_are_refused() -> None:
    """Another file, other bytes or other weights than those that were trained."""
    data = np.frombuffer(SMALL.read_bytes(), np.uint8)
    few = np.zeros(3, np.float32)

    assert "damaged" in str(tampered({"model": data[:5000]}))
    assert "not the file that was trained" in str(tampered({"model": np.append(data, np.uint8(0))}))
    assert "not the file that was trained" in str(tampered(description={"sha256": "0" * 64}))
    assert "expected (None,)" in str(tampered({"model": data.astype(np.int16)}))
    assert "'b1' are float32 of shape (3,)" in str(tampered({"weights/b1": few}))
    assert "more, w1, w2 were given" in str(tampered({"weights/more": few}))
    assert {tampered({"weights/b1": few}).code, tampered({"model": data[:9]}).code} == {MLModelErrorCode.IO}
