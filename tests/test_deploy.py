"""What is shipped to run as a service: the unit is sound and closed, the sample configuration is current."""

from __future__ import annotations

import configparser
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from edge_agent.config import Config, load_config
from edge_agent.example_config import example_config

pytestmark = pytest.mark.once

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
UNIT = DEPLOY / "edge-agent.service"


@pytest.fixture(name="settings", scope="session")
def _settings() -> dict[str, list[str]]:
    """Every setting of the unit's [Service] section, in order."""
    settings: dict[str, list[str]] = {}
    section = UNIT.read_text(encoding="utf-8").partition("[Service]")[2].partition("\n[")[0]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


@pytest.fixture(name="analyze")
def _analyze():
    """Runs systemd-analyze; skips where there is none."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")

    def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    return analyze


DROP_INS = [
    *sorted(DEPLOY.glob("accelerators/*.conf")),
    *sorted(DEPLOY.parent.glob("plugins/*/*/system/*.conf")),
]
RULES = [
    *sorted(DEPLOY.glob("accelerators/*.rules")),
    *sorted(DEPLOY.parent.glob("plugins/*/*/system/*.rules")),
]
each_drop_in = pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)


def on_a_board(folder: Path, drop_in: Path | None = None) -> Path:
    """The unit as on a board where the program is installed: what it starts is there; with a drop-in or without."""
    text = UNIT.read_text(encoding="utf-8")
    program = text.partition("ExecStart=")[2].split()[0]
    text = text.replace(program, shutil.which("true") or sys.executable)
    if drop_in is not None:  # systemd reads it behind the unit
        text += drop_in.read_text(encoding="utf-8")
    path = folder / UNIT.name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(name="installed")
def _installed(tmp_path: Path) -> Path:
    """The unit on a board."""
    return on_a_board(tmp_path)


def test_systemd_accepts_the_unit(analyze, installed: Path):
    """E1: `systemd-analyze verify` has nothing to say about it."""
    done = analyze("verify", "--man=no", str(installed))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_spoilt_unit_is_noticed(analyze, installed: Path):
    """`verify` really looks: a setting that does not exist is named."""
    text = installed.read_text(encoding="utf-8")
    installed.write_text(text.replace("[Service]", "[Service]\nProtectEverything=yes"), encoding="utf-8")

    assert "ProtectEverything" in analyze("verify", "--man=no", str(installed)).stderr


def test_exposure_is_half_a_point_at_most(analyze):
    """E1: the scale ends at ten; without network and devices the unit stays below 0.5."""
    arguments = ("security", "--offline=true", "--no-pager", str(UNIT))
    done = analyze(*arguments, "--threshold=5")

    assert done.returncode == 0, done.stdout
    assert re.search(r"exposure level for edge-agent.service: 0\.[0-5]", done.stdout)
    assert analyze(*arguments, "--threshold=0").returncode != 0


def test_unit_opens_no_network(settings):
    """No network of its own and no family of sockets but the local one."""
    assert settings["PrivateNetwork"] == ["yes"]
    assert settings["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_unit_leaves_proc_cpuinfo_visible(settings):
    """`ProcSubset=pid` would switch XNNPACK off on ARM and change the features."""
    assert "ProcSubset" not in settings


def test_unit_waits_for_readiness_and_watches(settings):
    """The service says when it is ready and proves that it is alive; its mistakes are not restarted."""
    assert settings["Type"] == ["notify"]
    assert int(settings["WatchdogSec"][0]) > Config().extractor.start_timeout_seconds
    assert int(settings["TimeoutStartSec"][0]) > Config().extractor.start_timeout_seconds
    assert settings["RestartPreventExitStatus"] == ["2"]


def test_unit_starts_the_command_on_its_state_directory(settings):
    """The state directory that systemd makes is the home that the command is given."""
    assert settings["ExecStart"][0].endswith(
        f"/edge-agent --home /var/lib/{settings['StateDirectory'][0]} run"
    )


def test_unit_is_plain(settings):
    """Every [section] is one systemd knows, and what is set once is set once."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(UNIT, encoding="utf-8")

    assert parser.sections() == ["Unit", "Service", "Install"]
    assert [name for name, values in settings.items() if len(values) > 1] == ["SystemCallFilter"]


