"""What is said of plugins that are not installed, on boards whose devices are files of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.agent.shipped_plugins import SHIPPED, gaps
from edge_agent.vision.device_nodes import Board

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
NAMES = [plugin.name for plugin in SHIPPED]


@pytest.fixture(name="board")
def _board(tmp_path):
    """A board with a Coral stick and a driver for an NPU of NXP's."""
    usb = tmp_path / "sys" / "bus" / "usb" / "devices" / "1-1"
    usb.mkdir(parents=True)
    for name, text in {"idVendor": "18d1", "idProduct": "9302", "busnum": "1", "devnum": "4"}.items():
        (usb / name).write_text(text + "\n")
    for path in ("bus/usb/001/004", "galcore"):
        (tmp_path / "dev" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / path).touch()
    return Board(tmp_path)


def test_each_plugin_that_is_not_installed_is_named(tmp_path):
    """With what it is for and how to install it; nothing is here that it could use."""
    found = {gap.plugin.name: gap for gap in gaps((), (), Board(tmp_path))}

    assert list(found) == NAMES
    assert {gap.code for gap in found.values()} == {"plugin-missing"}
    assert not any(gap.seen for gap in found.values())
    assert found["edgetpu"].reason == "Coral's Edge TPUs on USB and PCIe; no such device is here"
    assert (
        found["onnx"].advice == "`pip install 'plugins/edge-agent-onnx[runtime]'` in a checkout of edge-agent"
    )


def test_a_device_that_is_here_is_told(board, tmp_path):
    """By its path, so that it is clear which one."""
    found = {gap.plugin.name: gap for gap in gaps((), (), board)}

    assert found["edgetpu"].seen == (str(tmp_path / "dev/bus/usb/001/004"),)
    assert found["edgetpu"].reason.endswith(f"; {tmp_path}/dev/bus/usb/001/004 is here")
    assert found["external-delegate"].seen == (str(tmp_path / "dev/galcore"),)
    assert not found["gpu"].seen


def test_one_that_is_installed_is_told_what_it_needs(board):
    """One that offers a delegate needs nothing; one that brings an extractor is no delegate."""
    found = {gap.plugin.name: gap for gap in gaps(NAMES, ("edgetpu", "gpu"), board)}

    assert {name: gap.code for name, gap in found.items()} == {
        "external-delegate": "not-set-up",
        "gpu": "an-extractor",
        "onnx": "not-set-up",
    }
    assert found["onnx"].advice == "name a `.onnx` as `model` in `[plugins.onnx]`"
    assert found["gpu"].advice == "choose it by `name` in `[extractor]`"


@pytest.mark.parametrize("plugin", SHIPPED, ids=NAMES)
def test_what_is_named_is_shipped(plugin):
    """The repository has a package of that name, with that entry point, and its README installs it that way."""
    package = PLUGINS / plugin.package

    assert f"\n{plugin.name} = " in (package / "pyproject.toml").read_text()
    assert plugin.installation.split("'")[1] in (package / "README.md").read_text()
