"""The plugin `events`: from hooks to lines, in a file and in a program."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_agent.config import PluginsConfig
from edge_agent.errors import ConfigError
from edge_agent.hookspecs import OBSERVATIONS
from edge_agent.plugins import load_plugins
from edge_agent.testing import check_plugin, example_facts

events = pytest.importorskip("edge_agent_events", reason="edge-agent-events is not installed")

from edge_agent_events import Events, EventsSettings  # noqa: E402
from edge_agent_events.command import events as command  # noqa: E402
from edge_agent_events.lines import readable  # noqa: E402
from edge_agent_events.places import RESTART_WINDOW_SECONDS, RESTARTS, LineFile, Program  # noqa: E402

NOON = 1795176000.25
"""2026-11-20 12:00:00.250 UTC."""

PATIENCE = 10.0

pytest_plugins = ["edge_agent.testing.fixtures"]

FACTS = {name: example_facts(name) for name in OBSERVATIONS}
"""What the agent tells with each event."""

SAMPLE = FACTS["sample_ingested"]["sample"]
REJECTION = FACTS["sample_rejected"]["rejection"]
TRAINING = FACTS["epoch_end"]["event"]
VERSION = FACTS["version_published"]["version"]

COPY = """
import sys
with open(sys.argv[1], "ab", 0) as copy:
    for line in sys.stdin.buffer:
        copy.write(line)
        if b"END" in line:
            break
    else:
        copy.write(b"end of input\\n")
"""
"""A program that copies its input to a file, and ends when a line says so."""


def copying(path: Path) -> tuple[str, ...]:
    """The command of a program that copies lines to `path`."""
    return (sys.executable, "-c", COPY, str(path))


def plugin(**settings: object) -> Events:
    """The plugin at noon."""
    return Events(EventsSettings(**settings), clock=lambda: NOON)


def lines(path: Path) -> list[dict[str, object]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def listens_to(made: Events) -> set[str]:
    """The events a plugin hears."""
    return {name for name in OBSERVATIONS if getattr(made, name) is not None}


# ---------------------------------------------------------------------- lines


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_event_is_one_line_of_json(tmp_path, name):
    """Each has its name, the time in UTC and its facts, and is readable again."""
    path = tmp_path / "events.jsonl"
    made = plugin(file=str(path), events=(name,))

    getattr(made, name)(**FACTS[name])

    (line,) = lines(path)
    assert (line.pop("event"), line.pop("time")) == (name, "2026-11-20T12:00:00.250Z")
    assert line.keys() == {"training" if fact == "event" else fact for fact in FACTS[name]}
    shown = readable(path.read_bytes())
    assert shown.startswith(f"2026-11-20T12:00:00.250Z  {name}")
    assert shown.isprintable()


def test_facts_are_plain_values(tmp_path):
    """Records are objects, paths are texts, numbers of numpy are numbers, what is not a number is null."""
    path = tmp_path / "events.jsonl"
    made = plugin(file=str(path))

    made.sample_ingested(SAMPLE)
    made.version_published(VERSION)
    made.epoch_end(replace(TRAINING, metrics={"loss_value": np.float32(0.5), "accuracy": float("nan")}))
    made.candidate_evaluated(**FACTS["candidate_evaluated"])

    sample, version, training, evaluated = lines(path)
    assert (sample["sample"]["label"], sample["sample"]["width"]) == ("cat", 640)
    assert version["version"]["path"] == "models/versions/000003"
    assert training["training"]["metrics"] == {"loss_value": 0.5, "accuracy": None}
    assert evaluated["evaluation"] == json.loads(
        json.dumps(FACTS["candidate_evaluated"]["evaluation"].to_json())
    )
    decision = FACTS["candidate_evaluated"]["decision"]
    assert evaluated["decision"] == {"answer": True, "reason": decision.reason, "basis": ""}


def test_unknown_kinds_of_facts_are_told_as_text(tmp_path):
    """A fact of a later agent does not stop the line."""

    @dataclass(frozen=True)
    class Later:
        inner: object

    path = tmp_path / "events.jsonl"
    plugin(file=str(path)).version_published(Later(inner=range(3)))

    assert lines(path)[0]["version"] == {"inner": "range(0, 3)"}


# ---------------------------------------------------------------------- settings


def test_it_listens_to_what_is_wanted():
    """Without a place to nothing; by default to all but mini-batches; else to what is named."""
    assert listens_to(plugin()) == set()
    assert listens_to(plugin(file="/f")) == set(OBSERVATIONS) - {"mini_batch_end"}
    assert listens_to(plugin(file="/f", events=("mini_batch_end",))) == {"mini_batch_end"}
    assert listens_to(plugin(command=("p",), events=("epoch_end",))) == {"epoch_end", "agent_stopping"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"events": ["sample_ingestd"]}, "no event 'sample_ingestd', did you mean 'sample_ingested'?"),
        ({"file": "events.jsonl"}, "file: 'events.jsonl' is not an absolute path"),
        ({"command": [""]}, "command: the first item is the program"),
        ({"command": "mosquitto_pub -l"}, "plugins.events.command: expected `array`, got `str`"),
        ({"flie": "/f"}, "plugins.events.flie: unknown key, did you mean 'file'?"),
    ],
)
def test_bad_settings_are_problems_of_the_configuration(settings, complaint):
    """The agent does not start, and says which key of which table is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_plugins(
            PluginsConfig(settings={"events": settings}),
            built_in=[],
            entry_points=[metadata.EntryPoint("events", "edge_agent_events:Events", "edge_agent")],
        )

    assert complaint in str(caught.value)
    assert str(caught.value).startswith("plugins.events")


