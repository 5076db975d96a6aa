"""Looking at libraries without loading them."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
from pathlib import Path

import pytest

from edge_agent.errors import DamagedError
from edge_agent.vision.elf import read_elf


def made(bits: int, machine: int, *, big: bool = False, name: bytes = b"answer") -> bytes:
    """A library of one symbol that it defines and one that it wants, written from the specification."""
    order, wide = (">" if big else "<"), bits == 64
    texts = b"\0" + name + b"\0wanted\0"
    head = 64 if wide else 52
    if wide:
        symbols = bytes(24) + struct.pack(f"{order}IBBHQQ", 1, 18, 0, 7, 0, 0)
        symbols += struct.pack(f"{order}IBBHQQ", 2 + len(name), 18, 0, 0, 0, 0)
        row = f"{order}IIQQQQIIQQ"
    else:
        symbols = bytes(16) + struct.pack(f"{order}IIIBBH", 1, 0, 0, 18, 0, 7)
        symbols += struct.pack(f"{order}IIIBBH", 2 + len(name), 0, 0, 18, 0, 0)
        row = f"{order}IIIIIIIIII"
    at = head + len(symbols) + len(texts)
    sections = struct.pack(row, *[0] * 10)
    sections += struct.pack(row, 0, 11, 0, 0, head, len(symbols), 2, 0, 0, 0)
    sections += struct.pack(row, 0, 3, 0, 0, head + len(symbols), len(texts), 0, 0, 0, 0)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1]) + bytes(9)
    place = "Q" if wide else "I"
    header = ident + struct.pack(
        f"{order}HHI{place}{place}{place}IHHHHHH",
        3,
        machine,
        1,
        0,
        0,
        at,
        0,
        head,
        0,
        0,
        len(sections) // 3,
        3,
        2,
    )
    return header + symbols + texts + sections


@pytest.mark.parametrize(
    ("bits", "machine", "big", "architecture"),
    [
        (64, 62, False, "x86-64 (64 bits)"),
        (64, 183, False, "ARM 64-bit (64 bits)"),
        (32, 40, False, "ARM 32-bit (32 bits)"),
        (32, 8, True, "machine 8 (32 bits)"),
    ],
)
def test_architecture_and_symbols(tmp_path, bits, machine, big, architecture):
    """What a library defines is told apart from what it wants, whatever it was made for."""
    path = tmp_path / "lib.so"
    path.write_bytes(made(bits, machine, big=big))

    facts = read_elf(path)

    assert facts.architecture == architecture
    assert facts.symbols == {"answer"}


def test_a_real_library_suits_the_program_that_runs_this(library):
    """What gcc made can be loaded by this Python, and gives the two symbols to others."""
    facts = read_elf(library())

    assert facts.suits(read_elf(Path(sys.executable), symbols=False))
    assert {"tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate"} <= facts.symbols
    assert "raise" not in facts.symbols


@pytest.mark.parametrize(
    "data", [b"", b"MZ not a library", b"\x7fELF", b"\x7fELF\x09\x01" + bytes(60), made(64, 62)[:200]]
)
def test_what_is_no_library_is_damaged(tmp_path, data):
    """Also one that is cut off."""
    path = tmp_path / "lib.so"
    path.write_bytes(data)

    with pytest.raises(DamagedError):
        read_elf(path)


def test_no_damage_leads_to_another_error(tmp_path):
    """Whatever byte is changed, it is read or it is damaged."""
    path = tmp_path / "lib.so"
    whole = made(64, 62)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            read_elf(path)
        except DamagedError:
            continue


def test_what_lies_between_the_tables_is_not_read(tmp_path):
    """A library of two gigabytes is looked at with the memory of its tables."""
    path = tmp_path / "lib.so"
    path.write_bytes(made(64, 62))
    with path.open("r+b") as file:
        file.truncate(2 << 30)

    tracemalloc.start()
    try:
        facts = read_elf(path)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert facts.symbols == {"answer"}
    assert most < 1 << 20


def test_a_pipe_in_place_of_a_library_is_not_waited_for(tmp_path):
    """The agent looks at libraries on its own thread."""
    os.mkfifo(tmp_path / "lib.so")

    with pytest.raises(OSError, match="no regular file"):
        read_elf(tmp_path / "lib.so")
