"""This is where the configuration is written down as an example, with every key, its default and what it means."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from edge_agent.config import Config


def example_config() -> str:
    """Every key with its default and what it means, as TOML with the keys commented out."""
    lines = [
        "# edge-agent configuration. Every key may be left out; what stands here is the default.",
    ]
    for section in msgspec.structs.fields(Config):
        lines += ["", f"# {_first_line(section.type)}", f"[{section.name}]"]
        if section.name == "plugins":
            lines += [
                '# disabled = ["events"]',
                "",
                "# [plugins.events]          # settings of the plugin named events",
                '# file = "/var/log/edge-agent/events.jsonl"',
            ]
            continue
        for field in msgspec.structs.fields(section.type):
            lines += [f"# {_description(field.type)}", f"# {field.name} = {_toml(_default(field))}"]
    return "\n".join(lines) + "\n"


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").splitlines()[0]


def _description(annotation: Any) -> str:
    text = ""
    for extra in get_args(annotation)[1:]:
        if isinstance(extra, Meta) and extra.description:
            text = extra.description
    inner = get_args(annotation)[0]
    if get_origin(inner) is Literal:
        text += " One of " + ", ".join(map(repr, get_args(inner))) + "."
    return text


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return repr(value)
