"""This is where it is measured what grows with the number of samples: start, status, prediction, intake, update.

Samples are made of the features of drawn pictures, each a little changed; the daemon, its engine and the ten
pictures are real.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.answering import taken
from benchmarks.at_rest import PROMISED_PEAK_MB, memory
from benchmarks.living import Daemon
from benchmarks.memory import Watch
from benchmarks.setting import Setting
from benchmarks.table import Row
from edge_agent.agent.home import Home
from edge_agent.cli.pictures import LABELS, write_pictures
from edge_agent.config import Config
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.vision import images
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card

MORE = 10
QUESTIONS = 10
BATCH = 500
PATTERNS = 211
PER_LABEL = 8
PATIENCE_SECONDS = 120.0
PROMISED_READY_SECONDS = 2.0
PROMISED_TEN_SECONDS = 1.0
SETTLE_SECONDS = Config().drop_folder.settle_seconds
"""A file is taken as whole when it held still this long; the daemon has the default."""


@dataclass(frozen=True)
class Turn:
    """Ten pictures more, from the last rename on."""

    stored: float
    """Seconds until the last of them had left the drop folder, which it does once its features are committed."""
    published: float
    """Seconds until the version that learned from them answered."""
    processor: float
    """Processor seconds of it all."""
    written: int
    """Bytes."""

    @property
    def rate(self) -> float:
        """Pictures stored in a second, from the moment at which the last file had held still long enough."""
        return MORE / (self.stored - SETTLE_SECONDS)

    @property
    def settled(self) -> float:
        """Seconds from that moment to the new version.

        From the last rename on nothing changed, so what the agent takes to notice a file, and to look again, counts.
        """
        return self.published - SETTLE_SECONDS


class Seen:
    """Features of drawn pictures, and the fingerprint of what gave them."""

    def __init__(self, folder: Path) -> None:
        card = load_card(CARD_PATH)
        extractor = FeatureExtractor(card)
        self.fingerprint = extractor.fingerprint
        self.runtime = f"{extractor.runtime.name} {extractor.runtime.version}"
        limits = Config().pictures
        self.rows = {
            label: [
                extractor.extract(images.decode(path.read_bytes(), limits=limits, target=card.size).pixels)
                for path in paths
            ]
            for label, paths in write_pictures(folder, PER_LABEL, seed=1).items()
        }
        rng = np.random.default_rng(3)
        self._patterns = rng.uniform(0.7, 1.3, (PATTERNS, card.n_features)).astype(np.float32)

    def fill(self, home: Path, count: int) -> None:
        """Put so many samples into the store of a home."""
        place = Home(home)
        place.make()
        for label in LABELS:  # in a folder that is watched already, a file that is moved in is whole at once
            (home / "drop" / label).mkdir(parents=True)
        with SampleStore(place.database_path) as store:
            for start in range(0, count, BATCH):
                rows = range(start, min(start + BATCH, count))
                store.add([self._sample(number) for number in rows], self.fingerprint)

    def _sample(self, number: int) -> NewSample:
        label = LABELS[number % len(LABELS)]
        row = self.rows[label][number // len(LABELS) % PER_LABEL] * self._patterns[number % PATTERNS]
        digest = hashlib.sha256(f"sample {number}".encode()).hexdigest()
        return NewSample(digest, label, f"{number}.jpg", "", 30_000, 320, 240, row)


def growth(setting: Setting) -> Iterator[Row]:
    """Rows for each number of samples, and how the last compares with the first."""
    seen = Seen(setting.place("growth") / "drawn")
    asked: dict[int, list[float]] = {}
    ten: dict[int, list[Turn]] = {}
    for count in setting.sizes.samples:
        home = setting.place("growth") / f"home-{count}"
        seen.fill(home, count)
        with Daemon(setting, home) as daemon:
            watch = Watch(daemon.process.pid)
            daemon.until(lambda: (watch.look(), daemon.pointer() != "")[1], "publish its first version")  # noqa: B023
            daemon.until(lambda: at_rest(daemon), "come to rest")
        yield memory(f"peak memory, learning {count:,}", watch, PROMISED_PEAK_MB)
        starts, processors = [], []
        for _ in range(setting.sizes.starts - 1):
            with Daemon(setting, home) as daemon:
                starts.append(daemon.ready_seconds)
                processors.append(daemon.processor_seconds)
        with Daemon(setting, home) as daemon:
            starts.append(daemon.ready_seconds)
            processors.append(daemon.processor_seconds)
            yield Row(
                f"start to ready, {count:,} samples",
                "s",
                starts,
                "promised",
                [PROMISED_READY_SECONDS],
                1.0,
                note=f"of the processor {statistics.median(processors):.2f} s",
            )
            yield status(daemon, count)
            asked[count] = questions(setting, daemon, count)
            ten[count] = more(setting, daemon, count)
        yield Row(f"one prediction at {count:,}", "ms", asked[count])
        yield from of_ten(count, ten[count])
    few, many = min(ten), max(ten)
    if few != many:
        yield from compared(few, many, asked, ten)


def of_ten(count: int, turns: list[Turn]) -> Iterator[Row]:
    """Rows of ten pictures more, at so many samples."""
    busy = statistics.median(turn.processor for turn in turns)
    wrote = statistics.median(turn.written for turn in turns)
    yield Row(
        f"intake at {count:,}",
        "/s",
        [turn.rate for turn in turns],
        note=f"{MORE} pictures, from settled to stored",
    )
    yield Row(
        f"ten pictures more at {count:,}",
        "s",
        [turn.settled for turn in turns],
        "promised, last byte settled to published",
        [PROMISED_TEN_SECONDS],
        1.0,
        note=f"of the processor {busy:.2f} s, written {wrote / 1e6:.1f} MB",
    )
    yield Row(
        f"ten more at {count:,}, from the rename on",
        "s",
        [turn.published for turn in turns],
        note=f"{SETTLE_SECONDS:g} s of it until a file counts as settled (drop_folder.settle_seconds)",
    )


def compared(few: int, many: int, asked: dict[int, list[float]], ten: dict[int, list[Turn]]) -> Iterator[Row]:
    """Rows of the most samples against the fewest; only for the update a ratio was promised."""
    for name, unit, of_many, of_few, target in (
        ("one prediction", "ms", asked[many], asked[few], None),
        ("intake", "/s", [turn.rate for turn in ten[many]], [turn.rate for turn in ten[few]], None),
        ("ten more", "s", [turn.settled for turn in ten[many]], [turn.settled for turn in ten[few]], 1.3),
    ):
        yield Row(
            f"{name}, {many:,} against {few:,}",
            unit,
            of_many,
            f"the {'rate' if unit == '/s' else 'time'} at {few:,}",
            [statistics.median(of_few)],
            target,
            note="" if target else "nothing promised",
        )


def status(daemon: Daemon, count: int) -> Row:
    """How long the answer to a question takes that asks for nothing to be computed."""
    client = daemon.client()
    found = []
    for _ in range(5):
        begin = time.perf_counter()
        client.status()
        found.append(1e3 * (time.perf_counter() - begin))
    return Row(f"status, {count:,} samples", "ms", found)


def at_rest(daemon: Daemon) -> bool:
    """Whether nothing waits and its last update is done and written down."""
    facts = daemon.facts()
    return (
        not facts["pending"]
        and bool(facts["last_update"])
        and facts["last_update"]["version"] == facts["version"]
    )


def questions(setting: Setting, daemon: Daemon, count: int) -> list[float]:
    """Milliseconds of one question each about pictures that are not stored; the first ones are not counted."""
    drawn = write_pictures(setting.place("growth") / f"asked-{count}", QUESTIONS // len(LABELS), seed=5)
    paths = [path for files in drawn.values() for path in files]
    client = daemon.client()
    for path in paths[:2]:
        client.predict(path)
    return [taken(client.predict, path) for path in paths]


def more(setting: Setting, daemon: Daemon, count: int) -> list[Turn]:
    """Put ten pictures into the drop folder and wait for the version that learned from them, again and again."""
    turns = []
    for turn in range(setting.sizes.turns):
        drawn = setting.place("growth") / f"more-{count}-{turn}"
        paths = write_pictures(drawn, MORE // len(LABELS), seed=count + 17 * turn + 2)
        before, used, bytes_before = daemon.pointer(), daemon.processor(), daemon.written()
        moved = [
            path.rename(daemon.home / "drop" / label / f"{turn}-{path.name}")
            for label, files in paths.items()
            for path in files
        ]
        begin = time.perf_counter()
        daemon.until(lambda: not any(path.exists() for path in moved), "store", PATIENCE_SECONDS)  # noqa: B023
        stored = time.perf_counter() - begin
        daemon.until(lambda: daemon.pointer() != before, "publish", PATIENCE_SECONDS)  # noqa: B023
        published = time.perf_counter() - begin
        turns.append(Turn(stored, published, daemon.processor() - used, daemon.written() - bytes_before))
        daemon.until(lambda: at_rest(daemon), "come to rest")
    return turns
