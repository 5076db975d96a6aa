"""This is where the reference part of the plugin guide is written, from the hooks themselves.

    python -m tools.hook_reference

rewrites it in docs/plugins.md; a test holds that it was done.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

from edge_agent import hookspecs
from edge_agent.hookspecs import HOOK_NAMES, QUESTIONS, Hooks

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "plugins.md"

BEGIN = "<!-- the rest is written by `python -m tools.hook_reference` -->"

CLASS_NAME = re.compile(r"\b[A-Z]\w+")

RULES = {
    "Register": """
Called once at start, with a function to register things with. An exception, a name that is taken
and a thing that is not what it should be stop the start with the plugin's name.
""",
    "Decide": """
Asked when there is something to decide; the first answer that is not `None` counts, and the built-
in one comes last. An exception, or an answer of another kind, rejects the picture or postpones the
update it was about, and the current version keeps answering; it ends the command that asked.
""",
    "Observe": """
Told when it happened; nothing is returned. An exception is logged with the plugin's name, counted
and shown in the status, and all other plugins still hear.
""",
}
"""What holds for every hook of a kind."""


def hook_reference() -> str:
    """Every hook, its signature as heading, and the facts that hooks speak of, as Markdown."""
    parts = [BEGIN, "", "# Hook reference"]
    kind = ""
    for name in HOOK_NAMES:
        if _kind(name) != kind:
            kind = _kind(name)
            parts += ["", f"## {kind}", "", RULES[kind].strip()]
        parts += ["", f"### {name}{_signature(name)}", "", _prose(getattr(Hooks, name).__doc__)]
    parts += ["", "# Facts", "", "What hooks are given is frozen; import it only for type annotations."]
    for module, fact in _facts():
        parts += ["", f"## {fact.__name__}", "", f"From `{module}`. {_prose(fact.__doc__)}", ""]
        parts += [f"- `{field.name}: {field.type}`" for field in dataclasses.fields(fact)]
    return "\n".join(parts) + "\n"


def with_reference(guide: str) -> str:
    """The guide with its reference as it should be; what stands before the mark is kept."""
    written, mark, _ = guide.partition(BEGIN)
    if not mark:
        raise ValueError(f"{GUIDE}: the mark {BEGIN!r} is missing")
    return written + hook_reference()


def _kind(name: str) -> str:
    if name.startswith("register_"):
        return "Register"
    return "Decide" if name in QUESTIONS else "Observe"


def _signature(name: str) -> str:
    """As it is written by a plugin, without `self`."""
    signature = inspect.signature(getattr(Hooks, name))
    arguments = ", ".join(
        f"{each.name}: {each.annotation}" for each in list(signature.parameters.values())[1:]
    )
    return f"({arguments}) -> {signature.return_annotation}"


def _prose(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").strip().splitlines())


def _facts() -> list[tuple[str, type]]:
    """The frozen records in the signatures, then those in their fields, each with its module."""
    modules = {
        name: module
        for module, names in re.findall(r"from (edge_agent\S+) import (.+)", inspect.getsource(hookspecs))
        for name in names.split(", ")
    }
    waiting = [
        (word, modules.get(word, hookspecs.__name__))
        for hook in HOOK_NAMES
        for word in CLASS_NAME.findall(_signature(hook))
    ]
    facts: dict[str, tuple[str, type]] = {}
    for word, module in waiting:
        fact = getattr(importlib.import_module(module), word, None)
        if word not in facts and isinstance(fact, type) and dataclasses.is_dataclass(fact):
            facts[word] = (module, fact)
            fields = " ".join(str(field.type) for field in dataclasses.fields(fact))
            waiting += [(inner, module) for inner in CLASS_NAME.findall(fields)]
    return list(facts.values())


def main() -> None:
    """Rewrite the reference in the guide."""
    GUIDE.write_text(with_reference(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
