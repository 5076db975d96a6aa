"""Plain pixels become what the body looks at, bit for bit as the agent's preprocessing makes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ExtractorError
from edge_agent.vision.fused_input import PixelInput, add_pixel_input
from edge_agent.vision.graft import Graft
from edge_agent.vision.preprocessing import Preprocessor, card_from
from edge_agent.vision.runtime import load_interpreter

Body = Callable[..., bytes]

WIDTH, HEIGHT = 16, 20

WAYS: list[tuple[str, Any, float, int, dict[str, Any]]] = [
    ("pixels as they are", np.uint8, 1.0, 0, {"mean": 0, "std": 1}),
    ("pixels as they are, scaled", np.uint8, 0.0078125, 127, {"mean": 127, "std": 128}),
    ("uint8, off by a little", np.uint8, 0.0078125, 128, {"mean": 127.5, "std": 127.5}),
    ("int8, shifted by 128", np.int8, 0.0078125, -1, {"mean": 127, "std": 128}),
    ("int8 by a table", np.int8, 0.02, 3, {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}),
    ("int8, blue first", np.int8, 0.0078125, -1, {"mean": 127, "std": 128, "color": "BGR"}),
    ("int8, channels first", np.int8, 0.0078125, -1, {"mean": 127, "std": 128, "layout": "NCHW"}),
    ("float", np.float32, 0.0, 0, {"mean": 127.5, "std": 127.5}),
    ("float, 0 to 1", np.float32, 0.0, 0, {"mean": 0, "std": 255}),
    ("float, 0 to 255", np.float32, 0.0, 0, {"mean": 0, "std": 1}),
    ("float, less the mean", np.float32, 0.0, 0, {"mean": [103.0, 116.0, 123.0], "std": 1, "color": "BGR"}),
    (
        "float, not exact in float32",
        np.float32,
        0.0,
        0,
        {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "layout": "NCHW", "color": "BGR"},
    ),
]


def grown(body: bytes, tmp_path: Path, told: dict[str, Any]) -> tuple[PixelInput, bytes]:
    """A body with pixels in front, and what its input is."""
    path = tmp_path / "body.tflite"
    path.write_bytes(body)
    card = card_from(
        {
            "name": "body",
            "sha256": hashlib.sha256(body).hexdigest(),
            "n_features": 1,
            "input": {"width": WIDTH, "height": HEIGHT, **told},
        },
        path=path,
        source="test",
    )
    graft = Graft(body)
    taken = add_pixel_input(graft, card)
    return taken, graft.finish(("image", taken.tensor), ("out", graft.output), b"")


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "told"), [way[1:] for way in WAYS], ids=[w[0] for w in WAYS]
)
def test_pixels_become_the_same_bits(
    dtype: Any, scale: float, zero_point: int, told: dict[str, Any], make_body: Body, tmp_path: Path
) -> None:
    """All levels in all channels, for every make of input, in the runtime at hand."""
    shape = (1, HEIGHT, WIDTH, 3) if told.get("layout") != "NCHW" else (1, 3, HEIGHT, WIDTH)
    taken, model = grown(make_body(shape, dtype, scale, zero_point), tmp_path, told)
    card = card_from(
        {
            "name": "x",
            "sha256": "0" * 64,
            "n_features": 1,
            "input": {"width": WIDTH, "height": HEIGHT, **told},
        },
        path=tmp_path / "x",
        source="test",
    )
    prepare = Preprocessor(card.input, np.dtype(dtype), scale, zero_point)
    interpreter = load_interpreter(model)
    rng = np.random.default_rng(1)
    ramp = (
        np.resize(np.arange(256, dtype=np.uint8), HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).repeat(3, axis=2)
    )

    assert (interpreter.input.shape, interpreter.input.dtype) == ((1, HEIGHT, WIDTH, 3), np.uint8)
    for pixels in (ramp, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)):
        assert np.array_equal(interpreter.run(pixels[None]), prepare(pixels))

    # A program that goes by the metadata normalises, then quantises as the tensor says: pixels again.
    levels = np.arange(256.0)
    facts = interpreter.input
    for mean, std in zip(taken.mean, taken.std, strict=True):
        again = np.rint((levels - mean) / std / facts.scale) + facts.zero_point
        assert np.array_equal(again, levels)


def test_a_body_of_another_shape_is_refused(make_body: Body, tmp_path: Path) -> None:
    """The card says how large a picture is; a body that takes another is not grown."""
    with pytest.raises(ExtractorError, match=r"shape \(1, 8, 8, 3\), not \(1, 20, 16, 3\)"):
        grown(make_body((1, 8, 8, 3)), tmp_path, {"mean": 0, "std": 1})