def test_sample_configuration_is_the_example():
    """The file is what `edge-agent config example` prints, and reading it gives the defaults."""
    path = DEPLOY / "edge-agent.toml"

    assert path.read_text(encoding="utf-8") == example_config()
    assert load_config(path) == Config()


@each_drop_in
def test_e1_exposure_with_an_accelerator(analyze, tmp_path: Path, drop_in: Path):
    """E1: systemd has nothing to say about the unit with a drop-in, and its exposure is 1.5 at most."""
    unit = on_a_board(tmp_path, drop_in)
    verified = analyze("verify", "--man=no", str(unit))
    rated = analyze("security", "--offline=true", "--no-pager", str(unit), "--threshold=15")

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert rated.returncode == 0, rated.stdout


@each_drop_in
def test_a_drop_in_explains_what_it_lifts(settings, drop_in: Path):
    """Each `no` was a `yes` in the unit, has a comment, and no drop-in opens a way to the internet."""
    lines = drop_in.read_text(encoding="utf-8").splitlines()
    given = [line.partition("=")[::2] for line in lines if line and line[0] not in "#["]
    names = {name for name, _ in given}

    assert lines[0].startswith("# Gives edge-agent's service ")
    for name, value in given:
        if value == "no":
            assert settings[name] == ["yes"]
        if name == "RestrictAddressFamilies":
            assert "INET" not in value
    assert not names & {"IPAddressDeny", "IPAddressAllow", "ProtectSystem", "User", "CapabilityBoundingSet"}
    assert {"PrivateDevices", "DeviceAllow"} <= names
    assert ("ReadWritePaths", "-/run/lock") in given
    for before, line in pairwise(lines):
        if re.fullmatch(r"(PrivateDevices|PrivateUsers|PrivateNetwork|MemoryDenyWriteExecute)=no", line):
            assert before.startswith("#"), line


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_udev_rules_give_devices_to_a_group_that_the_service_joins(rules: Path):
    """Matches with ==, assignments with a group and a mode, and a drop-in that has the group."""
    groups = {
        group
        for path in DROP_INS
        for line in re.findall(r"^SupplementaryGroups=(.*)$", path.read_text(), re.MULTILINE)
        for group in line.split()
    }
    lines = [line for line in rules.read_text().splitlines() if line and not line.startswith("#")]

    assert lines
    for line in lines:
        *matches, group, mode = line.split(", ")
        for match in matches:
            assert re.fullmatch(r'[A-Z]+(\{\w+\})?=="[^"]+"', match), line
        assert re.fullmatch(r'GROUP="(\w+)"', group)
        assert group[7:-1] in groups
        assert mode == 'MODE="0660"'


def test_the_unit_lets_the_engine_shut_itself_in(analyze, settings):
    """seccomp and Landlock are allowed by name: not every systemd counts them to its group for services."""
    allowed = " ".join(settings["SystemCallFilter"]).split()

    assert {"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(
        allowed
    )
    known = analyze("syscall-filter").stdout
    assert all(f" {name}\n" in known for name in ("seccomp", "landlock_restrict_self"))


