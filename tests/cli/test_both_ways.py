"""Every command, with an agent that runs and without one: it prints, fails and ends the same way."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

import edge_agent.cli
from edge_agent.agent.agent import Agent
from edge_agent.agent.control import ControlSocket
from edge_agent.agent.home import Home
from edge_agent.agent.requests import QUESTIONS
from edge_agent.cli import COMMANDS
from edge_agent.cli import edge_agent as command_line
from edge_agent.testing import drop_texts
from tests.cli.conftest import PATIENT, Done, FakeSettings, fake_agent

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

ASKS = {
    "update": {"update"},
    "versions": {"versions"},
    "versions import": {"import"},
    "rollback": {"rollback"},
    "predict": {"predict"},
    "evaluate": {"predict"},
    "samples list": {"samples"},
    "samples relabel": {"relabel"},
    "forget": {"forget", "traces"},
    "status": {"status"},
    "review": {"look"},
    "doctor": {"checkup", "status"},
    "extractors use": {"extractor"},
    "extractors remove": {"status"},
}
"""What each of these asks an agent that runs; where none does, the work is done by the command itself."""

APART = {
    "init",
    "config check",
    "config example",
    "demo",
    "add",
    "train",
    "export",
    "backup",
    "extractors list",
    "extractors inspect",
    "extractors add",
    "extractors compare",
    "delegates",
    "plugins",
    "plugins new",
}
"""These need no agent and disturb none: they look at what never changes once it is there, or write elsewhere."""

REFUSES = {"restore": ("{tmp}/saved.tar", "--force"), "run": ("--once",)}
"""These are refused while an agent runs, because only one process may work on a state directory."""

GOOD, BAD = "{tmp}/new/dog-77.jpg", "{tmp}/new/bad.jpg"

SCRIPTS: dict[str, Sequence[str]] = {
    "update": (
        "update",
        "add owl {tmp}/owls",
        "update",
        "update",
        "update --force",
        "update --bogus",
        "versions",
    ),
    "versions": ("versions", "versions --bogus"),
    "versions import": (
        "versions import {tmp}/none",
        "versions import {tmp}/new",
        f"versions import {GOOD}",
        "versions import",
    ),
    "rollback": (
        "rollback 99",
        "rollback 0",
        "rollback two",
        "rollback 99999999999999999999999",
        "rollback",
        "rollback",
        "rollback 2",
        "versions",
    ),
    "predict": (
        f"predict {GOOD}",
        f"predict --top 2 {GOOD}",
        f"predict --top 0 {GOOD}",
        f"predict --top 99999999999999999999999 {GOOD}",
        "predict {tmp}/new",
        f"predict {{tmp}}/none.jpg {GOOD} {BAD}",
        "predict {tmp}/none.jpg",
        "predict {tmp}/empty",
        "predict {tmp}/unlike\udcff.jpg",
        f"predict --version 1 {GOOD}",
        f"predict --version 99 {GOOD}",
        f"predict --version 99999999999999999999999 {GOOD}",
        f"predict --version 1 --session {{tmp}}/none {GOOD}",
        f"predict --session {{tmp}}/none {GOOD}",
        "predict",
        "predict --bogus",
    ),
    "evaluate": (
        "evaluate {tmp}/truth",
        "evaluate --version 1 {tmp}/truth",
        "evaluate --version 99 {tmp}/truth",
        "evaluate {tmp}/none",
        "evaluate {tmp}/empty",
        "evaluate {tmp}/unreadable",
    ),
    "samples list": (
        "samples list",
        "samples list --label dog --limit 2 --offset 1",
        "samples list --offset 99",
        "samples list --label bird",
        "samples list --label ../dog",
        "samples list --limit 0",
        "samples list --limit 99999999999999999999999",
    ),
    "samples relabel": (
        "samples relabel {digest} wolf",
        "samples relabel {digest} wolf",
        "samples relabel {digest} ../wolf",
        "samples relabel ffffffffffff wolf",
        "samples relabel %% wolf",
        "samples relabel {digest}",
        "samples list",
    ),
    "forget": (
        "forget",
        "forget --sample {digest} --label cat",
        "forget --sample ffffffffffff",
        "forget --label bird",
        "forget --label bird --verify",
        "forget --sample {digest} --verify",
        "forget --sample {digest}",
        "forget --label fox",
        "forget --label dog --verify",
        "versions",
        "status",
    ),
    "status": ("status", "status --bogus"),
    "review": (
        "review {tmp}/new",
        "review --top 1 {tmp}/new",
        "review {tmp}/unreadable",
        "review {tmp}/none",
        "review {tmp}/empty",
    ),
    "doctor": ("doctor", "doctor --most 10", "doctor --most 1"),
    "extractors use": (
        "extractors use efficientnet-lite0-int8",
        "extractors use nothing-like-it",
    ),
    "extractors remove": (
        "extractors remove efficientnet-lite0-int8",
        "extractors remove nothing-like-it",
    ),
    "init": ("init",),
    "config check": ("config check", "config check {tmp}/none.toml"),
    "config example": ("config example",),
    "add": ("add owl {tmp}/none.jpg", "add owl {tmp}/owls/owl-1.jpg", "add ../owl {tmp}/owls/owl-1.jpg"),
    "export": ("export {tmp}/e.tflite --version 99", "export {tmp}/e.txt"),
    "backup": ("backup {tmp}/b.tar", "backup {tmp}/none/b.tar"),
    "extractors list": ("extractors list",),
    "extractors inspect": (f"extractors inspect {GOOD}", "extractors inspect nothing-like-it"),
    "extractors add": (f"extractors add {GOOD}",),
    "extractors compare": ("extractors compare nothing-like-it",),
    "delegates": ("delegates",),
    "plugins": ("plugins",),
}
"""What is tried of each command. `train`, `demo` and `plugins new` have nothing to do with a state directory."""

DIFFERS = {"state", "pid", "watching", "no_update_because", "engine", "seconds", "running", "files", "bytes"}
"""What JSON says of the process that answered, of what it decided while it ran, of its clock and its open files."""

WRITTEN = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?"), "THEN"),
    (re.compile(r"\d+\.\d\d s\b"), "SOME s"),
    (re.compile(r"\d+ files? \(\d+\.\d MB\)"), "SOME files"),
    (re.compile(r"^state +.*$", re.MULTILINE), "state"),
    (re.compile(r"^(drop folder .*) \(.*\)$", re.MULTILINE), r"\1"),
    (re.compile(r"^\d+\. Hint: No agent is running.*\n.* run\n\n", re.MULTILINE), ""),
    (re.compile(r"^\d+\. ", re.MULTILINE), "N. "),
)
"""The same in what people read; `doctor` has a finding more when no agent runs."""


class Patient(FakeSettings):
    """Settings whose agents look at text pictures and learn when they are asked to."""

    def agent(self, *, drop_folder: Path | None = None, watch: bool = False, extra: Any = ()) -> Agent:  # type: ignore[override]
        """Not open yet."""
        return fake_agent(self.home, drop_folder=drop_folder, extra=extra, config=PATIENT)


def furnish(folder: Path) -> None:
    """Put there what the scripts name."""
    drop_texts(folder, "new", ["dog 77", "cat 78", "fox 1", "bad", "owl 7"])
    drop_texts(folder / "truth", "dog", ["dog 87", "fox 88", "bad"])
    drop_texts(folder, "owls", ["owl 1", "owl 2", "owl 3", "owl 4"])
    drop_texts(folder / "unreadable", "cat", ["bad 1", "bad 2"])
    (folder / "empty").mkdir()
    Path(os.fsdecode(bytes(folder) + b"/unlike\xff.jpg")).write_text("dog 5")


@pytest.fixture
def place(learned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A state directory whose agents look at text pictures, whoever opens them; and files to ask about."""
    monkeypatch.setattr(edge_agent.cli, "Settings", Patient)
    furnish(tmp_path)
    learned.run("backup", tmp_path / "saved.tar")
    shutil.copytree(learned.home, tmp_path / "as-it-was", symlinks=True)
    return learned


