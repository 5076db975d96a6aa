"""Findings about the set-up: one for each thing that is not in order, none when all is."""

from __future__ import annotations

from edge_agent.doctor.surroundings import setup_findings

WELL = {"trouble": "", "plugins": [], "unusable": 0, "rejected": 0, "ignored": [], "pending": 0}
CHECK = {"name": "drop folder", "state": "ok", "message": "/x"}


def test_all_in_order_is_nothing_to_tell():
    """Checks that are fine, a status without trouble, a running agent."""
    assert setup_findings([CHECK], WELL, running=True) == []


def test_each_trouble_is_told_once():
    """In words, with a kind that programs can rely on, and how bad it is."""
    status = {
        "trouble": "the disk is full",
        "plugins": [{"name": "lamp", "errors": 1, "last_error": "no lamp"}],
        "unusable": 2,
        "rejected": 1,
        "ignored": [{"path": "cat/x", "reason": "a link"}] * 5,
        "pending": 1,
        "last_update": {"state": "refused", "message": "it is worse"},
    }
    checks = [
        {**CHECK, "state": "problem", "message": "/x is not there."},
        {**CHECK, "name": "disk", "state": "warning"},
    ]

    found = {
        one.kind: (one.severity.value, one.message) for one in setup_findings(checks, status, running=False)
    }

    assert {kind: severity for kind, (severity, _) in found.items()} == {
        "setup-drop-folder": "problem",
        "setup-disk": "warning",
        "trouble": "problem",
        "last-update": "warning",
        "plugin-errors": "warning",
        "unusable-samples": "warning",
        "rejected-files": "hint",
        "ignored-files": "hint",
        "not-running": "hint",
    }
    assert found["setup-drop-folder"][1] == "Drop folder: /x is not there."
    assert "was refused, and the version before goes on answering: it is worse." in found["last-update"][1]
    assert "lamp failed 1 time;" in found["plugin-errors"][1]
    assert found["ignored-files"][1].count("cat/x") == 3
    assert "1 picture wait" in found["not-running"][1]
