"""This is where the demo's labelled pictures are drawn: five everyday things, each time a bit different."""

from __future__ import annotations

import colorsys
import itertools
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edge_agent.errors import NotFoundError

WIDTH, HEIGHT = 320, 240
FINE = 2
"""Everything is drawn this many times larger and scaled down, which smooths the edges."""

SIDE = 400
"""The square a thing is drawn in, in pixels of the fine picture, before it is turned and scaled."""

Colour = tuple[int, int, int]


def draw(label: str, rng: random.Random) -> Image.Image:
    """One picture of a thing: RGB, 320 x 240 pixels.

    Position, turn, size, colours, background, noise and light come from `rng` alone: the same state draws the
    same picture.  Raises `NotFoundError` for a label that nothing here is drawn for.
    """
    if label not in _THINGS:
        raise NotFoundError(f"no picture is drawn for {label!r}; known are {', '.join(LABELS)}")
    sketch, most_turn = _THINGS[label]
    thing = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    sketch(ImageDraw.Draw(thing), rng)
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = round(SIDE * rng.uniform(0.62, 1.08))
    thing = thing.resize((side, side), Image.Resampling.BILINEAR)
    thing = thing.rotate(rng.uniform(-most_turn, most_turn), Image.Resampling.BILINEAR)

    picture = _background(rng)
    left = round((picture.width - side) / 2 + rng.uniform(-0.13, 0.13) * picture.width)
    top = round((picture.height - side) / 2 + rng.uniform(-0.07, 0.07) * picture.height)
    _cast_shadow(picture, thing, (left + rng.randint(4, 18), top + rng.randint(6, 20)), rng)
    picture.paste(thing, (left, top), thing)
    return _photograph(picture, rng)


def write_pictures(
    folder: Path, per_label: int, seed: int, labels: Sequence[str] | None = None
) -> dict[str, list[Path]]:
    """Draw `per_label` JPEG files of each label into `folder/<label>/` and return their paths by label.

    The same seed writes the same files, whatever other labels are asked for.  Raises `NotFoundError` for an
    unknown label before anything is written, `OSError` when the folder cannot be written.
    """
    for label in labels or LABELS:
        if label not in _THINGS:
            raise NotFoundError(f"no picture is drawn for {label!r}; known are {', '.join(LABELS)}")
    paths: dict[str, list[Path]] = {}
    for label in labels or LABELS:
        rng = random.Random(f"{seed}/{label}")  # noqa: S311 - pictures, not secrets
        (folder / label).mkdir(parents=True, exist_ok=True)
        paths[label] = [folder / label / f"{label}-{number:03}.jpg" for number in range(1, per_label + 1)]
        for path in paths[label]:
            draw(label, rng).save(path, quality=rng.randint(80, 93))
    return paths


# ---------------------------------------------------------------------- things


def _leaf(pen: ImageDraw.ImageDraw, rng: random.Random) -> None:
    green = _colour(rng, hue=rng.choice([(0.22, 0.38), (0.22, 0.38), (0.03, 0.13)]), value=(0.45, 0.8))
    vein = _shade(green, 1.35)
    fat = rng.uniform(75, 125)
    # A sine raised to a power narrows towards the tip; the outline is that curve and its mirror image.
    along = [step / 40 for step in range(41)]
    half = [fat * math.sin(math.pi * t) ** 0.9 * (1.15 - 0.5 * t) for t in along]
    spine = [330 - 300 * t for t in along]
    right = [(200 + width, y) for width, y in zip(half, spine, strict=True)]
    left = [(200 - width, y) for width, y in zip(half, spine, strict=True)]
    pen.polygon(right + left[::-1], fill=green, outline=_shade(green, 0.7), width=4)
    pen.line([(200, 395), (200, 40)], fill=vein, width=7)
    for step in range(5, 36, 5):
        reach = half[step] * 0.68
        for side in (-1, 1):
            pen.line(
                [(200, spine[step]), (200 + side * reach, spine[step] - reach * 0.55)], fill=vein, width=4
            )


