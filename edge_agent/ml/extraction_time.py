"""This is where it is estimated how long the extraction of features will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edge_agent.ml.augmentation import ImageAugmentationOptions
from edge_agent.ml.feature_source import ExtractedFeatures

FIRST = 8
"""So many looks are timed before an estimate is worth saying."""


@dataclass(frozen=True)
class ExtractionEstimate:
    """How often pictures are looked at, and how long that will take."""

    training: int
    """Pictures to learn from; of these, copies are made."""
    others: int
    """Pictures that are looked at as they are."""
    copies: int
    """Copies of each training picture."""
    seconds_per_look: float

    @property
    def looks(self) -> int:
        """How often the extractor looks at something."""
        return self.training * (1 + self.copies) + self.others

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return self.looks * self.seconds_per_look

    def __str__(self) -> str:
        pictures = self.training + self.others
        said = f"{_count(pictures, 'picture')}: {in_words(self.seconds)}"
        if self.copies and self.training:
            times = 1 + self.copies
            said += (
                f" ({self.looks:,} looks, because each of the {self.training:,} training pictures"
                f" is looked at {times} times; without augmentation"
                f" {in_words(pictures * self.seconds_per_look)})"
            )
        return said


def estimate(
    training: int, others: int, options: ImageAugmentationOptions, seconds_per_look: float
) -> ExtractionEstimate:
    """How long it takes to extract `training` pictures with their copies, and `others` as they are."""
    copies = ImageAugmentationOptions(options).copies
    return ExtractionEstimate(training, others, copies, seconds_per_look)


class Pace:
    """Times the first looks while they go by: seconds a look, measured and not guessed.

    The first answer only starts the clock: the engine's start and its first look ahead are no measure.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began: float | None = None
        self._looks = 0
        self.seconds_per_look: float | None = None
        """None until enough looks have gone by."""

    def watch(self, answers: Iterable[ExtractedFeatures]) -> Iterator[ExtractedFeatures]:
        """The same answers; refused pictures, which are quicker, do not count."""
        for answer in answers:
            if answer.error is None and self.seconds_per_look is None:
                self._tick()
            yield answer

    def _tick(self) -> None:
        now = self._monotonic()
        if self._began is None:
            self._began = now
            return
        self._looks += 1
        if self._looks >= FIRST:
            self.seconds_per_look = (now - self._began) / self._looks


def in_words(seconds: float) -> str:
    """A duration as one says it."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
