"""A card is checked before it is believed, and pixels become what it asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import (
    InputCard,
    Preprocessor,
    card_from,
    dequantised,
    fingerprint_start,
    load_card,
)

CARD: dict[str, Any] = {
    "name": "small",
    "file": "small.tflite",
    "sha256": "0" * 64,
    "bytes": 10,
    "n_features": 8,
    "licence": "for people, not read",
    "input": {
        "width": 4, "height": 3, "channels": 3, "layout": "NHWC",
        "mean": 127, "std": 128, "resample": "bilinear", "color": "RGB",
    },
}  # fmt: skip
PIXELS = np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8)
INPUT = InputCard(width=4, height=3, mean=127.0, std=128.0)


def write(folder: Path, data: object) -> Path:
    """A card's file."""
    path = folder / "small.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_card_is_read_with_its_model_beside_it(tmp_path: Path) -> None:
    """Every fact of the card arrives, and the model file is looked for beside it."""
    card = load_card(write(tmp_path, CARD))

    assert (card.name, card.n_features, card.size) == ("small", 8, (4, 3))
    assert card.path == tmp_path / "small.tflite"
    assert (card.input.mean, card.input.std) == (127, 128)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"n_features": 0}, "n_features"),
        ({"name": "../up"}, "name"),
        ({"file": "../other.tflite"}, "`file`"),
        ({"file": None}, "`file`"),
        ({"input": CARD["input"] | {"channels": 1}}, "input.channels"),
        ({"input": CARD["input"] | {"resample": "nearest"}}, "input.resample"),
        ({"input": CARD["input"] | {"width": 100000}}, "input.width"),
        ({"input": CARD["input"] | {"std": 0}}, "input.std"),
        ({"input": CARD["input"] | {"mean": [1, 2]}}, "input.mean"),
    ],
)
def test_a_wrong_card_is_refused_by_name(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """The error names the file and the key."""
    path = write(tmp_path, CARD | change)

    with pytest.raises(ExtractorError) as caught:
        load_card(path)

    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_card_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    """A damaged or foreign file never becomes a card."""
    with pytest.raises(ExtractorError):
        load_card(write(tmp_path, text))


def test_a_card_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ExtractorError, match=r"absent\.json"):
        load_card(tmp_path / "absent.json")


def test_card_from_takes_plain_values(tmp_path: Path) -> None:
    """A plugin needs no file for its card."""
    assert card_from(CARD, path=tmp_path / "m", source="a plugin").path == tmp_path / "m"


def test_floats_are_normalised() -> None:
    """A float input holds (pixel - mean) / std, channel by channel, with a batch of one."""
    card = InputCard(width=4, height=3, mean=(0.0, 100.0, 127.5), std=(255.0, 50.0, 127.5))

    tensor = Preprocessor(card, np.dtype(np.float32), 0.0, 0)(PIXELS)

    expected = (PIXELS.astype(np.float64) - [0, 100, 127.5]) / [255, 50, 127.5]
    assert tensor.shape == (1, 3, 4, 3)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"), [(np.uint8, 0.0078125, 127), (np.int8, 0.0079, -1)]
)
def test_quantised_inputs_use_their_own_scale_and_zero_point(
    dtype: type[np.generic], scale: float, zero_point: int
) -> None:
    """Every value is the nearest step to what the formula gives, and never wraps around."""
    tensor = Preprocessor(INPUT, np.dtype(dtype), scale, zero_point)(PIXELS)

    limits = np.iinfo(dtype)  # type: ignore[type-var]
    exact = (PIXELS.astype(np.float64) - 127) / 128 / scale + zero_point
    assert tensor.dtype == dtype
    np.testing.assert_array_equal(tensor[0], np.clip(np.rint(exact), limits.min, limits.max))


LEVELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
"""Every value in every channel, in another order for each."""
LEVELS[:, :, 1] = LEVELS[::-1, :, 1]
LEVELS[:, :, 2] = LEVELS[:, ::-1, 2]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize(
    ("dtype", "mean", "std", "scale", "zero_point"),
    [
        (np.uint8, 0.0, 1.0, 1.0, 0),
        (np.int8, 0.0, 1.0, 1.0, -128),
        (np.uint8, 127.5, 127.5, 1 / 127.5, 128),
        (np.int8, 127.5, 127.5, 1 / 127.5, 0),
        (np.uint8, 0.0, 255.0, 1 / 255, 3),
        (np.int8, 0.0, 1.0, 1.0, -100),
        (np.uint8, (0.0, 0.0, 1.0), 1.0, 1.0, 0),
        (np.int8, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), 0.0186, -14),
        (np.int16, 0.0, 1.0, 1.0, 0),
        (np.float32, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), 0.0, 0),
    ],
)
def test_tensors_are_what_the_formula_gives(
    layout: Any, color: Any, dtype: Any, mean: Any, std: Any, scale: float, zero_point: int
) -> None:
    """Bit by bit, for every pixel value: whether bytes stay as they are, are shifted, or every channel has its own
    table, and however the pixels lie in memory."""
    card = InputCard(width=16, height=16, mean=mean, std=std, layout=layout, color=color)
    prepare = Preprocessor(card, np.dtype(dtype), scale, zero_point)

    exact = ((LEVELS if color == "RGB" else LEVELS[:, :, ::-1]).astype(np.float64) - mean) / std
    if dtype is not np.float32:
        limits = np.iinfo(dtype)
        exact = np.clip(np.rint(exact / scale) + zero_point, limits.min, limits.max)
    expected = exact.astype(dtype)[np.newaxis]
    if layout == "NCHW":
        expected = expected.transpose(0, 3, 1, 2)
    for pixels in (LEVELS, np.asfortranarray(LEVELS), LEVELS[:, ::-1].copy()[:, ::-1]):
        tensor = prepare(pixels)
        assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(tensor, expected)


def test_values_out_of_range_are_cut_not_wrapped() -> None:
    """White stays the largest value where the scale cannot hold it."""
    tensor = Preprocessor(INPUT, np.dtype(np.int8), 0.001, 0)(np.full((3, 4, 3), 255, np.uint8))

    assert set(tensor.reshape(-1)) == {127}


def test_colour_order_and_layout_follow_the_card() -> None:
    """BGR exchanges red and blue; NCHW puts channels first."""
    plain = Preprocessor(INPUT, np.dtype(np.float32), 0.0, 0)(PIXELS)
    card = InputCard(width=4, height=3, mean=127.0, std=128.0, layout="NCHW", color="BGR")

    other = Preprocessor(card, np.dtype(np.float32), 0.0, 0)(PIXELS)

    np.testing.assert_array_equal(other[0], plain[0, :, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("wrong", [np.zeros((4, 3, 3), np.uint8), np.zeros((3, 4, 3), np.float32)])
def test_other_pixels_are_refused(wrong: np.ndarray[Any, Any]) -> None:
    """Shape and type must be those of the card."""
    with pytest.raises(ExtractorError, match="uint8 pixels"):
        Preprocessor(INPUT, np.dtype(np.float32), 0.0, 0)(wrong)


def test_dequantising_undoes_quantising() -> None:
    """Integers become (q - zero point) * scale, floats stay what they are."""
    np.testing.assert_allclose(dequantised(np.array([0, 3, 255], np.uint8), 0.5, 3), [-1.5, 0, 126])
    np.testing.assert_array_equal(dequantised(np.array([0.25], np.float64), 0.0, 0), [0.25])


@pytest.mark.parametrize(
    "change",
    [
        {"input": {**CARD["input"], "mean": 0}},
        {"input": {**CARD["input"], "mean": [127, 127, 126]}},
        {"input": {**CARD["input"], "std": 255}},
        {"input": {**CARD["input"], "color": "BGR"}},
        {"output": "another"},
        {"sha256": "1" * 64},
        {"name": "other"},
    ],
)
def test_a_card_that_gives_other_features_has_another_fingerprint(change: dict[str, Any]) -> None:
    """So what was learned before a card was mended is never mixed with what is seen afterwards."""
    before, after, same = (
        fingerprint_start(card_from(data, path=Path("small.tflite"), source="small"))
        for data in (
            CARD,
            CARD | change,
            CARD | {"input": {**CARD["input"], "mean": [127.0] * 3}, "bytes": 11},
        )
    )

    assert before == same
    assert before.split(":")[:3] != after.split(":")[:3]
