"""This is where findings about the set-up are made, from what the agent said of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.doctor.findings import Finding, Severity, counted

_SEVERITY = {"problem": Severity.PROBLEM, "warning": Severity.WARNING}
SHOWN = 3
"""So many files or plugins are named."""


def setup_findings(
    checks: list[Mapping[str, str]], status: Mapping[str, Any], *, running: bool
) -> list[Finding]:
    """What is not in order among the checks of an agent and in its status."""
    found = [
        Finding(
            f"setup-{check['name'].replace(' ', '-')}",
            _SEVERITY[check["state"]],
            f"{check['name'].capitalize()}: {check['message']}",
        )
        for check in checks
        if check["state"] in _SEVERITY
    ]
    if status["trouble"]:
        found.append(Finding("trouble", Severity.PROBLEM, f"The agent has trouble: {status['trouble']}."))
    last = status.get("last_update") or {}
    if last.get("state") in ("refused", "failed"):
        how = "was refused" if last["state"] == "refused" else "failed"
        text = f"The last update {how}, and the version before goes on answering: {last['message']}."
        found.append(Finding("last-update", Severity.WARNING, text))
    found += [
        Finding(
            "plugin-errors",
            Severity.WARNING,
            f"The plugin {plugin['name']} failed {counted(plugin['errors'], 'time')}; the last time:"
            f" {plugin['last_error']}. Ask who wrote it, or name it in [plugins] disabled.",
        )
        for plugin in status["plugins"]
        if plugin["errors"]
    ]
    if status["unusable"]:
        found.append(
            Finding(
                "unusable-samples",
                Severity.WARNING,
                f"{counted(status['unusable'], 'stored picture')} cannot be learned from with this extractor, because"
                " the picture itself was not kept or is damaged. Take them anew.",
            )
        )
    if status["rejected"]:
        found.append(
            Finding(
                "rejected-files",
                Severity.HINT,
                f"{counted(status['rejected'], 'file')} could not be used; see the folder `rejected` of the state"
                " directory, where each has its reason beside it. Mend and drop them again, or remove them.",
            )
        )
    if status["ignored"]:
        shown = "; ".join(f"{one['path']}: {one['reason']}" for one in status["ignored"][:SHOWN])
        found.append(
            Finding("ignored-files", Severity.HINT, f"Lying in the drop folder and not looked at: {shown}.")
        )
    if not running:
        waiting = f" {counted(status['pending'], 'picture')} wait there." if status["pending"] else ""
        found.append(
            Finding(
                "not-running",
                Severity.HINT,
                f"No agent is running: what is put into the drop folder waits until one does.{waiting}",
                command="edge-agent run",
            )
        )
    return found
