"""This is where versions are published while many ask: each answer is of a version that was current meanwhile."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from PIL import Image

from benchmarks.living import Daemon
from benchmarks.setting import Setting
from benchmarks.table import Row
from edge_agent.agent.client import Client
from edge_agent.agent.delivery import deliver
from edge_agent.errors import EdgeAgentError

CLIENTS = 3
"""Threads that ask at once."""
AT_ONCE = 25
"""Pictures of a question; every fourth question is about one."""
SIZE = (96, 72)
LABELS = ("blue", "red")


@dataclass(frozen=True)
class Asked:
    """One answer, with the time before it was asked for and after it came."""

    begin: float
    end: float
    version: int | None
    error: str


def picture(label: str, seed: int) -> bytes:
    """A small JPEG: what is blue, or red, and differs."""
    rng = random.Random(f"{label} {seed}")
    colour = (30, 60, 200) if label == "blue" else (200, 50, 30)
    image = Image.new("RGB", SIZE, colour)
    for _ in range(6):
        shade = tuple(min(255, max(0, one + rng.randrange(-40, 40))) for one in colour)
        at = (rng.randrange(SIZE[0]), rng.randrange(SIZE[1]))
        image.paste(shade, (*at, at[0] + rng.randrange(8, 40), at[1] + rng.randrange(8, 40)))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


class Clients:
    """Threads that ask, as fast as they are answered, until there are enough answers and nothing more is published."""

    def __init__(self, daemon: Daemon, predictions: int) -> None:
        self.answers: list[Asked] = []
        self.published = threading.Event()
        self._predictions = predictions
        self._lock = threading.Lock()
        self._pictures = [picture(LABELS[seed % 2], 10_000 + seed) for seed in range(AT_ONCE)]
        self._threads = [
            threading.Thread(target=self._ask, args=(daemon.client(), number)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.published.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: Client, number: int) -> None:
        turn = number
        while not (self.published.is_set() and len(self.answers) >= self._predictions):
            turn += 1
            pictures = self._pictures if turn % 4 else self._pictures[:1]
            begin = time.monotonic()
            try:
                found = [(one.version, one.error or "") for one in client.predict_all(pictures)]
            except EdgeAgentError as error:
                found = [(None, str(error))] * len(pictures)
            end = time.monotonic()
            with self._lock:
                self.answers += [Asked(begin, end, *one) for one in found]


def stale(answers: list[Asked], begun: dict[int, float], ended: dict[int, float]) -> int:
    """How many were given by a version that was not current at any moment between asking and answering.

    `begun` is the last time at which a version was not seen yet, `ended` the first at which another was seen.
    """
    return sum(
        one.version is None
        or one.version not in begun
        or one.end < begun[one.version]
        or one.begin > ended.get(one.version, one.end)
        for one in answers
    )


def swap(setting: Setting) -> Iterator[Row]:
    """Rows of many predictions while versions follow each other."""
    sizes = setting.sizes
    home = setting.place("swap")
    for label in LABELS:
        (home / "drop" / label).mkdir(parents=True)
        for seed in range(10):
            (home / "drop" / label / f"{seed}.jpg").write_bytes(picture(label, seed))
    with Daemon(setting, home) as daemon:
        daemon.until(lambda: daemon.pointer() != "", "publish")
        teacher = daemon.client()
        before, seen = time.monotonic(), daemon.pointer()
        begun, ended = {int(seen): before - 3600.0}, {}
        with Clients(daemon, sizes.predictions) as clients:
            for number in range(sizes.publishes):
                for label in LABELS:
                    new = home / f"new-{number}.jpg"
                    new.write_bytes(picture(label, 1_000 + number))
                    deliver(home / "drop", label, [new])  # whole at once, so that it need not lie still first
                asked = time.monotonic()
                outcome = teacher.update(force=True)
                if outcome.get("state") != "published":
                    raise RuntimeError(f"update {number} published nothing: {outcome.get('message')}")
                # Another version may have come by itself between two updates: the pointer's history says so.
                now = time.monotonic()
                version = int(outcome["version"])
                for one in range(max(begun) + 1, version + 1):
                    begun[one] = asked
                    ended[one - 1] = now
        answers = clients.answers
        seconds = max(one.end for one in answers) - min(one.begin for one in answers)
    count = len(answers)
    versions = len({one.version for one in answers if one.version is not None})
    note = (
        f"{count:,} predictions, {sizes.publishes} publishes, {versions} versions answered, {CLIENTS} clients"
    )
    failed = sum(bool(one.error) for one in answers)
    yield Row("errors while versions change", "answers", [float(failed)], "promised", [0.0], note=note)
    wrong = stale([one for one in answers if not one.error], begun, ended)
    yield Row("answers of no current version", "answers", [float(wrong)], "promised", [0.0])
    yield Row("predictions while versions change", "/s", [count / seconds], note=f"in {seconds:.0f} s")
