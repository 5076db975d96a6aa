"""Names, defaults and limits of what a learner may be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.parameters import MLNumericConstraint, MLParameterDescription, MLParameterKey, resolve

RATE = MLParameterDescription(MLParameterKey.LEARNING_RATE, 0.1, MLNumericConstraint(0.0, 1.0))
EPOCHS = MLParameterDescription(MLParameterKey.EPOCHS, 5, MLNumericConstraint(1))
SIZE = MLParameterDescription(
    MLParameterKey.MINI_BATCH_SIZE, 8, MLNumericConstraint(enumerated_numbers=frozenset({8.0, 16.0}))
)
SHUFFLE = MLParameterDescription(MLParameterKey.SHUFFLE, default_value=True)
PRIOR = MLParameterDescription(
    MLParameterKey.PRIOR, "uniform", allowed_values=frozenset({"uniform", "empirical"})
)
ALL = (RATE, EPOCHS, SIZE, SHUFFLE, PRIOR)


def test_keys_are_equal_by_name_and_scope():
    """A key made from a name read in a configuration is the one the class names."""
    assert MLParameterKey("learning_rate") == MLParameterKey.LEARNING_RATE
    assert MLParameterKey.WEIGHTS != MLParameterKey.BIASES
    assert MLParameterKey.WEIGHTS.scoped_to("a") != MLParameterKey.WEIGHTS


def test_scopes_are_printed_outermost_first():
    """The forms Apple's page prints, with our names."""
    key = MLParameterKey.BIASES.scoped_to("model1")

    assert str(MLParameterKey.WEIGHTS.scoped_to("FullyConnected")) == "FullyConnected.weights"
    assert str(key.scoped_to("FullyConnected")) == "model1.FullyConnected.biases"
    assert str(key) == "model1.biases"


def test_defaults_fill_what_is_not_given():
    """Given values win, the others have their defaults, in the order described."""
    values = resolve(ALL, {MLParameterKey.EPOCHS: 7})

    assert list(values) == [one.key for one in ALL]
    assert values == {
        MLParameterKey.LEARNING_RATE: 0.1,
        MLParameterKey.EPOCHS: 7,
        MLParameterKey.MINI_BATCH_SIZE: 8,
        MLParameterKey.SHUFFLE: True,
        MLParameterKey.PRIOR: "uniform",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (MLParameterKey.LEARNING_RATE, -0.1),
        (MLParameterKey.LEARNING_RATE, 1.1),
        (MLParameterKey.LEARNING_RATE, float("nan")),
        (MLParameterKey.LEARNING_RATE, "0.1"),
        (MLParameterKey.LEARNING_RATE, True),
        (MLParameterKey.EPOCHS, 0),
        (MLParameterKey.EPOCHS, 2.0),
        (MLParameterKey.EPOCHS, True),
        (MLParameterKey.EPOCHS, None),
        (MLParameterKey.MINI_BATCH_SIZE, 12),
        (MLParameterKey.SHUFFLE, 1),
        (MLParameterKey.SHUFFLE, "yes"),
        (MLParameterKey.PRIOR, "flat"),
        (MLParameterKey.PRIOR, 1),
        (MLParameterKey.MOMENTUM, 0.9),
        (MLParameterKey.EPOCHS.scoped_to("model0"), 5),
    ],
)
def test_a_bad_value_or_key_is_named(key, value):
    """Wrong kind, out of bounds or unknown: the key is in the message and the code is Apple's."""
    with pytest.raises(MLModelError, match=str(key)) as caught:
        resolve(ALL, {key: value})
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_numbers_of_numpy_become_plain():
    """What comes out can be written as JSON."""
    values = resolve(
        ALL,
        {
            MLParameterKey.EPOCHS: np.int64(3),
            MLParameterKey.LEARNING_RATE: np.float32(0.5),
            MLParameterKey.SHUFFLE: np.bool_(False),
        },
    )

    assert [type(value) for value in values.values()] == [float, int, int, bool, str]


def test_a_whole_number_is_a_number():
    """Where a number is wanted, 1 is as good as 1.0."""
    value = resolve([RATE], {MLParameterKey.LEARNING_RATE: 1})[MLParameterKey.LEARNING_RATE]

    assert value == 1.0
    assert isinstance(value, float)


def test_a_default_must_be_allowed():
    """A description that contradicts itself cannot be made."""
    with pytest.raises(MLModelError):
        MLParameterDescription(MLParameterKey.EPOCHS, 0, MLNumericConstraint(1))


@given(
    st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(-2e6, 2e6, allow_nan=False, allow_infinity=False)
)
def test_a_number_is_allowed_exactly_within_its_limits(one, other, value):
    """Both ends belong to the range, nothing outside does."""
    low, high = sorted((one, other))
    description = MLParameterDescription(MLParameterKey.EPS, low, MLNumericConstraint(low, high))

    if low <= value <= high:
        assert description.checked(value) == value
    else:
        with pytest.raises(MLModelError):
            description.checked(value)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_any_value_is_taken_or_refused_with_a_reason(value):
    """Whatever is given, the answer is a value of the right kind or the error that is documented."""
    for description in ALL:
        caught: list[MLModelError] = []
        try:
            taken = description.checked(value)
        except MLModelError as error:
            caught.append(error)
        else:
            assert type(taken) is type(description.default_value)
        assert all(error.code is MLModelErrorCode.PARAMETERS for error in caught)