# ---------------------------------------------------------------------- the file


def test_file_is_its_owners_and_is_appended_to(tmp_path):
    """What is in the file stays, and nobody else may read it."""
    path = tmp_path / "events.jsonl"
    LineFile(path).write(b"1\n")
    LineFile(path).write(b"2\n")

    assert path.read_bytes() == b"1\n2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_was_rotated_is_made_again(tmp_path):
    """A line after the file was moved away goes to a new file."""
    path = tmp_path / "events.jsonl"
    file = LineFile(path)
    file.write(b"1\n")
    path.rename(tmp_path / "events.jsonl.1")

    file.write(b"2\n")

    assert path.read_bytes() == b"2\n"


def test_program_hears_although_the_file_cannot_be_written(tmp_path):
    """One broken place does not silence the other; the failure is still reported."""
    made = plugin(file=str(tmp_path / "no folder" / "f"), command=copying(tmp_path / "copy"))

    with pytest.raises(FileNotFoundError):
        made.sample_ingested(SAMPLE)
    with pytest.raises(FileNotFoundError):
        made.agent_stopping("done")

    assert b"sample_ingested" in (tmp_path / "copy").read_bytes()


# ---------------------------------------------------------------------- the program


def test_program_reads_the_lines_on_its_standard_input(tmp_path):
    """A real program gets the same lines as the file, and at the end the end of its input."""
    made = plugin(file=str(tmp_path / "file"), command=copying(tmp_path / "copy"))

    made.sample_ingested(SAMPLE)
    made.agent_stopping("done")

    file, copy = (tmp_path / "file").read_bytes(), (tmp_path / "copy").read_bytes()
    assert file.count(b"\n") == 2
    assert copy == file + b"end of input\n"


def test_late_line_starts_no_program_that_nobody_would_end(tmp_path):
    """What is told after `agent_stopping` goes to the file only."""
    made = plugin(file=str(tmp_path / "file"), command=copying(tmp_path / "copy"))
    made.agent_stopping("done")

    made.training_end(TRAINING)

    assert (tmp_path / "file").read_bytes().count(b"\n") == 2
    assert made._program._process is None


def test_program_that_ends_is_started_again(tmp_path):
    """A line after the program ended goes to a new one."""
    program = Program(copying(tmp_path / "copy"))
    program.write(b"1 END\n")
    program._process.wait(PATIENCE)

    program.write(b"2\n")
    program.close()

    assert (tmp_path / "copy").read_bytes() == b"1 END\n2\nend of input\n"


def test_program_that_ends_again_and_again_is_left_for_a_minute(tmp_path):
    """After the limit a line is an error that says so, and after a minute the program is tried again."""
    now = [0.0]
    program = Program(copying(tmp_path / "copy"), monotonic=lambda: now[0])
    for number in range(RESTARTS + 1):
        program.write(b"%d END\n" % number)
        program._process.wait(PATIENCE)

    with pytest.raises(OSError, match="ends again and again; the last time with status 0"):
        program.write(b"lost\n")
    with pytest.raises(OSError, match="ends again and again"):
        program.write(b"lost\n")

    now[0] = RESTART_WINDOW_SECONDS
    program.write(b"back\n")
    program.close()
    assert (tmp_path / "copy").read_bytes().splitlines()[-2:] == [b"back", b"end of input"]


