"""This is where bytes laid out as a FlatBuffer are read, however damaged they are.

The layout is that of "FlatBuffers internals" (flatbuffers.dev): little-endian; a table begins with the signed
distance back to its vtable, which lists where each field lies from the table's begin, 0 for one that is
left out; texts, vectors and tables inside are at unsigned distances from where the distance stands.
"""

from __future__ import annotations

import struct
from typing import Any, Self

from edge_agent.errors import DamagedError

_UINT8 = struct.Struct("<B")
_UINT16 = struct.Struct("<H")
_UINT32 = struct.Struct("<I")
_UINT64 = struct.Struct("<Q")
_INT32 = struct.Struct("<i")
_INT8 = struct.Struct("<b")

_HEADER_BYTES = 8
_TABLE_BYTES = 8
_VTABLE_BYTES = 4


class _Source:
    """The bytes, and how much of them may still be looked at.

    Tables of a file that was made to harm may point at each other's contents over and over, so that a small
    file would take hours. An honest one is read about once.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.budget = 4 * len(data)

    def number(self, kind: struct.Struct, at: int) -> int:
        if not 0 <= at <= len(self.data) - kind.size:
            raise DamagedError(f"it points to byte {at} of {len(self.data)}")
        return int(kind.unpack_from(self.data, at)[0])

    def follow(self, at: int) -> int:
        """Where the distance that stands at a place leads."""
        return at + self.number(_UINT32, at)

    def vector(self, at: int, item_bytes: int) -> tuple[int, int]:
        """The first item and the number of items of the vector a place points to."""
        begin = self.follow(at)
        count = self.number(_UINT32, begin)
        if count * item_bytes > len(self.data) - begin - _UINT32.size:
            raise DamagedError(f"a list of {count} at byte {begin} does not end within the file")
        return begin + _UINT32.size, count

    def spend(self, n_bytes: int) -> None:
        self.budget -= n_bytes
        if self.budget < 0:
            raise DamagedError("its tables point at the same bytes over and over")


class Table:
    """One table; fields are known by their number in the schema.

    Every method raises `DamagedError` when what it should read lies outside of the bytes.
    """

    def __init__(self, source: _Source, at: int) -> None:
        source.spend(_TABLE_BYTES)
        self._source = source
        self._at = at
        self._vtable = at - source.number(_INT32, at)
        self._vtable_bytes = source.number(_UINT16, self._vtable)

    @property
    def at(self) -> int:
        """Where it begins, in bytes from the file's begin."""
        return self._at

    @property
    def present(self) -> tuple[int, ...]:
        """The numbers of the fields that are not left out."""
        most = max(0, (self._vtable_bytes - 4) // 2)
        return tuple(number for number in range(most) if self._field(number) is not None)

    def inline(self) -> tuple[bytes, bytes]:
        """Its vtable, and what stands in the table itself behind the distance to that, as they are."""
        source = self._source
        n_bytes = source.number(_UINT16, self._vtable + 2)
        vtable = source.data[self._vtable : self._vtable + self._vtable_bytes]
        values = source.data[self._at + _INT32.size : self._at + n_bytes]
        source.spend(len(vtable) + len(values))
        if (
            len(vtable) < _VTABLE_BYTES
            or len(vtable) % 2
            or n_bytes < _INT32.size
            or len(values) != n_bytes - 4
        ):
            raise DamagedError(f"the table at byte {self._at} does not end within the file")
        return vtable, values

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Self:
        """The outermost table of a file; raises `DamagedError` unless it carries the identifier [4]."""
        if len(data) < _HEADER_BYTES or data[4:_HEADER_BYTES] != identifier:
            raise DamagedError(f"it does not begin as a file of kind {identifier.decode('ascii')} does")
        source = _Source(data)
        return cls(source, source.follow(0))

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._vtable_bytes:
            return None
        distance = self._source.number(_UINT16, self._vtable + entry)
        return self._at + distance if distance else None

    def _scalar(self, number: int, kind: struct.Struct) -> int:
        at = self._field(number)
        return 0 if at is None else self._source.number(kind, at)

    def int8(self, number: int) -> int:
        """A field of one signed byte, 0 when it is left out."""
        return self._scalar(number, _INT8)

    def int32(self, number: int) -> int:
        """A signed field of four bytes, 0 when it is left out."""
        return self._scalar(number, _INT32)

    def uint32(self, number: int) -> int:
        """An unsigned field of four bytes, 0 when it is left out."""
        return self._scalar(number, _UINT32)

    def uint8(self, number: int) -> int:
        """An unsigned field of one byte, 0 when it is left out."""
        return self._scalar(number, _UINT8)

    def uint64(self, number: int) -> int:
        """An unsigned field of eight bytes, 0 when it is left out."""
        return self._scalar(number, _UINT64)

    def place(self, number: int) -> int | None:
        """Where the text, vector or table of a field begins; None when it is left out."""
        at = self._field(number)
        return None if at is None else self._source.follow(at)

    def table(self, number: int) -> Table | None:
        """A table, None when it is left out."""
        place = self.place(number)
        return None if place is None else Table(self._source, place)

    def numbers(self, number: int, kind: str) -> tuple[Any, ...]:
        """A vector of numbers of a kind that `struct` knows, such as `i`; empty when it is left out."""
        at = self._field(number)
        if at is None:
            return ()
        item = struct.Struct(f"<{kind}")
        begin, count = self._source.vector(at, item.size)
        self._source.spend(count * item.size)
        return struct.unpack_from(f"<{count}{kind}", self._source.data, begin)

    def raw(self, number: int) -> bytes:
        """A vector of bytes, empty when it is left out."""
        at = self._field(number)
        if at is None:
            return b""
        begin, count = self._source.vector(at, 1)
        self._source.spend(count)
        return self._source.data[begin : begin + count]

    def text(self, number: int) -> str:
        """A text, empty when it is left out."""
        at = self._field(number)
        if at is None:
            return ""
        begin, count = self._source.vector(at, 1)
        self._source.spend(count)
        try:
            return self._source.data[begin : begin + count].decode("utf-8")
        except UnicodeDecodeError:
            raise DamagedError(f"the text at byte {begin} is not UTF-8") from None

    def count(self, number: int) -> int:
        """How many items a vector of tables has."""
        at = self._field(number)
        return 0 if at is None else self._source.vector(at, _UINT32.size)[1]

    def tables(self, number: int) -> list[Table]:
        """A vector of tables, empty when it is left out."""
        at = self._field(number)
        if at is None:
            return []
        begin, count = self._source.vector(at, _UINT32.size)
        source = self._source
        return [Table(source, source.follow(begin + _UINT32.size * index)) for index in range(count)]
