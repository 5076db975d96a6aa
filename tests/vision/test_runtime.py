"""Opening whichever runtime is installed."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from edge_agent.vision import runtime


def installed() -> tuple[ModuleType, str]:
    """The module of a runtime that is installed, and its distribution."""
    for module, distribution in runtime.RUNTIMES.values():
        try:
            return importlib.import_module(module), distribution
        except ImportError:
            continue
    pytest.skip("no runtime is installed")


def test_the_version_is_that_of_the_distribution() -> None:
    """What features are named after is read without the tools of packaging, and is what they would say."""
    module, distribution = installed()
    assert runtime._version(module, distribution) == metadata.version(distribution)


@pytest.mark.parametrize("beside", [(), ("some_runtime-1.2.3.egg-info",)])
def test_another_form_of_installation_is_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: tuple[str, ...]
) -> None:
    """Where no single folder beside the package says it, as with Debian's packages, the usual way does."""
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / "some_runtime-4.5.6.dist-info").mkdir(parents=True)
    (tmp_path / "elsewhere" / "some_runtime-4.5.6.dist-info" / "METADATA").write_text(
        "Name: some-runtime\nVersion: 4.5.6\n"
    )
    for name in beside:
        (tmp_path / name).mkdir()
    module = ModuleType("some_runtime.interpreter")
    module.__file__ = str(tmp_path / "some_runtime" / "interpreter.py")
    assert runtime._version(module, "some-runtime") == "4.5.6"
    (tmp_path / "some_runtime-7.8.dist-info").mkdir()
    runtime._version.cache_clear()  # it looks once in a process
    assert runtime._version(module, "some-runtime") == "7.8"