@contextmanager
def agent_on(home: Path) -> Iterator[list[str]]:
    """An agent that runs there; yields what it was asked so far."""
    asked: list[str] = []
    agent = fake_agent(home, config=PATIENT)
    agent.open()
    agent.start()
    control, ask = ControlSocket(Home(home), agent), agent.ask
    agent.ask = lambda request: (asked.append(request.name), ask(request))[1]  # type: ignore[method-assign]
    control.open()
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield asked
    finally:
        agent.stop("the test is over")
        thread.join(timeout=60)
        control.close()
        agent.close()


def every_command(group: click.Group | None = None, before: str = "") -> dict[str, click.Command]:
    """All there is to type, without what plugins add."""
    found: dict[str, click.Command] = {}
    context = click.Context(command_line)
    names = group.commands if group else COMMANDS
    for name in names:
        command = (group or command_line).get_command(context, name)
        assert command is not None
        typed = f"{before} {name}".strip()
        if not isinstance(command, click.Group):
            found[typed] = command
            continue
        if command.invoke_without_command:
            found[typed] = command
        found |= every_command(command, typed)
    return found


def test_each_command_is_of_one_kind() -> None:
    """It asks the agent that runs, needs none, or is refused; whoever adds one has to say which, and it is tried."""
    kinds = [*ASKS, *APART, *REFUSES]
    assert sorted(every_command()) == sorted(kinds)
    assert set(kinds) - set(SCRIPTS) - set(REFUSES) == {"train", "demo", "plugins new"}
    assert set().union(*ASKS.values()) == set(QUESTIONS)


