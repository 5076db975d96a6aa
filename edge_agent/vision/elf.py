"""This is where a shared library is looked at without loading it.

The layout is that of the ELF specification (System V ABI, chapters 4 and 5): a header, and a table of sections, one
of which lists the symbols that the library gives to others.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import DamagedError
from edge_agent.store.whole_file import open_regular

_DYNAMIC_SYMBOLS = 11
_MACHINES = {3: "x86", 40: "ARM 32-bit", 62: "x86-64", 183: "ARM 64-bit", 243: "RISC-V"}
_MOST_BYTES = 64 << 20
"""No table of symbols is larger."""


@dataclass(frozen=True)
class ElfFacts:
    """What a library says of itself."""

    bits: int
    little_endian: bool
    machine: int
    symbols: frozenset[str]
    """What it defines for others; empty where it has no table of sections."""

    @property
    def architecture(self) -> str:
        """The processor, in words."""
        return f"{_MACHINES.get(self.machine, f'machine {self.machine}')} ({self.bits} bits)"

    def suits(self, other: ElfFacts) -> bool:
        """Whether one can be loaded by the other."""
        return (self.bits, self.little_endian, self.machine) == (
            other.bits,
            other.little_endian,
            other.machine,
        )


def read_elf(path: Path, *, symbols: bool = True) -> ElfFacts:
    """What a library or a program says of itself; raises `DamagedError` and `OSError`.

    Only the tables are read, not what lies between them: a library of hundreds of MB costs little memory.
    """
    with open_regular(path) as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            raise DamagedError("it is not an ELF file")
        try:
            bits, little = {1: 32, 2: 64}[head[4]], {1: True, 2: False}[head[5]]
            order = "<" if little else ">"
            (machine,) = struct.unpack_from(f"{order}H", head, 18)
            names = _symbols(file, head, bits, order) if symbols else frozenset()
        except (struct.error, IndexError, KeyError) as error:
            raise DamagedError("its ELF header is damaged or cut off") from error
    return ElfFacts(bits, little, machine, names)


def _symbols(file: BinaryIO, head: bytes, bits: int, order: str) -> frozenset[str]:
    wide = bits == 64
    (begin,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 40 if wide else 32)
    size, count, _names = struct.unpack_from(f"{order}3H", head, 58 if wide else 46)
    if not begin:
        return frozenset()
    # Type, place, length and linked section of each section; only 64-bit files lay them out so far apart.
    section = struct.Struct(f"{order}4xI16xQQI" if wide else f"{order}4xI8xIII")
    table = _part(file, begin, size * count)
    sections = [section.unpack_from(table, number * size) for number in range(count)]
    found = set()
    entry = struct.Struct(f"{order}I2xH16x" if wide else f"{order}I10xH")
    for kind, place, length, link in sections:
        if kind != _DYNAMIC_SYMBOLS:
            continue
        texts = _part(file, *sections[link][1:3])
        for name, defined_in in entry.iter_unpack(_part(file, place, length - length % entry.size)):
            if defined_in:
                found.add(texts[name : max(texts.find(b"\0", name), name)].decode("ascii", "replace"))
    return frozenset(found)


def _part(file: BinaryIO, place: int, length: int) -> bytes:
    if place + length > file.seek(0, os.SEEK_END) or length > _MOST_BYTES:
        raise DamagedError("its ELF header is damaged or cut off")
    file.seek(place)
    return file.read(length)
