"""Update tasks: states, events and their order, parameters on the way, cancelling, failing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import DiskFullError, MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, Loss
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.networks import Network
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import (
    TRAINING_OVER,
    MLMetricKey,
    MLTask,
    MLTaskState,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    MLUpdateTask,
    TrainingEvent,
)

BEGIN, EPOCH, BATCH = (
    MLUpdateProgressEvent.TRAINING_BEGIN,
    MLUpdateProgressEvent.EPOCH_END,
    MLUpdateProgressEvent.MINI_BATCH_END,
)
EVERY = BEGIN | EPOCH | BATCH
PATIENCE = 30.0
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="batch")
def _batch(clouds):
    """Ten samples of three classes."""
    return MatrixBatchProvider(*clouds(10))


@pytest.fixture(name="base")
def _base():
    """An empty softmax model that trains two epochs of three mini-batches on the batch."""
    return MLModel.factory("softmax", 12, parameters={Key.EPOCHS: 2, Key.MINI_BATCH_SIZE: 4})


class Diary:
    """Handlers that write down what they are told, and do what a test wants at a moment it names."""

    def __init__(self, moments=None, events=EVERY):
        self.contexts = []
        self.completed = []
        self.states = []
        self.changes = []
        self.threads = set()
        self._moments = moments or {}
        self.handlers = MLUpdateProgressHandlers(events, self.progress, self.completion)

    def progress(self, context):
        self.contexts.append(context)
        self.states.append(context.task.state)
        self.threads.add(threading.current_thread())
        self._moments.get(len(self.contexts), lambda context: None)(context)

    def completion(self, context):
        self.completed.append((context, context.task.state))
        self.threads.add(threading.current_thread())
        self._moments.get("completion", lambda context: None)(context)

    def change(self, change):
        self.changes.append((change.previous, change.state))
        self.threads.add(threading.current_thread())
        self._moments.get(change.state, lambda context: None)(change)

    @property
    def events(self):
        return [context.event for context in self.contexts]


def run(base, batch, diary, **given):
    """A task that was resumed and is over."""
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers, on_state_change=diary.change, **given)
    task.resume()
    assert task.wait(PATIENCE)
    return task


def test_checklist_02_17_states_and_events_have_apples_numbers():
    """Raw values of Apple's headers, and one state more."""
    assert [(state.name, state.value) for state in MLTaskState] == [
        ("SUSPENDED", 1), ("RUNNING", 2), ("CANCELLING", 3), ("COMPLETED", 4), ("FAILED", 5), ("CANCELLED",
        6),
    ]  # fmt: skip
    assert (BEGIN, EPOCH, BATCH) == (1, 2, 4)


def test_checklist_21_22_events_come_in_order(base, batch):
    """Training begins once, mini-batches and epochs follow, completion comes once and last."""
    diary = Diary()
    task = run(base, batch, diary)

    assert diary.events == [BEGIN, BATCH, BATCH, BATCH, EPOCH, BATCH, BATCH, BATCH, EPOCH]
    assert len(diary.completed) == 1
    assert diary.completed[0][0].event == TRAINING_OVER
    assert task.state is MLTaskState.COMPLETED
    assert task.error is None


@pytest.mark.parametrize("events", [BEGIN, EPOCH, BATCH, BEGIN | EPOCH, MLUpdateProgressEvent(0)])
def test_checklist_17_18_only_wanted_events_are_told(base, batch, events):
    """Nothing else reaches the progress handler; completion always comes."""
    diary = Diary(events=events)
    run(base, batch, diary)

    assert set(diary.events) == set(events)
    assert len(diary.completed) == 1


def test_checklist_20_29_metrics_say_where_training_is(base, batch):
    """Empty at the beginning, then loss and indices; completion has those of the last epoch."""
    ticks = iter(range(100))
    diary = Diary()
    run(base, batch, diary, clock=lambda: next(ticks))
    metrics = [context.metrics for context in diary.contexts]

    assert metrics[0] == {}
    assert [(one[MLMetricKey.EPOCH_INDEX], one[MLMetricKey.MINI_BATCH_INDEX]) for one in metrics[1:]] == [
        (0, 0), (0, 1), (0, 2), (0, 2), (1, 0), (1, 1), (1, 2), (1, 2),
    ]  # fmt: skip
    assert all(isinstance(one[MLMetricKey.LOSS_VALUE], float) for one in metrics[1:])
    assert all(0 <= one[MLMetricKey.ACCURACY] <= 1 for one in metrics[1:])
    elapsed = [one[MLMetricKey.ELAPSED_SECONDS] for one in metrics[1:]]
    assert elapsed == sorted(elapsed)
    assert elapsed[0] > 0
    assert {**diary.completed[0][0].metrics, MLMetricKey.ELAPSED_SECONDS: 0} == {
        **metrics[-1], MLMetricKey.ELAPSED_SECONDS: 0,
    }  # fmt: skip
    assert str(MLMetricKey.LOSS_VALUE) == "loss_value"


def test_checklist_24_the_task_is_suspended_while_its_handler_runs(base, batch):
    """Progress handlers see SUSPENDED, completion sees the end; the listener hears each change in order."""
    diary = Diary(events=BEGIN | EPOCH)
    run(base, batch, diary)

    assert diary.states == [MLTaskState.SUSPENDED] * 3
    assert diary.completed[0][1] is MLTaskState.COMPLETED
    assert diary.changes == [
        ("suspended", "running"),
        *[("running", "suspended"), ("suspended", "running")] * 3,
        ("running", "completed"),
    ]


def test_checklist_01_02_03_nothing_happens_before_resume(base, batch):
    """A new task is suspended, has an identifier of its own and no result."""
    diary = Diary()
    task, other = (MLUpdateTask(base, batch, progress_handlers=diary.handlers) for _ in range(2))

    assert task.state is MLTaskState.SUSPENDED
    assert not task.wait(0)
    assert diary.contexts == []
    assert task.model is None
    assert isinstance(task.task_identifier, str)
    assert task.task_identifier == task.task_identifier != other.task_identifier