def _mug(pen: ImageDraw.ImageDraw, rng: random.Random) -> None:
    glaze = _colour(rng, hue=(0, 1), value=(0.55, 0.95))
    dark, inside = _shade(glaze, 0.72), _shade(glaze, 0.5)
    tall = rng.randint(190, 250)
    top, bottom = 200 - tall // 2, 200 + tall // 2
    pen.arc((215, top + 35, 370, bottom - 35), -95, 95, fill=dark, width=30)
    pen.rectangle((80, top, 285, bottom - 24), fill=glaze)
    pen.rounded_rectangle((80, top + 40, 285, bottom), radius=28, fill=glaze)
    pen.rectangle((248, top, 285, bottom - 26), fill=dark)
    if rng.random() < 0.7:
        band = rng.randint(top + 60, bottom - 90)
        pen.rectangle(
            (80, band, 285, band + rng.randint(18, 44)), fill=_colour(rng, hue=(0, 1), value=(0.6, 1))
        )
    pen.ellipse((80, top - 30, 285, top + 30), fill=_shade(glaze, 1.2))
    pen.ellipse((94, top - 20, 271, top + 22), fill=inside)
    pen.ellipse((102, top - 4, 263, top + 21), fill=rng.choice([(62, 38, 22), (92, 58, 30), (150, 112, 60)]))


def _key(pen: ImageDraw.ImageDraw, rng: random.Random) -> None:
    metal = rng.choice([(212, 175, 75), (176, 182, 190), (184, 124, 72), (120, 126, 134)])
    dark, light = _shade(metal, 0.66), _shade(metal, 1.25)
    bow = rng.randint(58, 76)
    ring = (90 - bow, 200 - bow, 90 + bow, 200 + bow)
    pen.rectangle((90 + bow - 12, 186, 382, 214), fill=metal, outline=dark, width=3)
    pen.line([(90 + bow, 193), (378, 193)], fill=light, width=5)
    at = rng.randint(264, 280)
    while at < 368:
        deep, broad = rng.randint(26, 62), rng.randint(14, 24)
        pen.rectangle((at, 211, at + broad, 214 + deep), fill=metal, outline=dark, width=3)
        at += broad + rng.randint(8, 16)
    pen.ellipse(ring, outline=dark, width=34)
    pen.ellipse(_inset(ring, 3), outline=metal, width=28)
    pen.arc(_inset(ring, 9), 170, 290, fill=light, width=7)


def _umbrella(pen: ImageDraw.ImageDraw, rng: random.Random) -> None:
    cloth = _colour(rng, hue=(0, 1), value=(0.6, 0.95))
    other = _colour(rng, hue=(0, 1), value=(0.6, 1)) if rng.random() < 0.6 else _shade(cloth, 1.3)
    stick = rng.choice([(70, 48, 30), (40, 40, 46), (140, 100, 60)])
    pen.line([(200, 30), (200, 352)], fill=stick, width=11)
    pen.arc((148, 322, 206, 386), 0, 180, fill=stick, width=11)
    # The dome is cut into panels by ellipses that share its height and grow narrower towards the middle.
    ribs = [185, 112, 40]
    for number, reach in enumerate(ribs):
        panel = (200 - reach, 52, 200 + reach, 340)
        pen.pieslice(panel, 180, 360, fill=cloth if number % 2 == 0 else other)
        pen.arc(panel, 180, 360, fill=_shade(cloth, 0.62), width=4)
    edges = sorted([200 - reach for reach in ribs] + [200 + reach for reach in ribs])
    for left, right in itertools.pairwise(edges):
        pen.ellipse((left, 178, right, 214), fill=(0, 0, 0, 0))
        pen.arc((left, 178, right, 214), 180, 360, fill=_shade(cloth, 0.62), width=4)
    pen.line([(200, 180), (200, 240)], fill=stick, width=11)


def _fish(pen: ImageDraw.ImageDraw, rng: random.Random) -> None:
    scales = _colour(rng, hue=rng.choice([(0.0, 0.14), (0.5, 0.72), (0.85, 1.0)]), value=(0.6, 0.95))
    dark, belly = _shade(scales, 0.68), _shade(scales, 1.35)
    thick = rng.randint(68, 100)
    tail = rng.randint(60, 90)
    pen.polygon([(280, 200), (392, 200 - tail), (358, 200), (392, 200 + tail)], fill=dark)
    pen.polygon([(140, 200 - thick + 12), (215, 200 - thick - 52), (265, 200 - thick + 34)], fill=dark)
    pen.polygon([(165, 200 + thick - 10), (210, 200 + thick + 40), (240, 200 + thick - 22)], fill=dark)
    pen.ellipse((20, 200 - thick, 320, 200 + thick), fill=scales)
    pen.chord((24, 200 - thick + 4, 316, 200 + thick - 4), 20, 160, fill=belly)
    for column in range(130, 285, 26):
        for row in (-40, -8, 24):
            pen.arc((column - 16, 200 + row - 16, column + 10, 200 + row + 16), -70, 70, fill=dark, width=4)
    pen.arc((60, 200 - thick + 6, 122, 200 + thick - 6), -75, 75, fill=dark, width=6)
    pen.ellipse((52, 160, 88, 196), fill=(245, 245, 240), outline=dark, width=3)
    pen.ellipse((62, 170, 80, 188), fill=(20, 20, 24))
    pen.arc((14, 205, 62, 235), 10, 110, fill=dark, width=6)


