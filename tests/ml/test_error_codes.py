"""Checklist 66: one code for every failure, and never a stranger's exception."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_agent.errors import EdgeAgentError, MLModelError, MLModelErrorCode
from edge_agent.ml.authoring import (
    AdamParams,
    Array,
    KNearestNeighborsClassifierBuilder,
    NeuralNetworkBuilder,
    SgdParams,
)
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider, TrainingRows
from edge_agent.ml.configuration import MLModelConfiguration, MLOptimizationHints
from edge_agent.ml.constraints import (
    MLDictionaryConstraint,
    MLImageConstraint,
    MLImageSize,
    MLImageSizeConstraint,
    MLMultiArrayConstraint,
    MLMultiArrayShapeConstraint,
    MLSequenceConstraint,
    MLStateConstraint,
)
from edge_agent.ml.description import MLFeatureDescription, MLModelDescription, MLModelMetadata
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
)
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    resolve,
)
from edge_agent.ml.personal import PersonalModel
from edge_agent.ml.pipeline import extractor_model
from edge_agent.ml.pixels import PixelBuffer
from edge_agent.ml.quarantine import QuarantiningBatchProvider
from edge_agent.ml.sequences import MLSequence
from edge_agent.ml.stages import parameters_by_stage, stage_names
from edge_agent.ml.update import MLTaskState, MLUpdateProgressHandlers, MLUpdateTask
from edge_agent.vision.image_values import image_value, image_value_at
from edge_agent.vision.trainable_head import RegressionBatchProvider, trainable_model

Code = MLModelErrorCode
GOOD = np.zeros(2, np.float32)


def test_checklist_66_codes_are_apples():
    """The numbers of Apple's header, and its domain."""
    assert {one.name: one.value for one in Code} == {
        "GENERIC": 0, "FEATURE_TYPE": 1, "IO": 3, "CUSTOM_LAYER": 4, "CUSTOM_MODEL": 5, "UPDATE": 6,
        "PARAMETERS": 7, "MODEL_DECRYPTION_KEY_FETCH": 8, "MODEL_DECRYPTION": 9, "MODEL_COLLECTION": 10,
        "PREDICTION_CANCELLED": 11,
    }  # fmt: skip
    assert MLModelError.domain == "com.apple.CoreML"


class Raising:
    """A batch whose author's code is broken from the second sample on."""

    count = 3

    def features(self, at):
        if at:
            raise ZeroDivisionError("somebody's mistake")
        return MLDictionaryFeatureProvider({"features": GOOD, "label": "a"})


def failed(task):
    """Raise the error of a task that is run to its end."""
    task.resume()
    assert task.wait(30)
    assert task.state is MLTaskState.FAILED
    raise task.error


MODEL = MLModel.factory("softmax", 2)
BATCH = MatrixBatchProvider(np.eye(2, dtype=np.float32), ["a", "b"])