def test_checklist_03_23_everything_runs_on_one_thread_of_its_own(base, batch):
    """Handlers and listener share a daemon thread that is not the caller's; resume returns before it is
    done."""
    go = threading.Event()
    diary = Diary({1: lambda context: go.wait(PATIENCE)})
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers, on_state_change=diary.change)
    task.resume()
    assert not task.wait(0)
    go.set()
    assert task.wait(PATIENCE)

    (thread,) = diary.threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_checklist_27_28_the_model_in_a_handler_knows_what_was_learned_so_far(base, batch, clouds, tmp_path):
    """It predicts and can be written in every handler, and does not change afterwards."""
    X, _ = clouds(5)
    seen = []

    def look(context):
        path = tmp_path / str(len(seen))
        context.model.write(to=path)
        seen.append(MLModel.load(path).predict_proba(X))

    diary = Diary(dict.fromkeys([*range(1, 10), "completion"], look))
    task = run(base, batch, diary)
    models = [context.model for context in diary.contexts] + [diary.completed[0][0].model]

    assert task.error is None
    with pytest.raises(MLModelError, match="can be written"):
        MLModel.load(tmp_path / "1").write(to=tmp_path / "copy")
    assert seen[0].shape == (5, 0)
    for model, then in zip(models, seen, strict=True):
        assert np.array_equal(model.predict_proba(X), then)
    assert not np.array_equal(seen[1], seen[2])
    assert np.array_equal(seen[-1], seen[-2])
    assert diary.completed[0][0].model is task.model


def test_checklist_26_contexts_are_read_only(base, batch):
    """Neither fields nor mappings can be changed."""
    diary = Diary()
    run(base, batch, diary)
    context = diary.contexts[1]

    assert {field.name for field in fields(context)} == {"task", "model", "event", "metrics", "parameters"}
    for name in ("task", "model", "event", "metrics", "parameters"):
        with pytest.raises(AttributeError):
            setattr(context, name, None)
    with pytest.raises(TypeError):
        context.metrics[MLMetricKey.LOSS_VALUE] = 0.0
    with pytest.raises(TypeError):
        context.parameters[Key.EPOCHS] = 1


def test_a_context_as_plain_facts(base, batch):
    """What plugins get: names and plain values only."""
    diary = Diary({2: lambda context: facts.append(context.as_event())})
    facts: list[TrainingEvent] = []
    task = run(base, batch, diary, task_identifier="task 1")

    assert task.task_identifier == "task 1"
    assert facts[0].task_identifier == "task 1"
    assert (facts[0].event, facts[0].state) == ("mini_batch_end", "suspended")
    assert {"loss_value", "epoch_index", "mini_batch_index"} <= facts[0].metrics.keys()
    assert facts[0].parameters["epochs"] == 2
    assert diary.completed[0][0].as_event().event == "training_end"
    assert diary.completed[0][0].as_event().state == "completed"
    assert diary.contexts[0].as_event().event == "training_begin"
    assert diary.contexts[4].as_event().event == "epoch_end"


def test_checklist_14_15_a_saved_model_can_be_updated_again_and_is_never_changed(batch, clouds, tmp_path):
    """The path may hold an updated model; its files keep their bytes, and the model it was made from its
    knowledge."""
    X, _ = clouds(5)
    first = run(MLModel.factory("lda", 12), batch, Diary()).model
    first.write(to=tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    for source in (tmp_path / "model", str(tmp_path / "model"), first):
        predicted = first.predict_proba(X)
        new = MLArrayBatchProvider([MLDictionaryFeatureProvider({"features": X[0], "label": "another"})])
        second = run(source, new, Diary()).model

        assert second.classes == ("another", "class 0", "class 1", "class 2")
        assert np.array_equal(first.predict_proba(X), predicted)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_checklist_42_equal_tasks_give_equal_bits(base, batch, clouds):
    """The same data, parameters and seed."""
    X, _ = clouds(5)
    one, other = (run(base, batch, Diary()).model for _ in range(2))

    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))


def test_checklist_12_37_parameters_come_from_the_configuration_or_the_model(base, batch):
    """Given values win over the model's, and contexts tell those in force."""
    diary = Diary()
    run(base, batch, diary, configuration=MLModelConfiguration(parameters={Key.EPOCHS: 1}))

    assert diary.events.count(EPOCH) == 1
    assert diary.contexts[0].parameters[Key.EPOCHS] == 1
    assert diary.contexts[0].parameters[Key.MINI_BATCH_SIZE] == 4


@pytest.mark.parametrize("moment", [1, 2, 5])
def test_checklist_30_39_40_parameters_replaced_in_a_handler_hold_from_then_on(base, batch, clouds, moment):
    """A learning rate of zero stops all learning there, whatever the event; contexts show it from then on."""
    X, _ = clouds(5)
    diary = Diary(
        {moment: lambda context: context.task.resume(
            with_parameters={**context.parameters, Key.LEARNING_RATE: 0.0}
        )}
    )  # fmt: skip
    task = run(base, batch, diary)
    rates = [context.parameters[Key.LEARNING_RATE] for context in diary.contexts]
    models = [context.model for context in diary.contexts[moment:]]

    assert task.error is None
    assert rates == [0.05] * moment + [0.0] * (9 - moment)
    assert all(np.array_equal(model.predict_proba(X), models[0].predict_proba(X)) for model in models)
    assert diary.changes.count(("suspended", "running")) == 10


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({Key.LEARNING_RATE: -1.0}, MLModelErrorCode.PARAMETERS),
        ({Key.NUMBER_OF_NEIGHBORS: 1}, MLModelErrorCode.PARAMETERS),
        ({Key.SEED: 9}, MLModelErrorCode.PARAMETERS),
        ({Key.MINI_BATCH_SIZE: 2}, MLModelErrorCode.PARAMETERS),
        ({Key.SHUFFLE: False}, MLModelErrorCode.PARAMETERS),
    ],
)
def test_checklist_38_39_bad_parameters_in_a_handler_are_refused_there(base, batch, given, code):
    """The handler gets the error; if it does not catch it the task fails with it."""
    diary = Diary({1: lambda context: context.task.resume(with_parameters=given)})
    task = run(base, batch, diary)

    assert task.state is MLTaskState.FAILED
    assert task.error.code is code


