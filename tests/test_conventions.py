"""The manners of the tests: each says what holds, none waits blindly, none is tied to one machine."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
TESTS = [*sorted(ROOT.glob("tests/**/*.py")), *sorted(ROOT.glob("plugins/*/tests/**/*.py"))]

WRITTEN = {".cfg", ".ini", ".json", ".md", ".py", ".service", ".sh", ".toml", ".txt", ""}
SOMEBODYS = re.compile(r"(?<![\w.}$<>~-])/(?:work|root|home/(?!pi\b)\w+|Users/\w+|tmp/(?:venv|contracts))\b")
"""Folders of whoever wrote the file; /etc, /var/lib or /opt of the reader's board are fine."""


def manners(source: str) -> list[str]:
    """What one test file does that it should not."""
    complaints = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("test_") and not ast.get_docstring(node):
                complaints.append(f"{node.lineno}: {node.name} does not say what holds")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".") for alias in node.names}
            names |= {alias.name for alias in node.names if isinstance(node, ast.Import)}
            if any(name.startswith(("unittest", "mock", "pytest_mock")) for name in names):
                complaints.append(f"{node.lineno}: mocks restate the code; write a fake with behaviour")
            if "time.sleep" in names:
                complaints.append(f"{node.lineno}: sleeps")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            complaints.append(f"{node.lineno}: sleeps")
    return complaints


def kept_files() -> list[Path]:
    """Every text file of the project; environments, caches and what is built are left out."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [
            name
            for name in below
            if name not in {".git", ".hypothesis", "__pycache__", "build", "dist"}
            and not name.startswith(".venv")
            and not name.endswith((".egg-info", "_cache"))
        ]
        # In a worktree .git is a file that says where the repository lies.
        found += [Path(folder, name) for name in names if Path(name).suffix in WRITTEN and name != ".git"]
    return [path for path in found if path != Path(__file__).resolve()]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_have_manners(path):
    """Every test has a docstring; no test sleeps or mocks."""
    assert manners(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "def test_it():\n    assert True",
        "class TestIt:\n    def test_it(self):\n        assert True",
        "import time\ntime.sleep(1)",
        "from time import sleep",
        "from unittest import mock",
        "from unittest.mock import Mock",
        "import unittest.mock",
    ],
)
def test_bad_manners_are_seen(source):
    """Each of these is one complaint."""
    assert len(manners(source)) == 1


def test_every_item_of_the_checklists_has_a_test():
    """Core ML's 1 to 102 and Create ML's 103 to 155: `pytest -k checklist` lists them all."""
    names = re.findall(
        r"^def test_checklist((?:_\d+)+)_", "\n".join(map(Path.read_text, TESTS)), re.MULTILINE
    )
    numbers = {int(number) for name in names for number in name.split("_")[1:]}

    assert sorted(set(range(1, 156)) - numbers) == []


def test_good_manners_are_let_pass():
    """A test that says what holds and helpers of any kind are no complaint."""
    assert (
        manners('import time\ndef helper(): ...\ndef test_it():\n    """It holds."""\n    time.monotonic()')
        == []
    )


def test_nothing_names_somebodys_machine():
    """No file of the project holds a path of the machine it was written on."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in kept_files()
        for match in SOMEBODYS.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["/" + "work/x", "/root/x", '"/home/anna/x"', "see /tmp/" + "contracts.md", "cd /tmp/" + "venv"]
)
def test_a_machines_path_is_seen(text):
    """Homes, workshop folders and left-overs in the folder of temporary files are somebody's own."""
    assert SOMEBODYS.search(text)


@pytest.mark.parametrize(
    "text",
    ["/var/lib/edge-agent", f"HOME/{'work'}/x", f"a/{'work'}/b", "/etc/x", "/home/pi/x", f"~/{'work'}/x"],
)
def test_other_paths_are_let_pass(text):
    """Places that any board has, and relative ones, are fine."""
    assert not SOMEBODYS.search(text)
