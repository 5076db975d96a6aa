"""A graph is cut at a tensor: the cut file gives what was there, and holds nothing that it does not need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import DamagedError
from edge_agent.vision.anatomy import Anatomy
from edge_agent.vision.cutting import cut
from edge_agent.vision.flatbuffer_writer import NewTable, Numbers, Scalar, Tables, write_flatbuffer
from edge_agent.vision.pooling import find_features, picture_input
from edge_agent.vision.runtime import load_interpreter, run_whole

CLASSIFIER = "coral_mobilenet_v1_0.25_128_quant.tflite"


def noise(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An input of this shape and type."""
    rng = np.random.default_rng(0)
    if dtype.kind == "f":
        return rng.uniform(-1.0, 1.0, shape).astype(dtype)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize(
    "file",
    [CLASSIFIER, "mlptiny_vww_96_int8.tflite", "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite"],
)
def test_the_cut_file_gives_what_is_inside_of_the_whole(testdata: Path, file: str) -> None:
    """Bit for bit for quantised models, and the rest of the graph makes of it what the whole gives."""
    data = (testdata / "models" / file).read_bytes()
    anatomy = Anatomy(data)
    part, taken = find_features(anatomy).part, picture_input(anatomy).part
    model, rest = cut(anatomy, taken, part), cut(anatomy, part, anatomy.outputs[0])
    tensor = noise(taken.shape, taken.dtype)

    features = load_interpreter(model).run(tensor)
    [inner] = run_whole(data, tensor, inner=part.index)
    [given] = run_whole(data, tensor)

    atol = 1e-4 if taken.dtype.kind == "f" else 0
    np.testing.assert_allclose(features.astype(float), inner.astype(float), atol=atol)
    np.testing.assert_allclose(run_whole(rest, features)[0].astype(float), given.astype(float), atol=atol)


def test_a_classifier_loses_its_answers(testdata: Path) -> None:
    """Of a classifier of 1,001 labels not half the bytes are left, and no step behind the features."""
    data = (testdata / "models" / CLASSIFIER).read_bytes()
    anatomy = Anatomy(data)
    part = find_features(anatomy).part

    model = cut(anatomy, picture_input(anatomy).part, part, description="half")

    assert len(model) < len(data) / 2
    assert len(Anatomy(model).steps) == anatomy.makers[part.index] + 1
    assert [one.name for one in Anatomy(model).outputs] == [part.name]
    assert model == cut(anatomy, picture_input(anatomy).part, part, description="half")
    assert model != cut(anatomy, picture_input(anatomy).part, part, description="other")


def test_a_backbone_is_averaged_over_its_places(testdata: Path) -> None:
    """Cut before its pooling and found again as a map, a model gives what the pooled one gave, within rounding."""
    anatomy = Anatomy((testdata / "models" / CLASSIFIER).read_bytes())
    taken, pooled = picture_input(anatomy).part, find_features(anatomy).part
    deepest = anatomy.tensors[anatomy.steps[anatomy.makers[pooled.index]].inputs[0]]
    backbone = Anatomy(cut(anatomy, taken, deepest))
    tensor = noise(taken.shape, taken.dtype)

    found = find_features(backbone)
    model = cut(backbone, picture_input(backbone).part, found.part, averaged=found.averaged)

    assert (found.kind, found.count, found.averaged) == ("map", 256, True)
    said = load_interpreter(model).run(tensor).ravel().astype(int)
    before = load_interpreter(cut(anatomy, taken, pooled)).run(tensor).ravel().astype(int)
    assert np.abs(said - before).max() <= 1


def test_buffers_outside_of_the_tables_are_carried_over() -> None:
    """What lies behind the tables, by its place in the file, is in the tables of the cut file."""
    values = np.arange(12, dtype=np.float32)
    model = _adding(values, outside=True)

    anatomy = Anatomy(model)
    inside = cut(anatomy, anatomy.inputs[0], anatomy.outputs[0])

    tensor = np.ones((1, 12), np.float32)
    np.testing.assert_allclose(load_interpreter(inside).run(tensor), tensor + values)
    assert Anatomy(inside).raw(1) == values.tobytes()


def test_what_cannot_be_written_is_refused(testdata: Path) -> None:
    """Steps that are not built in, and bytes that are not there, give a reason."""
    compiled = Anatomy(
        (testdata / "models" / "coral_mobilenet_v1_0.25_128_quant_edgetpu.tflite").read_bytes()
    )
    with pytest.raises(DamagedError, match="edgetpu-custom-op"):
        cut(compiled, compiled.inputs[0], compiled.outputs[0])
    short = Anatomy(_adding(np.arange(12, dtype=np.float32), outside=True)[:-8])
    with pytest.raises(DamagedError, match="does not end within the file"):
        cut(short, short.inputs[0], short.outputs[0])


def _adding(values: np.ndarray, *, outside: bool) -> bytes:
    """A model that adds constants to its input; they may lie behind the tables."""
    n = len(values)

    def model(place: int) -> bytes:
        def tensor(buffer: int) -> NewTable:
            return NewTable(
                {0: Numbers(np.array([1, n], np.int32)), 1: Scalar("b", 0), 2: Scalar("I", buffer)}
            )

        step = NewTable(
            {
                0: Scalar("I", 0),
                1: Numbers(np.array([0, 1], np.int32)),
                2: Numbers(np.array([2], np.int32)),
                3: Scalar("B", 11),
                4: NewTable({}),
            }
        )
        graph = NewTable(
            {
                0: Tables([tensor(0), tensor(1), tensor(0)]),
                1: Numbers(np.array([0], np.int32)),
                2: Numbers(np.array([2], np.int32)),
                3: Tables([step]),
            }
        )
        kept = {1: Scalar("Q", place), 2: Scalar("Q", values.nbytes)}
        held = {0: Numbers(np.frombuffer(values.tobytes(), np.uint8))}
        return write_flatbuffer(
            NewTable(
                {
                    0: Scalar("I", 3),
                    1: Tables([NewTable({2: Scalar("i", 1)})]),
                    2: Tables([graph]),
                    4: Tables([NewTable({}), NewTable(kept if outside else held)]),
                }
            ),
            b"TFL3",
        )

    return model(len(model(1 << 20))) + (values.tobytes() if outside else b"")