def test_checklist_41_parameters_cannot_be_replaced_outside_a_handler(base, batch):
    """Neither before the start, nor in the completion handler, nor afterwards."""
    refusals = []

    def late(context):
        with pytest.raises(MLModelError) as caught:
            context.task.resume(with_parameters={})
        refusals.append(caught.value.code)

    diary = Diary({"completion": late})
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers)
    late(diary.handlers and type("Context", (), {"task": task}))
    task.resume()
    assert task.wait(PATIENCE)
    late(diary.completed[0][0])

    assert refusals == [MLModelErrorCode.UPDATE] * 3
    assert task.state is MLTaskState.COMPLETED


@pytest.mark.parametrize("ending", ["completed", "cancelled", "failed"])
def test_checklist_05_there_is_an_error_exactly_when_the_task_failed(base, batch, ending):
    """In every state and at every event on the way."""
    errors = []

    def look(context):
        errors.append((context.task.state, context.task.error))

    def act(context):
        look(context)
        if ending == "cancelled":
            context.task.cancel()
            look(context)
        elif ending == "failed":
            raise ValueError(ending)

    diary = Diary({1: look, 2: act, "completion": look})
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers)
    errors.append((task.state, task.error))
    task.resume()
    assert task.wait(PATIENCE)
    errors.append((task.state, task.error))

    assert all((error is not None) == (state is MLTaskState.FAILED) for state, error in errors)
    assert errors[-1][0].name == ending.upper()


def test_a_finished_task_cannot_be_resumed(base, batch):
    """One task is one update."""
    task = run(base, batch, Diary())
    with pytest.raises(MLModelError, match="over"):
        task.resume()


def test_checklist_04_resuming_in_a_handler_or_twice_changes_nothing(base, batch):
    """Resume continues a paused task, and a running one is not disturbed."""
    begun, go = threading.Event(), threading.Event()

    def handler(context):
        begun.set()
        assert go.wait(PATIENCE)
        context.task.resume()
        assert context.task.state is MLTaskState.RUNNING
        context.task.resume()

    diary = Diary({1: handler})
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers)
    task.resume()
    assert begun.wait(PATIENCE)
    task.resume()
    go.set()
    assert task.wait(PATIENCE)

    assert diary.events.count(BEGIN) == 1
    assert task.state is MLTaskState.COMPLETED


@pytest.mark.parametrize("moment", [1, 2, 5, 9])
@pytest.mark.parametrize("times", [1, 3])
def test_checklist_06_07_08_cancelling_in_a_handler_ends_there(base, batch, moment, times):
    """After any event, however often: CANCELLING, CANCELLED, completion once, nothing more is told."""
    diary = Diary({moment: lambda context: [context.task.cancel() for _ in range(times)]})
    task = run(base, batch, diary)

    assert task.state is MLTaskState.CANCELLED
    assert task.error is None
    assert task.model is None
    assert len(diary.contexts) == moment
    assert diary.completed[0][1] is MLTaskState.CANCELLED
    assert len(diary.completed) == 1
    assert diary.changes[-2:] == [("suspended", "cancelling"), ("cancelling", "cancelled")]


def test_checklist_07_08_cancelling_before_the_start_completes_too(base, batch):
    """Nothing was trained, the completion handler is called once, on another thread; resuming is in vain."""
    diary = Diary()
    task = MLUpdateTask(base, batch, progress_handlers=diary.handlers, on_state_change=diary.change)
    task.cancel()
    assert task.wait(PATIENCE)
    task.resume()
    task.cancel()

    assert task.state is MLTaskState.CANCELLED
    assert diary.contexts == []
    assert len(diary.completed) == 1
    assert threading.current_thread() not in diary.threads
    assert diary.changes == [("suspended", "cancelling"), ("cancelling", "cancelled")]


class Gate(MatrixBatchProvider):
    """A batch that waits in the middle of training until it is let on."""

    def __init__(self, X, labels):
        super().__init__(X, labels)
        self.reached, self.go = threading.Event(), threading.Event()
        self._calls = 0

    def arrays(self, indices):
        self._calls += 1
        if self._calls == 3:
            self.reached.set()
            assert self.go.wait(PATIENCE)
        return super().arrays(indices)


def test_checklist_06_07_cancelling_from_another_thread_stops_at_the_next_mini_batch(base, clouds):
    """While a mini-batch is under way the task is CANCELLING, then CANCELLED, without another event."""
    gate, diary = Gate(*clouds(10)), Diary(events=EPOCH | BATCH)
    task = MLUpdateTask(base, gate, progress_handlers=diary.handlers)
    task.resume()
    assert gate.reached.wait(PATIENCE)
    for _ in range(2):
        task.cancel()
    assert task.state is MLTaskState.CANCELLING
    gate.go.set()
    assert task.wait(PATIENCE)

    assert task.state is MLTaskState.CANCELLED
    assert diary.contexts == []
    assert len(diary.completed) == 1


