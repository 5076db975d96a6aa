"""This is where tables are laid out as a FlatBuffer, in front of an older one that they may point into.

A distance in a FlatBuffer is unsigned: what is pointed to lies behind. So a table is written before what it
holds, and an older file, kept byte for byte, goes to the very end: new tables reach every part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TAIL_ALIGNMENT = 64
"""The older file begins at a multiple of this, so that whatever was aligned in it still is."""

_DATA_ALIGNMENT = 16
_WIDEST = 8
_VTABLE_HEADER = struct.Struct("<HH")
_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")
_INT32 = struct.Struct("<i")
_MOST = 2**31 - 1
_HEADER_BYTES = 8


@dataclass(frozen=True)
class Scalar:
    """A number that stands in its table; `kind` as `struct` has it."""

    kind: str
    value: float


@dataclass(frozen=True)
class Text:
    """A text, kept as UTF-8 with a zero behind it."""

    value: str


@dataclass(frozen=True, eq=False)
class Numbers:
    """A vector of numbers; its first item is aligned to 16 bytes, as tensors want it."""

    values: NDArray[np.generic]


@dataclass(frozen=True)
class Old:
    """What begins at a byte of the older file."""

    place: int


@dataclass(frozen=True)
class Copied:
    """A table of another file that holds numbers only: what `Table.inline` gave, and where it began there."""

    vtable: bytes
    values: bytes
    place: int


@dataclass(frozen=True)
class NewTable:
    """Fields by their number in the schema."""

    fields: Mapping[int, Field]


@dataclass(frozen=True)
class Tables:
    """A vector of tables, new and old ones."""

    items: Sequence[NewTable | Old]


Reference = Text | Numbers | Tables | NewTable | Old | Copied
Field = Scalar | Reference


def write_flatbuffer(root: NewTable, identifier: bytes, tail: bytes = b"") -> bytes:
    """The bytes of a file of a kind [4]; `tail`, an older one, is at its end.

    Raises `OverflowError` for more than 2 GiB, which distances cannot span.
    """
    return _Writing().finish(root, identifier, tail)


def tail_shift(file: bytes, tail: bytes) -> int:
    """How far behind its own begin each byte of the tail lies in the file that was written with it."""
    return len(file) - len(tail)


class _Writing:
    """The bytes so far, and the distances that are still to be filled in."""

    def __init__(self) -> None:
        self._bytes = bytearray(_HEADER_BYTES)
        self._into_tail: list[tuple[int, int]] = []

    def finish(self, root: NewTable, identifier: bytes, tail: bytes) -> bytes:
        self._bytes[4:8] = identifier
        self._refer(0, root)
        if tail:
            self._pad_to(TAIL_ALIGNMENT)
        begin = len(self._bytes)
        if begin + len(tail) > _MOST:
            raise OverflowError(f"{begin + len(tail)} bytes are more than a FlatBuffer can hold")
        for at, place in self._into_tail:
            _UINT32.pack_into(self._bytes, at, begin + place - at)
        return bytes(self._bytes) + tail

    def _pad_to(self, alignment: int, before: int = 0) -> None:
        """Zeros, until what follows `before` more bytes is aligned."""
        self._bytes += bytes(-(len(self._bytes) + before) % alignment)

    def _refer(self, at: int, target: Reference) -> None:
        """Write a thing behind everything else and the distance to it at a place."""
        if isinstance(target, Old):
            self._into_tail.append((at, target.place))
            return
        if isinstance(target, Copied):
            begin = self._copied(target)
        else:
            begin = self._table(target) if isinstance(target, NewTable) else self._vector(target)
        _UINT32.pack_into(self._bytes, at, begin - at)

    def _vector(self, target: Text | Numbers | Tables) -> int:
        if isinstance(target, Text):
            data = target.value.encode()
            return self._items(len(data), data + b"\0", 4)
        if isinstance(target, Numbers):
            little = target.values.astype(target.values.dtype.newbyteorder("<"), copy=False)
            return self._items(target.values.size, little.tobytes(), _DATA_ALIGNMENT)
        begin = self._items(len(target.items), bytes(_UINT32.size * len(target.items)), 4)
        for index, item in enumerate(target.items):
            self._refer(begin + _UINT32.size * (index + 1), item)
        return begin

    def _items(self, count: int, data: bytes, alignment: int) -> int:
        self._pad_to(alignment, before=_UINT32.size)
        begin = len(self._bytes)
        self._bytes += _UINT32.pack(count) + data
        self._pad_to(_UINT32.size)
        return begin

    def _copied(self, table: Copied) -> int:
        # As far from a multiple of the widest number as it was: what was aligned in it still is.
        self._pad_to(_WIDEST, before=len(table.vtable) - table.place)
        at = len(self._bytes) + len(table.vtable)
        self._bytes += table.vtable + _INT32.pack(len(table.vtable)) + table.values
        self._pad_to(_UINT32.size)
        return at

    def _table(self, table: NewTable) -> int:
        # The widest fields first: then each is aligned once the table is.
        sizes = {
            number: struct.calcsize(f"<{field.kind}") if isinstance(field, Scalar) else _UINT32.size
            for number, field in table.fields.items()
        }
        order = sorted(sizes, key=lambda number: (-sizes[number], number))
        alignment = max([_UINT32.size, *sizes.values()])
        distance = alignment  # behind the distance to the vtable, 4 bytes
        distances = {}
        for number in order:
            distances[number] = distance
            distance += sizes[number]
        entries = [distances.get(number, 0) for number in range(max(sizes, default=-1) + 1)]
        vtable = _VTABLE_HEADER.pack(4 + 2 * len(entries), distance)
        vtable += b"".join(map(_UINT16.pack, entries))
        self._pad_to(alignment, before=len(vtable))
        at = len(self._bytes) + len(vtable)
        self._bytes += vtable + _INT32.pack(len(vtable)) + bytes(distance - _INT32.size)
        self._pad_to(_UINT32.size)
        for number, field in table.fields.items():
            place = at + distances[number]
            if isinstance(field, Scalar):
                struct.pack_into(f"<{field.kind}", self._bytes, place, field.value)
            else:
                self._refer(place, field)
        return at
