"""Pictures that are numbers, and what looks at them: training sessions without a picture library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.augmentation import AugmentationSettings, Variant
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.feature_source import ExtractedFeatures

D = 8
LABELS = ("cat", "dog", "emu")


def write_picture(path: Path, label: str, number: int) -> Path:
    """A file that stands for a picture: its features are made from its text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{label} {number}", encoding="utf-8")
    return path


def picture_folder(folder: Path, per_label: int = 12, labels: Iterable[str] = LABELS) -> Path:
    """`per_label` pictures of each label, a folder each."""
    for label in labels:
        for number in range(per_label):
            write_picture(folder / label / f"{number:03}.jpg", label, number)
    return folder


class NumberSource:
    """A feature source for such files. It counts what it looked at, and fails where a file says so."""

    looked: list[tuple[str, Variant | None]]

    def __init__(self, fingerprint: str = "numbers", n_features: int = D) -> None:
        self.fingerprint = fingerprint
        self.n_features = n_features
        self.size = (32, 32)
        self.looked = []
        self.closed = 0
        self.opened = 0
        self.settings: AugmentationSettings | None = None

    def __call__(
        self,
        extractor: FeatureExtractorType | None = None,
        augmentation: AugmentationSettings | None = None,
    ) -> NumberSource:
        self.opened += 1
        self.settings = augmentation
        return self

    def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
        for path, variant in wanted:
            self.looked.append((path.name, variant))
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if text.startswith("bad"):
                yield ExtractedFeatures(path, variant, None, 0, 0, digest, "not a picture")
                continue
            yield ExtractedFeatures(path, variant, self.row(text, variant), 64, 48, digest)

    def row(self, text: str, variant: Variant | None) -> NDArray[np.float32]:
        label, _, _ = text.partition(" ")
        mean = np.zeros(self.n_features)
        mean[sum(label.encode()) % self.n_features] = 3.0
        seed = int.from_bytes(hashlib.sha256(f"{text}/{variant}".encode()).digest()[:8], "big")
        noise = np.random.default_rng(seed).normal(size=self.n_features)
        return np.abs(mean + 0.7 * noise).astype(np.float32)

    def extract_pictures(
        self, pictures: Iterable[Path | str | NDArray[np.uint8]]
    ) -> Iterator[ExtractedFeatures]:
        yield from self.extract((Path(str(one)), None) for one in pictures)

    def close(self) -> None:
        self.closed += 1
