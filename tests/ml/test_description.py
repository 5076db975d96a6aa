"""Checklist 57, 58, 60, 61 and 77: what a model says of itself, and labels of both types."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider, TrainingRows
from edge_agent.ml.constraints import MLMultiArrayDataType
from edge_agent.ml.description import MLFeatureDescription, MLModelDescription, MLModelMetadataKey
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel, MLModelMetadata
from edge_agent.ml.parameters import MLNumericConstraint
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import MLTaskState, MLUpdateTask

HEADS = sorted(BUILT_IN_HEADS)


def updated(model, X, labels):
    """The model after learning these."""
    task = MLUpdateTask(model, MatrixBatchProvider(X, labels))
    task.resume()
    assert task.wait(60)
    assert task.state is MLTaskState.COMPLETED, task.error
    return task.model


@pytest.mark.parametrize("head", HEADS)
def test_checklist_57_a_model_describes_itself(head, clouds):
    """Inputs, outputs, what to train with, labels, and the names of what is predicted."""
    model = updated(MLModel.factory(head, 12), *clouds(9))
    description = model.model_description
    answer = model.predict(MLDictionaryFeatureProvider({"features": np.ones(12)}))
    features = description.input_descriptions_by_name["features"]

    assert description.is_updatable
    assert description.not_updatable_because == ""
    assert features.multi_array_constraint.shape == (12,)
    assert features.multi_array_constraint.data_type is MLMultiArrayDataType.FLOAT32
    assert set(description.training_input_descriptions_by_name) == {"features", "label"}
    assert description.state_descriptions_by_name == {}
    assert description.class_labels == ("class 0", "class 1", "class 2")
    assert description.predicted_feature_name == "label"
    assert description.predicted_probabilities_name == "label_probabilities"
    for name, one in description.output_descriptions_by_name.items():
        assert one.is_allowed_value(answer[name]), one.problem(answer[name])
    assert len(answer) == 2


def test_checklist_57_a_model_that_cannot_be_updated_says_why(tmp_path, clouds):
    """In its description, on disk and in the error of a task; it then has no training inputs."""
    head = updated(MLModel.factory("lda", 12), *clouds(9)).head
    MLModel(head, is_writable=True, not_updatable_because="its author froze it").write(to=tmp_path / "model")
    model = MLModel.load(tmp_path / "model")
    description = model.model_description

    assert not model.is_updatable
    assert not description.is_updatable
    assert description.not_updatable_because == "its author froze it"
    assert description.training_input_descriptions_by_name == {}
    with pytest.raises(MLModelError, match="its author froze it") as caught:
        MLUpdateTask(tmp_path / "model", MatrixBatchProvider(*clouds(9)))
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_checklist_57_a_description_cannot_be_changed():
    """Neither its fields nor its mappings, nor through the mapping it was made of."""
    mine = {"x": MLFeatureDescription("x", MLFeatureType.DOUBLE)}
    description = MLModelDescription(input_descriptions_by_name=mine)
    mine.clear()

    assert set(description.input_descriptions_by_name) == {"x"}
    assert description.class_labels is None
    with pytest.raises(TypeError):
        description.input_descriptions_by_name["y"] = None
    with pytest.raises(AttributeError):
        description.class_labels = ("a",)
    with pytest.raises(MLModelError):
        MLModelDescription(input_descriptions_by_name=[1])


@pytest.mark.parametrize("head", HEADS)
def test_checklist_58_parameters_are_described_before_any_update(head, tmp_path):
    """With the model's own defaults and the limits, for a factory model and for one from disk."""
    MLModel.factory(head, 3).write(to=tmp_path / "model")
    for model in (MLModel.factory(head, 3), MLModel.load(tmp_path / "model")):
        described = model.model_description.parameter_descriptions_by_key
        assert list(described) == [one.key for one in BUILT_IN_HEADS[head].parameter_descriptions]
        assert {key: one.default_value for key, one in described.items()} == model.parameters
        assert all(one.key == key for key, one in described.items())