def test_checklist_07_cancelling_the_finished_changes_nothing(base, batch):
    """Completed stays completed, in the completion handler and afterwards."""
    diary = Diary({"completion": lambda context: context.task.cancel()})
    task = run(base, batch, diary)
    task.cancel()

    assert task.state is MLTaskState.COMPLETED
    assert task.model is not None


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(3), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("moment", [1, 2, 5])
def test_checklist_05_22_23_an_exception_in_a_handler_fails_the_task_only(base, batch, error, moment):
    """Whatever a handler raises becomes the task's error with its cause; completion is called once."""

    def fail(context):
        raise error

    diary = Diary({moment: fail})
    task = run(base, batch, diary)

    assert task.state is MLTaskState.FAILED
    assert isinstance(task.error, MLModelError)
    assert task.error.code is MLModelErrorCode.UPDATE
    assert task.error.__cause__ is error
    assert type(error).__name__ in str(task.error)
    assert len(diary.contexts) == moment
    assert [state for _, state in diary.completed] == [MLTaskState.FAILED]
    assert diary.changes[-1][1] == "failed"


def test_an_error_of_the_disk_is_the_cause(base, batch, tmp_path):
    """What saving in a handler raises is kept as it was."""

    def fail(context):
        raise DiskFullError("no room")

    assert isinstance(run(base, batch, Diary({5: fail})).error.__cause__, DiskFullError)


@pytest.mark.parametrize("ending", ["completed", "cancelled", "failed"])
def test_checklist_23_an_exception_in_the_completion_handler_fails_the_task(base, batch, ending):
    """It is not called again; an earlier error stays the first."""

    def act(context):
        if ending == "failed":
            raise ValueError("first")
        if ending == "cancelled":
            context.task.cancel()

    def fail(context):
        raise KeyError("last")

    diary = Diary({2: act, "completion": fail})
    task = run(base, batch, diary)

    assert task.state is MLTaskState.FAILED
    assert task.model is None
    assert len(diary.completed) == 1
    assert type(task.error.__cause__) is (ValueError if ending == "failed" else KeyError)
    assert "last" in "".join([str(task.error), *getattr(task.error, "__notes__", [])])


@pytest.mark.parametrize("state", ["running", "suspended", "completed"])
def test_checklist_23_an_exception_in_the_listener_fails_the_task(base, batch, state):
    """Completion is still called once; the listener hears nothing more."""

    def fail(change):
        raise ValueError(state)

    diary = Diary({state: fail})
    task = run(base, batch, diary)

    assert task.state is MLTaskState.FAILED
    assert isinstance(task.error.__cause__, ValueError)
    assert diary.changes[-1][1] == state
    assert len(diary.completed) == 1


class Endless:
    """So many samples that not even one look at each of them comes to an end."""

    count = 10**12

    def __init__(self, seen):
        self.seen = seen

    def features(self, at):
        if at == 3:
            self.seen.set()
        return MLDictionaryFeatureProvider({"features": np.ones(12, np.float32), "label": "one"})


class EndlessRows(Endless):
    """The same a block at a time."""

    def arrays(self, indices):
        wanted = range(*indices.indices(self.count)) if isinstance(indices, slice) else indices
        if wanted[0] > 0:
            self.seen.set()
        return np.ones((len(wanted), 12), np.float32), ["one"] * len(wanted)


@pytest.mark.parametrize("kind", [Endless, EndlessRows])
@pytest.mark.parametrize("head", ["softmax", "lda"])
def test_checklist_06_cancel_need_not_wait_until_every_sample_was_read(kind, head):
    """A head that looks through all samples first is stopped there too; the task is CANCELLED and not failed."""
    seen = threading.Event()
    diary = Diary(events=BEGIN)
    task = MLUpdateTask(MLModel.factory(head, 12), kind(seen), progress_handlers=diary.handlers)
    task.resume()
    assert seen.wait(PATIENCE)
    task.cancel()

    assert task.wait(PATIENCE)
    assert (task.state, task.error, task.model) == (MLTaskState.CANCELLED, None, None)
    assert len(diary.completed) == 1


@pytest.mark.parametrize("as_array", [True, False])
def test_a_label_that_no_file_can_name_is_refused(base, as_array):
    """Half a surrogate pair, as in names of files that are no UTF-8; an update with it could not be saved."""
    X, label = np.ones((1, 12), np.float32), "caf\udce9"
    sample = MLDictionaryFeatureProvider({"features": X[0], "label": label})
    batch = MatrixBatchProvider(X, [label]) if as_array else MLArrayBatchProvider([sample])

    with pytest.raises(MLModelError, match=r"sample 0: the label is 'caf\\udce9'") as caught:
        MLUpdateTask(base, batch)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


class Lazy:
    """A batch of somebody's own, which may be slow to read."""

    def __init__(self, X, labels):
        self.count = len(labels)
        self.samples = [{"features": row, "label": label} for row, label in zip(X, labels, strict=True)]

    def features(self, at):
        return MLDictionaryFeatureProvider(self.samples[at])


class Broken(MatrixBatchProvider):
    """A batch whose store fails after the first look."""

    def arrays(self, indices):
        if not isinstance(indices, list):
            raise OSError("the card was pulled out")
        return super().arrays(indices)


def test_checklist_67_a_batch_that_fails_fails_the_task(base, clouds):
    """The original error is the cause."""
    task = run(base, Broken(*clouds(10)), Diary())

    assert task.state is MLTaskState.FAILED
    assert isinstance(task.error.__cause__, OSError)
    assert "pulled out" in str(task.error)


def test_checklist_16_a_bad_sample_of_a_lazy_batch_fails_the_task_with_its_index(base, clouds):
    """Its own error, not wrapped; a first bad sample is refused before there is a task."""
    X, labels = clouds(10)
    X[7, 0] = np.nan
    task = run(base, Lazy(X, labels), Diary())

    assert "sample 7" in str(task.error)
    assert task.error.code is MLModelErrorCode.UPDATE
    with pytest.raises(MLModelError, match="sample 0"):
        MLUpdateTask(base, Lazy(X[7:], labels[7:]))


