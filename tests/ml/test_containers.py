"""Checklist 47, 48, 52 to 55: values, sequences, providers and batches."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import (
    ArrayProvider,
    MatrixBatchProvider,
    MLArrayBatchProvider,
    MLBatchProvider,
    TrainingRows,
    feature_blocks,
)
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
    value_of,
)
from edge_agent.ml.model import MLModel
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.sequences import MLSequence
from edge_agent.ml.update import MLUpdateTask

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)

EVERY_TYPE = {
    MLFeatureType.INT64: (MLFeatureValue(int64=3), "int64_value"),
    MLFeatureType.DOUBLE: (MLFeatureValue(double=3.0), "double_value"),
    MLFeatureType.STRING: (MLFeatureValue(string="3"), "string_value"),
    MLFeatureType.IMAGE: (MLFeatureValue(pixel_buffer=PixelBuffer(GREY)), "image_buffer_value"),
    MLFeatureType.MULTI_ARRAY: (MLFeatureValue(multi_array=np.arange(3)), "multi_array_value"),
    MLFeatureType.DICTIONARY: (MLFeatureValue(dictionary={"3": 3}), "dictionary_value"),
    MLFeatureType.SEQUENCE: (MLFeatureValue(sequence=MLSequence(int64s=[3])), "sequence_value"),
}


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_checklist_47_a_value_of_every_type(kind):
    """Each type has a constructor and an accessor, cannot be changed, and can be missing."""
    value, accessor = EVERY_TYPE[kind]
    missing = MLFeatureValue(undefined=kind)

    assert value.type is missing.type is kind
    assert getattr(value, accessor) is not None
    assert missing.is_undefined
    assert not value.is_undefined
    with pytest.raises(MLModelError, match="undefined"):
        getattr(missing, accessor)
    with pytest.raises(AttributeError):
        value._value = None


def test_checklist_47_sequences_hold_one_kind():
    """Texts or whole numbers, never both, and a text is not taken for a list of its letters."""
    words = MLFeatureValue(sequence=MLSequence(strings=["a", "b"])).sequence_value

    assert words.string_values == ("a", "b")
    assert words.kind == "string"
    assert len(words) == 2
    assert MLSequence(int64s=np.arange(2)).int64_values == (0, 1)
    assert words.type is MLFeatureType.STRING
    assert MLSequence.empty("int64") == MLSequence(int64s=[]) != MLSequence.empty("string")
    assert MLSequence.empty(MLFeatureType.INT64) == MLSequence(int64s=[])
    assert MLSequence(int64s=[1]).type is MLFeatureType.INT64
    assert len({MLSequence(strings=["a"]), MLSequence(strings=("a",))}) == 1
    for wrong in (
        lambda: words.int64_values,
        lambda: MLSequence(int64s=[1]).string_values,
        lambda: MLSequence(strings="ab"),
        lambda: MLSequence(strings=["a", 1]),
        lambda: MLSequence(int64s=[True]),
        lambda: MLSequence(int64s=[2**63]),
        lambda: MLSequence(int64s=3),
        lambda: MLSequence.empty("double"),
        lambda: MLSequence.empty(MLFeatureType.DOUBLE),
        lambda: MLFeatureValue(sequence=["a"]),
    ):
        with pytest.raises(MLModelError) as caught:
            wrong()
        assert caught.value.code is MLModelErrorCode.FEATURE_TYPE
    with pytest.raises(TypeError):
        MLSequence(strings=["a"], int64s=[1])


def test_checklist_47_a_picture_is_copied_and_read_only():
    """The caller's array changes nothing, and what is handed out cannot be written."""
    mine = GREY.copy()
    buffer = MLFeatureValue(pixel_buffer=PixelBuffer(mine)).image_buffer_value
    mine[:] = 9

    assert buffer.pixels.tolist() == GREY.tolist()
    assert (buffer.width, buffer.height, buffer.pixel_format) == (3, 2, MLPixelFormat.GRAYSCALE)
    with pytest.raises(ValueError, match="read-only"):
        buffer.pixels[0, 0] = 1


