"""This is where pictures become features for training, evaluation and prediction, through one and the same engine.

What the engine gives is what the agent learns from and what `edge_agent.vision.extractor` gives in this
process, bit for bit. A feature value made by `image_value_at` is decoded whole: for formats other than JPEG,
and for a JPEG less than four times as large as the extractor's input, it has the same pixels and the same
features; from a larger JPEG, which is scaled down while it is decoded here, features of a cosine of 0.9997 or
more to these.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent import extractors
from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import ExtractorError, NotFoundError
from edge_agent.ml.augmentation import AugmentationSettings, Variant
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.feature_source import ExtractedFeatures, FeatureSource
from edge_agent.ml.front import FrozenStage
from edge_agent.ml.model import MLModel
from edge_agent.ml.pipeline import extractor_model, linked_model
from edge_agent.ml.raw import CARD_SUFFIX
from edge_agent.vision.engine import Engine, EngineFacts, Extraction, Job
from edge_agent.vision.preprocessing import ExtractorCard, load_card

BUILT_IN = {1: Path(extractors.__file__).parent / "efficientnet_lite0_int8.json"}
"""The card of each revision of the built-in extractor. A revision is never changed, only followed by another."""

_BITMAP = struct.Struct("<2sIII IiiHHIIiiII")

Look = tuple[Path, Variant | None, Callable[[], int]]
"""A name, which changed copy, and what opens the bytes."""


class SourceOpener(Protocol):
    """How a feature source is opened; see `open_feature_source`."""

    def __call__(
        self,
        extractor: FeatureExtractorType,
        augmentation: AugmentationSettings = ...,
    ) -> FeatureSource:
        """Raises `ExtractorError` or `UserError` for an extractor that cannot be used."""


def open_feature_source(
    extractor: FeatureExtractorType | None = None,
    augmentation: AugmentationSettings | None = None,
    *,
    pictures: PicturesConfig | None = None,
    config: ExtractorConfig | None = None,
) -> EngineFeatureSource:
    """The features of an extractor, the latest built-in one unless given; whoever opens it closes it.

    Raises `NotFoundError` for a revision there is not, `ExtractorError` when an extractor of one's own has no
    card or is not what its card says: a picture in, a vector out. That is tried here, before any long work.
    """
    extractor = extractor or FeatureExtractorType.built_in()
    source = EngineFeatureSource(
        card_for(extractor), pictures=pictures, config=config, augmentation=augmentation
    )
    if extractor.is_custom:
        try:
            source.start()
        except ExtractorError:
            source.close()
            raise
    return source


def card_path(extractor: FeatureExtractorType) -> Path:
    """Where the card of an extractor lies; raises `NotFoundError` or `ExtractorError` where there is none."""
    own = extractor.extractor
    if own is None:
        revision = max(BUILT_IN) if extractor.revision is None else extractor.revision
        if revision not in BUILT_IN:
            known = ", ".join(map(str, BUILT_IN))
            raise NotFoundError(f"there is no built-in extractor of revision {revision}; there is {known}")
        return BUILT_IN[revision]
    if not own.model_path.is_file():
        raise ExtractorError(f"{own.model_path}: cannot be read: there is no such file")
    card = own.model_path.with_suffix(CARD_SUFFIX)
    if own.model_path == card or not card.is_file():
        raise ExtractorError(
            f"{own.model_path}: a feature extractor is a .tflite with its card, {card.name}, beside it;"
            " `edge-agent train --extractor` writes one where the file says enough"
        )
    return card


def card_for(extractor: FeatureExtractorType) -> ExtractorCard:
    """What is known about an extractor; raises `NotFoundError` or `ExtractorError`."""
    path = card_path(extractor)
    card = load_card(path)
    own = extractor.extractor
    if own is None:
        return card
    if card.path.name != own.model_path.name:
        raise ExtractorError(f"{path}: describes {card.path.name}, not {own.model_path.name}")
    if own.output_name is not None and own.output_name != card.output:
        raise ExtractorError(
            f"{path}: describes {'the only output' if card.output is None else f'output {card.output!r}'}, not"
            f" {own.output_name!r}; name it there as `output`, with its n_features"
        )
    return card


def stage_for(extractor: FeatureExtractorType, *, linked: bool = False) -> MLModel | FrozenStage:
    """The first stage of a pipeline with this extractor; `linked`: only a reference to where it lies.

    Raises as `card_path`, and `MLModelError` IO where card or file are not as they should be.
    """
    card_for(extractor)
    path = card_path(extractor)
    if linked:
        return linked_model(path.name, str(path.absolute().parent))
    return extractor_model(path)


class EngineFeatureSource:
    """A `FeatureSource` over an engine of its own; for one thread."""

    def __init__(
        self,
        card: ExtractorCard,
        *,
        pictures: PicturesConfig | None = None,
        config: ExtractorConfig | None = None,
        augmentation: AugmentationSettings | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._card = card
        self._engine = engine or Engine(
            card,
            pictures or PicturesConfig(),
            config or ExtractorConfig(),
            augmentation=augmentation
            or AugmentationSettings(),  # an engine that was told none makes no copies
        )

    def start(self) -> EngineFacts:
        """Have the engine's process ready, as it is by itself at the first look; raises `ExtractorError`."""
        return self._engine.start()

    @property
    def n_features(self) -> int:
        """How many features a picture has."""
        return self._card.n_features

    @property
    def fingerprint(self) -> str:
        """Equal for two sources exactly when their features may be compared; asks the engine, which starts."""
        return self._engine.start().fingerprint

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels, of what the extractor sees."""
        return self._card.size

    def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
        """One answer for each look that is wanted, in that order; as `FeatureSource` says."""
        looks = ((Path(path), variant, _opener(Path(path))) for path, variant in wanted)
        return self._looked_at(looks)

    def extract_pictures(
        self, pictures: Iterable[Path | str | NDArray[np.uint8]]
    ) -> Iterator[ExtractedFeatures]:
        """One answer for each picture, a file or uint8 RGB pixels [height, width, 3], as it is.

        Pixels go the way of a file that holds exactly them; the digest is that of such a file, and the limits
        of files hold. Raises `ExtractorError` when the extractor cannot work.
        """
        return self._looked_at(
            (Path(given), None, _opener(Path(given)))
            if isinstance(given, Path | str)
            else (Path(f"picture {number} from memory"), None, _memory_opener(given))
            for number, given in enumerate(pictures, 1)
        )

    def close(self) -> None:
        """End the engine's process; calling it again does nothing."""
        self._engine.close()

    def _looked_at(self, looks: Iterable[Look]) -> Iterator[ExtractedFeatures]:
        refusals: deque[tuple[int, ExtractedFeatures]] = deque()
        asked: deque[tuple[int, Path, Variant | None]] = deque()
        refused: dict[Path, Extraction] = {}

        def jobs() -> Iterator[Job]:
            for number, (path, variant, opener) in enumerate(looks):
                if (before := refused.get(path)) is not None:
                    # Looking again would fail again, and what kills the engine would kill it every time.
                    refusals.append((number, _answer(path, variant, before)))
                    continue
                refused.clear()
                try:
                    fd = opener()
                except (OSError, ValueError) as error:
                    reason = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
                    refusals.append((number, _refusal(path, variant, reason)))
                    continue
                asked.append((number, path, variant))
                yield path, fd, variant

        for extraction in self._engine.extract(jobs(), keep=True):
            number, path, variant = asked.popleft()
            while refusals and refusals[0][0] < number:
                yield refusals.popleft()[1]
            if extraction.error is not None and extraction.permanent:
                refused[path] = extraction
            yield _answer(path, variant, extraction)
        yield from (answer for _, answer in refusals)


