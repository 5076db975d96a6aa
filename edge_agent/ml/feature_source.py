"""This is where it is written down what gives the features of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.augmentation import Variant


@dataclass(frozen=True, eq=False)
class ExtractedFeatures:
    """What became of one look at a picture."""

    path: Path
    """The file; for pixels from memory, what stands for their name."""
    variant: Variant | None
    """Which changed copy was looked at; None: the picture as it is."""
    features: NDArray[np.float32] | None
    """Of shape [n_features]; None when `error` says why."""
    width: int
    """Of the original, upright, in pixels; 0 when it was refused."""
    height: int
    digest: str
    """sha256 of the file's bytes, in hex; empty when they could not be read."""
    error: str | None = None
    """Why there are no features, without the file's name."""

    @property
    def complaint(self) -> str | None:
        """What is wrong, with the file's name; None when nothing is."""
        return None if self.error is None else f"{self.path}: {self.error}"


@runtime_checkable
class FeatureSource(Protocol):
    """Turns pictures into features, always in the same way; for one thread."""

    @property
    def n_features(self) -> int:
        """How many features a picture has."""

    @property
    def fingerprint(self) -> str:
        """Equal for two sources exactly when their features may be compared."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels, of what the extractor sees; smaller pictures are enlarged."""

    def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
        """One answer for each look that is wanted, in that order.

        A picture that cannot be read is an answer with an `error`, never an exception. Looks at one picture
        are best wanted one after the other: it is then decoded once. Raises `ExtractorError` when the
        extractor itself cannot work.
        """

    def extract_pictures(
        self, pictures: Iterable[Path | str | NDArray[np.uint8]]
    ) -> Iterator[ExtractedFeatures]:
        """One answer for each picture, a file or uint8 RGB pixels [height, width, 3], as it is; as `extract`."""

    def close(self) -> None:
        """Let go of what it holds; calling it again does nothing."""


def unreadable(answers: Iterable[ExtractedFeatures]) -> list[str]:
    """What is wrong with which file, once for each file, in the order they came."""
    found = {str(answer.path): answer.complaint for answer in answers if answer.error is not None}
    return [complaint for complaint in found.values() if complaint is not None]
