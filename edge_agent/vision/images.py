"""This is where a file's bytes become pixels, safely: nothing else shows Pillow a stranger's picture."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import (  # noqa: F401  # each plugin registers its format; without them Pillow would load all forty
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError, ImageMemoryError
from edge_agent.vision.picture_end import check_end
from edge_agent.vision.silence import Silence
from edge_agent.vision.turns import Turns

DRAFT = 2
"""A JPEG is scaled down while it is decoded to no less than this many times the wanted size. The features of
what comes out have a cosine of at least 0.9997 to those of the full picture, in a quarter of the time and a
tenth of the memory (measured with 12 megapixel photographs)."""

BAND_PIXELS = 1 << 20
"""Unusual pixels (alpha, palette, CMYK, 16 bit) are brought to RGB at most this many at a time."""

ABREAST_PIXELS = 4_000_000
"""Pictures that have more once they are decoded, and progressive ones, which are held as a whole while they are, are
decoded one at a time, however many threads there are: memory is short on small boards."""

ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, for each orientation but the upright one."""

SIDEWAYS = {UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}
"""The turns that exchange width and height."""

EDGE = 1e-6
"""Pixels: what the edge of a region may be off by rounding."""

MALFORMED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's parsers raise on bytes that are not what they seem."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """Upright RGB pixels uint8 [height, width, 3] of the wanted size, and what the original was."""

    pixels: npt.NDArray[np.uint8]
    width: int
    """Of the original, upright, in pixels."""
    height: int
    format: str


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Decode a picture and bring it to `target` (width, height): upright, RGB, transparent parts on white.

    The whole picture is resized, bilinear, without keeping its proportions. Of a moving picture the first
    frame is taken. The limits hold before a pixel is decoded. Colour profiles are not applied.

    Raises `ImageError` with a reason that a person understands.
    """
    return _guarded(data, limits, lambda: _decoded(data, limits, target))


def decode_upright(
    data: bytes, *, limits: PicturesConfig, orientation: int | None = None
) -> npt.NDArray[np.uint8]:
    """A whole picture at its own size: upright RGB pixels uint8 [height, width, 3].

    `orientation` (EXIF's 1 to 8) goes before what the file says. Memory grows with the picture, up to 3 bytes
    a pixel and what its format needs besides. Raises `ImageError` as `decode`.
    """
    return _guarded(data, limits, lambda: _decoded(data, limits, None, orientation)).pixels


def thumbnail(data: bytes, *, limits: PicturesConfig, side: int) -> bytes:
    """A JPEG file of a picture, upright, in its proportions, at most `side` pixels wide and high.

    Smaller pictures are not enlarged. Raises `ImageError` as `decode`.
    """
    # Decoded to a square of twice the size, which is then brought to the proportions.
    decoded = decode(data, limits=limits, target=(2 * side, 2 * side))
    scale = min(1.0, side / max(decoded.width, decoded.height))
    size = (max(1, round(decoded.width * scale)), max(1, round(decoded.height * scale)))
    file = io.BytesIO()
    Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=80)
    return file.getvalue()


def difference_hash(data: bytes, *, limits: PicturesConfig) -> int:
    """64 bits that hardly change when a picture is re-encoded, scaled, brightened, blurred or made grey.

    Each says whether one of 8 x 8 fields is darker than its right neighbour ("dHash", after N. Krawetz). Pictures
    that differ in five bits or fewer are nearly always the same one. Raises `ImageError` as `decode`.
    """
    pixels = decode(data, limits=limits, target=(9, 8)).pixels.astype(np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    bits = np.packbits((grey[:, :-1] < grey[:, 1:]).reshape(-1))
    return int.from_bytes(bits.tobytes(), "big")


def resize_region(
    pixels: npt.NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    *,
    grey: bool,
) -> npt.NDArray[np.uint8]:
    """The part `box` (x, y, width, height, in pixels) of uint8 [h, w, 3] RGB or [h, w] grey, at `size`.

    Bilinear, `size` is (width, height); the result is RGB [height, width, 3], or grey [height, width] with
    ITU-R 601 weights.
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    image = image.convert("L") if grey else _as_rgb(image)
    x, y, wide, high = box
    right, bottom = min(x + wide, width), min(y + high, height)
    # Pillow's filter reaches beyond the box it is given, but not beyond the picture, so what lies around is
    # cut off first; the tolerance keeps a rounding error from letting a whole row in.
    left, top = min(math.floor(x + EDGE), width - 1), min(math.floor(y + EDGE), height - 1)
    image = image.crop(
        (left, top, max(math.ceil(right - EDGE), left + 1), max(math.ceil(bottom - EDGE), top + 1))
    )
    inner = (
        max(x - left, 0.0),
        max(y - top, 0.0),
        min(right - left, image.width),
        min(bottom - top, image.height),
    )
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=inner))


def mapped(
    pixels: npt.NDArray[np.uint8],
    size: tuple[int, int],
    mapping: tuple[float, float, float, float, float, float],
) -> npt.NDArray[np.uint8]:
    """Pixels uint8 [height, width, 3] of `size` (width, height), each bilinear from where `mapping` sends it.

    (a, b, c, d, e, f) sends x, y to a x + b y + c, d x + e y + f; both count from the upper left corner, in
    pixels, the middle of the first one at 0.5. What lies outside of `pixels` is black.
    """
    image = Image.fromarray(pixels)
    turned = image.transform(size, Image.Transform.AFFINE, mapping, Image.Resampling.BILINEAR)
    return np.asarray(turned)


_silence = Silence()
_large = Turns()


