"""Fixtures of the tests about seeing: cards, pictures, engines that are closed afterwards."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.vision.engine import Engine
from edge_agent.vision.flatbuffer_writer import NewTable, Numbers, Scalar, Tables, Text, write_flatbuffer
from edge_agent.vision.preprocessing import ExtractorCard, card_from
from edge_agent.vision.tflite_schema import TYPE_NUMBERS

WORKERS = Path(__file__).parent / "workers"

Dropped = tuple[object, int]
DEFAULT = ExtractorConfig()


@pytest.fixture(name="make_card")
def _make_card(testdata: Path) -> Callable[..., ExtractorCard]:
    def make(file: str, n_features: int, side: int, **more: Any) -> ExtractorCard:
        path = testdata / "models" / "derived" / file
        wanted = {"width": side, "height": side, "mean": 127.5, "std": 127.5} | more
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        data = {"name": path.stem, "sha256": digest, "n_features": n_features, "input": wanted}
        return card_from(data, path=path, source=file)

    return make


@pytest.fixture(name="card")
def _card(make_card: Callable[..., ExtractorCard]) -> ExtractorCard:
    """A small extractor that is quick in both runtimes."""
    return make_card("coral_mobilenet_v1_0.25_128_quant_features.tflite", 256, 128)


@pytest.fixture(name="make_engine")
def _make_engine(card: ExtractorCard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Engine]]:
    """Engines with the workers of these tests within reach; each is closed afterwards."""
    monkeypatch.syspath_prepend(str(WORKERS))
    engines: list[Engine] = []

    def make(
        *,
        card: ExtractorCard = card,
        extractor: ExtractorConfig = DEFAULT,
        **more: Any,
    ) -> Engine:
        engines.append(Engine(card, PicturesConfig(), extractor, **more))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(name="drop")
def _drop(tmp_path: Path) -> Callable[..., Dropped]:
    """Bytes as a job for the engine: a key and an open file of its own."""
    numbers = itertools.count()

    def drop(data: bytes, key: object = None) -> Dropped:
        path = tmp_path / f"picture-{next(numbers)}"
        path.write_bytes(data)
        return key, os.open(path, os.O_RDONLY)

    return drop


@pytest.fixture(name="photo", scope="session")
def _photo() -> bytes:
    """A small colourful JPEG."""
    return encoded(colours(96, 64), "JPEG", quality=90)


def colours(width: int, height: int) -> Image.Image:
    """A picture whose corners differ: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 60)], axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture's file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(name="pictures", scope="session")
def _pictures() -> Callable[[int, int], Image.Image]:
    return colours


@pytest.fixture(name="encode", scope="session")
def _encode() -> Callable[..., bytes]:
    return encoded


@pytest.fixture(name="mutations", scope="session")
def _mutations() -> Callable[[bytes, int], Iterator[bytes]]:
    return damaged_copies


def damaged_copies(data: bytes, count: int) -> Iterator[bytes]:
    """The file cut off, and with 1, 4 and 64 bytes changed, by turns; always the same ones."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        damaged = bytearray(data)
        changes = (0, 1, 4, 64)[seed % 4]
        if not changes:
            del damaged[int(rng.integers(len(data))) :]
        for _ in range(changes):
            damaged[int(rng.integers(len(data)))] = int(rng.integers(256))
        yield bytes(damaged)


@pytest.fixture(name="make_body")
def _make_body() -> Callable[..., bytes]:
    """Models of one step that gives what it is given, laid out from scratch."""

    def make(
        shape: tuple[int, ...], dtype: Any = np.float32, scale: float = 0.0, zero_point: int = 0
    ) -> bytes:
        quantised = {}
        if scale:
            numbers = {
                2: Numbers(np.array([scale], np.float32)),
                3: Numbers(np.array([zero_point], np.int64)),
            }
            quantised = {4: NewTable(numbers)}

        def tensor(name: str, shape: tuple[int, ...], dtype: Any, buffer: int) -> NewTable:
            fields = {
                0: Numbers(np.array(shape, np.int32)),
                1: Scalar("b", TYPE_NUMBERS[np.dtype(dtype)]),
                2: Scalar("I", buffer),
                3: Text(name),
            }
            return NewTable(fields | (quantised if dtype is not np.int32 else {}))

        same = Numbers(np.frombuffer(np.array(shape, np.int32).tobytes(), np.uint8))
        step = NewTable(
            {
                0: Scalar("I", 0),
                1: Numbers(np.array([0, 1], np.int32)),
                2: Numbers(np.array([2], np.int32)),
            }
        )
        graph = NewTable(
            {
                0: Tables(
                    [
                        tensor("in", shape, dtype, 0),
                        tensor("shape", (len(shape),), np.int32, 1),
                        tensor("out", shape, dtype, 0),
                    ]
                ),
                1: Numbers(np.array([0], np.int32)),
                2: Numbers(np.array([2], np.int32)),
                3: Tables([step]),
            }
        )
        code = NewTable({0: Scalar("b", 22), 2: Scalar("i", 1), 3: Scalar("i", 22)})
        root = {
            0: Scalar("I", 3),
            1: Tables([code]),
            2: Tables([graph]),
            4: Tables([NewTable({}), NewTable({0: same})]),
        }
        return write_flatbuffer(NewTable(root), b"TFL3")

    return make