@pytest.mark.parametrize(
    "error", [OSError("the card was pulled out"), MLModelError(MLModelErrorCode.IO, "no picture")]
)
def test_checklist_16_67_a_lazy_batch_that_fails_fails_the_task_with_its_index(base, clouds, error):
    """Whatever its author's code raises: the index, the text and the code of ours, and the error itself as the
    cause."""

    class Failing(Lazy):
        def features(self, at):
            if at == 7:
                raise error
            return super().features(at)

    task = run(base, Failing(*clouds(10)), Diary())

    assert task.state is MLTaskState.FAILED
    assert str(task.error).startswith("sample 7: ")
    assert str(error) in str(task.error)
    assert task.error.code is getattr(error, "code", MLModelErrorCode.UPDATE)
    assert task.error.__cause__ is error


class HeadThatBreaks(LDAHead):
    """A guest's head with a defect."""

    name = "breaks"

    def train(self, data, parameters):
        yield from ()
        raise ZeroDivisionError("in a guest's head")


def test_checklist_67_a_head_that_breaks_fails_the_task(batch):
    """Foreign code never takes the process down."""
    task = run(MLModel.factory(HeadThatBreaks, 12), batch, Diary())

    assert isinstance(task.error.__cause__, ZeroDivisionError)


class HeadWithHands(LDAHead):
    """A guest's head that holds something while it trains."""

    name = "hands"
    held = False

    def train(self, data, parameters):
        type(self).held = True
        try:
            yield from super().train(data, parameters)
        finally:
            type(self).held = False


def test_a_head_lets_go_before_completion(batch):
    """The training is closed when a handler fails, not when somebody collects the garbage."""

    def fail(context):
        assert HeadWithHands.held
        raise ValueError

    held = []
    diary = Diary({2: fail, "completion": lambda context: held.append(HeadWithHands.held)})
    run(MLModel.factory(HeadWithHands, 12), batch, diary)

    assert held == [False]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_checklist_06_a_half_trained_model_is_not_handed_over(base, batch, clouds, tmp_path, how):
    """After a failure or a cancel, completion gets the model of the beginning, which cannot be written."""

    def act(context):
        if how == "failed":
            raise ValueError
        context.task.cancel()

    diary = Diary({5: act})
    run(base, batch, diary)
    model = diary.completed[0][0].model

    assert model.classes == ()
    assert model.predict_proba(clouds(2)[0]).shape == (2, 0)
    with pytest.raises(MLModelError):
        model.write(to=tmp_path / "model")


def frozen(model, path):
    """Write a model that says it cannot be updated."""
    model.write(to=path / "frozen")
    file = path / "frozen" / "model.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "not_updatable_because": "its author says so"}))
    return path / "frozen"


