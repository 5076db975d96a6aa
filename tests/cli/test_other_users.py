"""Commands said by somebody else than the agent's own user: members of its group, and root."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import edge_agent.cli
from edge_agent.cli import run_command
from edge_agent.testing import drop_texts
from tests.cli.conftest import fake_agent
from tests.cli.test_both_ways import ASKS, SCRIPTS, Patient, agent_on, furnish, plain, typed

SERVICE, GROUP, SOMEBODY = 54320, 54321, 54323
"""No users of this machine."""

GUESTS_COMMANDS = {"predict", "evaluate", "status", "versions", "config example"}
"""What members of the group get an answer to."""

TRIED = {"forget": 2, "extractors inspect": 1}
"""Which line of a script is about the state directory, where it is not the first."""

OWNER_ONLY = sorted(set(SCRIPTS) - GUESTS_COMMANDS)

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # children begin in a process of one thread
]


def _child(work: Callable[[], Any], user: int, group: int) -> tuple[int, int]:
    """Do something as somebody in a process of its own; its id, and where what it says can be read."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        os.close(reading)
        os.umask(0o077)
        os.setgroups(())
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
    finally:
        os._exit(0)


def _done(child: int, reading: int) -> Any:
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


@dataclass(frozen=True)
class House:
    """A service's state directory, and files that everybody may read."""

    top: Path
    home: Path

    def said(self, lines: list[list[str]], *, user: int, group: int) -> list[tuple[int, str, str]]:
        """How commands end that somebody says one after the other."""

        def work() -> list[tuple[int, str, str]]:
            ends = []
            for line in lines:
                out, err = io.StringIO(), io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    status = run_command(["--home", str(self.home), *line])
                ends.append((status, out.getvalue(), err.getvalue()))
            return ends

        return [tuple(one) for one in _done(*_child(work, user, group))]

    def lines(self, command: str) -> list[list[str]]:
        """What is tried of a command."""
        return [typed(line, self.top, "0" * 12) for line in SCRIPTS[command]]

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """While the service runs."""
        ready, go = os.pipe(), os.pipe()

        def serve() -> None:
            os.close(go[1])
            with agent_on(self.home):
                os.write(ready[1], b".")
                os.read(go[0], 1)

        child, reading = _child(serve, SERVICE, GROUP)
        os.close(ready[1])
        try:
            assert os.read(ready[0], 1) == b".", "it does not run"
            yield
        finally:
            for fd in (*go, ready[0]):
                os.close(fd)
            _done(child, reading)

    def strangers(self) -> list[str]:
        """What in the state directory does not belong to the service."""
        return sorted(
            str(path.relative_to(self.home))
            for path in self.home.rglob("*")
            if path.lstat().st_uid != SERVICE
        )


def _learn(home: Path) -> None:
    run_command(["--home", str(home), "init"])
    for word in ("cat", "dog"):
        drop_texts(home / "drop", word, [f"{word} {i}" for i in range(4)])
    agent = fake_agent(home)
    agent.open()
    agent.start()
    agent.run_until_idle()
    agent.close()


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """Made once; every command is said once here, because somebody else may not be able to import what it needs."""
    top = Path(tempfile.mkdtemp())  # not in tmp_path: other users may not enter the folders of a test run
    top.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(edge_agent.cli, "Settings", Patient)
        furnish(top)
        (top / "mine").mkdir(mode=0o700)
        _learn(top / "home")
        _learn(top / "mine")
        with contextlib.redirect_stderr(io.StringIO()):
            for command in SCRIPTS:
                for line in SCRIPTS[command]:
                    run_command(["--home", str(top / "mine"), *typed(line, top, "0" * 12)])
    for path in top.rglob("*"):
        if path.is_relative_to(top / "home"):
            os.lchown(path, SERVICE, GROUP)
        elif not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    os.chown(top / "home", SERVICE, GROUP)
    (top / "home").chmod(0o710)
    yield top
    shutil.rmtree(top)


@pytest.fixture
def house(template: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A fresh one."""
    monkeypatch.setattr(edge_agent.cli, "Settings", Patient)
    shutil.rmtree(template / "its", ignore_errors=True)
    shutil.copytree(template / "home", template / "its", symlinks=True)
    for path in (template / "its", *(template / "its").rglob("*")):
        os.lchown(path, SERVICE, GROUP)
    return House(template, template / "its")


def test_members_of_the_group_read_what_the_owner_reads(house: House) -> None:
    """Of what they may ask, word for word; of the status what names no file."""
    lines = [line for command in sorted(GUESTS_COMMANDS - {"status"}) for line in house.lines(command)[:4]]
    with house.served():
        as_guest = house.said(lines, user=SOMEBODY, group=GROUP)
        as_owner = house.said([*lines, ["samples", "list"]], user=SERVICE, group=SERVICE)
        ((guests_end, guests_status, _),) = house.said([["status"]], user=SOMEBODY, group=GROUP)
        ((_, whole_status, _),) = house.said([["status"]], user=SERVICE, group=GROUP)
    assert (guests_end, "samples" in guests_status) == (0, True)
    assert ["drop folder" in text for text in (whole_status, guests_status)] == [True, False]
    assert as_owner.pop()[0] == 0
    assert plain(as_guest) == plain(as_owner)
    assert sum(status == 0 for status, _, _ in as_guest) > len(GUESTS_COMMANDS)


@pytest.mark.parametrize("runs", [True, False])
def test_members_of_the_group_are_told_what_to_do(house: House, runs: bool) -> None:
    """One line and status 2 for what is the owner's, and for everything when no agent runs; nothing is changed."""
    commands = OWNER_ONLY if runs else sorted({*OWNER_ONLY, *ASKS})
    before = {path: path.lstat().st_mtime_ns for path in house.home.rglob("*")}
    with house.served() if runs else contextlib.nullcontext():
        ends = house.said(
            [house.lines(command)[TRIED.get(command, 0)] for command in commands], user=SOMEBODY, group=GROUP
        )
    for command, (status, out, err) in zip(commands, ends, strict=True):
        assert (command, status, out, err.count("\n")) == (command, 2, "", 1), err
        assert "say it" in err, err
    if not runs:
        assert {path: path.lstat().st_mtime_ns for path in house.home.rglob("*")} == before


@pytest.mark.parametrize("runs", [True, False])
def test_root_leaves_nothing_that_is_roots(house: House, runs: bool) -> None:
    """Whatever root says with the service's state directory, the service can read and replace all that lies there."""
    lines = [line for command in SCRIPTS for line in house.lines(command)]
    lines += [["extractors", "use", "efficientnet-lite0-int8"], ["run", "--once"], ["delegates", "--probe"]]
    with house.served() if runs else contextlib.nullcontext():
        ends = house.said(lines, user=0, group=0)
        assert house.strangers() == []
    assert (sum(status == 0 for status, _, _ in ends) > len(lines) // 3) is runs
