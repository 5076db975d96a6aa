"""This is where a folder of labelled pictures becomes a classifier: `train`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.cli.output import complain, json_option, print_json, warn_in_lines
from edge_agent.cli.settings import Settings, expanded
from edge_agent.cli.trained import looked_at
from edge_agent.cli.training_bar import training_bar
from edge_agent.cli.training_options import HEADS, TrainingOptions, labelled
from edge_agent.cli.training_summary import TrainingSummary
from edge_agent.cli.training_time import timed
from edge_agent.errors import MLCreateError, MLCreateErrorCode, NotFoundError, UserError
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.session_outcome import session_outcome
from edge_agent.report.facts import evaluated, report_facts
from edge_agent.report.page import write_report
from edge_agent.report.plots import check_plotting

if TYPE_CHECKING:
    from edge_agent.ml.jobs import MLJob
    from edge_agent.ml.training_session import MLTrainingSession

Truth = Mapping[str, Sequence[Path]]
"""Pictures by their label."""

INTERRUPTED = 130
LISTENING_SECONDS = 0.2


@click.command()
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--session", "folder", metavar="DIR", required=True, help="Where the training is kept.")
@click.option("--resume", is_flag=True, help="Go on with the session in DIR; DATA may then be left out.")
@click.option("--files", is_flag=True, help="DATA holds files named after their labels: cat.1.jpg.")
@click.option("--head", metavar="HEAD", help=f"The part that learns: {HEADS}.  [default: auto]")
@click.option("--augment", metavar="KIND,...", help="Learn from changed copies too: crop, rotation, blur,"
    " exposure, noise, flip.")  # fmt: skip
@click.option("--augment-seed", type=click.IntRange(min=0), help="Where chance begins in the copies.")
@click.option("--max-iterations", type=click.IntRange(min=1), help="At most so many.  [default: 25]")
@click.option("--validation", metavar="HOW", help="auto, none, a share such as 0.2, or a labelled folder.")
@click.option(
    "--extractor", metavar="FILE", help="An extractor of your own: its .tflite or its card (.json)."
)
@click.option("--accept-changes", is_flag=True, help="Go on although files were added, removed or changed.")
@click.option("--seed", type=click.IntRange(min=0), help="For everything random.  [default: 0]")
@click.option("--test", metavar="DIR", help="Measure it on these labelled pictures in the end.")
@click.option("--report", metavar="FILE.html", help="Explain what came out, with pictures, in one file.")
@json_option
@click.pass_obj
def train(
    settings: Settings, /, folder: str, test: str | None, report: str | None, *, as_json: bool, **given: Any
) -> None:
    """Train a classifier from the labelled pictures DATA/<label>/*.

    The session in DIR survives everything: interrupt it, or pull the plug, and go on with --resume. What was
    not said then is as it was in the beginning.
    """
    warn_in_lines()
    options = TrainingOptions(folder=expanded(folder), **given)
    page = _page(report) if report is not None else None
    truth = _truth(test, files=options.files)
    if truth and options.source is not None:
        _check_apart(_paths(options.source.labeled_images()), truth)
    session = options.session()
    _check_apart({Path(one.key.path) for one in session.facts.files}, truth)
    try:
        summary = _trained(settings, session, truth, page, quiet=as_json)
    except KeyboardInterrupt:
        again = f"edge-agent train --session {shlex.quote(folder)} --resume"
        again += "".join(
            f" {option} {shlex.quote(value)}"
            for option, value in (("--test", test), ("--report", report))
            if value
        )
        again += " --files" if test and options.files else ""
        complain(f"interrupted; nothing that was done is lost; go on with: {again}")
        raise click.exceptions.Exit(INTERRUPTED) from None
    if as_json:
        print_json(summary.to_json())
    else:
        summary.tell()


def _trained(
    settings: Settings, session: MLTrainingSession, truth: Truth, page: Path | None, *, quiet: bool
) -> TrainingSummary:
    began = time.monotonic()
    with training_bar() as bar:
        say: Callable[[str], None] = (lambda _text: None) if quiet else bar.say
        job = MLImageClassifier.prepared(session, open_source=timed(session, settings.open_source, say))
        job.phase.sink(bar.enter)
        job.reports.sink(bar.report)
        classifier = _ended(job.start())
    result = classifier.result
    assert result is not None, "it comes from a session"
    test = None
    if truth:
        seen = looked_at(settings, session_outcome(session.folder), list(_paths(truth)))
        test = evaluated(result.head, truth, seen)
    seconds = time.monotonic() - began
    if page is not None:
        write_report(page, report_facts(session, result, test, seconds=seconds))
    return TrainingSummary(session, result, seconds, test, page)


def _ended(job: MLJob[MLImageClassifier]) -> MLImageClassifier:
    """Wait; an interruption stops the job at the next file or iteration, a second one does not wait for that."""
    try:
        while True:
            # A signal may reach the job's thread; this one hears of it when it wakes.
            with suppress(TimeoutError):
                return job.result(timeout=LISTENING_SECONDS)
    except KeyboardInterrupt:
        job.cancel()
        with suppress(MLCreateError):
            job.result()
        raise
    except MLCreateError as error:
        if error.code is MLCreateErrorCode.MODIFIED_TRAINING_DATA:
            raise UserError(
                f"{str(error).partition(';')[0]}; go on without what changed with --resume --accept-changes"
            ) from error
        raise


def _page(report: str) -> Path:
    """Where the report goes; what would keep it from being written is said before the long run."""
    check_plotting()
    path = expanded(report).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"{report}: a report is one file, in a folder that is there")
    return path


def _truth(test: str | None, *, files: bool) -> Truth:
    if test is None:
        return {}
    if not expanded(test).is_dir():
        raise NotFoundError(
            f"{test}: there is no such folder; expected one that holds a folder for each label"
        )
    return labelled(test, files=files).labeled_images()


def _paths(truth: Truth) -> Iterator[Path]:
    return (path for paths in truth.values() for path in paths)


def _check_apart(known: Iterable[Path], truth: Truth) -> None:
    both = sorted(set(known) & set(_paths(truth)))
    if both:
        raise UserError(
            f"{both[0]}: is among the pictures to learn from and among those to test with ({len(both)} such files)"
        )