@pytest.mark.parametrize(
    ("pixels", "given", "taken"),
    [
        (np.zeros((2, 2, 3), np.uint8), None, MLPixelFormat.RGB),
        (np.zeros((2, 2, 3), np.uint8), MLPixelFormat.BGR, MLPixelFormat.BGR),
        (np.zeros((2, 2, 3), np.uint8), 20, MLPixelFormat.RGB),
        (np.zeros((2, 2), np.float16), None, MLPixelFormat.GRAYSCALE_FLOAT16),
        (np.zeros((2, 2, 3), np.uint8), MLPixelFormat.GRAYSCALE, None),
        (np.zeros((2, 2), np.uint8), MLPixelFormat.RGB, None),
        (np.zeros((2, 2), np.uint8), MLPixelFormat.GRAYSCALE_FLOAT16, None),
        (np.zeros((2, 2, 4), np.uint8), None, None),
        (np.zeros((2, 2), np.float32), None, None),
        (np.zeros((0, 2), np.uint8), None, None),
        (np.full((2, 2), np.nan, np.float16), None, None),
        ([[1, 2]], None, None),
        (GREY, "grey", None),
    ],
)
def test_checklist_47_pixels_are_of_their_format(pixels, given, taken):
    """The format follows from the array or agrees with it; only RGB and BGR have to be told apart."""
    if taken is not None:
        assert PixelBuffer(pixels, given).pixel_format is taken
        return
    with pytest.raises(MLModelError) as caught:
        PixelBuffer(pixels, given)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_checklist_48_accessors_never_convert(kind):
    """Asking for any other type is refused, and the error names both."""
    value, own = EVERY_TYPE[kind]
    for other, (_, accessor) in EVERY_TYPE.items():
        if accessor == own:
            continue
        with pytest.raises(MLModelError, match=f"{kind.name}, not {other.name}") as caught:
            getattr(value, accessor)
        assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


def test_checklist_48_values_compare_by_number_by_type_and_pictures_by_identity():
    """3 is 3.0 but not "3"; two pictures that look alike are two pictures."""
    for (one, (first, _)), (other, (second, _)) in itertools.product(EVERY_TYPE.items(), repeat=2):
        numbers = {one, other} <= {MLFeatureType.INT64, MLFeatureType.DOUBLE}
        assert (first == second) is (one is other or numbers)
    buffer = PixelBuffer(GREY)

    assert MLFeatureValue(pixel_buffer=buffer) == MLFeatureValue(pixel_buffer=buffer)
    assert len({MLFeatureValue(pixel_buffer=buffer), MLFeatureValue(pixel_buffer=buffer)}) == 1
    assert MLFeatureValue(pixel_buffer=buffer) != MLFeatureValue(pixel_buffer=PixelBuffer(GREY))


def test_checklist_52_a_dictionary_becomes_a_provider():
    """Every plain value finds its type; a name that is not there is None."""
    raw = {"n": 1, "x": 0.5, "s": "a", "a": np.zeros(2), "d": {"a": 1}, "i": PixelBuffer(GREY)}
    provider = MLDictionaryFeatureProvider({**raw, "q": MLSequence(strings=["a"])})

    assert isinstance(provider, MLFeatureProvider)
    assert provider.feature_names == {*raw, "q"}
    assert [provider[name].type.name for name in provider] == [
        "INT64", "DOUBLE", "STRING", "MULTI_ARRAY", "DICTIONARY", "IMAGE", "SEQUENCE",
    ]  # fmt: skip
    assert provider.feature_value("none") is None


@pytest.mark.parametrize("dictionary", [{"a": None}, {"a": [1]}, {1: "a"}, [("a", 1)], None, {"a": 1j}])
def test_checklist_52_what_cannot_be_represented_is_refused(dictionary):
    """Values without a type, names that are no text, and what is no mapping."""
    with pytest.raises(MLModelError) as caught:
        MLDictionaryFeatureProvider(dictionary)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


class Answering:
    """A provider whose author answers what he likes."""

    feature_names = frozenset({"features"})

    def __init__(self, answer):
        self.answer = answer

    def feature_value(self, for_name):
        return self.answer


