"""A model is grown at both ends, and its body answers as before, whatever converter wrote it."""

from __future__ import annotations

import importlib
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import DamagedError, ExtractorError
from edge_agent.ml.estimates import softmax
from edge_agent.ml.layers import Function
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    Field,
    NewTable,
    Old,
    Scalar,
    Tables,
    tail_shift,
    write_flatbuffer,
)
from edge_agent.vision.fused_head import add_answer
from edge_agent.vision.graft import Graft, without_files
from edge_agent.vision.preprocessing import dequantised
from edge_agent.vision.runtime import Interpreter, load_interpreter, load_signatures
from edge_agent.vision.tflite_schema import BufferField, ModelField

QUICK = "derived/coral_mobilenet_v1_0.25_128_quant_features.tflite"


def with_softmax(data: bytes) -> bytes:
    """The model with a softmax behind what it gives."""
    graft = Graft(data)
    out = add_answer(graft, [Function("softmax", "softmax")])
    return graft.finish(("in", graft.input), ("out", out), b"about")


def noise(interpreter: Interpreter) -> NDArray[Any]:
    """An input of the shape and type a model takes."""
    facts, rng = interpreter.input, np.random.default_rng(0)
    if facts.dtype.kind == "f":
        return rng.uniform(-1.0, 1.0, facts.shape).astype(facts.dtype)
    limits = np.iinfo(facts.dtype)
    return rng.integers(limits.min, limits.max + 1, facts.shape).astype(facts.dtype)


def test_every_ordinary_model_can_be_grown(testdata: Path) -> None:
    """Of all converters and types: the grown model gives the softmax of what the model gives."""
    grown = 0
    for path in sorted((testdata / "models").glob("*.tflite")) + sorted(
        (testdata / "models/derived").glob("*")
    ):
        data = path.read_bytes()
        try:
            before = load_interpreter(data)
        except ExtractorError:
            continue  # made for an accelerator
        after = load_interpreter(with_softmax(data))
        tensor = noise(before)
        facts = before.output
        plain = dequantised(before.run(tensor).reshape(1, -1), facts.scale, facts.zero_point)

        # Quantised bodies are rounded, so the same steps must come out, not only close ones.
        assert np.abs(after.run(tensor) - softmax(plain.astype(np.float64))).max() < 1e-5, path.name
        grown += 1
    assert grown >= 15


def test_odd_models_are_grown_or_refused_with_a_reason(testdata: Path) -> None:
    """Only our own error comes out, for damaged files and for those with several inputs alike."""
    refused = []
    for path in sorted((testdata / "models" / "odd").glob("*.tflite")):
        try:
            with_softmax(path.read_bytes())
        except DamagedError as error:
            refused.append(str(error))
    assert len(refused) >= 12
    assert not any("\n" in reason for reason in refused)


def test_damaged_bytes_never_surprise(testdata: Path) -> None:
    """A model with random bytes changed is grown or refused; nothing else comes out."""
    data = without_files((testdata / "models" / QUICK).read_bytes())
    rng, refused = random.Random(11), 0
    tables = [*range(400), *range(len(data) - 20_000, len(data))]
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(8):
            broken[rng.choice(tables)] = rng.randrange(256)
        try:
            with_softmax(bytes(broken))
        except DamagedError:
            refused += 1
    assert refused > 50


