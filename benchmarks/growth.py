"""This is where it is measured what grows with the number of samples: start, status, prediction, ten pictures more.

Samples are made of the features of drawn pictures, each a little changed; the daemon, its engine and the ten
pictures are real.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

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
BATCH = 500
PATTERNS = 211
PER_LABEL = 8
PATIENCE_SECONDS = 120.0
PROMISED_READY_SECONDS = 2.0
PROMISED_TEN_SECONDS = 1.0
SETTLE_SECONDS = Config().drop_folder.settle_seconds
"""A file is taken as whole when it held still this long; the daemon has the default."""


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
    ten: dict[int, list[float]] = {}
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
            ten[count], busy, wrote = more(setting, daemon, count)
        yield Row(
            f"ten pictures more at {count:,}",
            "s",
            settled(ten[count]),
            "promised, last byte settled to published",
            [PROMISED_TEN_SECONDS],
            1.0,
            note=f"of the processor {busy:.2f} s, written {wrote / 1e6:.1f} MB",
        )
        yield Row(
            f"ten more at {count:,}, from the rename on",
            "s",
            ten[count],
            note=f"{SETTLE_SECONDS:g} s of it until a file counts as settled (drop_folder.settle_seconds)",
        )
    few, many = min(ten), max(ten)
    if few != many:
        middle = statistics.median(settled(ten[few]))
        yield Row(
            f"ten more, {many:,} against {few:,}",
            "s",
            settled(ten[many]),
            f"the time at {few:,}",
            [middle],
            1.3,
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


def settled(found: list[float]) -> list[float]:
    """Seconds from the moment at which the last file had held still long enough.

    From the last rename on nothing changed, so what the agent takes to notice a file, and to look again, counts.
    """
    return [seconds - SETTLE_SECONDS for seconds in found]


def more(setting: Setting, daemon: Daemon, count: int) -> tuple[list[float], float, float]:
    """Seconds from the last of ten pictures in the drop folder to the new version, each turn; processor, bytes."""
    found, busy, wrote = [], [], []
    for turn in range(setting.sizes.turns):
        drawn = setting.place("growth") / f"more-{count}-{turn}"
        paths = write_pictures(drawn, MORE // len(LABELS), seed=count + 17 * turn + 2)
        before, used, bytes_before = daemon.pointer(), daemon.processor(), daemon.written()
        for label, files in paths.items():
            for path in files:
                path.rename(daemon.home / "drop" / label / f"{turn}-{path.name}")
        found.append(
            daemon.until(lambda: daemon.pointer() != before, "publish", PATIENCE_SECONDS)  # noqa: B023
        )
        busy.append(daemon.processor() - used)
        wrote.append(daemon.written() - bytes_before)
        daemon.until(lambda: at_rest(daemon), "come to rest")
    return found, statistics.median(busy), statistics.median(wrote)
