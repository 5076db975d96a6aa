"""This is where what came out of a training is told: the figures, what is wrong, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_agent.cli.output import counted, percent, print_metrics
from edge_agent.ml.diagnosis import Advice, data_advice, diagnose
from edge_agent.ml.duplicates import duplicate_advice
from edge_agent.ml.extraction_time import in_words
from edge_agent.ml.picture_labels import printable_path
from edge_agent.ml.session_folder import GIVEN
from edge_agent.vision.feature_source import card_for

if TYPE_CHECKING:
    from edge_agent.ml.metrics import MLClassifierMetrics
    from edge_agent.ml.session_run import SessionResult
    from edge_agent.ml.training_session import MLTrainingSession
    from edge_agent.report.facts import TestEvaluation


@dataclass(frozen=True)
class TrainingSummary:
    """A session that came to its end."""

    session: MLTrainingSession
    result: SessionResult
    seconds: float
    test: TestEvaluation | None = None
    report: Path | None = None

    @property
    def parts(self) -> dict[str, MLClassifierMetrics | None]:
        """What it was measured by; None where there was nothing."""
        return {
            "training": self.result.training_metrics,
            "validation": self.result.validation_metrics if self.result.validation_metrics.is_valid else None,
            "test": None if self.test is None else self.test.metrics,
        }

    @property
    def unreadable(self) -> dict[str, str]:
        """Why a file could not be used, by its path."""
        return {**self.result.unreadable, **(self.test.unreadable if self.test else {})}

    @property
    def warnings(self) -> list[Advice]:
        """What is wrong with the pictures."""
        result, cache = self.result, self.session.cache
        usable = [one for one in self.session.facts.files if one.key.path not in result.unreadable]
        found = data_advice(
            Counter(one.label for one in usable if one.role != GIVEN),
            ((path, width, height) for path, (width, height) in result.sizes.items()),
            extractor_size=card_for(self.session.model_parameters.algorithm.feature_extractor).size,
            has_test=self.test is not None,
        )
        # Features that were damaged since are told of where they are needed.
        usable = [one for one in usable if one.key in cache]
        return [*found, *duplicate_advice(usable, lambda one: cache.entry(one.key).digest)]

    @property
    def advice(self) -> list[Advice]:
        """What the figures say should be done."""
        return diagnose(
            self.result.training_metrics,
            self.parts["validation"],
            self.parts["test"],
            max_iterations=self.session.limit,
            converged=self.result.converged,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        result, parameters = self.result, self.session.model_parameters
        return {
            "session": str(self.session.folder),
            "labels": list(result.head.classes_),
            "classifier": str(parameters.algorithm.classifier),
            "head": result.head.name,
            "extractor": result.fingerprint,
            "iterations": len(result.history),
            "max_iterations": self.session.limit,
            "converged": result.converged,
            "seconds": round(self.seconds, 3),
            **{name: _figures(metrics) for name, metrics in self.parts.items()},
            "warnings": [_advice(one) for one in self.warnings],
            "advice": [_advice(one) for one in self.advice],
            "unreadable": [{"path": path, "error": why} for path, why in self.unreadable.items()],
            "report": None if self.report is None else str(self.report),
        }

    def tell(self) -> None:
        """The same for people; files that could not be read go to standard error."""
        for path, why in self.unreadable.items():
            click.echo(f"{printable_path(path)}: {why}", err=True)
        result, folder = self.result, shlex.quote(str(self.session.folder))
        labels = result.head.classes_
        iterations = counted(len(result.history), "iteration")
        click.echo(
            f"learned {counted(len(labels), 'label')} from {counted(result.training_metrics.count, 'picture')}"
            f" in {in_words(self.seconds).removeprefix('about ')}: {result.head.name}, {iterations},"
            f" {'converged' if result.converged else 'not converged yet'}"
        )
        for name, metrics in self.parts.items():
            if metrics is not None:
                said = (
                    str(metrics)
                    if not metrics.is_valid
                    else f"{percent(metrics.accuracy)} of {metrics.count} right"
                )
                click.echo(f"{name:<10}  {said}")
        self._tell_table()
        for one in (*self.warnings, *self.advice):
            click.echo(f"- {one}")
        if not result.converged:
            click.echo(
                f"- It stopped at {iterations} before it converged; go on with: edge-agent train --session {folder}"
                f" --resume --max-iterations {2 * self.session.limit}"
            )
        click.echo(f"session     {folder}")
        if self.report is not None:
            click.echo(f"report      {printable_path(self.report)}")
        click.echo(f"next        edge-agent evaluate DIR --session {folder}")
        click.echo(f"            edge-agent export FILE.tflite --session {folder}")
        click.echo(f"            edge-agent versions import {folder}")

    def _tell_table(self) -> None:
        """The labels by what judges best: pictures that were neither learned from nor chosen by."""
        name, judge = next(
            (name, metrics)
            for name, metrics in reversed(self.parts.items())
            if metrics is not None and metrics.is_valid
        )
        click.echo(f"\nby label, in {name}:")
        print_metrics(judge)
        click.echo()


def _figures(metrics: MLClassifierMetrics | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    return {
        "accuracy": metrics.accuracy,
        "classification_error": metrics.classification_error,
        "count": metrics.count,
        "confusion": metrics.confusion,
        "per_class": metrics.per_class,
        "error": metrics.error,
    }


def _advice(one: Advice) -> dict[str, Any]:
    return {"kind": one.kind.value, "text": one.text, "labels": list(one.labels)}
