"""This is where backends lie as a plugin brings them, good ones and bad ones; only engine processes import it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import ExtractorCard, fingerprint_of
from edge_agent.vision.runtime import RuntimeFacts

NO_CLASS = 3


class Means:
    """Features are the means of rows of pixels, so many as the card wants."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        self._card = card
        self._gain = float(card.options.get("gain", 1.0))
        self.runtime = RuntimeFacts("abacus", "2.5.1")
        self.delegate = "beads"
        self.fingerprint = fingerprint_of(card, self.runtime.release, f"threads{threads}")
        self.notice = str(card.options.get("notice", ""))

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """One mean for each of the first rows."""
        means = pixels.astype(np.float32).mean(axis=(1, 2))[: self._card.n_features]
        return means * np.float32(self._gain)


class Unopened(Means):
    """Refuses to open."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        raise ExtractorError(f"{card.path}: the abacus has no beads")


class Exiting(Means):
    """Wants to end its process."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        raise SystemExit(3)


class Panic(BaseException):
    """What a library written in Rust raises: no `Exception`."""


class Panicking(Means):
    """Cannot go on, somewhere deep inside."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        raise Panic("index out of bounds")


class Defective(Means):
    """Has a mistake in it."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        super().__init__(card, threads=threads)
        raise KeyError("beads\nare missing")


class Forgetful(Means):
    """Does not say on what it runs."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        super().__init__(card, threads=threads)
        del self.delegate


class Nameless(Means):
    """Gives every model one fingerprint."""

    def __init__(self, card: ExtractorCard, *, threads: int) -> None:
        super().__init__(card, threads=threads)
        self.fingerprint = "abacus"


class Doubles(Means):
    """Gives float64."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Wrong on purpose."""
        return super().extract(pixels).astype(np.float64)  # type: ignore[return-value]


class Short(Means):
    """Gives one feature too few."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Wrong on purpose."""
        return super().extract(pixels)[1:]


class Infinite(Means):
    """Has no answer to bright pictures."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Wrong on purpose."""
        return super().extract(pixels) / np.float32(pixels.min() < 200)


class Dying(Means):
    """Takes the process with it once, at the first picture that is not the grey one."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Die the first time."""
        marker = Path(self._card.options["marker"])
        if pixels.max() != 127 and not marker.exists():
            marker.touch()
            os.abort()
        return super().extract(pixels)
