"""A program on the board that asks the agent there, through the public names."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edge_agent
from edge_agent.agent.control import ControlSocket
from edge_agent.agent.home import Home
from edge_agent.errors import ImageError, NoModelError, NotAnsweredError, NotFoundError, UserError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class Running:
    """An agent that steps on a thread of its own, and can be stopped and started."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def start(self) -> None:
        """Open the agent and listen."""
        self._agent = self.bench.open()
        self._control = ControlSocket(Home(self.bench.home), self._agent)
        self._control.open()
        self._thread = threading.Thread(target=self._agent.run)
        self._thread.start()

    def stop(self) -> None:
        """End it as the daemon does."""
        self._agent.stop("the test wants it")
        self._thread.join(timeout=60)
        self._control.close()
        self.bench.close()


@pytest.fixture
def running(bench: Bench) -> Iterator[Running]:
    """An agent that knows cats and dogs."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(4)])
    bench.settle()
    running = Running(bench)
    running.start()
    yield running
    running.stop()


def test_pictures_by_path_and_by_content(running: Running, tmp_path: Path) -> None:
    """A path, its text, or the bytes of a picture give the same answer, with the version that gave it."""
    path = tmp_path / "question.jpg"
    path.write_text("dog 99")
    client = edge_agent.connect(running.bench.home)

    answers = [client.predict(picture) for picture in (path, str(path), b"dog 99")]

    assert answers[0] == answers[1] == answers[2]
    assert (answers[0].label, answers[0].version, answers[0].error) == ("dog", 1, None)
    assert list(answers[0].probabilities) == ["dog", "cat"]
    assert answers[0].probability == answers[0].probabilities["dog"]
    assert list(client.predict(path, top=1).probabilities) == ["dog"]


def test_many_at_once(running: Running, tmp_path: Path) -> None:
    """More than one question holds come back in order; what cannot be read says why, and leaves no file open."""
    client = edge_agent.connect(running.bench.home)
    pictures: list[bytes | Path] = [f"{'cat' if i % 3 else 'dog'} {i}".encode() for i in range(70)]
    pictures[40] = tmp_path / "missing.jpg"
    pictures[50] = b"bad picture"
    answers = client.predict_all(pictures)

    assert [answer.label for i, answer in enumerate(answers) if i not in (40, 50)] == [
        "cat" if i % 3 else "dog" for i in range(70) if i not in (40, 50)
    ]
    assert "missing.jpg: No such file" in str(answers[40].error)
    assert answers[50].label is None
    assert answers[50].error
    deadline = time.monotonic() + 60.0  # the agent closes its own when it has answered
    while open_pictures() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert not open_pictures()


def open_pictures() -> list[str]:
    """Pictures in memory that somebody in this process has open."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(fd.readlink()))
    return [link for link in links if "memfd:picture" in link]


def test_errors_are_raised_as_the_agent_raises_them(running: Running, tmp_path: Path) -> None:
    """One picture that cannot be read, a version that is not there, and what is no picture at all."""
    client = edge_agent.connect(running.bench.home)

    with pytest.raises(ImageError, match="missing"):
        client.predict(tmp_path / "missing.jpg")
    with pytest.raises(NotFoundError, match="9"):
        client.predict(b"cat 1", version=9)
    with pytest.raises(UserError, match="not float"):
        client.predict(0.5)  # type: ignore[arg-type]


def test_before_anything_was_learned(bench: Bench) -> None:
    """The status is answered, a prediction says that there is no version."""
    running = Running(bench)
    running.start()
    try:
        client = edge_agent.connect(bench.home)
        assert client.status()["version"] is None
        with pytest.raises(NoModelError):
            client.predict(b"cat 1")
    finally:
        running.stop()


def test_an_update_and_its_versions(running: Running) -> None:
    """`update` comes back with the version, which answers from then on."""
    client = edge_agent.connect(running.bench.home)

    answer = client.update(force=True)

    assert (answer["state"], answer["version"]) == ("published", 2)
    assert [row["version"] for row in client.versions()] == [2, 1]
    assert client.predict(b"cat 7").version == 2


def test_what_is_no_picture_leaves_nothing_open(running: Running, tmp_path: Path) -> None:
    """The pictures before it are closed again; a path that no file can have is answered like one that is not there."""
    path = tmp_path / "question.jpg"
    path.write_text("dog 99")
    client = edge_agent.connect(running.bench.home)
    client.predict(path)

    def opened() -> list[Path]:
        return [one for one in Path("/proc/self/fd").iterdir() if one.is_symlink() and one.readlink() == path]

    with pytest.raises(UserError, match="not int"):
        client.predict_all([path, path, 7])  # type: ignore[list-item]
    assert opened() == []
    answers = client.predict_all(["no\0path", path])
    assert (answers[0].error, answers[1].label) == ("'no\\x00path': no file can have this path", "dog")


def test_no_agent(tmp_path: Path) -> None:
    """Nobody answers: an error with the place and what to do, after the time that was given."""
    with pytest.raises(NotAnsweredError, match=r"home.*edge-agent run"):
        edge_agent.connect(tmp_path / "home", patience_seconds=0.1)


def test_an_agent_that_is_started_again(running: Running) -> None:
    """Questions wait for it, and no question fails."""
    client = edge_agent.connect(running.bench.home, patience_seconds=60.0)
    answers: list[str | None] = []
    enough = threading.Event()

    def asks() -> None:
        while not enough.is_set():
            answers.append(client.predict(b"cat 5").label)

    thread = threading.Thread(target=asks)
    thread.start()
    for _ in range(3):
        running.stop()
        running.start()
    enough.set()
    thread.join(timeout=60)

    assert answers
    assert set(answers) == {"cat"}
    assert not thread.is_alive()


def test_versions_change_without_a_failed_question(running: Running) -> None:
    """While versions are published one after the other each prediction is answered and names its version."""
    client = edge_agent.connect(running.bench.home)
    seen: list[int | None] = []
    enough = threading.Event()

    def asks() -> None:
        while not enough.is_set():
            seen.append(client.predict(b"dog 5").version)

    threads = [threading.Thread(target=asks) for _ in range(2)]
    for thread in threads:
        thread.start()
    published = [client.update(force=True)["version"] for _ in range(5)]
    enough.set()
    for thread in threads:
        thread.join(timeout=60)

    assert published == [2, 3, 4, 5, 6]
    assert len(seen) > 5
    assert None not in seen
    assert client.predict(b"dog 5").version == 6
