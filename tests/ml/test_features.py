"""Typed values and the providers that hand them over."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
)

EVERY_KIND = [
    (MLFeatureValue(int64=3), MLFeatureType.INT64, "int64_value", 3),
    (MLFeatureValue(double=0.5), MLFeatureType.DOUBLE, "double_value", 0.5),
    (MLFeatureValue(string="cat"), MLFeatureType.STRING, "string_value", "cat"),
    (MLFeatureValue(dictionary={"cat": 1.0}), MLFeatureType.DICTIONARY, "dictionary_value", {"cat": 1.0}),
]


@pytest.mark.parametrize(("value", "kind", "accessor", "plain"), EVERY_KIND)
def test_a_value_gives_back_what_it_was_made_of(value, kind, accessor, plain):
    """Type and content come back, by the accessor of that type."""
    assert value.type is kind
    assert getattr(value, accessor) == plain
    assert not value.is_undefined


@pytest.mark.parametrize(("value", "kind", "accessor", "plain"), EVERY_KIND)
def test_accessors_never_convert(value, kind, accessor, plain):
    """Every accessor of another type refuses, a whole number asked for as a double among them."""
    others = {"int64_value", "double_value", "string_value", "dictionary_value", "multi_array_value"} - {
        accessor
    }

    for other in others:
        with pytest.raises(MLModelError) as caught:
            getattr(value, other)
        assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


def test_raw_values_are_apples():
    """The numbers of the types are those of Apple's header."""
    assert [kind.value for kind in MLFeatureType] == list(range(9))
    assert MLFeatureType.MULTI_ARRAY == 5


def test_an_array_is_copied_and_read_only():
    """Neither the caller's array nor the one handed out can change the value."""
    mine = np.array([1.0, 2.0], dtype=np.float32)
    value = MLFeatureValue(multi_array=mine)
    mine[0] = 9.0

    assert value.multi_array_value.tolist() == [1.0, 2.0]
    assert value.multi_array_value.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        value.multi_array_value[0] = 9.0


def test_a_dictionary_is_copied_both_ways():
    """Changing the mapping that came in or the one that came out leaves the value alone."""
    mine = {"cat": 1.0}
    value = MLFeatureValue(dictionary=mine)
    mine["dog"] = 2.0
    value.dictionary_value["cow"] = 3.0

    assert value.dictionary_value == {"cat": 1.0}


def test_a_value_cannot_be_changed():
    """Setting any attribute is refused."""
    with pytest.raises(AttributeError):
        MLFeatureValue(int64=1)._value = 2


def test_a_missing_value_has_a_type_but_no_content():
    """An undefined value says so, and its accessor refuses."""
    value = MLFeatureValue(undefined=MLFeatureType.STRING)

    assert value.is_undefined
    assert value.type is MLFeatureType.STRING
    with pytest.raises(MLModelError, match="undefined"):
        _ = value.string_value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MLFeatureValue(int64=3), MLFeatureValue(double=3.0)),
        (MLFeatureValue(string="a"), MLFeatureValue(string="a")),
        (MLFeatureValue(multi_array=np.arange(3)), MLFeatureValue(multi_array=np.arange(3.0))),
        (MLFeatureValue(dictionary={1: 2}), MLFeatureValue(dictionary={1: 2.0})),
        (MLFeatureValue(undefined=MLFeatureType.INT64), MLFeatureValue(undefined=MLFeatureType.INT64)),
    ],
)
def test_equal_values_hash_alike(one, other):
    """Numbers compare by number, the rest by type and content, and sets treat equals as one."""
    assert one == other
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MLFeatureValue(int64=3), MLFeatureValue(string="3")),
        (MLFeatureValue(int64=3), MLFeatureValue(undefined=MLFeatureType.INT64)),
        (MLFeatureValue(multi_array=np.arange(3)), MLFeatureValue(multi_array=np.arange(4))),
        (MLFeatureValue(string="a"), "a"),
    ],
)
def test_unlike_values_are_not_equal(one, other):
    """Another type, another content or a missing one is another value."""
    assert one != other


@pytest.mark.parametrize(
    "given",
    [
        {"int64": True},
        {"int64": 1.0},
        {"int64": 2**63},
        {"double": "1"},
        {"double": False},
        {"string": b"cat"},
        {"multi_array": [1.0]},
        {"multi_array": np.array(["a"])},
        {"multi_array": np.array([True])},
        {"dictionary": [1]},
        {"dictionary": {1.5: 1.0}},
        {"dictionary": {True: 1.0}},
        {"dictionary": {"a": "b"}},
        {"dictionary": {"a": 1.0, 2: 1.0}},
    ],
)
def test_what_a_kind_cannot_represent_is_refused(given):
    """Nothing is converted silently on the way in."""
    with pytest.raises(MLModelError) as caught:
        MLFeatureValue(**given)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


@pytest.mark.parametrize("given", [{}, {"int64": 1, "double": 1.0}, {"vector": 1}])
def test_exactly_one_known_keyword(given):
    """None, two or an unknown keyword is a programming error."""
    with pytest.raises(TypeError):
        MLFeatureValue(**given)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (1, MLFeatureType.INT64),
        (np.int32(1), MLFeatureType.INT64),
        (1.5, MLFeatureType.DOUBLE),
        (np.float32(1.5), MLFeatureType.DOUBLE),
        ("a", MLFeatureType.STRING),
        (np.zeros(2), MLFeatureType.MULTI_ARRAY),
        ({"a": 1}, MLFeatureType.DICTIONARY),
        (MLFeatureValue(int64=1), MLFeatureType.INT64),
    ],
)
def test_plain_values_are_wrapped_by_their_own_type(raw, kind):
    """Python's and numpy's values find their feature type."""
    assert MLFeatureValue.of(raw).type is kind


def test_a_provider_of_a_dictionary_wraps_and_names():
    """Values are wrapped, names are told, what is not there is None."""
    provider = MLDictionaryFeatureProvider({"label": "cat", "size": 3})

    assert isinstance(provider, MLFeatureProvider)
    assert provider.feature_names == {"label", "size"}
    assert provider.feature_value(for_name="label") == MLFeatureValue(string="cat")
    assert provider["size"] == MLFeatureValue(int64=3)
    assert provider.feature_value("colour") is None
    assert dict(provider.dictionary) == {name: provider[name] for name in provider}
    assert len(provider) == 2


@pytest.mark.parametrize("raw", [True, None, [1.0], object()])
def test_a_provider_names_the_feature_it_cannot_represent(raw):
    """The error says which feature is to blame."""
    with pytest.raises(MLModelError, match="'size'") as caught:
        MLDictionaryFeatureProvider({"label": "cat", "size": raw})
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE
