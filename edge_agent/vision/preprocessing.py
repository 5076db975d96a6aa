"""This is where a picture's pixels become what an extractor wants to see, as its card says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from edge_agent.errors import ExtractorError
from edge_agent.store.whole_file import read_whole_file
from edge_agent.vision.wire import MAX_FEATURES

PREPROCESSING_VERSION = 1
"""Grows when the same picture would give other features than before; it is part of every fingerprint.

1: the whole picture is resized to the input's size without keeping its proportions, bilinear; JPEGs are
scaled down while decoding to no less than twice that size.
"""

TFLITE = "tflite"
"""The backend that is built in."""

BACKEND = r"^(tflite|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)$"
"""How a backend is named: the built-in one, or a class in a module of a plugin."""

Channels = float | tuple[float, float, float]
Side = Annotated[int, Meta(ge=1, le=2048)]


class InputCard(Struct, frozen=True, kw_only=True):
    """What the extractor's input tensor holds."""

    width: Side
    height: Side
    channels: Literal[3] = 3
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    mean: Channels
    """Taken from every pixel value (0 to 255), for all channels or for each."""
    std: Channels
    """What is left is divided by this."""
    resample: Literal["bilinear"] = "bilinear"
    color: Literal["RGB", "BGR"] = "RGB"


class ExtractorCard(Struct, frozen=True, kw_only=True):
    """What is known about an extractor before it is loaded."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    path: Path
    """The model's file."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    n_features: Annotated[int, Meta(ge=1, le=MAX_FEATURES)]
    input: InputCard
    output: str | None = None
    """The name of the output that is the features, in a model with several; None: it has only one."""
    backend: Annotated[str, Meta(pattern=BACKEND)] = TFLITE
    """What runs the model: `tflite`, or a plugin's class as `module:Class`, which only the engine process imports."""
    options: dict[str, Any] = {}
    """What a plugin tells its backend; plain JSON."""

    @property
    def width(self) -> int:
        """Width, in pixels, of what the extractor looks at."""
        return self.input.width

    @property
    def height(self) -> int:
        """Height, in pixels, of what the extractor looks at."""
        return self.input.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels, of what the extractor looks at."""
        return self.input.width, self.input.height


def card_from(data: Any, *, path: Path, source: str) -> ExtractorCard:
    """A card from plain values, with `path` as its model file; keys that are only for people are passed over.

    Raises `ExtractorError` that names `source` and the key that is wrong.
    """
    if not isinstance(data, dict):
        raise ExtractorError(f"{source}: an extractor's card is a JSON object")
    try:
        card = msgspec.convert({**data, "path": path}, ExtractorCard)
    except msgspec.ValidationError as error:
        raise ExtractorError(f"{source}: {str(error)[:1].lower()}{str(error)[1:]}") from None
    if not np.all(np.isfinite([*_three(card.input.mean), *_three(card.input.std)])) or 0 in _three(
        card.input.std
    ):
        raise ExtractorError(f"{source}: input.mean and input.std must be finite numbers, and std not 0")
    return card


def check_card(card: ExtractorCard) -> None:
    """Hold a card that a plugin made to what `card_from` asks for; raises `ExtractorError`."""
    data = msgspec.to_builtins(card, enc_hook=repr)
    card_from(data, path=card.path, source=f"the card of {card.name!r}")


def load_card(path: Path) -> ExtractorCard:
    """Read a model card (JSON); its `file` lies beside it.

    Raises `ExtractorError` that names the file and what is wrong with it.
    """
    try:
        data = msgspec.json.decode(read_whole_file(path))
    except OSError as error:
        raise ExtractorError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExtractorError(f"{path}: not valid JSON: {error}") from None
    file = data.get("file") if isinstance(data, dict) else None
    if not isinstance(file, str) or Path(file).name != file:
        raise ExtractorError(f"{path}: `file` must name the model file that lies beside the card")
    return card_from(data, path=path.parent / file, source=str(path))


def fingerprint_start(card: ExtractorCard) -> str:
    """The part of a fingerprint that is known before anything is loaded.

    Name, file, and what else of the card features depend on: a mean that is mended makes other features.
    """
    return f"{card.name}:{card.sha256[:16]}:{_reading(card)}:"


def _reading(card: ExtractorCard) -> str:
    """How a file is fed and read, as one word: the version of the preprocessing, scaling, colours, and the output."""
    scaling = [*map(float, _three(card.input.mean)), *map(float, _three(card.input.std))]
    digest = hashlib.sha256(msgspec.json.encode([scaling, card.input.color, card.output])).hexdigest()
    return f"pre{PREPROCESSING_VERSION}-{digest[:8]}"


def fingerprint_of(card: ExtractorCard, release: str, delegate: str) -> str:
    """What names the features of a card's model, by what runs it and where, as in `litert-2.3` and `cpu`.

    Equal for two extractors exactly when their features may be compared.
    """
    output = "" if card.output is None else f":{card.output}"
    return f"{fingerprint_start(card)}{release}:{delegate}{output}"


class Preprocessor:
    """Turns pixels into the input tensor of one extractor.

    A pixel has only 256 values, so normalising and quantising is one look into a table for each channel; it
    gives bit for bit what the formula gives.
    """

    def __init__(self, card: InputCard, dtype: np.dtype[Any], scale: float, zero_point: int) -> None:
        self._card = card
        levels = np.arange(256, dtype=np.float64)
        tables = [
            _quantised((levels - mean) / std, dtype, scale, zero_point)
            for mean, std in zip(_three(card.mean), _three(card.std), strict=True)
        ]
        self._tables = tables
        self._steps = _steps(tables)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The input tensor, of shape [1, H, W, 3] or [1, 3, H, W], for RGB pixels of shape [H, W, 3].

        Raises `ExtractorError` when the pixels have another shape or type.
        """
        expected = (self._card.height, self._card.width, 3)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise ExtractorError(
                f"the extractor sees uint8 pixels of shape {expected}, not {pixels.dtype} {pixels.shape}"
            )
        if self._card.color == "BGR":
            pixels = pixels[:, :, ::-1]
        if self._steps is not None:
            tensor = (pixels + self._steps).view(self._tables[0].dtype)[np.newaxis]
        else:
            tensor = np.empty((1, *expected), dtype=self._tables[0].dtype)
            for channel, table in enumerate(self._tables):
                np.take(table, pixels[:, :, channel], out=tensor[0, :, :, channel], mode="clip")
        if self._card.layout == "NCHW":
            tensor = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        return tensor


def _steps(tables: list[npt.NDArray[Any]]) -> np.uint8 | None:
    """What is added to each pixel, modulo 256, where the tables do nothing else; None where they do more."""
    if tables[0].dtype.itemsize != 1:
        return None
    steps = [(table.view(np.uint8) - np.arange(256, dtype=np.uint8)) for table in tables]
    first = np.uint8(steps[0][0])
    return first if all(np.all(step == first) for step in steps) else None


def _three(value: Channels) -> tuple[float, float, float]:
    return value if isinstance(value, tuple) else (value, value, value)


def _quantised(
    values: npt.NDArray[np.float64], dtype: np.dtype[Any], scale: float, zero_point: int
) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    steps: npt.NDArray[np.float64] = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max)
    return steps.astype(dtype)


def dequantised(values: npt.NDArray[Any], scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """The float32 meaning of a quantised tensor, of the same shape; a float tensor only changes its type."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    steps = values.astype(np.float32) - np.float32(zero_point)
    meaning: npt.NDArray[np.float32] = steps * np.float32(scale)
    return meaning
