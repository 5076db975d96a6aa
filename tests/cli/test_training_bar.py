"""The bar of a training."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edge_agent.cli.training_bar import TrainingBar, training_bar
from edge_agent.ml.training_progress import MLPhase, MLProgress, MLProgressMetric


def test_checklist_128_135_phase_count_and_accuracy_are_shown() -> None:
    """Files while it looks, iterations and accuracies while it learns; lines stand above; the bar goes in the end."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=110, color_system=None)
    with training_bar(console) as bar:
        assert isinstance(bar, TrainingBar)
        bar.report(MLProgress(MLPhase.INITIALIZED, 1, 2))  # before anything began
        bar.enter(MLPhase.EXTRACTING_FEATURES)
        bar.report(MLProgress(MLPhase.EXTRACTING_FEATURES, 36, 36))
        bar.say("looking at 36 pictures: [about] a second")
        bar.enter(MLPhase.TRAINING)
        metrics = {MLProgressMetric.LOSS: 0.1, MLProgressMetric.ACCURACY: 1.0}
        metrics[MLProgressMetric.VALIDATION_ACCURACY] = 0.875
        bar.report(MLProgress(MLPhase.TRAINING, 25, 25, metrics=metrics))
        bar.say("soon")
        bar.enter(MLPhase.EVALUATING)
    shown = out.getvalue()
    assert "looking at pictures" in shown
    assert " 36/36" in shown
    assert "looking at 36 pictures: [about] a second" in shown
    assert "learning" in shown
    assert " 25/25 training 100.0 %, validation 87.5 %" in shown
    assert "measuring" in shown


def test_without_a_terminal_only_lines_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """They go to standard error."""
    with training_bar(Console(file=io.StringIO())) as bar:
        bar.enter(MLPhase.TRAINING)
        bar.report(MLProgress(MLPhase.TRAINING, 3, 25))
        bar.say("looking at 36 pictures")
    assert capsys.readouterr() == ("", "looking at 36 pictures\n")
