"""What is laid out as a FlatBuffer is read back, by our reader and by the reference where it is installed."""

from __future__ import annotations

import importlib
import random

import numpy as np
import pytest

from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    TAIL_ALIGNMENT,
    NewTable,
    Numbers,
    Old,
    Scalar,
    Tables,
    Text,
    tail_shift,
    write_flatbuffer,
)


def test_every_kind_of_field_is_read_back() -> None:
    """Numbers of all widths, texts, vectors and tables inside, at their numbers; what is left out is absent."""
    inner = NewTable({1: Text("ümläut")})
    data = write_flatbuffer(
        NewTable(
            {
                0: Scalar("b", -3),
                2: Scalar("Q", 2**40),
                3: Scalar("i", -70000),
                5: Numbers(np.array([1.5, -2.0], np.float32)),
                6: Tables([inner, NewTable({})]),
                8: inner,
                9: Numbers(np.arange(5, dtype=np.uint8)),
            }
        ),
        b"TEST",
    )
    root = Table.root(data, b"TEST")

    assert root.present == (0, 2, 3, 5, 6, 8, 9)
    assert (root.int8(0), root.uint64(2), root.int32(3), root.uint32(1)) == (-3, 2**40, -70000, 0)
    assert root.numbers(5, "f") == (1.5, -2.0)
    assert [one.text(1) for one in root.tables(6)] == ["ümläut", ""]
    assert root.table(8) is not None
    assert root.table(7) is None
    assert root.raw(9) == bytes(range(5))


def test_vectors_and_wide_numbers_are_aligned() -> None:
    """The data of a vector begins at a multiple of 16, an eight-byte field at one of 8, whatever is before."""
    for length in range(40):
        data = write_flatbuffer(
            NewTable({0: Text("x" * length), 1: Scalar("Q", 7), 2: Numbers(np.array([77], np.uint8))}),
            b"TEST",
        )
        root = Table.root(data, b"TEST")
        place = root.place(2)
        assert place is not None
        assert (place + 4) % 16 == 0
        assert data.index((7).to_bytes(8, "little"), root.at) % 8 == 0


def test_new_tables_point_into_the_older_file() -> None:
    """What stood in the older file is reached through the new one, and no byte of it changed."""
    old = write_flatbuffer(
        NewTable({0: Tables([NewTable({0: Text("one")}), NewTable({0: Text("two")})])}), b"OLDY"
    )
    places = [one.at for one in Table.root(old, b"OLDY").tables(0)]
    data = write_flatbuffer(
        NewTable({3: Tables([Old(places[1]), NewTable({0: Text("new")}), Old(places[0])])}), b"NEWY", old
    )

    assert [one.text(0) for one in Table.root(data, b"NEWY").tables(3)] == ["two", "new", "one"]
    assert data.endswith(old)
    assert tail_shift(data, old) % TAIL_ALIGNMENT == 0


def test_the_reference_reads_the_same() -> None:
    """Google's own reader finds the fields where ours does, in tables of every shape."""
    try:
        table = importlib.import_module("flatbuffers.table")
        number_types = importlib.import_module("flatbuffers.number_types")
    except ImportError:
        pytest.skip("the package flatbuffers is not installed; it comes with ai-edge-litert")
    rng = random.Random(3)
    kinds = {"b": number_types.Int8Flags, "H": number_types.Uint16Flags, "I": number_types.Uint32Flags}
    kinds |= {"Q": number_types.Uint64Flags, "f": number_types.Float32Flags}
    for _ in range(200):
        fields = {
            number: Scalar(rng.choice(list(kinds)), rng.randrange(100))
            for number in rng.sample(range(20), rng.randrange(1, 12))
        }
        data = write_flatbuffer(NewTable(fields), b"TEST")
        read = table.Table(data, int.from_bytes(data[:4], "little"))
        for number in range(20):
            distance = read.Offset(4 + 2 * number)
            assert (distance != 0) == (number in fields)
            if distance:
                field = fields[number]
                assert (read.Pos + distance) % kinds[field.kind].bytewidth == 0
                assert read.Get(kinds[field.kind], read.Pos + distance) == field.value
