"""How commands speak to people and to programs."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from edge_agent.cli.output import (
    OneLine,
    complain,
    percent,
    print_json,
    print_table,
    progress,
    streams,
)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the text, one line goes to standard error, and the status comes back."""
    assert complain("several\nlines\t of  text", status=2) == 2
    assert capsys.readouterr() == ("", "edge-agent: several lines of text\n")


def test_a_document_is_readable_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Letters stay letters; a name that is not text is escaped instead of failing."""
    print_json({"label": "Äpfel"})
    assert "Äpfel" in capsys.readouterr().out
    print_json({"path": "\udcff.jpg", "label": "Äpfel"})
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out)["label"] == "Äpfel"


def test_only_the_document_gets_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json everything else that is printed, by a plugin say, goes to standard error."""
    before = sys.stdout
    with streams(as_json=True):
        print("a chatty plugin")
        print_json([1])
    with streams(as_json=False):
        print("for people")

    assert sys.stdout is before
    out, err = capsys.readouterr()
    assert (out, err) == ("[\n  1\n]\nfor people\n", "a chatty plugin\n")


def test_names_that_are_no_text_are_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in another encoding, or a broken name, ends in an escape and not in an error."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with streams(as_json=False):
        print("\udcff ü", flush=True)
    assert raw.getvalue() == b"\\udcff \\xfc\n"


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Text to the left, numbers and shares to the right, nothing as a dash, no blanks at the end."""
    print_table(
        ("name", "count", "share"),
        [("cat", 5, percent(0.5)), ("elephant", 1234, percent(None)), ("x", None, "1.0 %")],
    )
    assert capsys.readouterr().out.splitlines() == [
        "NAME      COUNT   SHARE",
        "cat           5  50.0 %",
        "elephant   1234       -",
        "x             -   1.0 %",
    ]
    print_table(("a", "b"), [])
    assert capsys.readouterr().out == "A  B\n"


def test_shares_are_written_with_one_digit() -> None:
    """A share as people read it."""
    assert [percent(value) for value in (0.0, 0.12345, 1.0, None)] == ["0.0 %", "12.3 %", "100.0 %", "-"]


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe or a log nothing is drawn."""
    with progress("working", 3) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_log_records_are_one_line() -> None:
    """A warning with a traceback is shown without the lines of code."""
    try:
        raise ValueError("inner")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "it\nfailed: %s", ("so",), sys.exc_info())
    assert OneLine("edge-agent: %(message)s").format(record) == "edge-agent: it failed: so"
