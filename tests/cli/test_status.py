"""`status` and `plugins`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def test_without_an_agent_it_is_stopped(learned: Shell) -> None:
    """The state directory speaks for itself: versions and samples, no process, and what waits."""
    drop_texts(learned.drop, "owl", ["owl 1", "owl 2"])
    (learned.drop / "owl" / "link.jpg").symlink_to("nowhere")
    facts = learned.ask("status")
    assert (facts["state"], facts["pid"], facts["version"], facts["samples"]) == ("stopped", None, 2, 12)
    assert (facts["pending"], len(facts["ignored"])) == (2, 1)

    out = learned.run("status").out
    rows = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines())
    assert {name: rows[name].strip() for name in ("state", "waiting", "samples")} == {
        "state": "stopped",
        "waiting": "2",
        "samples": "12 in 3 labels",
    }
    assert "link.jpg: " in rows["ignored"]
    assert out.split("\n\n")[1].splitlines()[1:] == ["cat          4", "dog          4", "fox          4"]


def test_a_running_agent_speaks_for_itself(running: Shell) -> None:
    """Its state and process are shown."""
    assert running.ask("status")["pid"] == os.getpid()
    assert f"ok (process {os.getpid()})" in running.run("status").out


def test_trouble_is_shown(learned: Shell) -> None:
    """A damaged version is named in a line of its own."""
    for path in (learned.home / "models" / "versions" / "000002").rglob("*.npz"):
        path.write_bytes(b"")
    out = learned.run("status").out
    assert "\ntrouble" in out
    assert learned.ask("status")["version"] == 1


def test_a_fresh_home_has_nothing_to_show(shell: Shell) -> None:
    """Right after `init` there is no version, and no table of labels."""
    shell.run("init")
    out = shell.run("status").out
    assert "none yet" in out
    assert "LABEL" not in out


def test_plugins_are_listed_without_a_home(shell: Shell) -> None:
    """Every plugin with its version and hooks; nothing is made for it."""
    rows = shell.ask("plugins")
    assert rows
    assert all(row["hooks"] and row["hooks"] == sorted(row["hooks"]) for row in rows)
    lines = shell.run("plugins").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [row["name"] for row in rows]
    assert not shell.home.exists()