FAILURES = {
    "no such file": (lambda path: MLModel.load(path / "gone"), Code.IO, "gone"),
    "no such model for a task": (lambda path: MLUpdateTask(path / "gone", BATCH), Code.IO, "gone"),
    "no such head": (lambda path: MLModel.factory("forest", 2), Code.CUSTOM_MODEL, "'forest'"),
    "no such parameter": (
        lambda path: MODEL.parameter_value(MLParameterKey("depth")), Code.PARAMETERS, "depth",
    ),
    "a value outside": (
        lambda path: MLModel.factory("softmax", 2, parameters={MLParameterKey.EPOCHS: 0}),
        Code.PARAMETERS,
        "epochs",
    ),
    "a text to predict from": (
        lambda path: MODEL.predict(MLDictionaryFeatureProvider({"features": "cat"})),
        Code.FEATURE_TYPE,
        "'features' is STRING",
    ),
    "another shape to predict from": (
        lambda path: MODEL.predictions(MLArrayBatchProvider(dictionary={"features": [np.zeros(3)]})),
        Code.FEATURE_TYPE,
        r"sample 0: feature 'features' is an array of shape \(3,\)",
    ),
    "not a provider to predict from": (lambda path: MODEL.predict({"features": GOOD}), Code.FEATURE_TYPE, "dict"),
    "not a batch to predict from": (lambda path: MODEL.predictions([1]), Code.GENERIC, "list has not"),
    "not a batch to learn from": (lambda path: MLUpdateTask(MODEL, "batch"), Code.GENERIC, "str has not"),
    "an empty batch": (lambda path: MLUpdateTask(MODEL, MLArrayBatchProvider([])), Code.UPDATE, "empty"),
    "another length to learn from": (
        lambda path: MLUpdateTask(MODEL, MatrixBatchProvider(np.zeros((1, 3)), ["a"])),
        Code.UPDATE,
        "sample 0: 3 features",
    ),
    "another type to learn from": (
        lambda path: MLUpdateTask(
            MODEL, MLArrayBatchProvider(dictionary={"features": [1], "label": ["a"]})
        ),
        Code.FEATURE_TYPE,
        "sample 0: feature 'features' is of type INT64",
    ),
    "a broken batch": (
        lambda path: failed(MLUpdateTask(MODEL, Raising())), Code.UPDATE, "ZeroDivisionError",
    ),
    "a model that cannot be written": (
        lambda path: MLModel(MODEL.head).write(to=path / "m"), Code.UPDATE, "can be written",
    ),
    "nowhere to write": (lambda path: MODEL.write(to=path / "no" / "m"), Code.IO, "no/m: cannot save"),
    "a file in the way": (
        lambda path: (path / "m").write_text("mine") and MODEL.write(to=path / "m"), Code.IO, "m: cannot",
    ),
    "no path to write": (lambda path: MODEL.write(to=3), Code.IO, "3 is not the path"),
    "no path to compile": (lambda path: MLModel.compile_model(3), Code.IO, "3 is not the path"),
    "no path of a card": (lambda path: extractor_model(3), Code.IO, "3 is not the path"),
    "no path of a model that trains itself": (lambda path: trainable_model(None), Code.IO, "None is not the path"),
    "no path of a factory model": (lambda path: PersonalModel(3, path), Code.IO, "3 is not the path"),
    "no path of a folder": (lambda path: PersonalModel(path, [path]), Code.IO, "is not the path"),
    "texts to regress to": (
        lambda path: RegressionBatchProvider(np.eye(2), ["a", "b"]), Code.FEATURE_TYPE, "list of numbers",
    ),
    "one number to regress to": (
        lambda path: RegressionBatchProvider(np.eye(2), 3), Code.GENERIC, "does not go with 0 labels",
    ),
    "training inputs that are no pairs": (
        lambda path: NeuralNetworkBuilder([("x", Array(2))]).set_training_input([1, 2]), Code.GENERIC, "not 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_checklist_66_every_failure_has_its_code(failure, tmp_path):
    """And the text names the sample, the feature, the key or the path."""
    fail, code, says = FAILURES[failure]
    with pytest.raises(MLModelError, match=says) as caught:
        fail(tmp_path)
    assert caught.value.code is code


numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, np.int64(3), np.float32(0.5), np.bool_(True), 1j]),
    st.fractions(),
    st.decimals(),
)
arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.lists(st.integers(0, 3), max_size=4),
    st.sampled_from(["u1", "i8", "f2", "f4", "f8", "?", "U3", "O", "c8", "M8[s]"]),
    st.integers(0, 1),
)
keys = st.builds(
    MLParameterKey, st.sampled_from(["epochs", "weights", "x"]), st.sampled_from([None, "model0", "a.b"])
)
plain = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=3), st.binary(max_size=3), arrays, keys,
    st.builds(object), st.sampled_from([MLFeatureType.STRING, int, MLFeatureValue(int64=1), Raising(), len]),
)  # fmt: skip
anything = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=2), st.integers(), st.none(), keys), inner, max_size=3),
    ),
    max_leaves=4,
)


class Junk:
    """A batch of whatever was given: its count, its samples and what those answer."""

    def __init__(self, count, answer, sample):
        self.count = count
        self._answer = answer
        self._sample = sample
        self.feature_names = frozenset({"features", "label"})

    def features(self, at):
        return self if self._sample is None else self._sample

    def feature_value(self, for_name):
        return self._answer.get(for_name) if isinstance(self._answer, Mapping) else self._answer


class JunkArrays(Junk):
    """The same with a whole block at once."""

    def arrays(self, indices):
        return self._answer["features"], self._answer["label"]


def learn(batch):
    """Read everything a batch has, as a learner would."""
    rows = TrainingRows(batch, n_features=2)
    return rows.arrays(slice(0, min(rows.count, 4)))


def both(a, b):
    """What two feature names answer."""
    return {"features": a, "label": b}


NETWORK = MLModel.factory("network", 2, parameters={MLParameterKey.EPOCHS: 1})


def resumed(given, model=MODEL):
    """An update whose handler is told these parameters at its start; raises what the handler is told."""
    raised = []

    def handler(context):
        try:
            context.task.resume(with_parameters=given)
        except BaseException as error:
            raised.append(error)
            context.task.cancel()
        if context.event:
            context.task.cancel()

    task = MLUpdateTask(
        model, BATCH, progress_handlers=MLUpdateProgressHandlers(1, handler, lambda context: None)
    )
    task.resume()
    assert task.wait(60)
    for error in raised:
        raise error


FOLDER = tempfile.TemporaryDirectory(prefix="edge-agent-junk-")
KNOWN = Path(FOLDER.name, "known")
MODEL.write(to=KNOWN)


