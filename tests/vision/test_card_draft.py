"""The card of an extractor is written from its file where that says enough, and never guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ExtractorError
from edge_agent.vision.card_draft import write_card
from edge_agent.vision.graft import Graft, Step
from edge_agent.vision.model_metadata import ModelCard, metadata_bytes, with_files
from edge_agent.vision.preprocessing import Preprocessor, load_card
from edge_agent.vision.tflite_schema import Operator

SAID = ModelCard(
    name="",
    description="",
    version="",
    author="",
    license="",
    input_description="",
    mean=(),
    std=(),
    labels=(),
    notes={},
)
SHAPE = (1, 16, 24, 3)


@pytest.fixture(name="save")
def _save(tmp_path: Path, make_body: Callable[..., bytes]) -> Callable[..., Path]:
    """A model of a name that gives its picture as one vector, and says this and no more of itself."""

    def save(
        name: str, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32, *quantised: Any, **said: Any
    ) -> Path:
        graft = Graft(make_body(shape, dtype, *quantised))
        whole = graft.constant("whole", np.array([1, prod(shape)], np.int32))
        scale, point = graft.input.scale, graft.input.zero_point
        flat = graft.tensor("flat", (1, prod(shape)), dtype, scale=scale, zero_point=point)
        graft.add_behind(Step(Operator.RESHAPE, [graft.output, whole], flat))
        card = replace(SAID, **said)
        path = tmp_path / name
        about = metadata_bytes(card, width=24, height=16)
        path.write_bytes(with_files(graft.finish(("in", graft.input), ("out", flat), about), card))
        return path

    return save


def test_checklist_115_metadata_say_how_pixels_are_scaled(save: Callable[..., Path]) -> None:
    """For all channels or for each; the card lies beside the file and is an ordinary one."""
    path = save("My net (2).tflite", mean=(127.5,), std=(128.0,))
    card = write_card(path)

    assert card == load_card(path.with_suffix(".json"))
    assert (card.name, card.path, card.size) == ("My-net-2", path, (24, 16))
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (card.n_features, card.input.mean, card.input.std) == (1152, 127.5, 128.0)

    each = write_card(save("each.tflite", (1, 3, 16, 24), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)))
    assert (each.input.layout, each.size) == ("NCHW", (24, 16))
    assert (each.input.mean, each.input.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"), [(np.uint8, 1.0, 0), (np.uint8, 0.0078125, 128), (np.int8, 0.00784, -1)]
)
def test_a_quantised_input_holds_the_pixels_themselves(
    save: Callable[..., Path], dtype: Any, scale: float, zero_point: int
) -> None:
    """What the extractor is given for each pixel value is that value, with int8 less 128."""
    wanted = write_card(save("q.tflite", SHAPE, dtype, scale, zero_point)).input
    pixels = np.arange(prod(SHAPE), dtype=np.int64).astype(np.uint8).reshape(SHAPE[1:])
    given = Preprocessor(wanted, np.dtype(dtype), float(np.float32(scale)), zero_point)(pixels)

    np.testing.assert_array_equal(given[0].astype(int) - np.iinfo(dtype).min, pixels)


def test_metadata_that_the_graph_contradicts_are_not_believed(save: Callable[..., Path]) -> None:
    """The input was quantised for 0 to 255; what the metadata say would never be seen by it."""
    wanted = write_card(save("liar.tflite", SHAPE, np.uint8, 1.0, 0, mean=(127.5,), std=(127.5,))).input

    assert (wanted.mean, wanted.std) == (0.0, 1.0)


def test_what_is_not_said_is_not_guessed(save: Callable[..., Path]) -> None:
    """A float model without metadata has no card, and what belongs into one is named."""
    path = save("silent.tflite")
    with pytest.raises(
        ExtractorError, match=r"has no card, silent\.json, .* write input\.mean and input\.std"
    ):
        write_card(path)
    assert not path.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 16, 24, 1), "takes (1, 16, 24, 1), which is no RGB picture"),
        ((1, 1, 1, 3), "takes (1, 1, 1, 3), which is no RGB picture"),
        ((2, 16, 24, 3), "which is no RGB picture"),
        ((1, 16, 24, 3), "gives (1, 16, 24, 3), which is no vector"),
    ],
)
def test_a_picture_goes_in_and_a_vector_comes_out(
    shape: tuple[int, ...], words: str, make_body: Callable[..., bytes], tmp_path: Path
) -> None:
    """Other models are no extractors, and no card is written for them."""
    path = tmp_path / "other.tflite"
    path.write_bytes(make_body(shape, np.uint8, 1.0, 0))
    with pytest.raises(ExtractorError) as caught:
        write_card(path)

    assert words in str(caught.value)
    assert not path.with_suffix(".json").exists()


def test_what_is_no_model_is_said_in_a_line(tmp_path: Path) -> None:
    """Files that are not there and files of another kind."""
    with pytest.raises(ExtractorError, match="cannot be read"):
        write_card(tmp_path / "nothing.tflite")
    (tmp_path / "text.tflite").write_text("not a model")
    with pytest.raises(ExtractorError, match="none can be made from it"):
        write_card(tmp_path / "text.tflite")


def test_a_real_model_is_described_as_it_was_trained(testdata: Path, tmp_path: Path) -> None:
    """Its metadata say 127.5, and its graph computes that itself before it begins."""
    path = tmp_path / "real.tflite"
    path.write_bytes(
        (testdata / "models" / "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite").read_bytes()
    )
    card = write_card(path)

    assert (card.size, card.n_features, card.input.mean, card.input.std) == ((96, 96), 1280, 0.0, 255.0)
