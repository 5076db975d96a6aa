"""The requirements on a daemon that cannot be broken: each is held by a test that names it, or explained.

A test carries a requirement by beginning its docstring with the name, or with several: `A1: what holds`,
`A1, A3: what holds`.  `docs/reliability.md` has a paragraph for each; one that no test can show says there
why, after the words "No test:".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"
TESTS = [*sorted(ROOT.glob("tests/**/*.py")), *sorted(ROOT.glob("plugins/*/tests/**/*.py"))]

REQUIREMENTS = {
    f"{letter}{number}"
    for letter, last in zip("ABCDE", (6, 7, 5, 7, 9), strict=True)
    for number in range(1, last + 1)
}

# One a line: whoever brings the test strikes out the line.
STILL_OPEN: set[str] = set()
"""Neither shown nor explained yet.  It only shrinks."""

_CARRIED = re.compile(r"((?:[A-Z]\d+)(?:, [A-Z]\d+)*): ")


def carried(source: str) -> set[str]:
    """The requirements that the tests of one file name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found = _CARRIED.match(ast.get_docstring(node) or "")
            names |= set(found[1].split(", ")) if found else set()
    return names


def paragraphs(document: str) -> Iterator[tuple[str, str]]:
    """Each requirement of the document with all that is said about it."""
    for part in re.split(r"\n(?=\*\*[A-Z]\d+\*\* |#)", document):
        found = re.match(r"\*\*([A-Z]\d+)\*\* ", part)
        if found:
            yield found[1], part


def unexplained(document: str, by_tests: set[str], still_open: set[str]) -> list[str]:
    """What is wrong: requirements that nobody speaks for, and open ones that somebody speaks for."""
    explained = {name for name, text in paragraphs(document) if "No test:" in text}
    settled = by_tests | explained
    return [
        *(f"{name} has no test and no explanation" for name in sorted(REQUIREMENTS - settled - still_open)),
        *(f"{name} is settled: strike it out of STILL_OPEN" for name in sorted(settled & still_open)),
        *(f"{name} is no requirement" for name in sorted((settled | still_open) - REQUIREMENTS)),
    ]


def test_every_requirement_is_shown_or_explained():
    """A1 to E9 are each carried by a test, explained in the document, or listed as still open."""
    by_tests = set().union(*(carried(path.read_text(encoding="utf-8")) for path in TESTS))

    assert unexplained(DOCUMENT.read_text(encoding="utf-8"), by_tests, STILL_OPEN) == []


def test_every_requirement_is_described_once():
    """The document has one paragraph for each, in order."""
    names = [name for name, _ in paragraphs(DOCUMENT.read_text(encoding="utf-8"))]

    assert names == sorted(REQUIREMENTS)


@pytest.mark.parametrize(
    ("by_tests", "document", "still_open", "complaints"),
    [
        ({"A1"}, "", set(), 0),
        (set(), "**A1** It holds.\n\nNo test: it cannot be tried here.\n", set(), 0),
        (set(), "", {"A1"}, 0),
        (set(), "**A1** It holds.\n", set(), 1),
        (set(), "**A1** It holds.\n\n**A2** So does it.\n\nNo test: not here.\n", set(), 1),
        ({"A1"}, "", {"A1"}, 1),
        ({"A1", "A99"}, "", set(), 1),
    ],
)
def test_the_law_sees_what_is_missing(by_tests, document, still_open, complaints):
    """Nobody speaks for it, it is open no more, or it is none: one complaint each."""
    others = REQUIREMENTS - {"A1"}
    assert len(unexplained(document, by_tests | others, still_open)) == complaints


def test_names_are_read_from_docstrings():
    """One name or several before a colon; a name later on in the sentence is only mentioned."""
    one = '"""A1: It holds."""'
    assert carried(f"def test_it():\n    {one}") == {"A1"}
    assert carried('def test_it():\n    """A1, B12: Both hold."""') == {"A1", "B12"}
    assert carried('def test_it():\n    """As A1: says."""') == set()
    assert carried(f"def helper():\n    {one}") == set()
