"""What is shipped to run as a service: the unit is sound and closed, the sample configuration is current."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.config import Config, load_config
from edge_agent.example_config import example_config

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


@pytest.fixture(name="installed")
def _installed(tmp_path: Path) -> Path:
    """The unit as on a board where the program is installed: what it starts is there."""
    text = UNIT.read_text(encoding="utf-8")
    program = text.partition("ExecStart=")[2].split()[0]
    path = tmp_path / UNIT.name
    path.write_text(text.replace(program, shutil.which("true") or sys.executable), encoding="utf-8")
    return path


def test_systemd_accepts_the_unit(analyze, installed: Path):
    """`systemd-analyze verify` has nothing to say about it."""
    done = analyze("verify", "--man=no", str(installed))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_spoilt_unit_is_noticed(analyze, installed: Path):
    """`verify` really looks: a setting that does not exist is named."""
    text = installed.read_text(encoding="utf-8")
    installed.write_text(text.replace("[Service]", "[Service]\nProtectEverything=yes"), encoding="utf-8")

    assert "ProtectEverything" in analyze("verify", "--man=no", str(installed)).stderr


def test_exposure_is_half_a_point_at_most(analyze):
    """The scale ends at ten; without network and devices the unit stays below 0.5."""
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


def test_guide_names_commands_that_exist():
    """Every `edge-agent COMMAND` in the operating guide is a command."""
    from edge_agent.cli import COMMANDS

    guide = (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^edge-agent (\w+)|`edge-agent (\w+)", guide, re.MULTILINE))

    assert {one or other for one, other in named} <= set(COMMANDS)
