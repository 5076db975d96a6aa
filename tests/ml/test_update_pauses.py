"""Checklist 102: an update that rests when it is asked to, keeps to its share of the time, and goes on later."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.pace import Pace
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.progress import MLMetricKey
from edge_agent.ml.update import MLTaskState, MLUpdateProgressEvent, MLUpdateProgressHandlers, MLUpdateTask

BEGIN, EPOCH, BATCH = MLUpdateProgressEvent(1), MLUpdateProgressEvent(2), MLUpdateProgressEvent(4)
PATIENCE = 30.0


@pytest.fixture(name="batch")
def _batch(clouds):
    """Ten samples."""
    return MatrixBatchProvider(*clouds(10))


@pytest.fixture(name="base")
def _base():
    """An empty softmax model that trains two epochs of three mini-batches on the batch."""
    return MLModel.factory("softmax", 12, parameters={Key.EPOCHS: 2, Key.MINI_BATCH_SIZE: 4})


class Clock:
    """A clock that is put forward by whoever works or waits."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += seconds


class Resting(MLUpdateTask):
    """A task that says when it rests."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.rests = threading.Semaphore(0)

    def _await_going_on(self):
        self.rests.release()
        super()._await_going_on()


class Watched:
    """A task, what it was told and the changes of its state."""

    def __init__(self, base, batch, handler, events=BEGIN | EPOCH | BATCH, **given):
        self.changes = []
        self.told = []

        def progress(context):
            self.told.append(context.event)
            handler(context)

        self.task = Resting(
            base,
            batch,
            progress_handlers=MLUpdateProgressHandlers(events, progress, lambda context: None),
            on_state_change=self.change,
            **given,
        )

    def change(self, change):
        self.changes.append((change.previous, change.state))

    def run(self):
        self.task.resume()
        assert self.task.wait(PATIENCE)
        return self.task


def test_checklist_102_a_hot_board_pauses_the_update_and_a_cool_one_goes_on(base, batch, clouds):
    """A handler that reads a thermometer pauses; nothing moves until somebody resumes; the bits are the same."""
    X, _ = clouds(20, seed=4)
    plain = Watched(base, batch, lambda context: None).run().model
    temperatures = iter([50.0, 60.0, 85.0, 60.0, 90.0, 50.0, 50.0, 50.0, 50.0])

    def handler(context):
        if next(temperatures) > 80.0:
            context.task.pause()

    watched = Watched(base, batch, handler, events=BATCH | EPOCH)
    watched.task.resume()
    for told in (3, 5):
        assert watched.task.rests.acquire(timeout=PATIENCE)
        assert watched.task.state is MLTaskState.SUSPENDED
        assert len(watched.told) == told
        watched.task.resume()
    assert watched.task.wait(PATIENCE)

    assert watched.task.state is MLTaskState.COMPLETED
    assert np.array_equal(watched.task.model.predict_proba(X), plain.predict_proba(X))
    assert watched.changes.count(("suspended", "running")) == 1 + 8


@pytest.mark.parametrize("events", [MLUpdateProgressEvent(0), EPOCH])
def test_checklist_102_a_pause_from_another_thread_holds_at_the_next_mini_batch(base, clouds, events):
    """Also where no handler listens; the task says SUSPENDED and RUNNING, once each."""
    reached, go = threading.Event(), threading.Event()

    class Gate(MatrixBatchProvider):
        reads = 0

        def arrays(self, indices):
            self.reads += 1
            if self.reads == 4:
                reached.set()
                assert go.wait(PATIENCE)
            return super().arrays(indices)

    batch = Gate(*clouds(10))
    watched = Watched(base, batch, lambda context: None, events)
    watched.task.pause()  # nothing to pause yet
    watched.task.resume()
    assert reached.wait(PATIENCE)
    watched.task.pause()
    watched.task.pause()
    assert watched.task.state is MLTaskState.RUNNING
    go.set()
    assert watched.task.rests.acquire(timeout=PATIENCE)
    assert (watched.task.state, batch.reads) == (MLTaskState.SUSPENDED, 4)
    watched.task.resume()
    assert watched.task.wait(PATIENCE)

    assert watched.task.state is MLTaskState.COMPLETED
    assert watched.changes[:3] == [
        ("suspended", "running"), ("running", "suspended"), ("suspended", "running"),
    ]  # fmt: skip
    watched.task.pause()
    assert watched.task.state is MLTaskState.COMPLETED


def test_checklist_102_resuming_takes_back_a_pause_that_did_not_happen_yet(base, batch):
    """Within the same handler too."""

    def handler(context):
        context.task.pause()
        context.task.resume()

    assert Watched(base, batch, handler).run().state is MLTaskState.COMPLETED


@pytest.mark.parametrize("event", [BEGIN, BATCH, EPOCH])
def test_checklist_06_102_a_paused_task_can_be_cancelled(base, batch, event):
    """After whatever event it rests."""

    def handler(context):
        if context.event == event:
            context.task.pause()

    watched = Watched(base, batch, handler, event)
    watched.task.resume()
    assert watched.task.rests.acquire(timeout=PATIENCE)
    watched.task.cancel()
    assert watched.task.wait(PATIENCE)

    assert watched.task.state is MLTaskState.CANCELLED
    assert watched.changes[-2:] == [("suspended", "cancelling"), ("cancelling", "cancelled")]
    assert watched.task.model is None


def test_checklist_30_41_parameters_can_be_replaced_in_a_pause(base, batch):
    """From any thread, and from then on they are those in force."""
    rates = []

    def handler(context):
        rates.append(context.parameters[Key.LEARNING_RATE])
        if len(rates) == 2:
            context.task.pause()

    watched = Watched(base, batch, handler, BATCH)
    watched.task.resume()
    assert watched.task.rests.acquire(timeout=PATIENCE)
    with pytest.raises(MLModelError, match="learning_rate"):
        watched.task.resume(with_parameters={Key.LEARNING_RATE: -1.0})
    assert watched.task.state is MLTaskState.SUSPENDED
    watched.task.resume(with_parameters={Key.LEARNING_RATE: 0.5})
    assert watched.task.wait(PATIENCE)

    assert rates == [0.05, 0.05, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("duty", [0.25, 0.5, 1.0])
def test_checklist_102_a_task_works_no_more_than_its_share_of_the_time(base, clouds, duty):
    """After each mini-batch it waits in proportion; work / (work + rest) is the duty."""
    clock, waits = Clock(), []

    class Slow(MatrixBatchProvider):
        def arrays(self, indices):
            if isinstance(indices, list) and len(indices) > 1:  # a mini-batch, no first look
                clock.forward(3.0)
            return super().arrays(indices)

    def wait(seconds):
        waits.append(seconds)
        clock.forward(seconds)

    begin = clock.now
    task = MLUpdateTask(base, Slow(*clouds(10)), duty=duty, clock=clock, wait=wait)
    task.resume()
    assert task.wait(PATIENCE)

    assert task.state is MLTaskState.COMPLETED
    assert waits == ([] if duty == 1.0 else pytest.approx([3.0 / duty - 3.0] * 6))
    assert 18.0 / (clock.now - begin) == pytest.approx(duty)


def test_checklist_102_a_rest_ends_when_the_task_is_cancelled(base, batch):
    """However long it would have been."""
    clock, began = Clock(), threading.Event()

    def handler(context):
        clock.forward(1e12)
        began.set()

    watched = Watched(base, batch, handler, BATCH, duty=1e-6, clock=clock)
    watched.task.resume()
    assert began.wait(PATIENCE)
    watched.task.cancel()
    assert watched.task.wait(PATIENCE)

    assert watched.told == [BATCH]
    assert watched.task.state is MLTaskState.CANCELLED


@pytest.mark.parametrize("duty", [0.0, -1.0, 1.01, float("nan"), float("inf"), "1", None, True])
def test_checklist_102_a_share_that_is_none_is_refused(duty):
    """By name, with the value."""
    with pytest.raises(MLModelError, match="duty is above 0 and at most 1") as caught:
        Pace(duty, lambda: 0.0, lambda seconds: None)
    assert caught.value.code is MLModelErrorCode.GENERIC


def test_checklist_102_a_pause_does_not_count_as_time_to_come(base, batch):
    """The estimate of what remains is from the time worked; what elapsed is all of it."""
    clock, seen = Clock(), []

    def handler(context):
        seen.append(context.metrics)
        clock.forward(2.0)
        if len(seen) == 1:
            context.task.pause()

    watched = Watched(base, batch, handler, BATCH, clock=clock)
    watched.task.resume()
    assert watched.task.rests.acquire(timeout=PATIENCE)
    clock.forward(1000.0)
    watched.task.resume()
    assert watched.task.wait(PATIENCE)

    elapsed = [one[MLMetricKey.ELAPSED_SECONDS] for one in seen]
    assert elapsed == [0.0, 1002.0, 1004.0, 1006.0, 1008.0, 1010.0]
    assert seen[1][MLMetricKey.REMAINING_SECONDS] == pytest.approx(2.0 / 2 * 4)
