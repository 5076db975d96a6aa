"""This is where a version, or what a session trained, is written as one file for other programs: `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.agent.extractors import identity, known_extractors
from edge_agent.agent.home import Home
from edge_agent.agent.serving import MODEL_FOLDER, same_extractor
from edge_agent.cli.output import counted, json_option, print_json
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import ExtractorError, NoModelError, NotFoundError, UserError
from edge_agent.ml.classifier_metadata import created_metadata
from edge_agent.ml.description import MLModelMetadata
from edge_agent.ml.model import MLModel
from edge_agent.store.atomic import TEMPORARY_PREFIX
from edge_agent.store.registry import Version, VersionRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_agent.vision.export import ExportReport
    from edge_agent.vision.preprocessing import ExtractorCard

SUFFIX = ".tflite"
SAMPLES = 3
"""So many pictures that were learned from are shown to both, one of a label."""


@click.command()
@click.argument("file", metavar="FILE.tflite")
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Export this version instead of the current one."
)
@click.option(
    "--session", "folder", metavar="S", help="Export what was trained in this session instead of a version."
)
@json_option
@click.pass_obj
def export(settings: Settings, file: str, number: int | None, folder: str | None, *, as_json: bool) -> None:
    """Write a version as one TFLite file that any program can run: picture in, probabilities out.

    The file needs nothing of edge-agent. It is tried before it is there: its probabilities are those of the
    version.
    """
    from edge_agent.vision.export import export_tflite

    target = _target(file)
    if folder is not None and number is not None:
        raise UserError(
            "--version exports of the agent, --session what was trained in a folder; say one of them"
        )
    chosen = _of_agent(settings, number) if folder is None else _of_session(expanded(folder))
    report = export_tflite(
        chosen.card,
        chosen.model.head,
        target,
        labels=[str(label) for label in chosen.model.classes],
        metadata=chosen.metadata,
        pictures=chosen.pictures,
        runtime=settings.config.extractor.runtime,
    )
    if as_json:
        print_json(_document(report, chosen))
    else:
        _tell(report, chosen)


@dataclass(frozen=True)
class _Chosen:
    """What is to be exported."""

    name: str
    card: ExtractorCard
    model: MLModel
    metadata: MLModelMetadata
    pictures: list[Path]
    """Some that were learned from."""
    version: int | None = None
    session: str | None = None


def _of_agent(settings: Settings, number: int | None) -> _Chosen:
    settings.be_a_reader()
    home = Home(settings.home)
    # Versions never change once they are there, so they are read without asking a running agent.
    version = _version(VersionRegistry(home.models_folder), number)
    plugins = settings.plugins()
    try:
        card = _card(version, known_extractors(home, plugins.register_extractors()).values())
        model = MLModel.load(version.path / MODEL_FOLDER, heads=plugins.register_heads())
    finally:
        plugins.close()
    return _Chosen(
        f"version {version.number}",
        card,
        model,
        _metadata(version, model.metadata),
        _samples(home.archive_folder),
        version=version.number,
    )


def _of_session(folder: Path) -> _Chosen:
    from edge_agent.ml.session_outcome import session_outcome
    from edge_agent.vision.feature_source import card_for

    outcome = session_outcome(folder)
    fingerprint = outcome.session.facts.fingerprint
    card = card_for(outcome.session.model_parameters.algorithm.feature_extractor)
    if not same_extractor(fingerprint, identity(card)):
        raise ExtractorError(
            f"{folder}: was trained on what {fingerprint!r} sees, which is not here any more"
        )
    first: dict[str, Path] = {}
    for one in outcome.learned:
        if Path(one.key.path).is_file():
            first.setdefault(one.label, Path(one.key.path))
    labels, pictures = len(outcome.model.classes), len(outcome.learned)
    notes = {"extractor": fingerprint, "head": outcome.model.head.name}
    metadata = created_metadata(
        short_description=f"{_told(labels, pictures)} by edge-agent.", additional=notes
    )
    return _Chosen(
        str(folder), card, outcome.model, metadata, list(first.values())[:SAMPLES], session=str(folder)
    )


def _target(file: str) -> Path:
    target = expanded(file)
    if target.suffix.lower() != SUFFIX:
        raise UserError(f"{file}: a TFLite file is named {SUFFIX}, as in {target.name}{SUFFIX}")
    if target.is_dir():
        raise UserError(f"{file}: is a folder; name a file")
    if not target.absolute().parent.is_dir():
        raise NotFoundError(f"{file}: there is no folder {target.absolute().parent}")
    return target.absolute()


def _version(registry: VersionRegistry, number: int | None) -> Version:
    version = registry.current() if number is None else registry.get(number)
    if version is None:
        raise NoModelError("no version has been published yet, so there is nothing to export")
    registry.verify(version.number)
    return version


def _card(version: Version, cards: Iterable[ExtractorCard]) -> ExtractorCard:
    for card in cards:
        if same_extractor(version.extractor_fingerprint, identity(card)):
            return card
    raise ExtractorError(
        f"version {version.number} was made with the extractor {version.extractor_name!r}, which no plugin"
        " here brings as it was then"
    )


def _told(labels: int, pictures: int) -> str:
    return f"Tells {counted(labels, 'label')} apart; learned from {counted(pictures, 'picture')}"


def _metadata(version: Version, own: MLModelMetadata) -> MLModelMetadata:
    told = _told(len(version.labels), version.n_samples)
    notes = {
        "agent_version": version.agent_version,
        "extractor": version.extractor_fingerprint,
        "head": version.head,
    }
    return MLModelMetadata(
        description=own.description or f"{told} by edge-agent.",
        version_string=own.version_string or str(version.number),
        author=own.author,
        license=own.license,
        creator_defined={**notes, **own.creator_defined},
    )


def _samples(archive: Path) -> list[Path]:
    """A picture of each of the first labels; none where none is kept."""
    found: list[Path] = []
    folders = sorted(path for path in archive.glob("*") if path.is_dir()) if archive.is_dir() else []
    for folder in folders[:SAMPLES]:
        files = [
            path for path in folder.iterdir() if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
        ]
        found += sorted(files)[:1]
    return found


def _document(report: ExportReport, chosen: _Chosen) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "version": chosen.version,
        "session": chosen.session,
        "bytes": report.bytes,
        "extractor_bytes": report.extractor_bytes,
        "labels": list(report.labels),
        "input": {
            "name": "image",
            "type": "uint8",
            "shape": list(report.input_shape),
            "description": report.input_description,
            "mean": list(report.mean),
            "std": list(report.std),
        },
        "output": {"name": "probabilities", "type": "float32", "shape": [1, len(report.labels)]},
        "compared": report.compared,
        "largest_difference": report.largest_difference,
        "runtime": report.runtime,
        "milliseconds": report.milliseconds,
    }


def _tell(report: ExportReport, chosen: _Chosen) -> None:
    click.echo(
        f"{chosen.name} exported to {report.path}:"
        f" {report.bytes / 1e6:.1f} MB, {counted(len(report.labels), 'label')}"
    )
    click.echo(f"takes    {report.input_description}")
    click.echo(f"gives    float32 [1, {len(report.labels)}], a probability for each label, in the order of:")
    click.echo(f"         {', '.join(report.labels)}")
    click.echo(
        f"checked  on {counted(report.compared, 'picture')} with {report.runtime}: probabilities as the model's"
        f" within {max(report.largest_difference, 1e-6):.0e}, {report.milliseconds:.1f} ms a picture"
    )
