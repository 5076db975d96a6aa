"""This is where the values of one sample are handed over by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.values import MLFeatureType, MLFeatureValue

__all__ = [
    "MLDictionaryFeatureProvider",
    "MLFeatureProvider",
    "MLFeatureType",
    "MLFeatureValue",
    "value_of",
]


@runtime_checkable
class MLFeatureProvider(Protocol):
    """Named values: one sample going in, or one prediction coming out."""

    @property
    def feature_names(self) -> frozenset[str] | set[str]:
        """The names this provider has values for."""

    def feature_value(self, for_name: str) -> MLFeatureValue | None:
        """The value of a name, or None when there is none."""


class MLDictionaryFeatureProvider:
    """A feature provider over a dictionary; plain values are wrapped by `MLFeatureValue.of`.

    Raises `MLModelError` FEATURE_TYPE, naming the feature, for a value that cannot be represented.
    """

    def __init__(self, dictionary: Mapping[str, object]) -> None:
        values: dict[str, MLFeatureValue] = {}
        if not isinstance(dictionary, Mapping):
            raise _refused(f"features by name are a mapping, not {type(dictionary).__name__}")
        for name, raw in dictionary.items():
            if not isinstance(name, str):
                raise _refused(f"the name of a feature is text, not {name!r}")
            try:
                values[name] = MLFeatureValue.of(raw)
            except MLModelError as error:
                raise _refused(f"feature {name!r}: {error}") from None
        self._values = values

    @property
    def dictionary(self) -> dict[str, MLFeatureValue]:
        """A copy of the values by name."""
        return dict(self._values)

    @property
    def feature_names(self) -> frozenset[str]:
        """The names in the dictionary."""
        return frozenset(self._values)

    def feature_value(self, for_name: str) -> MLFeatureValue | None:
        """The value of a name, or None when there is none."""
        return self._values.get(for_name)

    def __getitem__(self, name: str) -> MLFeatureValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"MLDictionaryFeatureProvider({self._values!r})"


def value_of(sample: object, name: str, *, missing: MLModelErrorCode) -> MLFeatureValue:
    """The value a provider has for a name; whoever wrote the provider, what it answers is looked at.

    Raises `MLModelError`: the code `missing` for a name without a value, FEATURE_TYPE for what is no feature
    provider or answers what is no feature value.
    """
    if not isinstance(sample, MLFeatureProvider):
        raise _refused(f"a feature provider was expected, not {type(sample).__name__}")
    value: object = sample.feature_value(name)
    if value is None:
        has = ", ".join(sorted(str(one) for one in sample.feature_names)) or "none"
        raise MLModelError(missing, f"there is no feature named {name!r}; it has {has}")
    if not isinstance(value, MLFeatureValue):
        raise _refused(f"feature {name!r} is {type(value).__name__}, not an MLFeatureValue")
    return value


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.FEATURE_TYPE, message)
