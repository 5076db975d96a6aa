"""A device belongs to one process at a time, and others learn to which."""

from __future__ import annotations

import os
import subprocess
import sys

from edge_agent.store.device_lock import DeviceLock

HOLDER = """
import sys
from pathlib import Path
from edge_agent.store.device_lock import DeviceLock
sys.argv[0] = "/usr/bin/other-agent"
assert not DeviceLock("stick", (Path(sys.argv[1]),)).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_another_process_is_told_who_has_it(tmp_path):
    """By process id and program; when that ends, the device is free, however it ended."""
    lock = DeviceLock("stick", (tmp_path,))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        assert lock.acquire() == f"process {other.pid} (other-agent)"
        assert DeviceLock("other-stick", (tmp_path,)).acquire() == ""
        other.kill()
    assert lock.acquire() == ""
    assert lock.acquire() == ""


def test_agents_of_other_users_see_it(tmp_path):
    """Whatever the umask, which is 0077 in the shipped unit: a lock that nobody can open keeps nobody out."""
    mask = os.umask(0o077)
    try:
        assert DeviceLock("stick", (tmp_path,)).acquire() == ""
    finally:
        os.umask(mask)

    assert (tmp_path / "edge-agent-stick.lock").stat().st_mode & 0o777 == 0o644


def test_it_is_given_back(tmp_path):
    """Releasing twice is fine, and the next one gets it."""
    lock = DeviceLock("stick", (tmp_path,))
    assert lock.acquire() == ""
    assert DeviceLock("stick", (tmp_path,)).acquire().startswith(f"process {os.getpid()} (")
    lock.release()
    lock.release()
    assert DeviceLock("stick", (tmp_path,)).acquire() == ""


def test_another_folder_is_used_where_the_first_cannot_be(tmp_path):
    """Where no folder can be used, nobody is kept out."""
    lock = DeviceLock("stick", (tmp_path / "nowhere", tmp_path))
    assert lock.acquire() == ""
    assert (tmp_path / "edge-agent-stick.lock").read_text().startswith(f"{os.getpid()} ")
    assert DeviceLock("stick", (tmp_path / "nowhere",)).acquire() == ""


def test_a_link_in_a_shared_folder_is_not_followed(tmp_path):
    """Nobody gets a file of ours overwritten by naming it like a lock."""
    target = tmp_path / "precious"
    target.write_text("content")
    (tmp_path / "edge-agent-stick.lock").symlink_to(target)

    assert DeviceLock("stick", (tmp_path,)).acquire() == ""
    assert target.read_text() == "content"