def test_program_that_is_not_there_is_an_error(tmp_path):
    """The error names the program; the agent counts it and goes on."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        Program((str(tmp_path / "no-such-program"),)).write(b"1\n")


def test_program_that_does_not_end_is_ended(tmp_path):
    """One that ignores the end of its input and SIGTERM is killed."""
    stubborn = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').close()\n"
        "while True: signal.pause()\n"
    )
    os.mkfifo(tmp_path / "ready")
    program = Program((sys.executable, "-c", stubborn, str(tmp_path / "ready")), patience_seconds=0.1)
    program.write(b"1\n")
    process = program._process
    assert (tmp_path / "ready").read_bytes() == b""

    program.close()

    assert process.returncode == -signal.SIGKILL
    program.close()


def test_close_without_a_line_starts_nothing():
    """A program that was never needed is not started for the end."""
    Program(("no-such-program",)).close()


# ---------------------------------------------------------------------- with the agent


def test_it_keeps_the_contract(tmp_path):
    """The agent has nothing to complain of, with a file and without."""
    listening = check_plugin(Events, {"file": str(tmp_path / "events.jsonl")})

    assert set(OBSERVATIONS) - set(listening.hooks) == {"mini_batch_end"}
    assert check_plugin(Events).hooks == ("register_commands",)


def test_the_life_of_an_agent_is_written_down(agent_bench, tmp_path):
    """A whole agent takes in pictures, refuses one, learns, and stops; every line is an event of it."""
    path = tmp_path / "events.jsonl"
    agent_bench.show("cat", "cat 1", "cat 2", "bad")
    agent_bench.open(Events, settings={"events": {"file": str(path)}})
    agent_bench.settle()
    agent_bench.close()

    told = [line["event"] for line in lines(path)]
    assert (told[0], told[-1]) == ("agent_started", "agent_stopping")
    assert told.count("sample_ingested") == 2
    assert {"sample_rejected", "training_end", "version_published"} <= set(told)
    assert agent_bench.errors() == {}


def test_host_tells_a_real_program(tmp_path):
    """Loaded as a plugin with its table, told through the host, closed by `agent_stopping`."""
    host = load_plugins(
        PluginsConfig(settings={"events": {"command": list(copying(tmp_path / "copy"))}}),
        built_in=[],
        entry_points=[metadata.EntryPoint("events", "edge_agent_events:Events", "edge_agent")],
    )
    assert not host.listens("mini_batch_end")

    host.sample_ingested(SAMPLE)
    host.training(TRAINING)
    host.agent_stopping("asked")

    assert host.close(PATIENCE)
    said = (tmp_path / "copy").read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in said[:-1]] == [
        "sample_ingested",
        "epoch_end",
        "agent_stopping",
    ]
    assert said[-1] == b"end of input"
    assert host.reports()[0].errors == 0


def test_host_offers_the_command():
    """`edge-agent events` is there without any settings."""
    host = load_plugins(
        PluginsConfig(),
        built_in=[],
        entry_points=[metadata.EntryPoint("events", "edge_agent_events:Events", "edge_agent")],
    )

    assert [found.name for found in host.register_commands()] == ["events"]
    assert host.reports()[0].hooks == ("register_commands",)


# ---------------------------------------------------------------------- the command


@pytest.fixture
def file(tmp_path):
    """A file of three events, half a line, and a name that tries to move the cursor."""
    path = tmp_path / "events.jsonl"
    made = plugin(file=str(path))
    made.agent_started("home", None, "x")
    made.sample_rejected(replace(REJECTION, reason="bad\x1b[2J"))
    made.agent_stopping("asked")
    with path.open("ab") as lines:
        lines.write(b'{"event": "sample_in')
    return path


def test_command_prints_the_last_lines(file):
    """As many as asked for, readable, and without control characters."""
    done = CliRunner().invoke(command, [str(file), "-n", "3"])

    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "2026-11-20T12:00:00.250Z  sample_rejected      drop/cat/p2.jpg: bad?[2J",
        "2026-11-20T12:00:00.250Z  agent_stopping       asked",
        '(not an event: b\'{"event": "sample_in\')',
    ]


def test_command_prints_json(file):
    """One document with the whole lines as they are."""
    done = CliRunner().invoke(command, [str(file), "--json"])

    assert [line["event"] for line in json.loads(done.output)] == [
        "agent_started",
        "sample_rejected",
        "agent_stopping",
    ]


def test_command_names_a_missing_file(tmp_path):
    """A mistake of the user: exit status 2 and the name."""
    done = CliRunner().invoke(command, [str(tmp_path / "none")])

    assert done.exit_code == 2
    assert "none" in done.output


# ---------------------------------------------------------------------- installation


def test_plugin_is_installed():
    """The distribution offers the entry point `events`, and the agent finds it."""
    try:
        metadata.distribution("edge-agent-events")
    except metadata.PackageNotFoundError:
        pytest.skip("edge-agent-events is not installed; `pip install -e plugins/edge-agent-events` does it")

    host = load_plugins(PluginsConfig(), built_in=[])

    (report,) = [report for report in host.reports() if report.name == "events"]
    assert report.where == "edge_agent_events:Events"
    assert report.version == metadata.version("edge-agent-events")