def test_checklist_58_defaults_ranges_and_sets():
    """The author's default in place of the head's, the least, the greatest and the texts allowed."""
    model = MLModel.factory("softmax", 3, parameters={Key.MOMENTUM: 0.25})
    described = model.model_description.parameter_descriptions_by_key

    assert described[Key.MOMENTUM].default_value == 0.25
    assert described[Key.MOMENTUM].numeric_constraint == MLNumericConstraint(0.0, 1.0)
    assert described[Key.OPTIMIZER].allowed_values == {"sgd", "adam"}
    assert described[Key.SHUFFLE].numeric_constraint is None


@pytest.mark.parametrize("head", HEADS)
def test_checklist_60_values_can_be_asked_for(head):
    """All described ones; anything else is refused with the parameters code and the key."""
    model = MLModel.factory(head, 3)
    for key, described in model.model_description.parameter_descriptions_by_key.items():
        assert model.parameter_value(key) == described.default_value
    for key in (
        Key.LINKED_MODEL_FILE_NAME,
        Key.SEED.scoped_to("model0"),
        Key("x"),
        Key.WEIGHTS.scoped_to("x"),
        "seed",
    ):
        with pytest.raises(MLModelError, match=f"parameter {key}") as caught:
            model.parameter_value(key)
        assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_61_metadata_is_kept(tmp_path):
    """All five, through disk and through an update."""
    mine = {"für": "ü"}
    metadata = MLModelMetadata("what for", "1.2", "me", "Apache-2.0", mine)
    mine.clear()
    MLModel.factory("lda", 2, metadata=metadata).write(to=tmp_path / "model")
    loaded = MLModel.load(tmp_path / "model")
    found = updated(loaded, np.eye(2, dtype=np.float32), ["a", "b"]).model_description.metadata

    assert found == metadata == loaded.metadata
    assert (found.description, found.version_string, found.author, found.license, found.creator_defined) == (
        "what for", "1.2", "me", "Apache-2.0", {"für": "ü"},
    )  # fmt: skip
    assert MLModelMetadata().creator_defined == {}


def test_checklist_61_metadata_is_found_by_apples_keys():
    """Each key, or its raw value, brings what the attribute of its name holds."""
    metadata = MLModelMetadata("what for", "1.2", "me", "Apache-2.0", {"a": "b"})

    assert [metadata[key] for key in MLModelMetadataKey] == [
        "what for",
        "1.2",
        "me",
        "Apache-2.0",
        {"a": "b"},
    ]
    assert metadata["MLModelAuthorKey"] == "me"
    with pytest.raises(KeyError):
        metadata["author"]


@pytest.mark.parametrize(
    "given", [{"author": 3}, {"license": None}, {"creator_defined": {"a": 1}}, {"creator_defined": [1]}]
)
def test_checklist_61_metadata_is_text(given):
    """Anything else is refused, since it could not be read back the same."""
    with pytest.raises(MLModelError) as caught:
        MLModelMetadata(**given)
    assert caught.value.code is MLModelErrorCode.GENERIC


def numbered(head):
    """An empty model that takes whole numbers as labels."""
    if head == "knn":
        return MLModel(KNearestNeighborsHead(12, default_label=-1), is_writable=True)
    return MLModel.factory(head, 12, label_type=MLFeatureType.INT64)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("as_columns", [False, True])
def test_checklist_77_whole_numbers_stay_whole_numbers(head, as_columns, clouds, tmp_path):
    """Labels, probabilities, description, an update and a reload: never a text, and sorted by size."""
    X, names = clouds(30)
    labels = [(10, 2, -3)[int(name[-1])] for name in names]
    base = numbered(head)
    batch = (
        MLArrayBatchProvider(dictionary={"features": X, "label": np.array(labels)})
        if as_columns
        else MatrixBatchProvider(X, labels)
    )
    task = MLUpdateTask(base, batch)
    task.resume()
    assert task.wait(60)
    task.model.write(to=tmp_path / "model")
    text = updated(MLModel.factory(head, 12), X, [f"{label + 3:02}" for label in labels])
    for model in (task.model, MLModel.load(tmp_path / "model")):
        answers = model.predictions(from_=MatrixBatchProvider(X, labels))
        found = [answers.features(at)["label"] for at in range(answers.count)]
        assert model.label_type is MLFeatureType.INT64
        assert model.model_description.class_labels == (-3, 2, 10)
        assert all(type(label) is int for label in model.model_description.class_labels)
        assert {value.type for value in found} == {MLFeatureType.INT64}
        assert np.mean([value.int64_value == label for value, label in zip(found, labels, strict=True)]) > 0.9
        assert set(answers.features(0)["label_probabilities"].dictionary_value) == {-3, 2, 10}
        assert model.model_description.output_descriptions_by_name["label"].type is MLFeatureType.INT64
        # The same sets in the same order, so the type of a label changes nothing that is learned.
        assert np.array_equal(model.predict_proba(X), text.predict_proba(X))


