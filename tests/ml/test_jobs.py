"""Work in the background with one end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.checkpoints import MLCheckpoint
from edge_agent.ml.jobs import MLJob
from edge_agent.ml.training_progress import MLPhase, MLProgress, MLProgressMetric

WAIT = 20.0


def test_checklist_135_a_job_tells_phases_checkpoints_and_progress_and_gives_a_result() -> None:
    """Streams of phases, checkpoints and reports, a start date, and one value at the end."""
    made = MLCheckpoint(Path("somewhere"), MLPhase.TRAINING, 3, 5.0)

    def work(job: MLJob[str]) -> str:
        job.phase.send(MLPhase.TRAINING)
        job.checkpoints.send(made)
        job.report(MLPhase.TRAINING, 1, 4, {MLProgressMetric.ACCURACY: 0.5})
        job.report(MLPhase.TRAINING, 2, 4)
        return "done"

    seconds = iter(range(100))
    job = MLJob(work, clock=lambda: 1_000.0, monotonic=lambda: float(next(seconds))).start()

    assert job.result(WAIT) == "done"
    assert job.is_finished
    assert not job.is_canceled
    assert job.start_date == 1_000.0
    assert list(job.phase) == [MLPhase.TRAINING]
    assert list(job.checkpoints) == [made]
    first, last = job.reports
    assert first == MLProgress(MLPhase.TRAINING, 1, 4, 1.0, {MLProgressMetric.ACCURACY: 0.5})
    assert job.progress == last
    assert (last.elapsed_time, last.fraction_completed) == (2.0, 0.5)


def test_checklist_136_cancelling_fails_the_result() -> None:
    """The work stops where it checks; later calls of `cancel` and `result` say the same."""
    begun, go = threading.Event(), threading.Event()

    def work(job: MLJob[None]) -> None:
        begun.set()
        assert go.wait(WAIT)
        job.check()

    job = MLJob(work).start()
    assert begun.wait(WAIT)
    with pytest.raises(TimeoutError):
        job.result(0.0)
    job.cancel()
    job.cancel()
    go.set()

    for _ in range(2):
        with pytest.raises(MLCreateError) as caught:
            job.result(WAIT)
        assert caught.value.code is MLCreateErrorCode.CANCELLED
    assert job.is_canceled


def test_checklist_136_a_job_cancelled_before_it_starts_does_nothing() -> None:
    """Its work is not begun; starting twice is starting once."""
    began: list[int] = []
    job = MLJob(lambda _: began.append(1))
    job.cancel()

    assert job.start().start() is job

    with pytest.raises(MLCreateError) as caught:
        job.result(WAIT)
    assert caught.value.code is MLCreateErrorCode.CANCELLED
    assert began == []
    assert list(job.phase) == []


def test_cancelling_the_finished_changes_nothing() -> None:
    """It keeps its result and was not cancelled."""
    job = MLJob(lambda _: 5).start()
    assert job.result(WAIT) == 5

    job.cancel()

    assert not job.is_canceled
    assert job.result(WAIT) == 5


@pytest.mark.parametrize("raised", [ZeroDivisionError("what"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_a_listener_raises_ends_the_job_and_nothing_else(raised: BaseException) -> None:
    """The error is ours, with the cause; the streams end."""

    def work(job: MLJob[Any]) -> None:
        job.phase.send(MLPhase.TRAINING)

    job = MLJob(work)

    def listener(_: MLPhase) -> None:
        raise raised

    job.phase.sink(listener)
    job.start()

    with pytest.raises(MLCreateError, match=type(raised).__name__) as caught:
        job.result(WAIT)
    assert caught.value.code is MLCreateErrorCode.GENERIC
    assert caught.value.__cause__ is raised
    assert list(job.phase) == [MLPhase.TRAINING]


def test_checklist_129_progress_counts_items_of_a_phase() -> None:
    """The share done is 0 where the whole is not known, and never above 1."""
    assert MLProgress().fraction_completed == 0.0
    assert MLProgress(MLPhase.EXTRACTING_FEATURES, 3, None).fraction_completed == 0.0
    assert MLProgress(MLPhase.EXTRACTING_FEATURES, 3, 12).fraction_completed == 0.25
    assert MLProgress(MLPhase.TRAINING, 30, 25).fraction_completed == 1.0


def test_checklist_137_138_phases_and_metrics_have_apples_names() -> None:
    """All phases, and all names of metrics by enumeration."""
    assert [one.value for one in MLPhase] == [
        "initialized",
        "extracting_features",
        "training",
        "evaluating",
        "inferencing",
    ]
    assert [one.value for one in MLProgress.Metric] == [
        "accuracy",
        "loss",
        "validation_accuracy",
        "validation_loss",
        "maximum_error",
        "root_mean_squared_error",
        "validation_maximum_error",
        "validation_root_mean_squared_error",
        "content_loss",
        "style_loss",
        "stylized_image_url",
    ]
