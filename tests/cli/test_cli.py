"""The group of commands, the global options and the exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from edge_agent import __version__
from edge_agent.cli import COMMANDS, edge_agent, globals_first, main, run_command

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("given", "sorted_"),
    [
        (["status", "--home", "H"], ["--home", "H", "status"]),
        (["status", "--home=H", "--json"], ["--home=H", "status", "--json"]),
        (["run", "--once", "--drop", "D", "--home", "H"], ["--home", "H", "run", "--once", "--drop", "D"]),
        (
            ["predict", "--config", "C", "x.jpg", "--home", "H"],
            ["--config", "C", "--home", "H", "predict", "x.jpg"],
        ),
        (["add", "cat", "--", "--home", "x.jpg"], ["add", "cat", "--", "--home", "x.jpg"]),
        (["status", "--home"], ["--home", "status"]),
        (["--homely"], ["--homely"]),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], sorted_: list[str]) -> None:
    """`--home` and `--config` move to the front with their values; what comes after `--` stays."""
    assert globals_first(given) == sorted_


def test_home_may_stand_after_the_command(learned: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-agent versions --home H` does the same as `edge-agent --home H versions`."""
    before = learned.run("versions")
    assert run_command(["versions", "--home", str(learned.home)]) == 0
    assert capsys.readouterr().out == before.out


def test_the_environment_names_a_home(learned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDGE_AGENT_HOME is used when no `--home` is given."""
    monkeypatch.setenv("EDGE_AGENT_HOME", str(learned.home))
    assert run_command(["versions"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, shell: Shell) -> None:
    """Each command exists, explains itself, and neither needs nor makes a state directory for that."""
    done = shell.run(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Usage: edge-agent")
    assert not shell.home.exists()


def test_the_list_begins_with_what_a_newcomer_needs(shell: Shell) -> None:
    """`--help` lists every command once; `--version` names the version."""
    lines = [line.split()[0] for line in shell.run("--help").out.splitlines() if line.startswith("  ")]
    assert [line for line in lines if line in COMMANDS] == list(COMMANDS)
    assert __version__ in shell.run("--version").out


@pytest.mark.parametrize("limit", [45, 60, 1000])
def test_the_list_says_what_the_commands_say(limit: int) -> None:
    """The line of help beside each built-in command in the list is that of the command itself."""
    context = click.Context(edge_agent)
    listed = {
        name: click.Command(name, help=line).get_short_help_str(limit) for name, (_, line) in COMMANDS.items()
    }
    found = {name: edge_agent.get_command(context, name) for name in COMMANDS}
    assert listed == {name: command and command.get_short_help_str(limit) for name, command in found.items()}


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_who_asks_for_help_does_not_wait_for_what_is_not_used(asked: str) -> None:
    """The list of commands and the version import neither NumPy, nor the store, nor the module of any command."""
    unused = UNUSED | {f"edge_agent.cli.{module}" for module, _ in COMMANDS.values()}
    assert loaded_of(unused, f"assert run_command([{asked!r}]) == 0") == []


def test_the_help_of_a_command_does_not_wait_for_its_work() -> None:
    """Of all but four, which look at options that only their work knows, help comes without what the work needs."""
    quick = [name for name in COMMANDS if name not in ("demo", "train", "export", "extractors")]
    asked = f"for name in {quick!r}:\n    assert run_command([name, '--help']) == 0"
    assert loaded_of(UNUSED, asked) == []


UNUSED = {"numpy", "PIL", "sqlite3", "rich", "edge_agent.agent.agent"}


def loaded_of(modules: set[str], program: str) -> list[str]:
    """Which of these modules a new process has imported after some lines that call `run_command`."""
    lines = f"import sys\nfrom edge_agent.cli import run_command\n{program}\n"
    lines += f"print(*sorted({modules!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return done.stderr.split()


def test_asking_a_running_agent_takes_a_socket_and_no_more(running: Shell) -> None:
    """Commands that the running agent answers come back with its answer without what only an agent needs."""
    picture = running.home / "asked.jpg"
    picture.write_text("fox 9")
    commands = [["status"], ["update"], ["versions"], ["predict", str(picture)]]
    asked = (
        f"for one in {commands!r}:\n    assert run_command(['--home', {str(running.home)!r}, *one]) == 0, one"
    )
    assert loaded_of({*UNUSED, "msgspec", "pluggy", "edge_agent.plugins"}, asked) == []


def test_a_shell_completes_commands_without_importing_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names that begin as what was typed come with their help, and options complete as well."""
    monkeypatch.setenv("_EDGE_AGENT_COMPLETE", "bash_complete")
    monkeypatch.setattr("importlib.import_module", None)
    monkeypatch.setenv("COMP_CWORD", "1")
    for typed, expected in (("ver", "plain,versions\n"), ("--ver", "plain,--version\n")):
        monkeypatch.setenv("COMP_WORDS", f"edge-agent {typed}")
        with pytest.raises(SystemExit) as end:
            run_command([])
        assert end.value.code == 0
        assert capsys.readouterr().out == expected


def test_help_is_given_whatever_a_plugin_does(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that cannot be imported is named beside it, with how to leave it out, which other commands say too."""
    site = tmp_path / "site"
    (site / "edge_agent_worn-1.dist-info").mkdir(parents=True)
    (site / "edge_agent_worn-1.dist-info" / "METADATA").write_text("Name: edge-agent-worn\nVersion: 1\n")
    (site / "edge_agent_worn-1.dist-info" / "entry_points.txt").write_text(
        "[edge_agent]\nworn = edge_agent_worn\n"
    )
    (site / "edge_agent_worn.py").write_text("import os\nos._exit(7)  # before register_commands\n")
    monkeypatch.syspath_prepend(str(site))
    out = "`disabled = ['worn']` in [plugins] leaves it out"

    helped, listed = shell.run("--help"), shell.run("plugins")

    assert (helped.status, "classif" in helped.out) == (0, True)
    assert "plugin 'worn'" in helped.err
    assert out in helped.err
    assert (listed.status, out in listed.err) == (2, True)
    shell.home.mkdir(exist_ok=True)
    (shell.home / "edge-agent.toml").write_text('[plugins]\ndisabled = ["worn"]\n')
    assert shell.run("plugins").status == 0


@pytest.mark.parametrize(
    "arguments",
    [("sing",), ("versions", "--loud"), ("rollback", "zero"), ("rollback", "0"), ("forget",), ("add",)],
)
def test_a_users_mistake_is_one_line_and_status_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    """Unknown commands, options and values end in one line on standard error."""
    done = shell.run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("edge-agent: ")
    assert len(done.err.splitlines()) == 1


def test_asking_makes_no_home(shell: Shell) -> None:
    """A question about a state directory that is not there is refused and creates nothing."""
    for command in (("status",), ("versions",), ("samples", "list"), ("predict", "x.jpg"), ("update",)):
        done = shell.run(*command)
        assert (done.status, "edge-agent init" in done.err) == (2, True)
    assert not shell.home.exists()


def test_main_ends_the_process_with_the_status(shell: Shell) -> None:
    """`main` raises SystemExit with what `run_command` returns."""
    with pytest.raises(SystemExit) as end:
        main(["--home", str(shell.home), "status"])
    assert end.value.code == 2


def test_a_path_the_system_refuses_is_a_users_mistake(shell: Shell) -> None:
    """A path that is too long ends in one line that names the trouble."""
    done = shell.run("evaluate", "x" * 5000)
    assert done.status == 2
    assert os.strerror(36) in done.err or "not a folder" in done.err
    assert "unexpected" not in done.err