@pytest.mark.parametrize(
    ("sample", "says"),
    [(Answering(3), "'features' is int"), (None, "NoneType"), ({"features": 1}, "a feature provider")],
)
def test_checklist_52_what_a_provider_answers_is_looked_at(sample, says):
    """A provider of somebody's own that answers plain values is named in the error."""
    with pytest.raises(MLModelError, match=says) as caught:
        value_of(sample, "features", missing=MLModelErrorCode.UPDATE)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


class Drawn:
    """Samples that are made when they are asked for, as those of a slow disk would be."""

    def __init__(self, count, D):
        self.count = count
        self.D = D
        self.asked = []

    def features(self, at):
        self.asked.append(at)
        row = np.random.default_rng(at).normal(size=self.D).astype(np.float32) + (at % 2) * 3
        return MLDictionaryFeatureProvider({"features": row, "label": f"side {at % 2}"})


def test_checklist_53_samples_are_asked_for_as_they_are_needed():
    """Nothing is read ahead of a block, and memory is that of a block however many samples there are."""
    batch = Drawn(4000, 256)
    assert isinstance(batch, MLBatchProvider)
    blocks = feature_blocks(TrainingRows(batch), rows=50)
    next(blocks)
    assert batch.asked == [0, *range(50)]
    tracemalloc.start()
    try:
        for _ in blocks:
            batch.asked.clear()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8 * 50 * 256 * 4  # a few copies of a block; all samples would be 20 times as much
    assert peak < 4000 * 256 * 4 / 8


def test_checklist_54_columns_and_lists_become_batches():
    """Rows of columns are samples; arrays are columns too."""
    rows = np.eye(2, dtype=np.float32)
    batch = MLArrayBatchProvider(dictionary={"features": rows, "label": ["a", "b"]})
    same = MLArrayBatchProvider([batch.features(0), batch.features(1)])

    assert batch.count == same.count == 2
    assert same.array == batch.array
    assert batch.features(at=1).feature_value("features").multi_array_value.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"dictionary": {"a": [1], "b": [1, 2]}}, MLModelErrorCode.GENERIC, "length"),
        ({"dictionary": {"a": [1, "x"]}}, MLModelErrorCode.FEATURE_TYPE, "'a' mixes types: INT64, STRING"),
        ({"dictionary": {"a": [1, None]}}, MLModelErrorCode.FEATURE_TYPE, "sample 1: feature 'a'"),
        ({"dictionary": {"a": 3}}, MLModelErrorCode.GENERIC, "'a' is no list but int"),
        ({"dictionary": {"a": "text"}}, MLModelErrorCode.GENERIC, "'a' is no list but str"),
        ({"dictionary": {"a": np.float64(1)}}, MLModelErrorCode.GENERIC, "'a' is no list"),
        ({"dictionary": [1, 2]}, MLModelErrorCode.GENERIC, "mapping of columns, not list"),
        ({"array": [None]}, MLModelErrorCode.FEATURE_TYPE, "sample 0: NoneType"),
        ({"array": 3}, MLModelErrorCode.GENERIC, "list of feature providers, not int"),
    ],
)
def test_checklist_54_bad_columns_and_lists_are_named(given, code, says):
    """The column or the sample is in the text."""
    with pytest.raises(MLModelError, match=says) as caught:
        MLArrayBatchProvider(**given)
    assert caught.value.code is code


def test_checklist_55_every_kind_of_batch_predicts_and_updates(clouds):
    """In memory, by columns, as a matrix or made lazily: the same updates and the same answers."""
    X, labels = clouds(12)

    class Lazy:
        count = 12

        def features(self, at):
            return MLDictionaryFeatureProvider({"features": X[at], "label": labels[at]})

    columns = MLArrayBatchProvider(dictionary={"features": X, "label": labels})
    batches = [columns, MLArrayBatchProvider(columns.array), MatrixBatchProvider(X, labels), Lazy()]
    answers = []
    for batch in batches:
        task = MLUpdateTask(MLModel.factory("lda", 12), batch)
        task.resume()
        assert task.wait(30)
        predicted = task.model.predictions(from_=batch)
        assert predicted.count == 12
        answers.append([predicted.features(at)["label_probabilities"].dictionary_value for at in range(12)])

    assert sum(isinstance(batch, ArrayProvider) for batch in batches) == 1
    assert answers[1:] == answers[:-1]
    assert answers[0][0]["class 0"] > 0.5
