"""This is where it is measured how surely a change of the camera's pictures is told, and how often without reason.

    OPENBLAS_NUM_THREADS=1 python benchmarks/drift.py --data DIR... [--runs 200] [--asked 30]

Each DIR has a folder of pictures for each label. Half of them, 400 at most, are what was learned from; of the other
half so many are drawn in each run, as they are or changed alike, and ranked as a running agent ranks what it is asked
about. Printed is the share of runs in which a change is told. Where names begin with `test_`, a last line draws from
those while only the others were learned from.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from learning import CARD, ENDINGS
from PIL import Image, ImageEnhance, ImageFilter

from edge_agent.agent.incoming import MOST_LEARNED
from edge_agent.config import PicturesConfig
from edge_agent.ml.drift import Reference, drift
from edge_agent.vision import images
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card


def noisy(picture: Image.Image) -> Image.Image:
    """Noise of 25 of 255 steps."""
    pixels = np.asarray(picture).astype(np.float32)
    noise = np.random.default_rng(picture.width * picture.height).normal(0, 25, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def reencoded(picture: Image.Image) -> Image.Image:
    """JPEG of quality 10."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=10)
    return Image.open(file).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    """5 % less on each side."""
    x, y = picture.width // 20, picture.height // 20
    return picture.crop((x, y, picture.width - x, picture.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda picture: picture,
    "+15 % brightness": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
    "5 % cropped": cropped,
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 100)),
    "noise": noisy,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "JPEG quality 10": reencoded,
    "-60 % brightness": lambda picture: ImageEnhance.Brightness(picture).enhance(0.4),
    "turned by 90 degrees": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
}
HARMLESS = tuple(CHANGES)[:4]


def features(paths: list[Path], extractor: FeatureExtractor) -> dict[str, np.ndarray]:
    """Of all pictures [n, D], by how they were changed."""
    found: dict[str, list[np.ndarray]] = {change: [] for change in CHANGES}
    for path in paths:
        picture = Image.open(path).convert("RGB")
        for change, work in CHANGES.items():
            file = io.BytesIO()
            work(picture).save(file, "BMP")
            decoded = images.decode(file.getvalue(), limits=PicturesConfig(), target=extractor.card.size)
            found[change].append(extractor.extract(decoded.pixels))
    return {change: np.stack(rows) for change, rows in found.items()}


def told(
    X: dict[str, np.ndarray], elsewhere: np.ndarray, runs: int, asked: int
) -> Iterator[tuple[str, float]]:
    """The share of runs in which each change is told."""
    n = len(elsewhere)
    counts = dict.fromkeys(X, 0)
    away = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        order = rng.permutation(n)
        reference = Reference(X["none"][order[: n // 2][:MOST_LEARNED]])
        drawn = rng.choice(order[n // 2 :], asked, replace=False)
        for change, rows in X.items():
            counts[change] += drift(reference.ranks(rows[drawn]).tolist(), len(reference)).changed
        if elsewhere.any():
            here = Reference(X["none"][rng.permutation(np.flatnonzero(~elsewhere))[:MOST_LEARNED]])
            there = X["none"][rng.choice(np.flatnonzero(elsewhere), asked, replace=False)]
            away += drift(here.ranks(there).tolist(), len(here)).changed
    yield from ((change, count / runs) for change, count in counts.items())
    if elsewhere.any():
        yield "taken elsewhere", away / runs


def main() -> None:
    """One line for each change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of labelled pictures")
    parser.add_argument("--extractor", type=Path, default=CARD, help="card of the extractor")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--asked", type=int, default=30, help="pictures of a run (default %(default)s)")
    given = parser.parse_args()
    extractor = FeatureExtractor(load_card(given.extractor))
    for folder in given.data:
        paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in ENDINGS)
        elsewhere = np.array([path.name.startswith("test_") for path in paths])
        print(f"{folder.name}: {len(paths)} pictures, {given.asked} asked, {given.runs} runs")
        for change, share in told(features(paths, extractor), elsewhere, given.runs, given.asked):
            print(f"  {change:<22}{100 * share:6.1f} %{'  (nothing to tell)' if change in HARMLESS else ''}")


if __name__ == "__main__":
    main()