def _guarded(data: bytes, limits: PicturesConfig, work: Callable[[], DecodedImage]) -> DecodedImage:
    """Do the decoding; whatever Pillow raises becomes an `ImageError`."""
    check_bytes(len(data), limits)
    if not data:
        raise ImageError("the file is empty")
    with _silence:
        try:
            return work()
        except UnidentifiedImageError:
            raise ImageError(f"not a picture in an accepted format ({', '.join(limits.formats)})") from None
        except Image.DecompressionBombError:
            raise ImageError(_too_large(limits)) from None
        except MemoryError:
            raise ImageMemoryError("there is not enough memory to decode it") from None
        except MALFORMED as error:
            words = " ".join(str(error).split())[:200] or type(error).__name__
            what = "cut off" if "truncated" in words.lower() else "damaged"
            raise ImageError(f"the picture is {what}: {words}") from None


def rehearse(limits: PicturesConfig) -> None:
    """Decode a small picture of each accepted format: what Pillow imports only then is there afterwards."""
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    for kind in limits.formats:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, kind, **({} if kind in ("BMP", "GIF") else {"exif": turned}))
        decode(file.getvalue(), limits=limits, target=(8, 8))


def check_bytes(size_bytes: int, limits: PicturesConfig) -> None:
    """Raise `ImageError` for a file that is too long to be read at all."""
    if size_bytes > limits.max_file_bytes:
        raise ImageError(
            f"the file has {size_bytes} bytes; the limit is {limits.max_file_bytes} (pictures.max_file_bytes)"
        )


def _decoded(
    data: bytes, limits: PicturesConfig, target: tuple[int, int] | None, orientation: int | None = None
) -> DecodedImage:
    """`target` None: the size it has; `orientation` None: the one its EXIF data says."""
    stream = io.BytesIO(data)
    with ExitStack() as held:
        if (
            early := data[:4] == b"RIFF"
        ):  # WebP's decoder takes the memory of two whole pictures when it is opened
            held.enter_context(_large)
        image = held.enter_context(Image.open(stream, formats=limits.formats))
        _check_size(image.size, limits)
        width, height = image.size
        # Several pictures in one JPEG (stereo, preview, HDR gain map): the first is the photograph.
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        check_end(kind, data, stream.tell())
        if kind == "JPEG" and target is not None:
            image.draft("RGB", (DRAFT * max(target), DRAFT * max(target)))
        # What is not scaled down while it is decoded is large: threads take turns with it.
        if not early and (image.size[0] * image.size[1] > ABREAST_PIXELS or image.info.get("progressive")):
            held.enter_context(_large)
        image.load()
        _check_size(image.size, limits)
        turn = UPRIGHT.get(_orientation(image) if orientation is None else orientation)
        if turn in SIDEWAYS:
            width, height = height, width
            target = None if target is None else (target[1], target[0])
        small = _resized(image, image.size if target is None else target)
    if turn is not None:
        small = small.transpose(turn)
    return DecodedImage(np.asarray(small), width, height, kind)


def _check_size(size: tuple[int, int], limits: PicturesConfig) -> None:
    if size[0] * size[1] > limits.max_megapixels * 1e6:
        raise ImageError(f"{size[0]} x {size[1]} pixels: {_too_large(limits)}")


def _too_large(limits: PicturesConfig) -> str:
    return f"the picture has more than {limits.max_megapixels:g} megapixels (pictures.max_megapixels)"


def _orientation(image: Image.Image) -> int:
    """How the camera was held, 1 where that is unknown: bad EXIF does not make a bad picture."""
    try:
        value = image.getexif().get(ORIENTATION)
    except MALFORMED:
        return 1
    return value if isinstance(value, int) else 1


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """An RGB picture of `size`; other modes are brought to RGB in bands, so that memory stays small."""
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return _as_rgb(image.resize(size, Image.Resampling.BILINEAR))
    full = _range(image)
    width, height = image.size
    scale = height / size[1]
    reach = math.ceil(max(scale, 1.0)) + 1
    rows = max(1, int(BAND_PIXELS / width / scale))
    whole = Image.new("RGB", size)
    for top in range(0, size[1], rows):
        bottom = min(top + rows, size[1])
        first = max(0, math.floor(top * scale) - reach)
        last = min(height, math.ceil(bottom * scale) + reach)
        band = _flattened(image.crop((0, first, width, last)), full)
        box = (0, top * scale - first, width, min(bottom * scale, height) - first)
        whole.paste(band.resize((size[0], bottom - top), Image.Resampling.BILINEAR, box=box), (0, top))
    return whole


def _as_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")


def _range(image: Image.Image) -> tuple[float, float] | None:
    """The values that mean black and white, for pixels of more than 8 bits; None for ordinary ones."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    if image.mode not in ("I", "F"):
        return None
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]  # one band, two numbers
    for white in (1.0, 255.0) if image.mode == "F" else (65535.0,):
        if low >= 0 and high <= white:
            return 0.0, white
    return low, high


def _flattened(band: Image.Image, full: tuple[float, float] | None) -> Image.Image:
    """RGB, with what is transparent laid on white; `full` is what `_range` said of the whole picture."""
    if full is not None:
        return _as_rgb(_scaled(band, *full))
    if "transparency" not in band.info and band.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return _as_rgb(band)
    band = band.convert("RGBA")
    white = Image.new("RGB", band.size, "white")
    white.paste(band, mask=band.getchannel("A"))
    return white


def _scaled(band: Image.Image, low: float, high: float) -> Image.Image:
    values = np.asarray(band)
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low) if high > low else 1.0)
    grey = np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
    if isinstance(clear := band.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey)