@pytest.mark.parametrize("head", sorted({*HEADS} - {"knn"}))
def test_checklist_77_the_first_update_decides(head, clouds, tmp_path):
    """A model without labels takes either type, then only that one; so does one that was told its type."""
    X, names = clouds(9)
    numbers = [int(name[-1]) for name in names]
    undecided = MLModel.factory(head, 12)
    told = MLModel.factory(head, 12, label_type=MLFeatureType.INT64)
    told.write(to=tmp_path / "told")

    assert undecided.label_type is None
    for model, labels, others in [
        (updated(undecided, X, numbers), numbers, names),
        (updated(undecided, X, names), names, numbers),
        (MLModel.load(tmp_path / "told"), numbers, names),
    ]:
        updated(model, X, labels)
        with pytest.raises(MLModelError, match=r"sample 0: the label .* is (STRING|INT64)") as caught:
            MLUpdateTask(model, MatrixBatchProvider(X, others))
        assert caught.value.code is MLModelErrorCode.UPDATE


@pytest.mark.parametrize(
    ("label", "code", "says"),
    [
        ("7", MLModelErrorCode.UPDATE, "the label '7' is STRING, the others are INT64"),
        (True, MLModelErrorCode.FEATURE_TYPE, "the label is True"),
        (1.0, MLModelErrorCode.FEATURE_TYPE, "the label is 1.0"),
        (2**63, MLModelErrorCode.FEATURE_TYPE, "the label is 9223372036854775808"),
        (None, MLModelErrorCode.FEATURE_TYPE, "the label is None"),
        ("", MLModelErrorCode.FEATURE_TYPE, "the label is ''"),
    ],
)
def test_checklist_77_mixed_and_mistyped_labels_are_refused(label, code, says):
    """The sample is named, in a matrix and one by one."""
    batch = MatrixBatchProvider(np.zeros((3, 2), np.float32), [1, label, 2])
    with pytest.raises(MLModelError, match=f"sample 1: {says}") as caught:
        TrainingRows(batch).arrays(slice(0, 3))
    assert caught.value.code is code


def test_checklist_77_a_wrong_dimension_is_refused():
    """At construction, naming the sample and both lengths."""
    with pytest.raises(MLModelError, match=r"sample 0: 3 features, the model has 2") as caught:
        MLUpdateTask(MLModel.factory("lda", 2), MatrixBatchProvider(np.zeros((2, 3)), [1, 2]))
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_checklist_77_the_type_cannot_be_forged(tmp_path):
    """A model file whose label type is not that of its labels is refused, as is another type of label."""
    updated(MLModel.factory("lda", 2), np.eye(2, dtype=np.float32), ["a", "b"]).write(to=tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_type": "int64"}))
    for make in (
        lambda: MLModel.load(tmp_path / "m"),
        lambda: MLModel.factory("lda", 2, label_type=MLFeatureType.DOUBLE),
        lambda: MLModel.factory("lda", 2, label_type="int64"),
    ):
        with pytest.raises(MLModelError):
            make()
    empty = MLModel.factory("lda", 2, label_type=MLFeatureType.INT64)
    answer = empty.predict(MLDictionaryFeatureProvider({"features": np.zeros(2)}))
    assert answer["label"] == MLFeatureValue(undefined=MLFeatureType.INT64)
