"""This is where the command line speaks: JSON for programs, tables and bars for people, errors in one line."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from edge_agent.ml.metrics import MLClassifierMetrics

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


def complain(text: str, *, status: int = 1) -> int:
    """Print an error as one line on standard error; returns the exit status."""
    line = " ".join(str(text).split())
    print(f"edge-agent: {line}", file=sys.stderr)
    return status


@contextmanager
def streams(*, as_json: bool) -> Iterator[None]:
    """Keep standard output for what is asked for: with `--json` nothing but the document may get there.

    What a plugin prints goes to standard error then.  Names that are not text are shown escaped.
    """
    global _documents  # the process has one standard output
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _documents, before = sys.stdout, sys.stdout
    if as_json:
        sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout, _documents = before, None


_documents: TextIO | None = None


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if any("\ud800" <= letter <= "\udfff" for letter in text):  # part of a name that is not text
        text = json.dumps(document, indent=2)
    print(text, file=_documents or sys.stdout, flush=True)


class OneLine(logging.Formatter):
    """Log records for people: what happened, without the lines of code where it did."""

    def formatException(self, ei: Any) -> str:  # noqa: N802, ARG002  # logging's own name and argument
        """Nothing: the message says enough."""
        return ""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return " ".join(super().format(record).split())


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment: while a bar is shown, above the bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # looked up, not kept
        """Standard error now."""
        return sys.stderr


def warn_in_lines() -> None:
    """Show warnings of the agent on standard error, a line each, for commands that end by themselves."""
    handler = _Stderr()
    handler.setFormatter(OneLine("edge-agent: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns; numbers to the right, and no lines, so that `awk` and eyes read it alike."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(title), *(len(row[i]) for row in cells), 0) for i, title in enumerate(titles)]
    numeric = [bool(cells) and all(_numeric(row[i]) for row in cells) for i in range(len(titles))]
    for line in ([title.upper() for title in titles], *cells):
        parts = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(parts).rstrip())


MISTAKES = 10
"""So many kinds of mistakes are shown, the most frequent ones."""


def print_metrics(metrics: MLClassifierMetrics) -> None:
    """The table of the labels, and what is taken for what."""
    print_table(
        ("label", "count", "precision", "recall"),
        [
            (row["label"], row["count"], percent(row["precision"]), percent(row["recall"]))
            for row in metrics.per_class_rows()
        ],
    )
    for row in metrics.mistakes()[:MISTAKES]:
        click.echo(f"{row['count']} x {row['true']} taken for {row['predicted']}")


def percent(value: float | None) -> str:
    """A share as people write it; `-` when there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def judged(accuracy: float | None, count: int | None) -> str:
    """How a version did on the pictures it was judged by, in words."""
    if accuracy is None or not count:
        return "too few pictures to judge it"
    return f"{round(accuracy * count)} of {count} held-out pictures right"


def moment(when: float | str) -> str:
    """A time, in unix seconds or ISO 8601, as the clock on the wall shows it."""
    utc = datetime.fromtimestamp(when, UTC) if isinstance(when, float | int) else datetime.fromisoformat(when)
    return utc.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while a block runs, on a terminal only; yields what to call with each advance."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _numeric(text: str) -> bool:
    return text == "-" or text.removesuffix(" %").replace(".", "", 1).replace("-", "", 1).isdigit()