def test_the_user_is_the_one_of_the_unit(tmp_path: Path, settings):
    """systemd-sysusers makes it, without a shell, and at home in the state directory."""
    program = shutil.which("systemd-sysusers")
    if program is None:
        pytest.skip("systemd-sysusers is not on this machine")
    if os.geteuid() != 0:
        pytest.skip("making users needs root, even in a folder")
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        [program, f"--root={tmp_path}", str(DEPLOY / "sysusers.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = [
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("edge-agent:")
    ]

    assert settings["User"] == settings["Group"] == ["edge-agent"]
    assert line.split(":")[5:] == [f"/var/lib/{settings['StateDirectory'][0]}", "/usr/sbin/nologin"]


def test_the_folder_for_backups_is_private(tmp_path: Path):
    """systemd-tmpfiles makes it for the service's user alone, and twice is as good as once."""
    program = shutil.which("systemd-tmpfiles")
    if program is None or os.geteuid() != 0:
        pytest.skip("systemd-tmpfiles needs root, and is not on every machine")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("edge-agent:x:990:991::/:/bin/false\n")
    (tmp_path / "etc/group").write_text("edge-agent:x:991:\n")
    for _ in range(2):
        done = subprocess.run(
            [program, f"--root={tmp_path}", "--create", str(DEPLOY / "tmpfiles.conf")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    made = (tmp_path / "var/backups/edge-agent").stat()

    assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o700, 990, 991)


SCRIPTS = [
    *(DEPLOY / name for name in ("install.sh", "build-deb", "fetch-wheels")),
    DEPLOY.parent / "scripts" / "test-deb",
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script: Path):
    """The shell can read them, and shellcheck has nothing to say where it is installed."""
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("the shell reads it; shellcheck is not on this machine")
    done = subprocess.run([program, str(script)], capture_output=True, text=True, check=False)

    assert done.stdout == ""


def test_the_locks_give_what_the_project_needs():
    """Every dependency is in the lock of every processor and Python, with a hash."""
    done = subprocess.run(
        [sys.executable, str(DEPLOY.parent / "scripts" / "lock"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_locked_versions_are_ones_the_project_allows():
    """No pinned version is outside of what pyproject.toml says."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    for path in sorted(DEPLOY.glob("locks/*-py*.txt")):
        arch, _, python = path.stem.partition("-py")
        pinned = dict(re.findall(r"^([\w-]+)==(\S+) ", path.read_text(), re.MULTILINE))
        for text in project["dependencies"]:
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate(
                {"platform_machine": arch, "python_version": python}
            ):
                continue
            name = canonicalize_name(needed.name)
            assert name in pinned or (arch, name) in {("armv7l", "numpy"), ("armv7l", "pillow")}
            assert name not in pinned or needed.specifier.contains(pinned[name]), f"{path.name}: {name}"


def test_the_image_is_small_and_closed():
    """What the Dockerfile copies is there, it installs by hashes, and it runs as somebody without rights."""
    text = (DEPLOY / "Dockerfile").read_text()
    steps = [
        line.split(maxsplit=1)
        for line in text.replace("\\\n", " ").splitlines()
        if line and not line.startswith("#")
    ]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        name for step, rest in steps if step == "COPY" and "--from" not in rest for name in rest.split()[:-1]
    ]

    assert [rest.split()[0] for step, rest in steps if step == "FROM"] == ["python:3.11-slim-bookworm"] * 2
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert ignored[1] == "*"
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    for step, rest in steps:
        if step == "RUN" and "pip install" in rest:
            for command in re.findall(r"pip install [^&]*", rest):
                assert "--require-hashes" in command or "--no-index" in command
    last = [step for step, _ in steps][-1::-1]
    assert dict(steps)["USER"] == "edge-agent"
    assert last.index("USER") < last.index("FROM")
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["edge-agent"]
    assert "HEALTHCHECK" in last


def test_the_image_says_whether_it_is_healthy(tmp_path: Path):
    """The command of its HEALTHCHECK fails where no agent answers."""
    text = (DEPLOY / "Dockerfile").read_text()
    command = json.loads(re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)[1])
    done = subprocess.run(
        [sys.executable, *command[1:]],
        env={**os.environ, "EDGE_AGENT_HOME": str(tmp_path), "PYTHONPATH": str(DEPLOY.parent)},
        capture_output=True,
        check=False,
    )

    assert (command[0], done.returncode, done.stderr) == ("python", 1, b"")


GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]

ROOTS = {
    # Commands of the system, which change it and need root or a running systemd.
    r"sudo apt install( (python3-venv|python3-numpy|python3-pil|python3-dev|gcc))+",
    r"sudo apt install \./packages/edge-agent_[\d.]+_arm64\.deb",
    r"sudo systemctl (start|stop|restart|edit) edge-agent",
    r'sudo usermod --append --groups edge-agent "\$USER"',
    r"systemctl status edge-agent",
    r"journalctl -u edge-agent (-f|--since today|-p warning)",
    r"alias edge-agent='sudo -u edge-agent /opt/edge-agent/bin/edge-agent --home /var/lib/edge-agent'",
}
"""What cannot be run in a test is one of these, word by word."""

ELSEWHERE = {
    r"edge-agent .*": "test_the_guides_commands_run",
    r"(sudo )?deploy/(install\.sh|build-deb|fetch-wheels) ?.*": "test_the_guides_scripts_know_their_options",
    r"systemd-analyze security --offline=true deploy/edge-agent.service": "test_exposure_is_half_a_point_at_most",
}
"""What is run, and by which test."""


def test_every_command_of_the_guide_is_run_or_one_of_the_systems():
    """Each line is run by a test, or is a known command of the system with known words."""
    for line in COMMANDS:
        assert any(re.fullmatch(pattern, line) for pattern in ROOTS | set(ELSEWHERE)), line
    for test in ELSEWHERE.values():
        assert test in globals()


def test_the_guides_scripts_know_their_options():
    """Every option of our own scripts in the guide is one that the script reads, every device has a drop-in."""
    lines = [line for line in COMMANDS if "deploy/" in line and not line.startswith("systemd")]

    assert len(lines) >= 6
    for line in lines:
        words = line.removeprefix("sudo ").split()
        text = (DEPLOY.parent / words[0]).read_text()
        for word, value in pairwise([*words[1:], ""]):
            if word.startswith("--"):
                assert re.search(rf"(\s|\| ){word}( \||\))", text), line
            if word == "--accelerator":
                assert value in {path.stem for path in DROP_INS}
            if word == "--plugin":
                assert (DEPLOY.parent / value / "pyproject.toml").exists()
        if words[0].endswith("fetch-wheels"):
            assert (DEPLOY / "locks" / f"{words[2]}-py{words[3]}.txt").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guides_commands_run(
    tmp_path: Path, testdata: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Every `edge-agent` line, one after the other, on a state directory with a little in it."""
    from edge_agent.cli import run_command

    home, backups = tmp_path / "home", tmp_path / "backups"
    backups.mkdir()
    monkeypatch.chdir(tmp_path)

    def agent(*words: str) -> None:
        assert run_command(["--home", str(home), *words]) == 0, f"{words}: {capsys.readouterr()}"

    kinds = sorted({path.parent for path in (testdata / "data" / "grocery10").glob("*/train_*")})[:3]
    for i, kind in enumerate(kinds):
        pictures = sorted(kind.glob("*"))[: 3 if i < 2 else 2]
        if i == 2:
            agent("run", "--once")
        agent("add", f"kind-{i}", *map(str, pictures))
        shutil.copy(pictures[0], tmp_path / "picture.jpg")
    agent("update", "--force")
    (home / "edge-agent.toml").write_text(example_config())

    ran = [line for line in COMMANDS if line.startswith("edge-agent ")]
    for line in ran:
        agent(*line.replace("/var/backups/edge-agent", str(backups)).split()[1:])
    assert {line.split()[1] for line in ran} >= {
        "status",
        "backup",
        "restore",
        "rollback",
        "predict",
        "doctor",
    }
    assert {path.name for path in backups.iterdir()} == {"today.tar", "before-upgrade.tar"}


def test_messages_of_the_guide_are_ones_of_the_program():
    """What the guide explains between backticks under "When something is wrong" is really said somewhere."""
    section = GUIDE.partition("## When something is wrong")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `([a-zA-Z ]+)`", section, re.MULTILINE)
    source = "\n".join(path.read_text() for path in (DEPLOY.parent / "edge_agent").rglob("*.py"))

    assert len(said) >= 9
    for text in said:
        assert text in {"state", "watchdog", os.strerror(errno.ENOSPC)} or text in source, text


def test_guide_names_commands_that_exist():
    """Every `edge-agent COMMAND` in the operating guide is a command."""
    from edge_agent.cli import COMMANDS

    guide = (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^edge-agent (\w+)|`edge-agent (\w+)", guide, re.MULTILINE))

    assert {one or other for one, other in named} <= set(COMMANDS)