def outside(data: bytes, least: int = 1000) -> bytes:
    """The model with its larger buffers moved behind the tables, as converters do for large models."""
    root = Table.root(data, b"TFL3")
    fields: dict[int, Field] = {
        number: Old(place) for number in root.present if number and (place := root.place(number)) is not None
    }
    fields[ModelField.VERSION] = Scalar("I", 3)
    blanked, moved, behind = bytearray(data), [], b""
    for buffer in root.tables(ModelField.BUFFERS):
        content = buffer.raw(BufferField.DATA)
        if len(content) < least:
            moved.append((buffer.at, 0, 0))
            continue
        place = buffer.place(BufferField.DATA)
        assert place is not None
        blanked[place + 4 : place + 4 + len(content)] = bytes(len(content))
        behind += bytes(-len(behind) % 16)
        moved.append((buffer.at, len(behind), len(content)))
        behind += content

    def written(begin: int) -> bytes:
        fields[ModelField.BUFFERS] = Tables(
            [
                NewTable({1: Scalar("Q", begin + at), 2: Scalar("Q", size)}) if size else Old(old)
                for old, at, size in moved
            ]
        )
        return write_flatbuffer(NewTable(fields), b"TFL3", bytes(blanked))

    begin = -(-len(written(0)) // 16) * 16
    model = written(begin)
    return model + bytes(begin - len(model)) + behind


@pytest.mark.parametrize("file", [QUICK, "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite"])
def test_buffers_outside_of_the_tables_are_carried_over(file: str, testdata: Path) -> None:
    """Weights that are told by their place in the file are found at their new place."""
    data = without_files((testdata / "models" / file).read_bytes())
    moved = outside(data)
    try:
        before = load_interpreter(moved)
    except ExtractorError as error:
        pytest.skip(f"this runtime knows no buffers outside of the tables: {error}")
    tensor = noise(before)
    plain = load_interpreter(data).run(tensor)
    assert np.array_equal(before.run(tensor), plain)
    grown = with_softmax(moved)

    assert np.array_equal(
        load_interpreter(grown).run(tensor), load_interpreter(with_softmax(data)).run(tensor)
    )


def test_offsets_of_buffers_grow_by_as_much_as_stands_in_front(testdata: Path) -> None:
    """The bytes at each corrected place are those of the old one, whatever the runtime makes of them."""
    moved = outside(without_files((testdata / "models" / QUICK).read_bytes()))
    grown = with_softmax(moved)
    shift, found = tail_shift(grown, moved), 0
    pairs = zip(
        Table.root(moved, b"TFL3").tables(ModelField.BUFFERS),
        Table.root(grown, b"TFL3").tables(ModelField.BUFFERS),
        strict=False,
    )
    for old, new in pairs:
        at, size = old.uint64(BufferField.OFFSET), old.uint64(BufferField.SIZE)
        if size:
            begin = new.uint64(BufferField.OFFSET)
            assert begin == at + shift
            assert grown[begin : begin + size] == moved[at : at + size]
            found += 1
    assert found > 10
    assert shift % 16 == 0


def test_a_grown_model_can_be_grown_again(testdata: Path) -> None:
    """What we write is an ordinary model for ourselves, too."""
    data = (testdata / "models" / QUICK).read_bytes()
    tensor = noise(load_interpreter(data))
    once = load_interpreter(with_softmax(data)).run(tensor)
    twice = load_interpreter(with_softmax(with_softmax(data))).run(tensor)

    assert np.abs(twice - softmax(once.astype(np.float64))).max() < 1e-6


def test_signatures_name_the_new_input_and_output(testdata: Path) -> None:
    """Old signatures are gone, they were about another model; the new one runs by name."""
    data = with_softmax((testdata / "models" / QUICK).read_bytes())
    model = load_signatures(data)
    (name,) = model.inputs
    tensor = noise(load_interpreter(data))
    by_name = model.call(name, **{"in": tensor})

    # Called by name the steps may be shared out otherwise between the runtime's kernels.
    assert np.allclose(by_name["out"], load_interpreter(data).run(tensor), rtol=1e-5)


def test_the_reference_takes_it_apart_and_puts_it_together_again(testdata: Path) -> None:
    """Every table of a grown model is as the schema has it: written anew by its own code it answers the same."""
    try:
        schema = importlib.import_module("ai_edge_litert.schema_py_generated")
        flatbuffers = importlib.import_module("flatbuffers")
    except ImportError:
        pytest.skip("ai-edge-litert, which brings a reader and writer of the schema, is not installed")
    data = with_softmax((testdata / "models" / QUICK).read_bytes())
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    before, after = load_interpreter(data), load_interpreter(bytes(builder.Output()))

    assert [one.name for one in model.metadata] == [b"TFLITE_METADATA"]
    assert np.array_equal(before.run(noise(before)), after.run(noise(before)))


def test_an_older_archive_is_left_behind(testdata: Path) -> None:
    """Labels of the old model in its zip archive do not come along; weights that look like one stay."""
    path = testdata / "models" / "tfs_mobilenet_v1_0.25_224_float_metadata.tflite"
    assert zipfile.is_zipfile(path)
    data = path.read_bytes()
    bare = without_files(data)

    assert len(bare) < len(data)
    assert b"PK\3\4" not in bare[-64:]
    assert without_files(bare) == bare
    fake = b"TFL3" + bytes(100) + b"PK\5\6" + bytes(18)
    assert without_files(fake) == fake


def test_models_that_are_no_extractors_are_refused(make_body: Callable[..., bytes], testdata: Path) -> None:
    """Several inputs, whole numbers without a scale, and a schema from the future."""
    with pytest.raises(DamagedError, match="one input; this model has 3"):
        Graft((testdata / "models" / "odd" / "coral_split_concat_3in4out.tflite").read_bytes())
    with pytest.raises(DamagedError, match="without one scale"):
        Graft(make_body((1, 4), np.uint8))
    root = Table.root(make_body((1, 4)), b"TFL3")
    fields: dict[int, Field] = {number: Old(place) for number in (1, 2, 4) if (place := root.place(number))}
    with pytest.raises(DamagedError, match="newer schema"):
        Graft(write_flatbuffer(NewTable({**fields, 12: Scalar("I", 1)}), b"TFL3", make_body((1, 4))))