def _answer(path: Path, variant: Variant | None, extraction: Extraction) -> ExtractedFeatures:
    return ExtractedFeatures(
        path,
        variant,
        extraction.features,
        extraction.width,
        extraction.height,
        extraction.digest,
        extraction.error,
    )


def _refusal(path: Path, variant: Variant | None, reason: str) -> ExtractedFeatures:
    return ExtractedFeatures(path, variant, None, 0, 0, "", reason)


def _opener(path: Path) -> Callable[[], int]:
    # Opening a pipe that nobody writes to would wait for ever.
    return lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def _memory_opener(pixels: NDArray[np.uint8]) -> Callable[[], int]:
    def open_memory() -> int:
        fd = os.memfd_create("picture")
        try:
            for part in _bitmap(pixels):
                written = memoryview(part)
                while written:
                    written = written[os.write(fd, written) :]
        except BaseException:
            os.close(fd)
            raise
        return fd

    return open_memory


def _bitmap(pixels: NDArray[np.uint8]) -> Iterator[bytes]:
    """The bytes of a BMP file: rows from the top, blue first, each row filled up to four bytes."""
    is_picture = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3
    if not is_picture or pixels.shape[2] != 3 or 0 in pixels.shape:
        given = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"pixels are uint8 RGB of shape [height, width, 3], not {given}")
    height, width = pixels.shape[:2]
    rows = np.zeros((height, -(-width * 3 // 4) * 4), dtype=np.uint8)
    rows[:, : width * 3] = pixels[:, :, ::-1].reshape(height, -1)
    begin = _BITMAP.size
    yield _BITMAP.pack(
        b"BM", begin + rows.nbytes, 0, begin, 40, width, -height, 1, 24, 0, rows.nbytes, 2835, 2835, 0, 0
    )
    yield rows.tobytes()
