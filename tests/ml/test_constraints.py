"""Checklist 59: sizes, shapes, types and counts that a value may have."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.constraints import (
    MLDictionaryConstraint,
    MLImageConstraint,
    MLImageSize,
    MLImageSizeConstraint,
    MLImageSizeConstraintType,
    MLMultiArrayConstraint,
    MLMultiArrayDataType,
    MLMultiArrayShapeConstraint,
    MLMultiArrayShapeConstraintType,
    MLSequenceConstraint,
    MLStateConstraint,
)
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.features import MLFeatureType, MLFeatureValue
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.sequences import MLSequence

FLOAT32, INT32 = MLMultiArrayDataType.FLOAT32, MLMultiArrayDataType.INT32


def array_of(*shape, dtype="float32"):
    """A value with an array of that shape."""
    return MLFeatureValue(multi_array=np.zeros(shape, dtype))


def picture(width, height, pixel_format=MLPixelFormat.RGB):
    """A black picture."""
    shape = (height, width, 3) if pixel_format in (MLPixelFormat.RGB, MLPixelFormat.BGR) else (height, width)
    return MLFeatureValue(pixel_buffer=PixelBuffer(np.zeros(shape, np.uint8), pixel_format))


def arrays(**limits):
    """A description of an array."""
    return MLFeatureDescription(
        "x", MLFeatureType.MULTI_ARRAY, multi_array_constraint=MLMultiArrayConstraint(**limits)
    )


def pictures(*size, **limits):
    """A description of a picture."""
    return MLFeatureDescription("x", MLFeatureType.IMAGE, image_constraint=MLImageConstraint(*size, **limits))


ENUMERATED = MLMultiArrayShapeConstraint(enumerated_shapes=((2, 3), (4, 3)))
RANGES = MLMultiArrayShapeConstraint(size_range_for_dimension=((1, 4), (3, None)))


@pytest.mark.parametrize(
    ("description", "allowed", "refused"),
    [
        (arrays(shape=(2, 3)), [array_of(2, 3)], [array_of(3, 2), array_of(6), array_of(2, 3, dtype="f8")]),
        (arrays(), [array_of(1), array_of(2, 2, 2)], [array_of(1, dtype="int8")]),
        (
            arrays(shape=(2, 3), data_type=INT32),
            [array_of(2, 3, dtype="int32")],
            [array_of(2, 3), array_of(2, 3, dtype="int64")],
        ),
        (
            arrays(shape=(2,), converts=True),
            [array_of(2, dtype="uint8"), array_of(2, dtype="f8")],
            [array_of(3)],
        ),
        (
            arrays(shape=(2, 3), shape_constraint=ENUMERATED),
            [array_of(2, 3), array_of(4, 3)],
            [array_of(3, 3), array_of(2, 3, 1)],
        ),
        (
            arrays(shape=(2, 3), shape_constraint=RANGES),
            [array_of(1, 3), array_of(4, 99)],
            [array_of(5, 3), array_of(4, 2), array_of(4), array_of(4, 3, 1)],
        ),
        (pictures(4, 2), [picture(4, 2)], [picture(2, 4), picture(4, 2, MLPixelFormat.BGR)]),
        (
            pictures(4, 2, pixel_format=MLPixelFormat.GRAYSCALE),
            [picture(4, 2, MLPixelFormat.GRAYSCALE)],
            [picture(4, 2)],
        ),
        (
            pictures(4, 2, size_constraint=MLImageSizeConstraint((MLImageSize(4, 2), MLImageSize(8, 4)))),
            [picture(4, 2), picture(8, 4)],
            [picture(4, 4), picture(2, 4)],
        ),
        (
            pictures(
                4,
                2,
                size_constraint=MLImageSizeConstraint(pixels_wide_range=(4, 8), pixels_high_range=(1, 2)),
            ),
            [picture(4, 2), picture(8, 1)],
            [picture(3, 2), picture(9, 2), picture(4, 3)],
        ),
    ],
)
def test_checklist_59_shapes_sizes_types_and_formats(description, allowed, refused):
    """Exactly what a fixed, an enumerated or a ranged constraint says is allowed, and the reason is told."""
    for value in allowed:
        assert description.is_allowed_value(value), description.problem(value)
    for value in refused:
        assert not description.is_allowed_value(value)
        assert "expected" in description.problem(value)


@pytest.mark.parametrize(
    ("description", "allowed", "refused"),
    [
        (
            MLFeatureDescription(
                "x",
                MLFeatureType.DICTIONARY,
                dictionary_constraint=MLDictionaryConstraint(MLFeatureType.INT64),
            ),
            [MLFeatureValue(dictionary={1: 0.5}), MLFeatureValue(dictionary={})],
            [MLFeatureValue(dictionary={"1": 0.5}), MLFeatureValue(string="1")],
        ),
        (
            MLFeatureDescription(
                "x",
                MLFeatureType.SEQUENCE,
                sequence_constraint=MLSequenceConstraint(
                    MLFeatureDescription("word", MLFeatureType.STRING), (1, 2)
                ),
            ),
            [MLFeatureValue(sequence=MLSequence(strings=["a"]))],
            [
                MLFeatureValue(sequence=MLSequence(strings=[])),
                MLFeatureValue(sequence=MLSequence(strings=["a", "b", "c"])),
                MLFeatureValue(sequence=MLSequence(int64s=[1])),
            ],
        ),
        (
            MLFeatureDescription("x", MLFeatureType.STRING, is_optional=True),
            [MLFeatureValue(string=""), MLFeatureValue(undefined=MLFeatureType.STRING)],
            [MLFeatureValue(undefined=MLFeatureType.INT64), MLFeatureValue(int64=1), "text", None],
        ),
        (
            MLFeatureDescription("x", MLFeatureType.DOUBLE),
            [MLFeatureValue(double=1.0)],
            [MLFeatureValue(int64=1), MLFeatureValue(undefined=MLFeatureType.DOUBLE)],
        ),
    ],
)
def test_checklist_59_other_types(description, allowed, refused):
    """Keys of dictionaries, members and length of sequences, missing values, and never another type."""
    assert [description.is_allowed_value(value) for value in allowed] == [True] * len(allowed)
    assert [description.is_allowed_value(value) for value in refused] == [False] * len(refused)


def test_checklist_59_raw_values_are_apples():
    """The numbers of the header files."""
    assert [one.value for one in MLMultiArrayShapeConstraintType] == [1, 2, 3]
    assert [one.value for one in MLImageSizeConstraintType] == [0, 2, 3]
    assert {one.name: one.value for one in MLMultiArrayDataType} == {
        "INT8": 131080,
        "INT32": 131104,
        "FLOAT16": 65552,
        "FLOAT32": 65568,
        "DOUBLE": 65600,
    }
    assert [one.value for one in MLPixelFormat] == [10, 20, 30, 40]
    assert [one.dtype.name for one in MLMultiArrayDataType] == [
        "int8",
        "int32",
        "float16",
        "float32",
        "float64",
    ]


def test_checklist_59_the_kind_of_limit_follows_from_what_is_given():
    """No type is given by hand, so none can contradict its content."""
    assert MLMultiArrayShapeConstraint().type is MLMultiArrayShapeConstraintType.UNSPECIFIED
    assert ENUMERATED.type is MLMultiArrayShapeConstraintType.ENUMERATED
    assert RANGES.type is MLMultiArrayShapeConstraintType.RANGE
    assert MLImageSizeConstraint().type is MLImageSizeConstraintType.UNSPECIFIED
    assert MLImageSizeConstraint((MLImageSize(1, 1),)).type is MLImageSizeConstraintType.ENUMERATED
    assert MLImageSizeConstraint(pixels_wide_range=(1, 2)).type is MLImageSizeConstraintType.RANGE


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLMultiArrayConstraint((0,)),
        lambda: MLMultiArrayConstraint("ab"),
        lambda: MLMultiArrayConstraint(3),
        lambda: MLMultiArrayConstraint((2,), 7),
        lambda: MLMultiArrayConstraint((2,), shape_constraint=ENUMERATED),
        lambda: MLMultiArrayConstraint((2,), shape_constraint=None),
        lambda: MLMultiArrayShapeConstraint(((1,),), ((1, 2),)),
        lambda: MLMultiArrayShapeConstraint(size_range_for_dimension=((2, 1),)),
        lambda: MLMultiArrayShapeConstraint(size_range_for_dimension=((1, 2, 3),)),
        lambda: MLImageSize(0, 1),
        lambda: MLImageSize(True, 1),
        lambda: MLImageConstraint(1.5, 2),
        lambda: MLImageConstraint(4, 4, size_constraint=MLImageSizeConstraint((MLImageSize(1, 1),))),
        lambda: MLImageSizeConstraint(((1, 1),)),
        lambda: MLImageSizeConstraint((MLImageSize(1, 1),), (1, 2)),
        lambda: MLDictionaryConstraint(MLFeatureType.DOUBLE),
        lambda: MLDictionaryConstraint("string"),
        lambda: MLSequenceConstraint(MLFeatureDescription("x", MLFeatureType.DOUBLE)),
        lambda: MLSequenceConstraint(None),
        lambda: MLStateConstraint((-1,)),
        lambda: MLFeatureDescription("x", 99),
        lambda: MLFeatureDescription("", MLFeatureType.STRING),
        lambda: MLFeatureDescription("x", MLFeatureType.STRING, image_constraint=MLImageConstraint(1, 1)),
        lambda: MLFeatureDescription("x", MLFeatureType.IMAGE, image_constraint=(1, 1)),
    ],
)
def test_checklist_59_limits_that_make_no_sense_are_refused(make):
    """No constraint can be made that contradicts itself or is no limit at all."""
    with pytest.raises(MLModelError) as caught:
        make()
    assert caught.value.code is MLModelErrorCode.GENERIC
