"""This is where the parts of a report are written, each from the facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.ml.picture_labels import printable_path
from edge_agent.report.facts import ReportFacts
from edge_agent.report.markup import Html, element, joined, text
from edge_agent.report.pictures import of_mistake, of_suspect, picture_list, shown_path
from edge_agent.report.plots import curve_plot, history_plot
from edge_agent.report.tables import (
    confusion_table,
    curve_table,
    history_table,
    label_table,
    measured_table,
)

MOST_FILES = 100
"""So many files that could not be read are listed."""


def summary(facts: ReportFacts) -> Html:
    """What was trained, from what, how well."""
    total = sum(facts.pictures.values())
    rows = {
        "trained": datetime.fromtimestamp(facts.date, tz=UTC).strftime("%d %B %Y, %H:%M UTC"),
        "took": None if facts.seconds is None else _duration(facts.seconds),
        "pictures": f"{total} of {len(facts.labels)} labels",
        "folder": printable_path(facts.folder),
        "extractor": facts.extractor,
        "classifier": facts.classifier + ("" if facts.head == facts.classifier else f", head {facts.head}"),
        "augmentation": facts.augmentation,
        "iterations": f"{len(facts.history)}, "
        + ("converged" if facts.converged else "ended by the limit before it converged"),
    }
    return joined(
        element("h1", "What the classifier learned"),
        element("p", facts.conclusion, class_="verdict"),
        element(
            "div",
            element("div", measured_table(facts.measured), class_="scroll"),
            element(
                "dl",
                *(
                    joined(element("dt", name), element("dd", value))
                    for name, value in rows.items()
                    if value is not None
                ),
            ),
            class_="columns",
        ),
    )


def advice(facts: ReportFacts) -> Html:
    """What to do, by the accuracies and by the pictures."""
    found = [*facts.advice, *facts.warnings]
    said = (
        element("ul", *(element("li", one) for one in found))
        if found
        else element("p", "Nothing stands out: the figures and the pictures are as they should be.")
    )
    return _section("What to do", said)


def curve(facts: ReportFacts) -> Html:
    """Accuracy against pictures of each label."""
    title = "Would more pictures help?"
    if len(facts.curve) < 2:
        return _section(title, element("p", "There are too few pictures of each label to draw a curve."))
    first, last = facts.curve[0], facts.curve[-1]
    said = (
        f"Accuracy against pictures of each label, from {100 * first.mean:.1f} % with {first.per_label} to"
        f" {100 * last.mean:.1f} % with {last.per_label}"
    )
    return _section(
        title,
        element(
            "p",
            "A quick classifier (LDA) learned again and again from a few of the pictures and was tried with"
            f" others, {len(last.accuracies)} times each. A line that still rises at its right end says that more"
            " pictures help. The band is how much it differs from draw to draw.",
        ),
        element("figure", curve_plot(facts.curve, name="curve", title=said)),
        _figures(curve_table(facts.curve)),
    )


def labels(facts: ReportFacts) -> Html:
    """The table of the labels."""
    return _section(
        "Label by label",
        _basis(facts),
        element(
            "p",
            "Precision: of all that was called so, how much really is. Recall: of all that is so, how much was"
            " found. A click on a heading sorts.",
        ),
        element("div", label_table(facts.basis.metrics, facts.pictures), class_="scroll"),
    )


def confusion(facts: ReportFacts) -> Html:
    """What is taken for what."""
    return _section(
        "What is taken for what",
        _basis(facts),
        element("div", confusion_table(facts.basis.metrics), class_="scroll"),
    )


def mistakes(facts: ReportFacts, thumbnails: Mapping[Path, bytes]) -> Html:
    """The worst mistakes."""
    title = "The worst mistakes"
    if not facts.mistakes:
        said = "There are none: the classifier calls every picture it was tried with by its label."
        if facts.basis.metrics.mistakes():
            said += " Those in the tables above were made by classifiers that had not learned the picture."
        return _section(title, element("p", said))
    learned = facts.mistakes[0].part == "training"
    what = "pictures it learned from" if learned else "pictures it did not learn from"
    return _section(
        title,
        element("p", f"{_shown(len(facts.mistakes), facts.n_mistakes)} of {what}, the surest mistake first."),
        picture_list(
            [of_mistake(one) for one in facts.mistakes], thumbnails, verb="was called", folder=facts.folder
        ),
    )


def suspects(facts: ReportFacts, thumbnails: Mapping[Path, bytes]) -> Html:
    """The labels that are most likely wrong."""
    title = "Labels that may be wrong"
    if not facts.suspects:
        return _section(title, element("p", "No picture looks clearly like one of another label."))
    return _section(
        title,
        element(
            "p",
            f"{_shown(len(facts.suspects), facts.n_suspects)}. Each looks like a picture of another label to a"
            " classifier that learned all pictures but this one. Look at them: where the label is wrong, move the"
            " file; where it is right, more pictures like it help. Nothing was left out because of this.",
        ),
        picture_list(
            [of_suspect(one) for one in facts.suspects], thumbnails, verb="looks like", folder=facts.folder
        ),
    )


def history(facts: ReportFacts) -> Html:
    """Accuracy and loss over the iterations."""
    title = "Iteration by iteration"
    if not facts.history:
        return _section(title, element("p", "It was not trained in iterations."))
    if len(facts.history) == 1:
        return _section(title, element("p", "It learned in one iteration."), history_table(facts.history))
    last = facts.history[-1]
    plots = [
        element(
            "figure",
            history_plot(
                facts.history,
                metric,
                name=metric,
                percent=percent,
                title=f"{metric.capitalize()} over {len(facts.history)} iterations, at the end"
                f" {100 * last[metric]:.1f} %"
                if percent
                else f"{metric.capitalize()} over {len(facts.history)} iterations, at the end {last[metric]:.4f}",
            ),
        )
        for metric, percent in (("accuracy", True), ("loss", False))
        if metric in last
    ]
    return _section(
        title,
        element("div", *plots, class_="columns"),
        _figures(element("div", history_table(facts.history), class_="scroll")),
    )


def unreadable(facts: ReportFacts) -> Html:
    """The files that could not be used."""
    if not facts.unreadable:
        return Html("")
    files = sorted(facts.unreadable.items())
    more = len(files) - MOST_FILES
    return _section(
        "Files that could not be read",
        element("p", _counted(len(files), "file") + " took no part."),
        element(
            "ul",
            *(
                element("li", element("code", shown_path(Path(path), facts.folder)), f" {reason}")
                for path, reason in files[:MOST_FILES]
            ),
        ),
        element("p", f"and {more} more") if more > 0 else "",
    )


def _section(title: str, *children: object) -> Html:
    return element("section", element("h2", title), *children)


def _figures(table: Html) -> Html:
    return element("details", element("summary", "the figures"), table)


def _basis(facts: ReportFacts) -> Html:
    one = facts.basis
    name = text(one.name[0].lower() + one.name[1:])
    return element(
        "p",
        f"Measured on {_counted(one.metrics.count, 'picture')} ",
        element("b", name),
        f": {one.meaning}.",
        class_="soft",
    )


def _shown(shown: int, total: int) -> str:
    return _counted(total, "picture") if shown == total else f"{shown} of {total} pictures"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
