"""Who has a device open."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edge_agent.vision.delegate_spec import DeviceNode
from edge_agent.vision.device_nodes import Board


def test_the_process_that_has_a_device_open_is_named(tmp_path):
    """Another process is found by what it has open; this one does not count."""
    node = tmp_path / "device"
    node.touch()
    code = "import sys; held = open(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with (
        node.open(),
        subprocess.Popen(
            [sys.executable, "-c", code, str(node)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
    ):
        other.stdout.readline()
        [holder] = Board().holders([node])
        other.stdin.close()

    assert holder.pid == other.pid
    assert holder.pid != os.getpid()
    assert str(holder).startswith(f"process {other.pid} (python")


def test_nobody_has_it_open(tmp_path):
    """A device that is free, and a system that tells nothing of its processes."""
    assert Board().holders([tmp_path / "device"]) == []
    assert Board(root=tmp_path).holders([tmp_path / "device"]) == []


def test_a_node_counts_only_with_its_driver(tmp_path):
    """Where a driver is asked for, files of other drivers, and of none that is told, are not the device."""
    board = Board(tmp_path)
    for number, driver in {128: "i915", 129: "etnaviv", 130: ""}.items():
        node = tmp_path / "dev" / "dri" / f"renderD{number}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        if driver:
            device = tmp_path / "sys" / "class" / "drm" / node.name / "device"
            device.mkdir(parents=True)
            (device / "driver").symlink_to(f"../../../../bus/platform/drivers/{driver}")

    found = board.nodes(DeviceNode("/dev/dri/renderD*", drivers=("etnaviv", "rocket")))

    assert [node.name for node in found] == ["renderD129"]
    assert len(board.nodes(DeviceNode("/dev/dri/renderD*"))) == 3
    assert str(DeviceNode("/dev/x*", drivers=("a", "b"))) == "/dev/x* of a or b"
    with pytest.raises(ValueError, match="known by its ids"):
        DeviceNode(usb=("18d1:9302",), drivers=("a",))
