"""This is where changed copies of pictures are made, from pixels that have already the extractor's size."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.augmentation import COPIES, AugmentationSettings, ImageAugmentationOptions, Variant
from edge_agent.vision.images import mapped, resize_region

if TYPE_CHECKING:
    from numpy.random import Generator

Pixels = NDArray[np.uint8]

LEAST = 0.4
"""The weakest blur and noise, as a share of the strongest: a copy that shows nothing would be no copy."""

STRETCHED = 4.0
"""Of a picture that is more drawn out than this, one this much drawn out is turned."""

SHARP = 0.1
"""Pixels: a blur of less changes no pixel value."""

_DARKEST = 0.0031308
"""Below it, sRGB is linear (IEC 61966-2-1)."""


def prepare() -> None:
    """Load what chance takes: NumPy 2 does so with the first use, when the engine can load nothing any more."""
    np.random.default_rng()


def augmented(
    pixels: Pixels,
    variant: Variant,
    settings: AugmentationSettings,
    key: str,
    *,
    proportion: float | None = None,
) -> Pixels:
    """A changed copy of RGB pixels uint8 [h, w, 3], of the same shape.

    It depends on the pixels, the variant, the settings and `key`, which tells pictures apart (the digest of
    the file), and on nothing else. `proportion` is width to height of the picture before it was squeezed into
    this shape, so that a turn is one of the scene; unless given, the pixels are square.

    The four copies of a kind share its range among them, one quarter each, so that they differ.
    """
    text = f"{settings.seed}/{key}/{variant.kind}/{variant.index}"
    chance = np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))
    copies = COPIES[ImageAugmentationOptions[variant.kind.upper()]]
    # From 0 to 1.
    amount = (variant.index + chance.random()) / copies
    height, width = pixels.shape[:2]
    match variant.kind:
        case "crop":
            return _crop(pixels, 1 - amount * (1 - settings.crop_area), chance)
        case "rotation":
            squeeze = (width / height) / (proportion or width / height)
            return _turn(pixels, (2 * amount - 1) * settings.rotation_degrees, squeeze)
        case "blur":
            return _blur(pixels, _visible(amount) * settings.blur_radius * min(width, height))
        case "exposure":
            return _expose(pixels, (2 * amount - 1) * settings.exposure_stops)
        case "noise":
            return _noise(pixels, _visible(amount) * settings.noise_deviation, chance)
        case "flip":
            return _flip(pixels, variant.index)


def _visible(amount: float) -> float:
    return LEAST + (1 - LEAST) * amount


def _crop(pixels: Pixels, area: float, chance: Generator) -> Pixels:
    """A part of the same proportions, anywhere, enlarged to the whole size."""
    height, width = pixels.shape[:2]
    side = math.sqrt(area)
    x, y = chance.random(2) * (1.0 - side)
    box = float(x) * width, float(y) * height, side * width, side * height
    return resize_region(pixels, box, (width, height), grey=False)


def _turn(pixels: Pixels, degrees: float, squeeze: float) -> Pixels:
    """Turned to the left about the middle; what was outside is the mirror image of what is inside.

    `squeeze` is how much more the width was scaled than the height: the scene is turned, not what it was
    squeezed into.
    """
    squeeze = min(max(squeeze, 1 / STRETCHED), STRETCHED)
    height, width = pixels.shape[:2]
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    across, down = -sine * squeeze, sine / squeeze
    # How far the corners reach beyond the edges.
    beyond_x = math.ceil(max(0.0, (abs(cosine) * width + abs(across) * height - width) / 2)) + 1
    beyond_y = math.ceil(max(0.0, (abs(cosine) * height + abs(down) * width - height) / 2)) + 1
    wide = np.pad(pixels, ((beyond_y, beyond_y), (beyond_x, beyond_x), (0, 0)), mode="symmetric")
    x, y = width / 2, height / 2
    left = x + beyond_x - cosine * x - across * y
    top = y + beyond_y - down * x - cosine * y
    return mapped(wide, (width, height), (cosine, across, left, down, cosine, top))


def _blur(pixels: Pixels, deviation: float) -> Pixels:
    """Out of focus: Gaussian, with a standard deviation in pixels; beyond the edges, as in a turn.

    Not Pillow's, whose rounding leaves a picture as it is for less than a pixel, which is what small
    extractors need.
    """
    if deviation < SHARP:
        return pixels.copy()
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    height, width = pixels.shape[:2]
    wide = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric").astype(np.float32)
    rows = np.zeros((height, *wide.shape[1:]), np.float32)
    for at, weight in enumerate(weights):
        rows += weight * wide[at : at + height]
    both = np.zeros((height, width, 3), np.float32)
    for at, weight in enumerate(weights):
        both += weight * rows[:, at : at + width]
    return np.rint(both).astype(np.uint8)


def _expose(pixels: Pixels, stops: float) -> Pixels:
    """More or less light, as a camera would have taken it in: pixel values are not proportional to light."""
    level = np.arange(256) / 255
    light = np.where(level <= 12.92 * _DARKEST, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    light = np.minimum(light * 2.0**stops, 1.0)
    level = np.where(light <= _DARKEST, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    table: Pixels = np.rint(level * 255).astype(np.uint8)
    return table[pixels]


def _noise(pixels: Pixels, deviation: float, chance: Generator) -> Pixels:
    """Gaussian noise, another for each pixel and channel."""
    noisy = chance.standard_normal(pixels.shape, dtype=np.float32)
    noisy *= np.float32(deviation)
    noisy += pixels
    np.rint(noisy, out=noisy)
    np.clip(noisy, 0, 255, out=noisy)
    return noisy.astype(np.uint8)


def _flip(pixels: Pixels, index: int) -> Pixels:
    """Left for right, top for bottom, both."""
    turned = (pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1])[index]
    return np.ascontiguousarray(turned)
