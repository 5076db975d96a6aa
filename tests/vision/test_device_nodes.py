"""Who has a device open."""

from __future__ import annotations

import os
import subprocess
import sys

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
