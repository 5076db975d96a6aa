"""This is where the operations are listed that are interrupted: each prepares a home and names its command."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from homes import LONG_AGO, Given, copy_home, picture, settings


@dataclass(frozen=True)
class Scene:
    """A home that an operation is about to be run on, and what it was given."""

    home: Path
    given: Given
    real: bool
    """Whether it looks with the embedded extractor."""

    def teach_nothing(self) -> None:
        """Keep the agent from learning what it takes in."""
        (self.home / "edge-agent.toml").write_text(settings(learn=False, real=self.real))

    def drop(self, label: str, number: int) -> None:
        """Put a picture into the drop folder."""
        digest = picture(self.home / "drop" / label / f"new{number}.png", label, 100 + number)
        self.given.labels[digest] = label
        self.given.waiting.add(digest)

    def drop_spoilt(self) -> None:
        """Put a file that is no picture into the drop folder."""
        path = self.home / "drop" / "red" / "spoilt.png"
        path.write_bytes(b"this is no picture")
        os.utime(path, (LONG_AGO, LONG_AGO))
        self.given.bad.add("spoilt.png")

    def digests(self, label: str) -> set[str]:
        """The samples of a label."""
        return {digest for digest, known in self.given.labels.items() if known == label}


def intake(scene: Scene) -> tuple[str, ...]:
    """Take in four pictures, one of them known, and refuse a file; learn nothing."""
    scene.teach_nothing()
    for number, label in enumerate(("red", "green", "blue")):
        scene.drop(label, number)
    picture(scene.home / "drop" / "red" / "again.png", "red", 0)  # the bytes of a sample that is stored
    scene.drop_spoilt()
    return ("run", "--once")


def learn(scene: Scene) -> tuple[str, ...]:
    """Take in, learn, publish the third version and prune the first."""
    for number, label in enumerate(("red", "green")):
        scene.drop(label, number)
    return ("run", "--once", "--json")


def publish(_scene: Scene) -> tuple[str, ...]:
    """Learn again from what is stored, and publish."""
    return ("update", "--force")


def rollback(scene: Scene) -> tuple[str, ...]:
    """Let the first version answer again."""
    scene.teach_nothing()
    return ("rollback",)


def forget(scene: Scene) -> tuple[str, ...]:
    """Forget one sample and every version that learned from it."""
    digest = min(scene.digests("green"))
    scene.given.victims.add(digest)
    return ("forget", "--sample", digest)


def forget_label(scene: Scene) -> tuple[str, ...]:
    """Forget all samples of a label."""
    scene.given.victims |= scene.digests("green")
    return ("forget", "--label", "green")


def relabel(scene: Scene) -> tuple[str, ...]:
    """Give one sample another label, which moves its picture."""
    scene.teach_nothing()
    digest = min(scene.digests("green"))
    scene.given.relabelled[digest] = "blue"
    return ("samples", "relabel", digest, "blue")


def deliver(scene: Scene) -> tuple[str, ...]:
    """Put a copy of a picture into the drop folder."""
    source = scene.home.parent / "camera.png"
    scene.given.delivered.add(picture(source, "blue", 500))
    return ("add", "blue", str(source))


def rebuild(scene: Scene) -> tuple[str, ...]:
    """Find the database damaged, and make it again from the archive."""
    scene.teach_nothing()
    database = scene.home / "agent.db"
    with database.open("r+b") as file:
        file.seek(1024)
        file.write(b"\xa5" * (database.stat().st_size - 1024))
    return ("run", "--once")


OPERATIONS: dict[str, Callable[[Scene], tuple[str, ...]]] = {
    one.__name__.replace("_", "-"): one
    for one in (intake, learn, publish, rollback, forget, forget_label, relabel, deliver, rebuild)
}


def prepare(
    name: str, base: Path, given: Given, target: Path, *, real: bool
) -> tuple[Scene, tuple[str, ...]]:
    """A home of its own for an operation, made from the common one, and the command."""
    copy_home(base, target)
    scene = Scene(target, copy.deepcopy(given), real)
    return scene, OPERATIONS[name](scene)
