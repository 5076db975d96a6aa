"""Reading from a plugin's files whether it may implement a hook."""

from __future__ import annotations

import importlib
import py_compile
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from edge_agent.hook_search import MOST_FILES, may_implement

NAMED = "def wave(register): ...\nwave = hookimpl(specname='register_commands')(wave)\n"


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def may(value: str) -> bool:
    """Whether the plugin with this entry point may have commands; it is not imported on the way."""
    importlib.invalidate_caches()
    answer = may_implement(EntryPoint("x", value, "edge_agent"), "register_commands")
    assert "searched" not in sys.modules
    return answer


@pytest.mark.parametrize(("source", "answer"), [(NAMED, True), ("raise RuntimeError", False), ("", False)])
def test_a_module_is_read(site: Path, source: str, answer: bool) -> None:
    """The hook's name in the only file of a plugin, or its absence, is seen."""
    (site / "searched.py").write_text(source)
    assert may("searched:Plugin") is answer


@pytest.mark.parametrize(("source", "answer"), [(NAMED, True), ("", False)])
def test_a_package_is_read_as_a_whole(site: Path, source: str, answer: bool) -> None:
    """The name may stand in any module of the package, whichever the entry point names."""
    (site / "searched" / "inner").mkdir(parents=True)
    (site / "searched" / "__init__.py").touch()
    (site / "searched" / "inner" / "deep.py").write_text(source)
    assert may("searched.plugin:Plugin") is answer


def test_in_doubt_a_plugin_may(site: Path) -> None:
    """One that is not there, has no sources or very many may implement every hook: importing it will show."""
    assert may("searched_nowhere")
    package = site / "searched"
    package.mkdir()
    assert may("searched"), "a namespace"
    (package / "__init__.py").touch()
    assert not may("searched")
    (package / "native.so").touch()
    assert may("searched"), "compiled"
    (package / "native.so").unlink()
    (package / "bare.py").touch()
    py_compile.compile(str(package / "bare.py"), cfile=str(package / "bare.pyc"))
    assert may("searched"), "compiled"
    (package / "bare.pyc").unlink()
    for number in range(MOST_FILES):
        (package / f"one{number}.py").touch()
    assert may("searched"), "many"
