"""This is where it is read from the files of a plugin, without importing it, whether it may implement a hook.

`edge-agent --help` shows the commands of plugins, and most plugins have none: importing each of them, with the
libraries it needs, would take many times as long as all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

MOST_FILES = 200
"""A package of more files is not searched but imported."""

_SUFFIXES = (".py", ".pyc", ".so", ".pyd")


def may_implement(entry: EntryPoint, hook: str) -> bool:
    """Whether the package of a plugin has the name of `hook` in any of its sources.

    True also where that cannot be known: no sources, compiled ones, very many, or a finder that fails. A hook that a
    plugin only inherits from a class in another package, without naming it, is not found.
    """
    name = hook.encode()
    try:
        return any(source is None or name in source for source in _sources(entry.module.partition(".")[0]))
    except (ImportError, OSError, ValueError):  # importing the plugin will say it better
        return True


def _sources(package: str) -> Iterator[bytes | None]:
    """What is in each source file of a package or module; None for something that cannot be read."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # not there, or spread over several distributions
        yield None
    elif spec.submodule_search_locations is None:
        yield _source(Path(spec.origin))
    else:
        paths = [path for place in spec.submodule_search_locations for path in _files(Path(place))]
        if Path(spec.origin) not in paths or len(paths) > MOST_FILES:
            yield None
        else:
            yield from map(_source, paths)


def _files(folder: Path) -> Iterator[Path]:
    found = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    return (path for path in found if path.parent.name != "__pycache__")


def _source(path: Path) -> bytes | None:
    return path.read_bytes() if path.suffix == ".py" else None
