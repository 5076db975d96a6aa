"""This is where facts become a JSON line, and a line becomes readable again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

SENTENCES = {
    "agent_started": "in {home}, version {version}, extractor {extractor}",
    "sample_ingested": "{sample[label]}: {sample[source_name]}",
    "sample_rejected": "{rejection[path]}: {rejection[reason]}",
    "task_state_changed": "{change[previous]} -> {change[state]}",
    "training_end": "{training[state]}",
    "candidate_evaluated": "{decision[reason]}",
    "version_published": "version {version[number]} from {version[n_samples]} samples",
    "version_rolled_back": "version {version[number]} in place of {previous}",
    "delegate_changed": "{change[current]} in place of {change[previous]}: {change[reason]}",
    "agent_stopping": "{reason}",
}
"""How an event is told to a person; the others are told by their facts."""


def event_line(event: str, seconds: float, facts: Mapping[str, Any]) -> bytes:
    """One event as one line of JSON that ends in a newline; `seconds` is its unix time."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    plain = {name: _plain(value) for name, value in facts.items()}
    line = {"event": event, "time": moment.replace("+00:00", "Z"), **plain}
    return msgspec.json.encode(line, enc_hook=_plain) + b"\n"


def _plain(value: Any) -> Any:
    """What a fact says of itself, what a numpy number holds, or its text; the rest is left to msgspec."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if isinstance(value, str | int | float | list | tuple | dict) or value is None:
        return value
    return value if hasattr(value, "__dataclass_fields__") else str(value)


def is_event(line: bytes) -> bool:
    """Whether it is a whole line that says what happened and when."""
    return _facts(line) is not None


def readable(line: bytes) -> str:
    """A line for a person: time, event and what matters about it; nothing in it can move the cursor."""
    facts = _facts(line)
    if facts is None:
        return f"(not an event: {line[:60]!r})"
    moment, event = facts.pop("time"), facts.pop("event")
    try:
        text = SENTENCES[event].format_map(facts)
    except (KeyError, TypeError):
        text = msgspec.json.encode(facts).decode()
    shown = f"{moment}  {event:<20} {text}"
    return "".join(char if char.isprintable() else "?" for char in shown)


def _facts(line: bytes) -> dict[str, Any] | None:
    try:
        facts = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    named = isinstance(facts.get("event"), str) and isinstance(facts.get("time"), str)
    return facts if named else None