_THINGS: dict[str, tuple[Callable[[ImageDraw.ImageDraw, random.Random], None], float]] = {
    "fish": (_fish, 30),
    "key": (_key, 180),
    "leaf": (_leaf, 180),
    "mug": (_mug, 12),
    "umbrella": (_umbrella, 28),
}

LABELS = tuple(_THINGS)
"""What can be drawn, sorted."""


# ---------------------------------------------------------------------- scene and camera


def _background(rng: random.Random) -> Image.Image:
    """A wall or a table: two colours that run into each other, sometimes with boards, tiles or dots."""
    near = _colour(rng, hue=(0, 1), saturation=(0.04, 0.38), value=(0.45, 0.95))
    far = _shade(near, rng.uniform(0.6, 1.25))
    size = (WIDTH * FINE, HEIGHT * FINE)
    ramp = Image.linear_gradient("L").rotate(rng.choice([0, 90, 180, 270])).resize(size)
    picture = Image.composite(Image.new("RGB", size, near), Image.new("RGB", size, far), ramp)
    pen = ImageDraw.Draw(picture)
    line = _shade(near, rng.uniform(0.78, 0.92))
    pattern = rng.choice(["plain", "boards", "tiles", "dots"])
    step = rng.randint(60, 130)
    start = rng.randint(-step, 0)
    if pattern in {"boards", "tiles"}:
        for y in range(start, size[1], step):
            pen.line([(0, y), (size[0], y + rng.randint(-3, 3))], fill=line, width=5)
    if pattern == "tiles":
        for x in range(start, size[0], step):
            pen.line([(x, 0), (x, size[1])], fill=line, width=5)
    if pattern == "dots":
        for _ in range(60):
            x, y, r = rng.randrange(size[0]), rng.randrange(size[1]), rng.randint(3, 11)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=line)
    return picture


def _cast_shadow(picture: Image.Image, thing: Image.Image, at: tuple[int, int], rng: random.Random) -> None:
    strength = rng.uniform(0.2, 0.5)
    mask = thing.getchannel("A").point([round(alpha * strength) for alpha in range(256)])
    # Blurred at a quarter of the size: a shadow has no detail to lose, and this is what takes the time.
    small = mask.reduce(4).filter(ImageFilter.GaussianBlur(2.5))
    picture.paste((25, 22, 30), at, small.resize(mask.size))


def _photograph(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Scale down, let light fall off to one side, blur a little and add the noise of a sensor."""
    picture = picture.reduce(FINE)
    fall = rng.randint(0, 110)
    light = Image.linear_gradient("L").point([255 - fall + round(level * fall / 255) for level in range(256)])
    # The corners of a turned square are empty; the square that fits inside it at any angle is not.
    light = (
        light.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR)
        .crop((38, 38, 218, 218))
        .resize(picture.size)
    )
    picture = ImageChops.multiply(picture, Image.merge("RGB", (light, light, light)))
    exposure = rng.uniform(0.85, 1.3)
    picture = picture.point([min(255, round(level * exposure)) for level in range(256)] * 3)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.1)))
    grain = Image.frombytes("RGB", picture.size, rng.randbytes(picture.width * picture.height * 3))
    return Image.blend(picture, grain, rng.uniform(0.02, 0.09))


def _colour(
    rng: random.Random,
    *,
    hue: tuple[float, float],
    value: tuple[float, float],
    saturation: tuple[float, float] = (0.5, 0.95),
) -> Colour:
    """A colour within ranges of hue, saturation and value (each 0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return (round(red * 255), round(green * 255), round(blue * 255))


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return (red, green, blue)


def _inset(box: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    return (box[0] + by, box[1] + by, box[2] - by, box[3] - by)
