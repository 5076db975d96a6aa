"""This is where a person is told how long looking at the pictures will take, as soon as that can be known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.augmentation import AugmentationSettings, Variant
from edge_agent.ml.extraction_time import Pace, estimate
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.feature_source import ExtractedFeatures, FeatureSource
from edge_agent.ml.session_folder import TRAINING
from edge_agent.vision.feature_source import SourceOpener

if TYPE_CHECKING:
    from edge_agent.ml.training_session import MLTrainingSession


class TimedSource:
    """Another source, whose first looks are timed; `tell` is called once, with the seconds a look takes."""

    def __init__(
        self, source: FeatureSource, tell: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        self._source = source
        self._tell = tell
        self._pace = Pace(monotonic)
        self._told = False

    @property
    def n_features(self) -> int:
        """That of the other."""
        return self._source.n_features

    @property
    def fingerprint(self) -> str:
        """That of the other."""
        return self._source.fingerprint

    @property
    def size(self) -> tuple[int, int]:
        """That of the other."""
        return self._source.size

    def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
        """The answers of the other, timed."""
        for answer in self._pace.watch(self._source.extract(wanted)):
            if not self._told and self._pace.seconds_per_look is not None:
                self._told = True
                self._tell(self._pace.seconds_per_look)
            yield answer

    def extract_pictures(
        self, pictures: Iterable[Path | str | NDArray[np.uint8]]
    ) -> Iterator[ExtractedFeatures]:
        """The answers of the other."""
        return self._source.extract_pictures(pictures)

    def close(self) -> None:
        """Close the other."""
        self._source.close()


def timed(
    session: MLTrainingSession,
    open_source: SourceOpener,
    say: Callable[[str], None],
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> SourceOpener:
    """A way to open the session's source that says how long its files will take, those that are left."""

    def tell(seconds_per_look: float) -> None:
        cache = session.cache
        left = [one.role == TRAINING for one in session.facts.files if one.key not in cache]
        options = session.model_parameters.augmentation
        say(f"looking at {estimate(sum(left), len(left) - sum(left), options, seconds_per_look)}")

    def opened(
        extractor: FeatureExtractorType, augmentation: AugmentationSettings | None = None
    ) -> FeatureSource:
        settings = augmentation or AugmentationSettings()
        return TimedSource(open_source(extractor, settings), tell, monotonic)

    return opened