REFUSALS = {
    "missing path": (lambda base, path: (path / "nothing", {}), MLModelErrorCode.IO, "nothing"),
    "no path": (lambda base, path: (3, {}), MLModelErrorCode.IO, "3 is not the path of a model"),
    "no path the system takes": (lambda base, path: (path / ("x" * 5000), {}), MLModelErrorCode.IO, "too long"),
    "a folder without a model": (lambda base, path: (path, {}), MLModelErrorCode.IO, "model.json"),
    "a file that is no package": (
        lambda base, path: ((path / "raw.bin").write_bytes(b"TFL3") and path / "raw.bin", {}),
        MLModelErrorCode.IO,
        "raw.bin",
    ),
    "not updatable": (
        lambda base, path: (frozen(base, path), {}), MLModelErrorCode.UPDATE, "its author says so",
    ),
    "bad value": (
        lambda base, path: (base, {Key.EPOCHS: 0}), MLModelErrorCode.PARAMETERS, "epochs: 0 is below 1",
    ),
    "bad type": (lambda base, path: (base, {Key.EPOCHS: "2"}), MLModelErrorCode.PARAMETERS, "epochs"),
    "unknown key": (
        lambda base, path: (base, {Key.NUMBER_OF_NEIGHBORS: 1}),
        MLModelErrorCode.PARAMETERS,
        "number_of_neighbors is unknown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSALS)
def test_checklist_13_what_cannot_work_is_refused_at_construction(base, batch, tmp_path, why):
    """Each with its code and a sentence that names the path, the reason or the key; no thread is started."""
    make, code, says = REFUSALS[why]
    model, parameters = make(base, tmp_path)
    threads = threading.active_count()
    with pytest.raises(MLModelError, match=says) as caught:
        MLUpdateTask(model, batch, MLModelConfiguration(parameters=parameters))

    assert caught.value.code is code
    assert threading.active_count() == threads


def spoiled(batch, at, **values):
    """The rows and labels of a batch as dictionaries, one of them changed."""
    rows = [dict(row) for row in Lazy(*batch.arrays(slice(None))).samples]
    rows[at].update(values)
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


BAD_SAMPLES = {
    "feature of another name": ({"features": None, "pixels": np.ones(12)}, "no feature named 'features'"),
    "label of another name": ({"label": None, "class": "a"}, "no feature named 'label'"),
    "wrong type": ({"features": 3.0}, "'features' is of type DOUBLE, expected MULTI_ARRAY"),
    "wrong type of label": ({"label": 1.5}, "'label' is of type DOUBLE"),
    "labels of two types": ({"label": 3}, "the label 3 is INT64, the others are STRING"),
    "wrong shape": ({"features": np.ones((3, 4))}, r"shape \(3, 4\), expected \(12,\)"),
    "wrong length": ({"features": np.ones(11)}, r"shape \(11,\), expected \(12,\)"),
    "not finite": ({"features": np.full(12, np.inf)}, "not a finite number"),
}


@pytest.mark.parametrize("at", [0, 7, 9])
@pytest.mark.parametrize("why", BAD_SAMPLES)
def test_checklist_16_a_bad_sample_in_memory_is_refused_at_construction(base, batch, why, at):
    """Whichever it is; the error names the index, and the feature where there is one."""
    values, says = BAD_SAMPLES[why]
    rows = spoiled(batch, at, **values)
    if why == "labels of two types" and at == 0:
        at, says = 1, "the others are INT64"  # the first one says what the others are to be
    with pytest.raises(MLModelError, match=f"sample {at}: .*{says}") as caught:
        MLUpdateTask(base, MLArrayBatchProvider([MLDictionaryFeatureProvider(row) for row in rows]))
    assert caught.value.code in (MLModelErrorCode.UPDATE, MLModelErrorCode.FEATURE_TYPE)


def test_checklist_16_matrices_and_empty_batches_are_refused_at_construction(base, clouds):
    """A matrix is looked at beyond its first block; a lazy batch at its first sample, as reading may be dear."""
    X, labels = clouds(1500)
    X[1234, 3] = np.nan
    with pytest.raises(MLModelError, match=r"sample 1234: .*not a finite number"):
        MLUpdateTask(base, MatrixBatchProvider(X, labels))
    with pytest.raises(MLModelError, match="sample 0: 3 features, the model has 12"):
        MLUpdateTask(base, MatrixBatchProvider(np.ones((1, 3)), ["a"]))
    for empty in (MLArrayBatchProvider([]), MatrixBatchProvider(np.ones((0, 12)), [])):
        with pytest.raises(MLModelError, match="empty") as caught:
            MLUpdateTask(base, empty)
        assert caught.value.code is MLModelErrorCode.UPDATE
    MLUpdateTask(base, Lazy(X, labels))
    with pytest.raises(MLModelError, match="sample 0"):
        MLUpdateTask(base, Lazy(X[1234:], labels[1234:]))


class Unreadable:
    """A batch whose store is gone from the start."""

    count = 3

    def features(self, at):
        raise OSError("the card was pulled out")


def test_checklist_16_a_batch_that_cannot_be_read_is_refused_at_construction(base):
    """What its author's code raises comes as our error, with the cause."""
    with pytest.raises(MLModelError, match="OSError: the card was pulled out") as caught:
        MLUpdateTask(base, Unreadable())
    assert caught.value.code is MLModelErrorCode.UPDATE
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("kind", ["path", "text", "model"])
def test_checklist_10_11_12_19_the_ways_to_be_told(base, batch, tmp_path, kind):
    """A completion handler alone, progress handlers without progress, or nobody at all, of a model on disk or in
    memory; not two of them."""
    base.write(to=tmp_path / "model")
    base = {"path": tmp_path / "model", "text": str(tmp_path / "model"), "model": base}[kind]
    told = []
    for given in (
        {"completion_handler": told.append},
        {"progress_handlers": MLUpdateProgressHandlers(EVERY, None, told.append)},
        {},
    ):
        for configuration in ({}, {"configuration": None}, {"configuration": MLModelConfiguration()}):
            task = MLUpdateTask(for_model_at=base, training_data=batch, **configuration, **given)
            task.resume()
            assert task.wait(PATIENCE)
            assert task.state is MLTaskState.COMPLETED
            assert task.model.classes == ("class 0", "class 1", "class 2")

    assert len(told) == 6
    with pytest.raises(TypeError):
        MLUpdateTask(
            base,
            batch,
            completion_handler=told.append,
            progress_handlers=MLUpdateProgressHandlers(BEGIN, None, print),
        )
    with pytest.raises(TypeError):
        MLUpdateProgressHandlers(BEGIN, None)
    for wrong in (
        (BEGIN, None, None),
        (BEGIN, 3, print),
        (BEGIN, None, 3),
        (8, None, print),
        ("1", None, print),
    ):
        with pytest.raises(MLModelError):
            MLUpdateProgressHandlers(*wrong)
    assert MLUpdateProgressHandlers(3, None, print).for_events is BEGIN | EPOCH


def test_a_handler_cannot_wait_for_its_own_task(base, batch):
    """It would wait for ever, so it is told."""
    task = run(base, batch, Diary({1: lambda context: context.task.wait()}))

    assert "wait" in str(task.error)


def test_checklist_09_a_task_of_no_kind_cannot_be_made():
    """The base class is abstract."""
    with pytest.raises(TypeError, match="MLUpdateTask"):
        MLTask()


def test_checklist_25_mini_batches_nobody_asked_for_cost_no_copy(base, batch):
    """Without a subscription no model is copied for a mini-batch; that one is paid for is documented."""
    assert "slows training" in MLUpdateProgressEvent.__doc__

    class Counting(type(base.head)):
        copies = 0

        def copy(self):
            type(self).copies += 1
            return super().copy()

    model = MLModel.factory(Counting, 12, parameters={Key.EPOCHS: 3, Key.MINI_BATCH_SIZE: 2})
    run(model, batch, Diary(events=EPOCH))

    assert Counting.copies == 1 + 3 + 1


def network(**parameters):
    """A network with a frozen and an updatable layer that trains two epochs of three mini-batches."""
    rng = np.random.default_rng(1)
    first, second = InnerProduct.random("first", 12, 5, rng), InnerProduct.random("second", 5, 3, rng)
    second.is_updatable = True
    layers = [first, Function("relu", "relu"), second, Function("p", "softmax")]
    head = NeuralNetworkHead(
        12, network=Network(layers, Loss("loss", CROSS_ENTROPY)), classes=("class 0", "class 1", "class 2")
    )
    given = {"optimizer": "sgd", "learning_rate": 0.5, "epochs": 2, "mini_batch_size": 4, **parameters}
    return MLModel(head, parameters={Key(name): value for name, value in given.items()}, is_writable=True)


WEIGHTS, BIASES = Key.WEIGHTS.scoped_to("second"), Key.BIASES.scoped_to("second")


@pytest.mark.parametrize("moment", [1, 2, 5])
def test_checklist_33_39_weights_can_be_replaced_in_a_handler(batch, moment):
    """From the next mini-batch on, whatever the event; the array may be changed afterwards without effect."""
    weights = np.full((3, 5), 0.25)

    def handler(context):
        rate = {Key.LEARNING_RATE: 0.0}
        context.task.resume(with_parameters={WEIGHTS: weights, BIASES: np.arange(3), **rate})
        weights[:] = 9.0

    base, diary = network(), Diary({moment: handler})
    task = run(base, batch, diary)
    before, after = diary.contexts[moment - 1].model, diary.contexts[moment].model

    assert task.error is None
    for model in (after, task.model):
        assert (model.parameter_value(WEIGHTS) == 0.25).all()
        assert model.parameter_value(BIASES).tolist() == [0.0, 1.0, 2.0]
    assert not (before.parameter_value(WEIGHTS) == 0.25).any()
    assert not (base.parameter_value(WEIGHTS) == 0.25).any()
    assert diary.contexts[moment].parameters.keys() == base.parameters.keys()


def test_checklist_39_training_goes_on_from_replaced_weights(batch):
    """What is learned next is learned from them."""
    zeros = {WEIGHTS: np.zeros((3, 5)), BIASES: np.zeros(3)}
    diary = Diary({5: lambda context: context.task.resume(with_parameters=zeros)})
    run(network(shuffle=False), batch, diary)
    first, again = diary.contexts[2], diary.contexts[5]

    assert again.metrics[MLMetricKey.LOSS_VALUE] == pytest.approx(np.log(3.0))
    assert first.metrics[MLMetricKey.LOSS_VALUE] != again.metrics[MLMetricKey.LOSS_VALUE]
    assert again.model.parameter_value(WEIGHTS).any()


@pytest.mark.parametrize(
    ("model", "key", "value", "says"),
    [
        (network, Key.WEIGHTS.scoped_to("first"), np.zeros((5, 12)), "not updatable"),
        (network, Key.WEIGHTS.scoped_to("third"), np.zeros((3, 5)), "no layer with numbers"),
        (network, WEIGHTS, np.zeros((5, 3)), "shape"),
        (network, WEIGHTS, np.full((3, 5), np.nan), "finite"),
        (network, WEIGHTS, 3, "array"),
        (network, Key.WEIGHTS, np.zeros((3, 5)), "scoped_to"),
        (lambda: MLModel.factory("softmax", 12), WEIGHTS, np.zeros((3, 12)), "has no layers"),
    ],
)
def test_checklist_33_39_other_weights_are_refused_in_a_handler(batch, model, key, value, says):
    """With the parameters error; nothing of what was given then counts."""
    seen = []

    def handler(context):
        with pytest.raises(MLModelError, match=says) as caught:
            context.task.resume(with_parameters={Key.LEARNING_RATE: 0.0, key: value})
        seen.append(caught.value.code)

    diary = Diary({2: handler})
    task = run(model(), batch, diary)

    assert task.error is None
    assert seen == [MLModelErrorCode.PARAMETERS]
    assert diary.contexts[2].parameters[Key.LEARNING_RATE] != 0.0


@pytest.mark.parametrize("given", [3, "learning_rate", [1], {"learning_rate": 0.1}, {3: 4}])
def test_checklist_38_39_what_is_no_mapping_by_key_is_refused(base, batch, given):
    """In a handler as in a configuration."""
    diary = Diary({1: lambda context: context.task.resume(with_parameters=given)})
    assert run(base, batch, diary).error.code is MLModelErrorCode.PARAMETERS


def test_checklist_30_contexts_report_what_a_resume_changed(base, batch):
    """The values in force at each event: of the model, of the configuration, then of each resume."""
    changes = {
        2: {Key.LEARNING_RATE: 0.5},
        5: {Key.BETA1: 0.25, Key.EPOCHS: 3},
        9: {Key.LEARNING_RATE: 0.125},
    }

    def change(moment):
        return lambda context: context.task.resume(with_parameters=changes[moment])

    diary = Diary({moment: change(moment) for moment in changes})
    run(base, batch, diary, configuration=MLModelConfiguration(parameters={Key.L2: 0.0}))
    seen = [
        tuple(context.parameters[key] for key in (Key.LEARNING_RATE, Key.BETA1, Key.EPOCHS, Key.L2))
        for context in [*diary.contexts, diary.completed[0][0]]
    ]

    assert seen == [
        *[(0.05, 0.9, 2, 0.0)] * 2,
        *[(0.5, 0.9, 2, 0.0)] * 3,
        *[(0.5, 0.25, 3, 0.0)] * 4,
        *[(0.125, 0.25, 3, 0.0)] * 5,
    ]
    assert diary.events.count(EPOCH) == 3


@pytest.mark.parametrize("head", ["lda", "softmax", "network", "knn"])
def test_checklist_64_a_saved_update_predicts_as_the_context_did(batch, clouds, tmp_path, head):
    """Bit for bit, labels and distances too, of every built-in head."""
    X, _ = clouds(50, noise=2.0, seed=8)
    diary = Diary({"completion": lambda context: context.model.write(to=tmp_path / "updated")})
    assert run(MLModel.factory(head, 12), batch, diary).error is None
    told, loaded = diary.completed[0][0].model, MLModel.load(tmp_path / "updated")
    questions = MatrixBatchProvider(X, [""] * len(X))

    assert loaded.predict_proba(X).tobytes() == told.predict_proba(X).tobytes()
    assert loaded.is_unknown(X).tolist() == told.is_unknown(X).tolist()
    assert loaded.classes == told.classes
    answers = [
        [one.feature_value("label").string_value for one in model.predictions(questions).array]
        for model in (loaded, told)
    ]
    assert answers[0] == answers[1]


READ_ONLY = """
import os, pathlib, sys
import numpy as np
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.update import MLUpdateTask

def update(source, to, labels):
    task = MLUpdateTask(source, MatrixBatchProvider(np.eye(3, dtype="f4"), labels))
    task.resume()
    assert task.wait(60) and task.error is None, task.error
    task.model.write(to=to)
    return MLModel.load(to).classes

factory, own, warm = map(pathlib.Path, sys.argv[1:])
if os.geteuid() == 0:
    update(factory, warm, ["a", "b", "c"])  # loads what the other user might not be allowed to read
    os.setgid(65534); os.setuid(65534)
try:
    (factory / "probe").write_text("")
except OSError:
    pass
else:
    sys.exit("the place is not read-only")
update(factory, own / "updated", ["a", "b", "c"])
print(update(own / "updated", own / "updated", ["a", "b", "d"]), MLModel.load(factory).classes)
"""


def test_checklist_62_a_model_in_a_read_only_place_can_be_updated():
    """A user who may not write there updates it and writes the result elsewhere, again and again."""
    # Not in tmp_path: other users may not enter the folders of a test run, and root's own user may write anywhere.
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        MLModel.factory("lda", 3).write(to=place / "factory")
        for path in (place / "factory").iterdir():
            path.chmod(0o444)
        (place / "factory").chmod(0o555)
        (place / "own").mkdir()
        (place / "own").chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, *(str(place / name) for name in ("factory", "own", "warm"))],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        (place / "factory").chmod(0o755)  # so that it can be tidied away

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "('a', 'b', 'c', 'd') ()"


CHILD = """
import sys
import numpy as np
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.layers import Function, InnerProduct
from edge_agent.ml.losses import CROSS_ENTROPY, Loss
from edge_agent.ml.model import MLModel
from edge_agent.ml.update import MLUpdateProgressEvent, MLUpdateProgressHandlers, MLUpdateTask

where, kind = sys.argv[1:]
error = {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "memory": MemoryError(), "defect": ValueError("x"),
         "generator": GeneratorExit(), "recursion": RecursionError()}[kind]

def fail(*_):
    raise error

class Head(LDAHead):
    name = "foreign"
    def train(self, data, parameters):
        yield from super().train(data, parameters)
        if where == "head":
            fail()

class Batch(MatrixBatchProvider):
    reads = 0
    def arrays(self, indices):
        self.reads += 1
        if where == "batch" and self.reads > 1:
            fail()
        return super().arrays(indices)

ended = []
handlers = MLUpdateProgressHandlers(
    MLUpdateProgressEvent.EPOCH_END,
    fail if where == "handler" else None,
    fail if where == "completion" else lambda context: ended.append(context.task.state.name),
)
task = MLUpdateTask(
    MLModel.factory(Head, 3), Batch(np.eye(3, dtype="f4"), list("abc")), progress_handlers=handlers,
    on_state_change=fail if where == "listener" else None,
)
task.resume()
assert task.wait(60)
assert task.error.__cause__ is error
print(task.state.name, *ended)
"""


@pytest.mark.parametrize("where", ["head", "batch", "handler", "completion", "listener"])
@pytest.mark.parametrize("kind", ["exit", "interrupt", "memory", "defect", "generator", "recursion"])
def test_checklist_23_67_a_failed_task_leaves_the_process_alive(where, kind):
    """A real process whose task failed goes on to its end: exit status 0 and nothing on its error output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, where, kind],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=100,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["FAILED"] + ["FAILED"] * (where not in ("completion",))


def test_checklist_101_a_model_that_cannot_be_updated_says_why(base, batch, tmp_path):
    """In a property, in its description and in the refusal of a task; one that can says nothing."""
    assert (base.is_updatable, base.not_updatable_because) == (True, "")
    model = MLModel.load(frozen(base, tmp_path))

    assert (model.is_updatable, model.not_updatable_because) == (False, "its author says so")
    assert model.model_description.is_updatable is False
    assert model.model_description.not_updatable_because == "its author says so"
    with pytest.raises(MLModelError, match="cannot be updated: its author says so") as caught:
        MLUpdateTask(model, batch)
    assert caught.value.code is MLModelErrorCode.UPDATE


KILLED = """
import os, pathlib, signal, sys
import numpy as np
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.update import MLUpdateTask

STEPS = "open write fsync fdatasync replace rename unlink remove mkdir rmdir close scandir".split()
folder, exists = pathlib.Path(sys.argv[1]), sys.argv[2] == "over another"
X = np.eye(3, dtype="f4")

def updated(labels):
    task = MLUpdateTask(MLModel.factory("lda", 3), MatrixBatchProvider(X, labels))
    task.resume()
    assert task.wait(60) and task.error is None, task.error
    return task.model

def counted(function, left):
    def step(*given, **named):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return function(*given, **named)
    return step

old, new = updated(["a", "b", "c"]), updated(["d", "e", "f"])
new.write(to=folder / "warm")  # what is imported on the way is no step
step = 0
while True:
    place = folder / f"model{step}"
    if exists:
        old.write(to=place)
    child = os.fork()
    if child == 0:
        left = [step]
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name), left))
        new.write(to=place)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and not exists and not place.exists():
        print("nothing")
    else:
        loaded = MLModel.load(place)
        [same] = [one for one in (old, new) if one.classes == loaded.classes]
        assert loaded.predict_proba(X).tobytes() == same.predict_proba(X).tobytes()
        print("old" if same is old else "new")
        new.write(to=place)  # what a killed writer left behind is in nobody's way
        assert MLModel.load(place).classes == new.classes
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
    step += 1
"""


@pytest.mark.parametrize("where", ["over another", "to a new place"])
def test_checklist_63_a_writer_killed_at_any_step_leaves_a_loadable_model(tmp_path, where):
    """A real kill -9 before each call of the system: the old model or the new one, whole, never something else."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), where],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    before = "old" if where == "over another" else "nothing"

    assert len(found) > 8
    assert {before, "new"} == set(found)
    assert found == sorted(found, key=[before, "new"].index)  # once it is the new one it stays
