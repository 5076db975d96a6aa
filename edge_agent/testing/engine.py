"""This is where an engine is faked that looks at texts as a real one looks at pictures."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.store.atomic import write_file
from edge_agent.vision.engine import Engine, EngineFacts, Extraction, Job
from edge_agent.vision.preprocessing import ExtractorCard, InputCard

FAKE_FEATURES = 16

FAKE_CARD = ExtractorCard(
    name="fake",
    path=Path("fake.tflite"),
    sha256="0" * 64,
    n_features=FAKE_FEATURES,
    input=InputCard(width=4, height=3, mean=0.0, std=1.0),
)
"""The card of an extractor that is not there; nothing of it is ever opened."""


_PICTURES = PicturesConfig()
_EXTRACTOR = ExtractorConfig()


class FakeEngine(Engine):
    """An engine in this process whose pictures are text files.

    `cat 7` is a picture of a cat, and every text that begins with `cat` has features near the others'.  A file that
    begins with `bad` is refused for good, as a damaged picture is; one that begins with `flaky` fails the first time.
    """

    def __init__(
        self,
        card: ExtractorCard = FAKE_CARD,
        pictures: PicturesConfig = _PICTURES,
        extractor: ExtractorConfig = _EXTRACTOR,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        fingerprint: str = "fake:1",
    ) -> None:
        super().__init__(card, pictures, extractor, monotonic=monotonic)
        self.facts = self._fake_facts = EngineFacts(
            name="fake",
            fingerprint=fingerprint,
            n_features=FAKE_FEATURES,
            runtime="none",
            delegate="cpu",
            pid=0,
        )
        self._seen: set[str] = set()
        self.extracted = 0

    def start(self) -> EngineFacts:
        """Be ready at once."""
        return self._fake_facts

    def extract(
        self,
        jobs: Iterable[Job],
        *,
        keep: bool = False,  # noqa: ARG002
        digest: bool = True,  # noqa: ARG002
    ) -> Iterator[Extraction]:
        """Answer each job in order; descriptors are closed. A changed copy has features near the picture's."""
        for key, fd, *variant in jobs:
            with os.fdopen(fd, "rb") as file:
                yield self._look(key, file.read(), str(*filter(None, variant)))

    def _look(self, key: object, data: bytes, variant: str = "") -> Extraction:
        self.extracted += 1
        digest = hashlib.sha256(data).hexdigest()
        error = ""
        if data.startswith(b"bad") or not data:
            error = "this is not a picture"
        elif data.startswith(b"flaky") and digest not in self._seen:
            error = "the engine died"
        self._seen.add(digest)
        features = None if error else fake_features(data + f" {variant}".encode() if variant else data)
        return Extraction(
            key=key,
            digest=digest,
            features=features,
            width=0 if error else 4,
            height=0 if error else 3,
            error=error or None,
            permanent=not data.startswith(b"flaky"),
            seconds=0.0,
        )


def fake_features(data: bytes) -> NDArray[np.float32]:
    """Features of a text picture: a direction for its first word, a little of its own; float32[16]."""
    word = data.split()[0]
    own = np.random.default_rng(int.from_bytes(hashlib.sha256(data).digest()[:8]))
    shared = np.random.default_rng(int.from_bytes(hashlib.sha256(word).digest()[:8]))
    row = np.abs(shared.normal(size=FAKE_FEATURES)) * 4 + 0.3 * np.abs(own.normal(size=FAKE_FEATURES))
    return row.astype(np.float32)


def drop_texts(folder: Path, label: str, texts: Iterable[str]) -> list[Path]:
    """Write text pictures into `folder/label/`; returns their paths."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    paths = []
    for text in texts:
        path = folder / label / f"{text.replace(' ', '-')}.jpg"
        write_file(path, text.encode())  # whole: an agent without a settle time might find it empty else
        paths.append(path)
    return paths
