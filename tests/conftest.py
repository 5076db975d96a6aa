"""Fixtures every test may use."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edge_agent.plugin_host import PluginHost

ROOT = Path(__file__).resolve().parents[1]
TESTDATA = Path(__file__).resolve().parents[2] / "shared" / "testdata"


NATIVE = Path(__file__).parent / "native"


@pytest.fixture(name="library", scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """External delegates made of the C source, one for each set of macros; skips where there is no compiler."""
    compiler = shutil.which("gcc")
    folder = tmp_path_factory.mktemp("native")

    def library(*macros: str) -> Path:
        if compiler is None:
            pytest.skip("gcc is not installed, so no delegate can be built")
        path = folder / f"lib{'_'.join(['delegate', *macros])}.so"
        if not path.exists():
            flags = [f"-D{macro}" for macro in macros]
            source = str(NATIVE / "delegate.c")
            subprocess.run(
                [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", *flags, "-o", str(path), source],
                check=True,
            )
        return path

    return library


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of shared real pictures and models; tests that need it skip without it."""
    if not TESTDATA.is_dir():
        pytest.skip("the shared test data (../shared/testdata) is not on this machine")
    return TESTDATA


CHILD_PATIENCE = 100
"""Seconds until a test gives up on a child process."""


class Place:
    """An environment of its own, which has this one's packages, too; what is installed there stays there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said: list[str] = []
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", folder / "venv"],
            check=True,
            timeout=CHILD_PATIENCE,
        )
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # Also what is installed here for editing, which is why these are not just put on the path.
        others = [path for path in sys.path if path.endswith("site-packages")]
        lines = [str(ROOT), *(f"import site; site.addsitedir({path!r})" for path in others)]
        (site / "others.pth").write_text("\n".join(lines) + "\n")
        # The commands of the guide, which need no network here: what they need is installed already.
        self.command(
            "pip", '-m pip --disable-pip-version-check "$@" --no-build-isolation --no-deps --no-index'
        )
        self.command("edge-agent", '-m edge_agent.cli "$@"')
        self.command("pytest", '-m pytest -p no:cacheprovider -p no:randomly "$@"')

    def command(self, name: str, arguments: str) -> None:
        """Make a command of that name."""
        path = self.python.parent / name
        path.write_text(f'#!/bin/sh\nexec "{self.python}" {arguments}\n')
        path.chmod(0o755)

    def run(self, *command: object, cwd: Path | None = None) -> str:
        """Run a command there and return what it says on standard output; it must not fail."""
        done = self.finished(*command, cwd=cwd)
        # What went wrong may have shown in what an earlier command said.
        self._said.append(f"{command}: {done.stdout}\n{done.stderr}")
        assert done.returncode == 0, "\n".join(self._said[-5:])
        return done.stdout

    def finished(
        self, *command: object, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end, whatever that is."""
        keep = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHONPATH"))
        }
        return subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            env={
                **keep,
                "PATH": f"{self.python.parent}:{os.environ['PATH']}",
                "EDGE_AGENT_HOME": str(self.folder / "home"),
                "OPENBLAS_NUM_THREADS": "1",
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=CHILD_PATIENCE,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(name="place", scope="session")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An environment in which plugins can be installed; other tests have installed theirs in it, too."""
    return _made(tmp_path_factory)


@pytest.fixture(name="own_place")
def _own_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An environment without plugins of other tests: what they decide would be decided here."""
    return _made(tmp_path_factory)


def _made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    for needed, least in (("pip", 22), ("setuptools", 77)):
        try:
            found = version(needed)
        except PackageNotFoundError:
            found = "0"
        if int(found.partition(".")[0]) < least:
            pytest.skip(f"{needed} {least} or newer is not installed: no package can be installed without it")
    return Place(tmp_path_factory.mktemp("authors"))


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

    def install(self) -> None:
        """Have every guest that was added found as an installed distribution is."""
        info = self.folder / "edge_agent_guests-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: edge-agent-guests\nVersion: 1\n")
        lines = [f"{entry.name} = {entry.value}\n" for entry in self.entry_points]
        (info / "entry_points.txt").write_text("[edge_agent]\n" + "".join(lines))
        importlib.invalidate_caches()

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
