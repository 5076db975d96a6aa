"""This is where a model is updated with labelled samples, on a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, TrainingRows
from edge_agent.ml.heads.protocol import (
    Head,
    Parameters,
    TrainingProgress,
    split_layer_values,
    with_layer_values,
)
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey, ParameterValue, resolve
from edge_agent.ml.progress import (
    TRAINING_OVER,
    Handler,
    MLMetricKey,
    MLUpdateContext,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    TrainingEvent,
)
from edge_agent.ml.quarantine import SkippingProvider
from edge_agent.ml.stages import only_links
from edge_agent.ml.task import MLTask, MLTaskState, TaskStateChange

__all__ = [
    "TRAINING_OVER",
    "MLMetricKey",
    "MLTask",
    "MLTaskState",
    "MLUpdateContext",
    "MLUpdateProgressEvent",
    "MLUpdateProgressHandlers",
    "MLUpdateTask",
    "TaskStateChange",
    "TrainingEvent",
]


class MLUpdateTask(MLTask):
    """Trains a copy of a model with a batch of labelled samples, in addition to what the model knows.

    `for_model_at` is the path of a written model, or a model; neither is ever changed. Give either
    `progress_handlers` or `completion_handler`, or neither. Nothing happens before `resume()`.

    Everything then happens on the task's own daemon thread: training, handlers and `on_state_change`. While a
    progress handler runs the task is SUSPENDED; when it returns, training goes on. `training_begin` comes
    once before the first mini-batch, then `mini_batch_end` and `epoch_end` in their order, then completion,
    once, also after a failure or `cancel()`. What a handler, the batch or the head raises fails the task, and
    never the process.

    Raises at construction `MLModelError`: IO or CUSTOM_MODEL for a model that cannot be loaded, PARAMETERS
    for a bad parameter, UPDATE or FEATURE_TYPE for an empty batch or a first sample the model cannot learn
    from, and for a model that is not updatable. Later samples are checked when they are read; a bad one fails
    the task with its index, unless the batch is a `QuarantiningBatchProvider`.
    """

    def __init__(
        self,
        for_model_at: Path | str | MLModel,
        training_data: MLBatchProvider,
        configuration: MLModelConfiguration | None = None,
        *,
        progress_handlers: MLUpdateProgressHandlers | None = None,
        completion_handler: Handler | None = None,
        heads: Mapping[str, type[Head]] | None = None,
        on_state_change: Callable[[TaskStateChange], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        task_identifier: str | None = None,
    ) -> None:
        super().__init__(task_identifier=task_identifier)
        if progress_handlers is not None and completion_handler is not None:
            raise TypeError("give progress_handlers or completion_handler, not both")
        configuration = (configuration or MLModelConfiguration()).copy()
        base = for_model_at
        if not isinstance(base, MLModel):
            # Where a linked model is has to be known before anything else can be.
            linked = MLModelConfiguration(parameters=only_links(configuration.parameters))
            base = MLModel.load(base, linked, heads=heads)
        self._descriptions = base.learning_parameters
        values, given = split_layer_values(base.unscoped(configuration.parameters))
        self._parameters = resolve(self._descriptions, given)
        if not base.is_updatable:
            raise MLModelError(
                MLModelErrorCode.UPDATE, f"the model cannot be updated: {base.not_updatable_because}"
            )
        self._head = with_layer_values(base.head.copy(), values)
        self._rows = TrainingRows(
            base.learnable(training_data),
            n_features=base.n_features,
            feature_name=base.input_name,
            label_name=base.output_name,
            label_type=base.label_type,
        )
        self._skipped = dict(training_data.skipped) if isinstance(training_data, SkippingProvider) else {}
        self._base = base
        self._handlers = progress_handlers
        self._completion = progress_handlers.completion_handler if progress_handlers else completion_handler
        self._on_state_change = on_state_change
        self._clock = clock
        self._name = configuration.model_display_name or "update"
        self._started_at = 0.0
        self._metrics: dict[MLMetricKey, float] = {}
        self._sent: dict[MLParameterKey, ParameterValue] = {}
        self._in_handler = False
        self._result: MLModel | None = None

    @property
    def model(self) -> MLModel | None:
        """The updated model once the task is COMPLETED, None before and otherwise."""
        return self._result

    @property
    def skipped_samples(self) -> Mapping[int, str]:
        """Why each sample that the provider set aside was, by its index; empty where none was."""
        return MappingProxyType(self._skipped)

    def resume(self, *, with_parameters: Parameters | None = None) -> None:
        """Start the task, or let it go on from within a progress handler; returns at once.

        `with_parameters` changes values from the next mini-batch on; it needs a progress handler that is
        running. Raises `MLModelError`: PARAMETERS for a bad value or one that cannot change while training
        runs; UPDATE for `with_parameters` at any other time and for a task that completed or failed. A
        cancelled task stays cancelled.
        """
        with self._lock:
            if self._state in (MLTaskState.COMPLETED, MLTaskState.FAILED):
                raise MLModelError(
                    MLModelErrorCode.UPDATE, "the task is over; make a new one for another update"
                )
            if with_parameters is not None:
                self._replace_parameters(with_parameters)
            if self._state is MLTaskState.SUSPENDED:
                self._enter(MLTaskState.RUNNING)
                self._start()

    def cancel(self) -> None:
        """Stop at the next mini-batch and end as CANCELLED; from any thread, in any state, any time."""
        with self._lock:
            if self._state in (MLTaskState.SUSPENDED, MLTaskState.RUNNING):
                self._enter(MLTaskState.CANCELLING)
                self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._started_at = self._clock()
            self._thread = threading.Thread(target=self._run, name=f"edge-agent-{self._name}", daemon=True)
            self._thread.start()

    def _replace_parameters(self, given: Parameters) -> None:
        if not self._in_handler or self._state is MLTaskState.CANCELLING:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "parameters can be replaced only while a progress handler of the task runs",
            )
        values = resolve(self._descriptions, {**self._parameters, **self._base.unscoped(given)})
        fixed = {one.key for one in self._descriptions if not one.adjustable_in_progress}
        changed = {key: value for key, value in values.items() if value != self._parameters[key]}
        for key in changed:
            if key in fixed:
                raise MLModelError(
                    MLModelErrorCode.PARAMETERS, f"parameter {key} cannot change while training runs"
                )
        self._parameters = values
        self._sent.update(changed)

    # ------------------------------------------------------------------ on the task's thread

    def _run(self) -> None:
        """The whole life of the thread: train, say how it ended, complete."""
        failure = self._guarded(self._train)
        self._finish(failure)
        failure = self._guarded(self._complete)
        if failure is not None:
            self._finish(failure)
            self._guarded(self._announce)
        self._over.set()

    def _guarded(self, work: Callable[[], None]) -> MLModelError | None:
        """Do a part of the work; whatever is raised comes back as the failure of the task."""
        try:
            work()
        except MLModelError as error:
            return error
        except BaseException as error:  # noqa: BLE001
            # The bottom of this thread is what `main` is for the process: batches, heads and handlers are
            # foreign code, and what got past here would end the thread with the task RUNNING for ever.
            failure = MLModelError(
                MLModelErrorCode.UPDATE, f"the update failed: {type(error).__name__}: {error}"
            )
            failure.__cause__ = error
            return failure
        return None

    def _train(self) -> None:
        self._announce()
        self._tell(MLUpdateProgressEvent.TRAINING_BEGIN, None)
        if self._cancelling:
            return
        training = self._head.train(self._rows, dict(self._parameters))
        try:
            progress = next(training, None)
            while progress is not None:
                epoch = progress.kind == "epoch"
                self._tell(
                    MLUpdateProgressEvent.EPOCH_END if epoch else MLUpdateProgressEvent.MINI_BATCH_END,
                    progress,
                )
                if self._cancelling:
                    return
                sent, self._sent = self._sent, {}
                try:
                    progress = training.send(sent or None)
                except StopIteration:
                    break
        finally:
            training.close()
        self._result = self._trained()

    def _trained(self) -> MLModel:
        return self._base.with_head(self._head.copy(), is_writable=True, label_type=self._rows.label_type)

    @property
    def _cancelling(self) -> bool:
        return self._state is MLTaskState.CANCELLING

    def _tell(self, event: MLUpdateProgressEvent, progress: TrainingProgress | None) -> None:
        """Hand an event to the progress handler if it wants it; the task is SUSPENDED meanwhile."""
        if event is MLUpdateProgressEvent.EPOCH_END:
            self._metrics = self._metrics_of(progress)
        handlers = self._handlers
        if handlers is None or handlers.progress_handler is None or not event & handlers.for_events:
            return
        with self._lock:
            if self._cancelling:
                return
            self._enter(MLTaskState.SUSPENDED)
            self._in_handler = True
        try:
            self._announce()
            model = self._trained()
            handlers.progress_handler(self._context(model, event, self._metrics_of(progress)))
        finally:
            with self._lock:
                self._in_handler = False
                if self._state is MLTaskState.SUSPENDED:
                    self._enter(MLTaskState.RUNNING)
        self._announce()

    def _finish(self, failure: MLModelError | None) -> None:
        """Enter the final state; the first failure is the one that is kept."""
        with self._lock:
            if failure is None:
                state = MLTaskState.CANCELLED if self._cancelling else MLTaskState.COMPLETED
            else:
                state = MLTaskState.FAILED
                if self._error is None:
                    self._error = failure
                else:
                    self._error.add_note(f"then the completion handler failed: {failure}")
            if state is not MLTaskState.COMPLETED:
                self._result = None
            if state is not self._state:
                self._enter(state)

    def _complete(self) -> None:
        self._announce()
        if self._completion is not None:
            model = self._result or self._base.with_head(self._base.head, is_writable=False)
            self._completion(self._context(model, TRAINING_OVER, self._metrics))

    def _context(
        self, model: MLModel, event: MLUpdateProgressEvent, metrics: Mapping[MLMetricKey, float]
    ) -> MLUpdateContext:
        return MLUpdateContext(
            self,
            model,
            event,
            MappingProxyType(dict(metrics)),
            MappingProxyType(self._base.scoped(self._parameters)),
        )

    def _metrics_of(self, progress: TrainingProgress | None) -> dict[MLMetricKey, float]:
        if progress is None:
            return {}
        return {
            **{MLMetricKey(name): value for name, value in progress.metrics.items()},
            MLMetricKey.EPOCH_INDEX: progress.epoch_index,
            MLMetricKey.MINI_BATCH_INDEX: progress.mini_batch_index,
            MLMetricKey.SKIPPED_SAMPLES: len(self._skipped),
            MLMetricKey.ELAPSED_SECONDS: self._clock() - self._started_at,
        }

    def _announce(self) -> None:
        """Tell the listener every change of state so far, in order and always on this thread."""
        while self._changes:
            change = self._changes.popleft()
            if self._on_state_change is not None:
                listener, self._on_state_change = self._on_state_change, None
                listener(change)  # one that raises fails the task and is told nothing more
                self._on_state_change = listener
