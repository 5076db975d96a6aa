"""This is where the package of a new plugin is rendered: from templates to files that pass their own tests.

Names in templates stand as `$name`; a file's path has `module` for the package's name. Nothing else is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from edge_agent.errors import UserError

TEMPLATES = Path(__file__).parent / "templates" / "plugin"
SUFFIX = ".tmpl"

KINDS: Mapping[str, str] = {
    "delegate": "An accelerator for edge-agent.",
    "head": "A learning method for edge-agent.",
    "extractor": "An extractor for edge-agent, which turns pictures into features.",
    "policy": "Says when edge-agent may learn.",
    "observer": "Hears what happens in edge-agent.",
}
"""What a plugin can be, and its summary."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "edge-agent-"
_BUILT_IN = "default-"


def plugin_names(name: str, kind: str) -> dict[str, str]:
    """Every name that a plugin's package has, from the one that a person gives: `x` or `edge-agent-x`.

    Raises `UserError` for what cannot be a name, and for a kind that there is not.
    """
    short = name.removeprefix(_PREFIX)
    if not _NAME.fullmatch(short):
        raise UserError(
            f"{name!r} cannot be a plugin's name; expected small letters, digits and single dashes, as in night-light"
        )
    if short.startswith(_BUILT_IN) or short in {"disabled", "agent", "cpu"}:
        raise UserError(f"{short!r} cannot be a plugin's name: edge-agent uses it itself")
    if kind not in KINDS:
        raise UserError(f"{kind!r} is no kind of plugin; these are: {', '.join(KINDS)}")
    module = f"edge_agent_{short.replace('-', '_')}"
    camel = "".join(part.capitalize() for part in short.split("-"))
    return {
        "name": short,
        "distribution": f"{_PREFIX}{short}",
        "module": module,
        "camel": camel,
        "title": f"The plugin `{short}`",
        "entry": module if kind == "head" else f"{module}:{camel}",
        "summary": KINDS[kind],
    }


def render_plugin(name: str, kind: str) -> dict[str, str]:
    """Every file of a new plugin's package: its text by its path in the package's folder.

    Raises `UserError` as `plugin_names` does.
    """
    names = plugin_names(name, kind)
    files = {}
    for folder in (TEMPLATES / "every", TEMPLATES / kind):
        for path in sorted(folder.rglob(f"*{SUFFIX}")):
            parts = [
                part.replace("module", names["module"])
                if part in {"module", f"test_module.py{SUFFIX}"}
                else part
                for part in path.relative_to(folder).parts
            ]
            text = Template(path.read_text(encoding="utf-8")).substitute(names)
            files["/".join(parts).removesuffix(SUFFIX)] = text
    return files


def write_plugin(folder: Path, name: str, kind: str) -> list[Path]:
    """Write a new plugin's package into `folder/edge-agent-NAME/`; the paths of its files, sorted.

    Raises `UserError` as `plugin_names` does, and where something is in that place already; `OSError` where it
    cannot be written.
    """
    files = render_plugin(name, kind)
    package = folder / plugin_names(name, kind)["distribution"]
    if package.exists() and (not package.is_dir() or any(package.iterdir())):
        raise UserError(f"{package}: there is something already; nothing was written")
    for path, text in files.items():
        target = package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return sorted(package / path for path in files)
