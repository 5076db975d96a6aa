"""This is where pictures are classified and versions judged: `predict`, `evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_agent.agent.labels import clean_label
from edge_agent.cli.output import json_option, percent, print_json, print_metrics, progress
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import UserError
from edge_agent.ml.picture_labels import printable_path

FILES_A_QUESTION = 32
"""Open files that travel with one question; small enough that other questions get their turn in between."""


session_option = click.option(
    "--session", "folder", metavar="S", help="Ask what was trained in this session instead of the agent."
)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), help="Only the most likely labels.")
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Ask this version instead of the current one."
)
@session_option
@json_option
@click.pass_obj
def predict(
    settings: Settings,
    paths: tuple[str, ...],
    top: int | None,
    number: int | None,
    folder: str | None,
    *,
    as_json: bool,
) -> None:
    """Classify pictures: files, or all files below folders."""
    files = [file for path in paths for file in pictures_below(Path(path))]
    answers = classify(settings, files, top=top, version=number, session=folder)
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            click.echo(_line(answer, top or 1))
    if any(answer["error"] for answer in answers):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("labelled", metavar="DIR")
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Judge this version instead of the current one."
)
@session_option
@json_option
@click.pass_obj
def evaluate(
    settings: Settings, labelled: str, number: int | None, folder: str | None, *, as_json: bool
) -> None:
    """Measure a version, or what a session trained, on the labelled pictures DIR/<label>/*."""
    from edge_agent.ml.metrics import MLClassifierMetrics

    truth = labelled_pictures(Path(labelled))
    answers = classify(settings, [path for path, _ in truth], top=1, version=number, session=folder)
    usable = [
        (label, answer) for (_, label), answer in zip(truth, answers, strict=True) if not answer["error"]
    ]
    unreadable = [answer for answer in answers if answer["error"]]
    if not usable:
        raise UserError(
            f"{labelled}: no picture could be read; the first: {answers[0]['path']}: {answers[0]['error']}"
        )
    metrics = MLClassifierMetrics.from_labels(
        [label for label, _ in usable], [answer["label"] for _, answer in usable]
    )
    document = {
        "accuracy": metrics.accuracy,
        "classification_error": metrics.classification_error,
        "count": metrics.count,
        "confusion": metrics.confusion,
        "per_class": metrics.per_class,
        "version": usable[0][1]["version"],
        "unreadable": [{"path": answer["path"], "error": answer["error"]} for answer in unreadable],
    }
    if as_json:
        print_json(document)
        return
    judged = folder if document["version"] is None else f"version {document['version']}"
    click.echo(f"{judged}: {percent(metrics.accuracy)} of {metrics.count} pictures right")
    print_metrics(metrics)
    for answer in unreadable:
        click.echo(f"{printable_path(answer['path'])}: {answer['error']}", err=True)


def classify(
    settings: Settings,
    files: Sequence[Path],
    *,
    top: int | None,
    version: int | None,
    session: str | None = None,
) -> list[dict[str, Any]]:
    """Ask about many files, a group at a time; a file that cannot be opened gets an answer with its error.

    The agent is asked, or with `session` what was trained in that folder.
    """
    if session is not None:
        if version is not None:
            raise UserError(
                "--version asks the agent, --session what was trained in a folder; say one of them"
            )
        return _classify_here(settings, files, expanded(session), top)
    answers: list[dict[str, Any]] = []
    with settings.session() as ask, progress("classifying", len(files)) as advance:
        for start in range(0, len(files), FILES_A_QUESTION):
            group = files[start : start + FILES_A_QUESTION]
            answers += _ask_group(ask, group, top, version)
            advance(len(group))
    return answers


def _classify_here(
    settings: Settings, files: Sequence[Path], folder: Path, top: int | None
) -> list[dict[str, Any]]:
    from edge_agent.agent.prediction import prediction
    from edge_agent.cli.trained import looked_at
    from edge_agent.ml.session_outcome import session_outcome

    outcome = session_outcome(folder)
    with progress("classifying", len(files)) as advance:
        answers = []
        for one in looked_at(settings, outcome, files):
            answers.append(
                prediction(
                    str(one.path),
                    one.features,
                    one.error,
                    outcome.model,
                    version=None,
                    top=top,
                    background_labels=settings.config.learning.background_labels,
                )
            )
            advance(1)
        return answers


def _ask_group(ask: Any, group: Sequence[Path], top: int | None, version: int | None) -> list[dict[str, Any]]:
    names: list[str] = []
    fds: list[int] = []
    failed: dict[str, str] = {}
    for path in group:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            failed[str(path)] = str(error.strerror)
            continue
        names.append(str(path))
        fds.append(fd)
    arguments = {"names": names, "top": top, "version": version}
    found = {answer["path"]: answer for answer in ask("predict", arguments, files=fds)}
    return [found.get(str(path)) or _failure(str(path), failed[str(path)]) for path in group]


def _failure(path: str, error: str) -> dict[str, Any]:
    return {
        "path": path,
        "label": None,
        "probability": None,
        "probabilities": {},
        "unknown": False,
        "version": None,
        "error": error,
    }


def pictures_below(path: Path) -> list[Path]:
    """The file itself, or every file below a folder that is not hidden, in order."""
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise UserError(f"{path}: there are no files in this folder")
    return found


def labelled_pictures(folder: Path) -> list[tuple[Path, str]]:
    """Every file of `folder/<label>/` with its label."""
    if not folder.is_dir():
        raise UserError(f"{folder}: not a folder; expected one that holds a folder for each label")
    found = [
        (file, clean_label(label.name))
        for label in sorted(folder.iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for file in sorted(label.iterdir())
        if file.is_file() and not file.name.startswith(".")
    ]
    if not found:
        raise UserError(f"{folder}: no pictures in folders of labels; expected {folder}/<label>/picture.jpg")
    return found


def _line(answer: dict[str, Any], top: int) -> str:
    path = printable_path(answer["path"])
    if answer["error"]:
        return f"{path}: {answer['error']}"
    likely = list(answer["probabilities"].items())[:top]
    text = ", ".join(f"{label} {percent(probability)}" for label, probability in likely)
    return f"{path}: {'unknown, nearest ' if answer['unknown'] else ''}{text}"
