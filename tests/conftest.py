"""Fixtures every test may use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edge_agent.plugin_host import PluginHost

TESTDATA = Path(__file__).resolve().parents[2] / "shared" / "testdata"


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of shared real pictures and models; tests that need it skip without it."""
    if not TESTDATA.is_dir():
        pytest.skip("the shared test data (../shared/testdata) is not on this machine")
    return TESTDATA


PATIENCE = 10.0
"""Seconds until a test gives up on something that is expected to happen."""


class Guests:
    """Writes guests and loads them into hosts, which are closed after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entry_points: list[EntryPoint] = []
        self.modules: list[str] = []
        self.hosts: list[PluginHost] = []

    def add(self, name: str, source: str, attribute: str = "") -> EntryPoint:
        """Install a guest: its module has this source, its entry point names the module or an attribute."""
        module = f"guest_{name.replace('-', '_')}_{len(self.modules)}"
        (self.folder / f"{module}.py").write_text(
            "from edge_agent import Decision, hookimpl\n" + source, encoding="utf-8"
        )
        importlib.invalidate_caches()
        self.modules.append(module)
        entry = EntryPoint(name, f"{module}:{attribute}" if attribute else module, "edge_agent")
        self.entry_points.append(entry)
        return entry

    def load(
        self,
        settings: Mapping[str, dict[str, Any]] | None = None,
        *,
        disabled: Sequence[str] = (),
        built_in: Sequence[tuple[str, object]] = (),
        queue_size: int = 256,
    ) -> PluginHost:
        """A host with every guest that was added."""
        # Imported here, so that the tests of rooms far below do not depend on the plugins.
        from edge_agent.config import PluginsConfig
        from edge_agent.plugins import load_plugins

        host = load_plugins(
            PluginsConfig(disabled=tuple(disabled), settings=dict(settings or {})),
            built_in=built_in,
            entry_points=self.entry_points,
            queue_size=queue_size,
        )
        self.hosts.append(host)
        return host

    def module(self, name: str) -> Any:
        """The imported module of a guest."""
        return sys.modules[next(module for module in self.modules if module.startswith(f"guest_{name}_"))]


@pytest.fixture(name="guests")
def _guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guests]:
    """An empty place for guests."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    guests = Guests(folder)
    yield guests
    for host in guests.hosts:
        host.close(PATIENCE)
    for module in guests.modules:
        sys.modules.pop(module, None)
