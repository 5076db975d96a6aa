"""This is where labelled vectors are kept as they came, for a learner that remembers instead of fitting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode

Rows = NDArray[np.float32]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Exemplars:
    """N vectors, the class of each, and the labels of the classes. Never changed in place."""

    rows: Rows
    """float32 [N, D], oldest first."""
    codes: Codes
    """The class of each row [N], an index into `classes`."""
    classes: tuple[Any, ...] = ()
    """Texts, or whole numbers, never both; each has at least one row."""

    @classmethod
    def none(cls, n_features: int) -> Self:
        """Nothing learned yet."""
        return cls(np.empty((0, n_features), dtype=np.float32), np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def labels(self) -> list[Any]:
        """The label of each row."""
        return [self.classes[code] for code in self.codes]

    def counts(self) -> dict[Any, int]:
        """How many rows each label has."""
        sizes = np.bincount(self.codes, minlength=len(self.classes))
        return {name: int(size) for name, size in zip(self.classes, sizes, strict=True)}

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """The chosen rows; classes without any are gone."""
        codes = self.codes[chosen]
        left = np.unique(codes)
        return replace(
            self,
            rows=self.rows[chosen],
            codes=np.searchsorted(left, codes).astype(np.int32),
            classes=tuple(self.classes[code] for code in left),
        )

    def without(self, indices: Collection[int]) -> Self:
        """All but the rows of these indices; raises `MLModelError` UPDATE for an index that is not there."""
        keep = np.ones(len(self), dtype=np.bool_)
        for index in indices:
            keep[self._known(index)] = False
        return self.only(keep)

    def without_label(self, label: object) -> Self:
        """All but the rows of a label; raises `MLModelError` UPDATE for a label that is not there."""
        if label not in self.classes:
            raise MLModelError(MLModelErrorCode.UPDATE, f"there is no label {label!r} to forget")
        return self.only(self.codes != self.classes.index(label))

    def relabelled(self, index: int, label: Any) -> Self:
        """With another label for one row; raises `MLModelError` UPDATE for an index that is not there."""
        codes, classes = self.codes.copy(), self.classes
        at = self._known(index)
        if label not in classes:
            check_kind(classes, label, f"sample {index}")
            classes += (label,)
        codes[at] = classes.index(label)
        return replace(self, codes=codes, classes=classes).only(np.arange(len(self)))

    def indices_of(self, x: NDArray[Any]) -> list[int]:
        """The indices of all rows that are these D numbers."""
        row = np.asarray(x, dtype=np.float32)
        return [int(at) for at in np.flatnonzero((self.rows == row).all(axis=1))]

    def newest(self, per_class: int) -> Self:
        """At most so many rows of each class, those that came last."""
        keep = np.zeros(len(self), dtype=np.bool_)
        for code in range(len(self.classes)):
            keep[np.flatnonzero(self.codes == code)[-per_class:]] = True
        return self if keep.all() else self.only(keep)

    def distinct(self) -> Self:
        """Identical vectors once, at the place of the first, with the label of the last."""
        first: dict[bytes, int] = {}
        codes = self.codes.copy()
        for index, row in enumerate(self.rows):
            at = first.setdefault((row + np.float32(0.0)).tobytes(), index)  # -0.0 is the same as 0.0
            codes[at] = self.codes[index]
        if len(first) == len(self):
            return self
        return replace(self, codes=codes).only(np.array(list(first.values()), dtype=np.intp))

    def sorted_from(self, first: int) -> Self:
        """With the labels from this one on sorted; those before it stay where they are."""
        order = [
            *range(first),
            *sorted(range(first, len(self.classes)), key=lambda at: _order(self.classes[at])),
        ]
        place = np.argsort(np.array(order, dtype=np.intp)).astype(np.int32)
        return replace(self, codes=place[self.codes], classes=tuple(self.classes[at] for at in order))

    def _known(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise MLModelError(MLModelErrorCode.UPDATE, f"there is no sample {index}; there are {len(self)}")
        return index


class Growing:
    """Exemplars that more are added to, in one array that is made once."""

    def __init__(self, known: Exemplars, more: int) -> None:
        self._rows = np.empty((len(known) + more, known.rows.shape[1]), dtype=np.float32)
        self._codes = np.empty(len(known) + more, dtype=np.int32)
        self._rows[: len(known)] = known.rows
        self._codes[: len(known)] = known.codes
        self._classes = list(known.classes)
        self._number = {label: code for code, label in enumerate(self._classes)}
        self._start = self._filled = len(known)

    def add(self, X: Rows, labels: Sequence[Any]) -> Exemplars:
        """Append rows [n, D] with their labels, and answer all there are now.

        Raises `MLModelError` FEATURE_TYPE, naming the sample, for a text among numbers or the other way.
        """
        for label in in_order(set(labels)):
            if label not in self._number:
                at = f"sample {self._filled - self._start + list(labels).index(label)}"
                check_kind(tuple(self._classes), label, at)
                self._number[label] = len(self._classes)
                self._classes.append(label)
        stop = self._filled + len(X)
        self._rows[self._filled : stop] = X
        self._codes[self._filled : stop] = [self._number[label] for label in labels]
        self._filled = stop
        # What is handed out ends here, and what lies before here is not written again.
        return Exemplars(self._rows[:stop], self._codes[:stop], tuple(self._classes))


def in_order(labels: Collection[Any]) -> list[Any]:
    """Labels sorted, numbers by size; where both kinds occur, numbers first."""
    return sorted(labels, key=_order)


def _order(label: Any) -> tuple[bool, Any]:
    return isinstance(label, str), label


def check_kind(classes: Sequence[object], label: object, who: str) -> None:
    """Raises `MLModelError` FEATURE_TYPE unless the label is a text or a whole number, as those known are."""
    right = isinstance(label, str | int | np.integer) and not isinstance(label, bool)
    if right and classes:
        right = isinstance(label, str) == isinstance(classes[0], str)
    if not right:
        kind = "text or whole number" if not classes else "text" if isinstance(classes[0], str) else "number"
        raise MLModelError(MLModelErrorCode.FEATURE_TYPE, f"{who}: the label is {label!r}, expected a {kind}")
