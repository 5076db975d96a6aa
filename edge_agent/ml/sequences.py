"""This is where several texts or several whole numbers follow each other as one value."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any, Literal

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.feature_types import MLFeatureType
from edge_agent.ml.members import is_listed

_LIMIT = 2**63


class MLSequence:
    """An immutable sequence of texts (`strings=`) or of whole numbers of 64 bits (`int64s=`), or an empty one.

    `MLSequence(strings=["a", "b"])`, `MLSequence(int64s=[1, 2])`, `MLSequence.empty(MLFeatureType.STRING)`. Equal
    to another of the same kind with the same members. Raises `MLModelError` FEATURE_TYPE for a member of another
    kind, TypeError unless exactly one keyword is given.
    """

    __slots__ = ("_kind", "_values")

    def __init__(self, *, strings: Iterable[str] | None = None, int64s: Iterable[int] | None = None) -> None:
        if (strings is None) == (int64s is None):
            raise TypeError("MLSequence takes either strings or int64s")
        if strings is not None:
            self._kind: Literal["string", "int64"] = "string"
            self._values: tuple[str, ...] | tuple[int, ...] = _strings(strings)
        else:
            self._kind = "int64"
            self._values = _int64s(int64s)

    @classmethod
    def empty(cls, kind: MLFeatureType | Literal["string", "int64"]) -> MLSequence:
        """A sequence without members; of texts or of whole numbers all the same."""
        if isinstance(kind, MLFeatureType):
            kind = kind.name.lower()  # type: ignore[assignment]
        if kind not in ("string", "int64"):
            raise _refused(f"a sequence holds string or int64, not {kind!r}")
        return cls(strings=()) if kind == "string" else cls(int64s=())

    @property
    def type(self) -> MLFeatureType:
        """What the members are: STRING or INT64."""
        return MLFeatureType[self._kind.upper()]

    @property
    def kind(self) -> Literal["string", "int64"]:
        """The same as a plain word."""
        return self._kind

    @property
    def string_values(self) -> tuple[str, ...]:
        """The texts; raises `MLModelError` FEATURE_TYPE for a sequence of numbers."""
        if self._kind != "string":
            raise _refused("the sequence holds whole numbers, not texts")
        return self._values  # type: ignore[return-value]

    @property
    def int64_values(self) -> tuple[int, ...]:
        """The whole numbers; raises `MLModelError` FEATURE_TYPE for a sequence of texts."""
        if self._kind != "int64":
            raise _refused("the sequence holds texts, not whole numbers")
        return self._values  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLSequence):
            return NotImplemented
        return self._kind == other._kind and self._values == other._values

    def __hash__(self) -> int:
        return hash((self._kind, self._values))

    def __repr__(self) -> str:
        return f"MLSequence({self._kind}s={list(self._values)!r})"


def _members(given: Any) -> tuple[object, ...]:
    if not is_listed(given):
        raise _refused(f"the members of a sequence are a list, not {type(given).__name__}")
    return tuple(given)


def _strings(given: object) -> tuple[str, ...]:
    texts = []
    for at, member in enumerate(_members(given)):
        if not isinstance(member, str):
            raise _refused(f"member {at} is {type(member).__name__}, not text")
        texts.append(str(member))
    return tuple(texts)


def _int64s(given: object) -> tuple[int, ...]:
    numbers = []
    for at, member in enumerate(_members(given)):
        if isinstance(member, bool) or not isinstance(member, Integral):
            raise _refused(f"member {at} is {type(member).__name__}, not a whole number")
        if not -_LIMIT <= int(member) < _LIMIT:
            raise _refused(f"member {at}, {int(member)}, does not fit into 64 bits")
        numbers.append(int(member))
    return tuple(numbers)


def _refused(message: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.FEATURE_TYPE, message)