def _as_it_was(shell: Shell) -> None:
    shutil.rmtree(shell.home)
    shutil.copytree(shell.home.parent / "as-it-was", shell.home, symlinks=True)


def typed(line: str, folder: Path, digest: str) -> list[str]:
    """What a line of a script stands for; a folder of owls is all files in it."""
    words = [word.format(tmp=folder, digest=digest) for word in line.split()]
    return [
        name
        for word in words
        for name in (map(str, sorted(Path(word).iterdir())) if word.endswith("/owls") else [word])
    ]


def _told(done: Done) -> tuple[int, object, str]:
    out: object = done.out
    try:
        out = plain(json.loads(done.out))
    except ValueError:
        out = plain(done.out)
    return done.status, out, str(plain(done.err))


def plain(value: Any) -> Any:
    """Without what must differ."""
    if isinstance(value, dict):
        return {key: "SOME" if key in DIFFERS else plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [
            plain(one) for one in value if not (isinstance(one, dict) and one.get("kind") == "not-running")
        ]
    if isinstance(value, str):
        for pattern, instead in WRITTEN:
            value = pattern.sub(instead, value)
    return value


def test_those_that_may_not_run_beside_an_agent_are_refused(place: Shell) -> None:
    """In one line that says who works there, before anything is changed; without an agent they work."""
    for command, arguments in REFUSES.items():
        _as_it_was(place)
        line = [command, *typed(" ".join(arguments), place.home.parent, "")]
        with agent_on(place.home) as asked:
            before = sorted(place.home.rglob("*"))
            done = place.run(*line)
            assert (done.status, done.out, asked) == (2, "", [])
            who = f"{place.home} is in use by process {os.getpid()}"
            assert done.err == f"edge-agent: {who}; stop it first, or choose another --home\n"
            assert sorted(place.home.rglob("*")) == before
        assert place.run(*line).status == 0


@pytest.mark.parametrize("command", SCRIPTS)
def test_it_says_the_same(place: Shell, command: str) -> None:
    """Standard output, standard error and exit status, for people and programs; an agent that runs is asked."""
    digest = place.ask("samples", "list", "--label", "cat")[0]["digest"]
    has_json = any(one.name == "as_json" for one in every_command()[command].params)
    for options in ((), ("--json",)) if has_json else ((),):
        lines = [[*typed(line, place.home.parent, digest), *options] for line in SCRIPTS[command]]
        _as_it_was(place)
        alone = [_told(place.run(*line)) for line in lines]
        _as_it_was(place)
        with agent_on(place.home) as asked:
            for line, expected in zip(lines, alone, strict=True):
                assert (line, _told(place.run(*line))) == (line, expected)
        assert ASKS.get(command, set()) <= set(asked), "it does not ask"
        if command in APART:
            assert asked == []