def written(files, like=None):
    """A folder of these files, of whatever can be made bytes of; and of those of another folder."""
    folder = Path(FOLDER.name, "model")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(like, folder) if like else folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else repr(content).encode())
    return folder


def changed(name, value):
    """A model on disk with something else in its description."""
    told = json.loads((KNOWN / "model.json").read_text())
    return written(
        {"model.json": json.dumps({**told, name: value}, default=repr, skipkeys=True).encode()}, KNOWN
    )


MAKERS = [
    *(
        lambda a, b, kind=kind: MLFeatureValue(**{kind: a})
        for kind in (
            "int64", "double", "string", "multi_array", "dictionary", "sequence", "pixel_buffer", "undefined",
        )
    ),
    lambda a, b: hash(MLFeatureValue.of(a)) and MLFeatureValue.of(b) == MLFeatureValue.of(a),
    lambda a, b: MLSequence(strings=[a, b]),
    lambda a, b: MLSequence(int64s=a if a is not None else ()),
    lambda a, b: PixelBuffer(a, b),
    lambda a, b: MLDictionaryFeatureProvider(a),
    lambda a, b: MLDictionaryFeatureProvider({"features": a, "label": b}),
    lambda a, b: MLArrayBatchProvider(a if a is not None else ()),
    lambda a, b: MLArrayBatchProvider(dictionary=a if a is not None else {}),
    lambda a, b: MLArrayBatchProvider(dictionary={"features": a, "label": b}),
    lambda a, b: MatrixBatchProvider(a, b),
    lambda a, b: learn(a),
    lambda a, b: learn(Junk(a, b, None)),
    lambda a, b: learn(Junk(2, a, b)),
    lambda a, b: learn(JunkArrays(2, both(a, b), None)),
    lambda a, b: learn(Junk(2, both(MLFeatureValue(multi_array=GOOD), MLFeatureValue.of(a)), None)),
    lambda a, b: learn(MatrixBatchProvider(np.zeros((2, 2)), [a, b])),
    lambda a, b: MODEL.predict(a),
    lambda a, b: MODEL.predict(Junk(1, a, None)),
    lambda a, b: MODEL.predictions(Junk(a, b, None)),
    lambda a, b: MODEL.predictions(JunkArrays(2, both(a, b), None)),
    lambda a, b: QuarantiningBatchProvider(Junk(2, a, None), max_bad_share=b),
    lambda a, b: MLParameterKey(a, b),
    lambda a, b: MLParameterKey("a").scoped_to(a),
    lambda a, b: MLNumericConstraint(a, b),
    lambda a, b: MLNumericConstraint(enumerated_numbers=a),
    lambda a, b: MLParameterDescription(MLParameterKey.EPOCHS, a, b),
    lambda a, b: MLParameterDescription(a, b),
    lambda a, b: resolve([MLParameterDescription(MLParameterKey.EPOCHS, 1)], a),
    lambda a, b: resolve([MLParameterDescription(MLParameterKey.EPS, 0.5)], {MLParameterKey.EPS: a}),
    lambda a, b: stage_names(2, [a, b]),
    lambda a, b: parameters_by_stage({MLParameterKey("a"): a}, ["model0"]),
    lambda a, b: MLModelConfiguration(parameters=a, compute_units=b),
    lambda a, b: MLModelConfiguration(model_display_name=a, preferred_device=b),
    lambda a, b: MLOptimizationHints(a, b),
    lambda a, b: MLImageSize(a, b),
    lambda a, b: MLImageConstraint(a, b),
    lambda a, b: MLImageConstraint(2, 2, a, b),
    lambda a, b: MLImageSizeConstraint(a, b),
    lambda a, b: MLMultiArrayConstraint(a, b),
    lambda a, b: MLMultiArrayShapeConstraint(a, b),
    lambda a, b: MLDictionaryConstraint(a),
    lambda a, b: MLSequenceConstraint(a, b),
    lambda a, b: MLSequenceConstraint(MLFeatureDescription("x", MLFeatureType.STRING), a),
    lambda a, b: MLStateConstraint(a, b),
    lambda a, b: MLFeatureDescription(a, b),
    lambda a, b: MLFeatureDescription("x", MLFeatureType.IMAGE, image_constraint=a),
    lambda a, b: MLFeatureDescription("x", MLFeatureType.MULTI_ARRAY).is_allowed_value(a),
    lambda a, b: MLModelDescription(input_descriptions_by_name=a),
    lambda a, b: MLModelMetadata(author=a, creator_defined=b),
    lambda a, b: MLModel.factory("lda", a),
    lambda a, b: MLModel.factory("lda", 2, parameters=a, label_type=b),
    lambda a, b: MODEL.parameter_value(MLParameterKey("x") if isinstance(a, dict | list) else a),
    lambda a, b: image_value(a, pixels_wide=2, pixels_high=2, options=b),
    lambda a, b: image_value(np.zeros((2, 2), np.uint8), pixels_wide=2, pixels_high=2, orientation=a),
    lambda a, b: image_value(np.zeros((2, 2), np.uint8), pixels_wide=2, pixels_high=2, options={"crop_rect": a}),
    lambda a, b: image_value_at(a, pixels_wide=2, pixels_high=2),
    lambda a, b: MLUpdateTask(a, BATCH),
    lambda a, b: MLUpdateTask(MODEL, BATCH, a),
    lambda a, b: MLUpdateTask(MODEL, a, validation_data=b),
    lambda a, b: MLUpdateTask(MODEL, BATCH, validation_data=Junk(2, a, None)),
    lambda a, b: MLUpdateTask(MODEL, Junk(2, a, None), max_bad_share=b),
    lambda a, b: MLUpdateTask(MODEL, Junk(2, both(MLFeatureValue(multi_array=GOOD), a), None), max_bad_share=1),
    lambda a, b: MLUpdateTask(MODEL, BATCH, duty=a),
    lambda a, b: MLUpdateTask(MODEL, BATCH, progress_handlers=a, on_state_change=b),
    lambda a, b: MLUpdateTask(MODEL, BATCH, completion_handler=a),
    lambda a, b: MLUpdateTask(MODEL, BATCH, MLModelConfiguration(parameters={MLParameterKey.EPOCHS: a})),
    lambda a, b: MLUpdateProgressHandlers(a, b, print),
    lambda a, b: MLUpdateProgressHandlers(3, None, a),
    lambda a, b: resumed(a),
    lambda a, b: resumed({MLParameterKey.LEARNING_RATE: a, MLParameterKey.EPOCHS: b}),
    lambda a, b: resumed({MLParameterKey.WEIGHTS.scoped_to("output"): a}, NETWORK),
    lambda a, b: MLModel.load(a),
    lambda a, b: MLModel.load(written({"model.json": a, "head.npz": b})),
    lambda a, b: MLModel.load(written({"model.tflite": a}) / "model.tflite"),
    lambda a, b: MLModel.load(written({"head.npz": a}, KNOWN)),
    lambda a, b: MLModel.load(changed("learned", a)),
    lambda a, b: MLModel.load(changed("parameter_descriptions", [a, b])),
    lambda a, b: KNearestNeighborsClassifierBuilder(a, "label", 2, b),
    lambda a, b: KNearestNeighborsClassifierBuilder("x", "label", a, "unknown"),
    lambda a, b: KNearestNeighborsClassifierBuilder(
        "x", "label", 2, "unknown", number_of_neighbors=a, weighting_scheme=b
    ),
    lambda a, b: KNearestNeighborsClassifierBuilder("x", "label", 2, "unknown").add_samples(a, b),
    lambda a, b: KNearestNeighborsClassifierBuilder("x", "label", 2, "u").set_number_of_neighbors_with_bounds(
        a, allowed_set=b
    ),
    lambda a, b: NeuralNetworkBuilder(a, random_state=b),
    lambda a, b: NeuralNetworkBuilder([("x", Array(2))]).add_inner_product(
        "a", a, input_channels=2, output_channels=b, input_name="x", output_name="y"
    ),
    lambda a, b: NeuralNetworkBuilder([("x", Array(2))]).set_class_labels(a, b),
    lambda a, b: NeuralNetworkBuilder([("x", Array(2))]).set_epochs(a, b),
    lambda a, b: NeuralNetworkBuilder([("x", Array(2))]).make_updatable(a),
    lambda a, b: NeuralNetworkBuilder([("x", Array(2))]).set_sgd_optimizer(a),
    lambda a, b: SgdParams(lr=a, batch=b),
    lambda a, b: AdamParams(beta1=a, eps=b),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(one=anything, other=anything)
@example(one=10**400, other=1)
@example(one=[[]], other={})
def test_checklist_66_whatever_is_given_is_taken_or_refused_by_our_error(make, one, other):
    """Over 2,500 wrong inputs to tasks, files, builders and providers: a result, or an error of ours with a text."""
    caught: list[EdgeAgentError] = []
    try:
        make(one, other)
    except MLModelError as error:
        caught.append(error)
    assert all(str(error) and isinstance(error.code, MLModelErrorCode) for error in caught)


def test_checklist_66_there_are_more_than_two_thousand_of_them():
    """Examples of all makers together."""
    assert len(MAKERS) * 30 > 2_500


def test_checklist_66_junk_is_a_provider():
    """The batches of this test reach the checks behind the first one."""
    assert isinstance(Junk(1, None, None), MLFeatureProvider)
