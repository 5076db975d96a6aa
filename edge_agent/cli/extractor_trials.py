"""This is where extractors are tried on labelled pictures, so that a person can compare them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.agent.extractors import identity, known_extractors
from edge_agent.agent.home import Home
from edge_agent.agent.specimens import Specimen, from_files, owners_pictures
from edge_agent.cli.output import counted, percent, print_table
from edge_agent.cli.predict import labelled_pictures
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import ExtractorError

if TYPE_CHECKING:
    from edge_agent.vision.audition import Performance
    from edge_agent.vision.preprocessing import ExtractorCard

PER_LABEL, MOST = 20, 240
"""So many pictures of a label, and in all, show well enough how good an extractor is."""
DRAWN_PER_LABEL, DRAWN_SEED = 12, 11


@dataclass(frozen=True)
class Trial:
    """The pictures that extractors are tried on."""

    specimens: tuple[Specimen, ...]
    source: str
    """`own`, `folder` or `drawn`."""

    @property
    def described(self) -> str:
        """What a person is told of them."""
        labels = len({one.label for one in self.specimens})
        amount = f"{counted(len(self.specimens), 'picture')} of {counted(labels, 'label')}"
        match self.source:
            case "own":
                return f"{amount} of your own"
            case "folder":
                return f"{amount} of that folder"
        return (
            f"{amount} that are drawn here, as there are too few of your own (two labels of four): they are easy to"
            " tell apart, so look again with `edge-agent extractors compare` when you have some"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "source": self.source,
            "count": len(self.specimens),
            "labels": sorted({one.label for one in self.specimens}),
        }


@contextmanager
def trial(settings: Settings, folder: str | None, per_label: int = PER_LABEL) -> Iterator[Trial]:
    """Pictures of a labelled folder, else the owner's archived ones, else some that are drawn for the time being."""
    if folder is not None:
        files = labelled_pictures(expanded(folder))
        yield Trial(tuple(from_files(files, per_label=per_label, most=MOST)), "folder")
        return
    fraction = settings.config.learning.held_out_fraction
    own = owners_pictures(Home(settings.home), per_label=per_label, most=MOST, fraction=fraction)
    if own:
        yield Trial(tuple(own), "own")
        return
    from edge_agent.cli.pictures import write_pictures

    place = Path(tempfile.mkdtemp(prefix="edge-agent-drawn-"))
    try:
        drawn = write_pictures(place, per_label=DRAWN_PER_LABEL, seed=DRAWN_SEED)
        files = [(path, label) for label, paths in drawn.items() for path in paths]
        yield Trial(tuple(from_files(files, per_label=per_label, most=MOST)), "drawn")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def every_card(settings: Settings) -> tuple[dict[str, ExtractorCard], set[str]]:
    """Every extractor that can be used, by name, and the names of those that plugins register."""
    plugins = settings.plugins()
    try:
        registered = plugins.register_extractors()
    finally:
        plugins.close()
    return known_extractors(Home(settings.home), registered), set(registered)


def compared(settings: Settings, cards: Sequence[ExtractorCard], pictures: Trial) -> list[dict[str, Any]]:
    """What each extractor makes of the same pictures, in a process of its own."""
    from edge_agent.vision.audition import AuditionQuestion, hear

    config = settings.config.extractor
    rows = []
    for card in cards:
        question = AuditionQuestion(
            cards=(card,),
            pictures=tuple(str(one.path) for one in pictures.specimens),
            runtime=config.runtime,
            threads=config.interpreter_threads,
        )
        try:
            answer = hear(question)
        except ExtractorError as error:
            rows.append({**_plain(card), "error": str(error)})
            continue
        specimens = [pictures.specimens[place] for place in answer.seen]
        rows.append(measured(card, answer.performances[0], specimens))
    return rows


def measured(card: ExtractorCard, performance: Performance, specimens: Sequence[Specimen]) -> dict[str, Any]:
    """One row of a comparison."""
    from edge_agent.ml.separation import held_out_accuracy, separation
    from edge_agent.ml.soundness import soundness

    if performance.error:
        return {**_plain(card), "error": performance.error}
    X, labels = performance.matrix(card.n_features), [one.label for one in specimens]
    found = separation(X, labels)
    held_out = held_out_accuracy(X, labels, [one.held_out for one in specimens])
    looked = soundness(X, None, found)
    return {
        **_plain(card),
        "milliseconds": round(performance.milliseconds, 3),
        "leave_one_out": found.leave_one_out,
        "leave_duplicates_out": found.leave_duplicates_out,
        "held_out": {"accuracy": held_out[0], "count": held_out[1]} if held_out else None,
        "pictures": found.count,
        "problems": list(looked.problems),
        "warnings": list(looked.warnings),
    }


def print_comparison(rows: Sequence[dict[str, Any]], used: str) -> None:
    """A table of extractors, and below it what is wrong with one."""
    print_table(
        ("extractor", "features", "ms", "left out", "left out with copies", "held out", ""),
        [
            (
                row["name"],
                row["n_features"],
                f"{row['milliseconds']:.1f}" if row["error"] is None else "-",
                percent(row["leave_one_out"]),
                percent(row["leave_duplicates_out"]),
                percent(row["held_out"]["accuracy"]) if row["held_out"] else "-",
                "used" if row["name"] == used else "",
            )
            for row in rows
        ],
    )
    for row in rows:
        for text in ([row["error"]] if row["error"] else []) + row["problems"] + row["warnings"]:
            click.echo(f"{row['name']}: {text}")


def _plain(card: ExtractorCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "fingerprint": identity(card),
        "n_features": card.n_features,
        "milliseconds": None,
        "leave_one_out": None,
        "leave_duplicates_out": None,
        "held_out": None,
        "pictures": 0,
        "problems": [],
        "warnings": [],
        "error": None,
    }
