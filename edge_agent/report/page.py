"""This is where a report becomes one HTML file that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_agent.report import sections
from edge_agent.report.facts import ReportFacts
from edge_agent.report.look import SCRIPT, STYLE
from edge_agent.report.markup import Html, element, joined
from edge_agent.report.plots import check_plotting
from edge_agent.store.atomic import write_file
from edge_agent.vision.thumbnails import thumbnails

READABLE = 0o644

Thumbnails = Callable[[Sequence[Path]], Mapping[Path, bytes]]
"""Makes small JPEG files of pictures, of those that it can."""


def write_report(to: Path, facts: ReportFacts, *, thumbnails_of: Thumbnails = thumbnails) -> None:
    """Write the page, or replace it, in one step.

    Pictures are decoded in a process of their own. Raises `UserError` when there is nothing to draw with,
    `StoreError` (`DiskFullError`) when the disk refuses.
    """
    check_plotting()
    wanted = [*(one.path for one in facts.mistakes), *(one.path for one in facts.suspects)]
    write_file(to, page(facts, thumbnails_of(wanted)).encode("utf-8"), mode=READABLE)


def page(facts: ReportFacts, small: Mapping[Path, bytes]) -> str:
    """The whole document; `small` are JPEG files of pictures that it shows, by their paths."""
    body = joined(
        sections.summary(facts),
        sections.advice(facts),
        sections.curve(facts),
        sections.labels(facts),
        sections.confusion(facts),
        sections.mistakes(facts, small),
        sections.suspects(facts, small),
        sections.history(facts),
        sections.unreadable(facts),
    )
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"Image classifier: {len(facts.labels)} labels"),
        element("style", Html(STYLE)),
    )
    whole = element(
        "html",
        element("head", head),
        element("body", element("main", body), element("script", Html(SCRIPT))),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{whole}\n"


def _policy() -> str:
    """Nothing is fetched, and no script runs but ours: even a fault in escaping would not let one in."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
