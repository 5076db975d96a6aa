"""This is where versions are published while many ask: each answer is of a version that was current meanwhile.

And it is that version's: each version is asked by its number afterwards, about the same pictures.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
COMPARED = 5
"""About the first so many of them each version is asked again, by its number."""
ALIKE = 1e-6
"""Probabilities that differ by no more are the same ones: what is left of float32, whatever shares a question."""
SIZE = (96, 72)
LABELS = ("blue", "red")


Said = Sequence[Mapping[str, float]]
"""The probability of each label, for each of the pictures that are asked about again."""


@dataclass(frozen=True)
class Asked:
    """One answer, with the time before it was asked for and after it came."""

    begin: float
    end: float
    version: int | None
    error: str
    picture: int = 0
    """Which of the pictures it is about."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """What it said; kept of the pictures that are asked about again."""


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
                found = [
                    (one.version, one.error or "", number, one.probabilities if number < COMPARED else {})
                    for number, one in enumerate(client.predict_all(pictures))
                ]
            except EdgeAgentError as error:
                found = [(None, str(error), number, {}) for number in range(len(pictures))]
            end = time.monotonic()
            with self._lock:
                self.answers += [Asked(begin, end, *one) for one in found]

    def again(self, client: Client, version: int) -> Said:
        """What a version says of the first pictures when it is asked by its number."""
        return [one.probabilities for one in client.predict_all(self._pictures[:COMPARED], version=version)]


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


def alike(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two answers have the same labels and probabilities."""
    return one.keys() == other.keys() and all(abs(one[label] - other[label]) <= ALIKE for label in one)


def borrowed(answers: list[Asked], said: Mapping[int, Said]) -> list[bool]:
    """Of each answer that can be compared, whether it is not what the version it names says when asked by number."""
    return [
        not alike(one.probabilities, said[one.version][one.picture])
        for one in answers
        if one.probabilities and one.version is not None and one.version in said
    ]


def told_apart(said: Mapping[int, Said]) -> int:
    """How many versions say something else than the one before of some picture; others could not be mistaken."""
    numbers = sorted(said)
    return sum(not all(map(alike, said[before], said[after])) for before, after in pairwise(numbers))


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
        said: dict[int, Said] = {}
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
                    # At once, because older versions are pruned; it is read from its folder, not the one that serves.
                    said[one - 1] = clients.again(teacher, one - 1)
            said[version] = clients.again(teacher, version)
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
    others = borrowed(answers, said)
    note = (
        f"{len(others):,} compared with what {len(said)} versions say by number;"
        f" {told_apart(said)} of {len(said) - 1} differ from the one before"
    )
    yield Row("answers of another version", "answers", [float(sum(others))], "promised", [0.0], note=note)
    yield Row("predictions while versions change", "/s", [count / seconds], note=f"in {seconds:.0f} s")
