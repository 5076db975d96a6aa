"""This is where a model is updated with labelled samples, on a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.admission import admitted
from edge_agent.ml.batches import MLBatchProvider, TrainingRows
from edge_agent.ml.configuration import usable_configuration
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.heads.protocol import (
    Head,
    Parameters,
    TrainingProgress,
    split_layer_values,
    with_layer_values,
)
from edge_agent.ml.headway import Headway
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.pace import Pace
from edge_agent.ml.parameters import MLParameterKey, resolve
from edge_agent.ml.progress import (
    TRAINING_OVER,
    Handler,
    MLMetricKey,
    MLUpdateContext,
    MLUpdateProgressEvent,
    MLUpdateProgressHandlers,
    TrainingEvent,
)
from edge_agent.ml.stages import only_links
from edge_agent.ml.task import MLTask, MLTaskState, TaskStateChange
from edge_agent.ml.validation import validation_metrics

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

    With `validation_data` the model so far is judged at the end of epochs somebody is told of, and after the
    last. With `max_bad_share`, from 0 to 1, bad samples are left out as by a `QuarantiningBatchProvider`, and
    the log and `skipped_samples` say which. `pause()` rests before the next mini-batch; with a `duty` below 1
    the task rests after each, so that it works this share of the time; memory is bounded by the mini-batch
    (k-nearest neighbours remember all samples, as they must).

    Raises at construction `MLModelError`: IO or CUSTOM_MODEL for a model that cannot be loaded, PARAMETERS
    for a bad parameter, UPDATE or FEATURE_TYPE, with the index, for an empty batch, for a sample the model
    cannot learn from and for a model that is not updatable, GENERIC for anything else that is no such thing.
    Every sample of a batch in memory is looked at then; of a provider of somebody's own the first, the others
    when they are read: a bad one fails the task with its index.
    """

    def __init__(
        self,
        for_model_at: Path | str | MLModel,
        training_data: MLBatchProvider,
        configuration: MLModelConfiguration | None = None,
        *,
        progress_handlers: MLUpdateProgressHandlers | None = None,
        completion_handler: Handler | None = None,
        validation_data: MLBatchProvider | None = None,
        max_bad_share: float | None = None,
        duty: float = 1.0,
        heads: Mapping[str, type[Head]] | None = None,
        on_state_change: Callable[[TaskStateChange], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        task_identifier: str | None = None,
    ) -> None:
        super().__init__(task_identifier=task_identifier, on_state_change=on_state_change)
        if progress_handlers is not None and completion_handler is not None:
            raise TypeError("give progress_handlers or completion_handler, not both")
        if not isinstance(progress_handlers, MLUpdateProgressHandlers | None):
            raise _no_such_thing("progress_handlers", progress_handlers)
        for name, one in (("completion_handler", completion_handler), ("on_state_change", on_state_change)):
            if one is not None and not callable(one):
                raise _no_such_thing(name, one)
        self._handlers = progress_handlers
        self._completion = progress_handlers.completion_handler if progress_handlers else completion_handler
        configuration = usable_configuration(configuration)
        self._name = configuration.model_display_name or "update"
        self._pace = Pace(duty, clock, wait or self._wait_undisturbed)
        base = (
            for_model_at if isinstance(for_model_at, MLModel) else _loaded(for_model_at, configuration, heads)
        )
        self._descriptions = base.learning_parameters
        values, given = split_layer_values(base.unscoped(configuration.parameters))
        self._parameters = resolve(self._descriptions, given)
        if not base.is_updatable:
            raise MLModelError(
                MLModelErrorCode.UPDATE, f"the model cannot be updated: {base.not_updatable_because}"
            )
        self._base = base
        self._head = with_layer_values(base.head.copy(), values)
        self._skipped: dict[int, str] = {}
        self._rows = self._admitted(training_data, base.label_type, max_bad_share)
        self._validation = (
            None if validation_data is None else self._admitted(validation_data, self._rows.label_type)
        )
        self._clock = clock
        self._headway: Headway | None = None
        self._metrics: dict[MLMetricKey, float] = {}
        self._sent: dict[MLParameterKey, object] = {}
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
        """Start the task, or let it go on from within a progress handler or a pause; returns at once.

        `with_parameters` changes values from the next mini-batch on; it needs a progress handler that is
        running, or a pause. Weights and biases of updatable layers, by scoped keys, can be replaced too; what
        the optimizer remembers stays. Raises `MLModelError`: PARAMETERS for a bad value or one that cannot
        change while training runs; UPDATE for `with_parameters` at any other time and for a task that
        completed or failed. A cancelled task stays cancelled.
        """
        with self._lock:
            self._refuse_when_over()
            if with_parameters is not None:
                self._replace_parameters(with_parameters)
            self._go_on()

    @property
    def _thread_name(self) -> str:
        return f"edge-agent-{self._name}"

    def _admitted(
        self, data: MLBatchProvider, label_type: MLFeatureType | None, max_bad_share: float | None = None
    ) -> TrainingRows:
        rows, skipped = admitted(
            data,
            self._base.learnable,
            n_features=self._base.n_features,
            label_type=label_type,
            feature_name=self._base.input_name,
            label_name=self._base.output_name,
            max_bad_share=max_bad_share,
            who=self._name,
            before_reading=self._leave_when_cancelling,
        )
        self._skipped.update(skipped)
        return rows

    def _replace_parameters(self, given: Parameters) -> None:
        paused = self._thread is not None and self._state is MLTaskState.SUSPENDED
        if not (paused or self._in_handler) or self._cancelling:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "parameters can be replaced only while a progress handler of the task runs or it is paused",
            )
        checked = MLModelConfiguration(parameters=given).parameters
        arrays, plain = split_layer_values(self._base.unscoped(checked))
        values = resolve(self._descriptions, {**self._parameters, **plain})
        fixed = {one.key for one in self._descriptions if not one.adjustable_in_progress}
        changed = {key: value for key, value in values.items() if value != self._parameters[key]}
        for key in changed:
            if key in fixed:
                raise MLModelError(
                    MLModelErrorCode.PARAMETERS, f"parameter {key} cannot change while training runs"
                )
        with_layer_values(self._head, arrays)  # only to see that it can be done
        self._parameters = values
        self._sent.update({**changed, **arrays})

    # ------------------------------------------------------------------ on the task's thread

    def _run(self) -> None:
        """The whole life of the thread: train, say how it ended, complete."""
        failure = self._guarded(self._train)
        self._finish(failure)
        # Apart from completion: who asked to be told of states must not keep it from happening.
        for step in (self._announce, self._complete):
            failure = self._guarded(step)
            if failure is not None:
                self._finish(failure)
        self._guarded(self._announce)
        self._over.set()

    def _train(self) -> None:
        self._headway = Headway(self._clock, self._rows.count)
        self._announce()
        self._tell(MLUpdateProgressEvent.TRAINING_BEGIN, None)
        self._rest()
        if self._cancelling:
            return
        sent, self._sent = self._sent, {}
        self._head = with_layer_values(self._head, split_layer_values(sent)[0])
        training = self._head.train(self._rows, dict(self._parameters))
        validated = False
        try:
            self._pace.begin()
            progress = next(training, None)
            while progress is not None:
                if progress.kind == "epoch":
                    validated = self._tell(MLUpdateProgressEvent.EPOCH_END, progress)
                else:
                    self._tell(MLUpdateProgressEvent.MINI_BATCH_END, progress)
                    self._pace.rest()
                self._rest()
                if self._cancelling:
                    return
                sent, self._sent = self._sent, {}
                try:
                    progress = training.send(sent or None)
                except StopIteration:
                    break
        finally:
            training.close()
        if self._completion is not None and not validated:
            self._metrics |= self._validated()
        self._result = self._trained()

    def _rest(self) -> None:
        """Where a pause takes place."""
        if self._suspend_when_pausing():
            self._announce()
            assert self._headway is not None
            self._headway.idle(self._await_going_on)
            self._pace.begin()
            self._announce()

    def _trained(self) -> MLModel:
        return self._base.with_head(self._head.copy(), is_writable=True, label_type=self._rows.label_type)

    def _validated(self) -> dict[MLMetricKey, float]:
        if self._validation is None:
            return {}
        has_loss = MLMetricKey.LOSS_VALUE in self._metrics
        return validation_metrics(
            self._head, self._validation, has_loss=has_loss, stop=lambda: self._cancelling
        )

    def _tell(self, event: MLUpdateProgressEvent, progress: TrainingProgress | None) -> bool:
        """Hand an event to the progress handler if it wants it; the task is SUSPENDED meanwhile."""
        handler = (
            self._handlers.progress_handler if self._handlers and event & self._handlers.for_events else None
        )
        if event is MLUpdateProgressEvent.EPOCH_END:
            self._metrics = self._metrics_of(progress)
            if handler is not None:
                self._metrics |= self._validated()
        if handler is None:
            return False
        with self._lock:
            if self._cancelling:
                return False
            self._enter(MLTaskState.SUSPENDED)
            self._in_handler = True
        try:
            self._announce()
            metrics = (
                self._metrics if event is MLUpdateProgressEvent.EPOCH_END else self._metrics_of(progress)
            )
            handler(self._context(self._trained(), event, metrics))
        finally:
            with self._lock:
                self._in_handler = False
                if self._state is MLTaskState.SUSPENDED and not self._pausing:
                    self._enter(MLTaskState.RUNNING)
        self._announce()
        return True

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
                    self._error.add_note(f"then, when the task was over: {failure}")
            if state is not MLTaskState.COMPLETED:
                self._result = None
            if state is not self._state:
                self._enter(state)

    def _complete(self) -> None:
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
        if progress is None or self._headway is None:
            return {}
        metrics = self._headway.metrics(progress, self._parameters)
        return {**metrics, MLMetricKey.SKIPPED_SAMPLES: len(self._skipped)}


def _no_such_thing(name: str, given: object) -> MLModelError:
    return MLModelError(MLModelErrorCode.GENERIC, f"{name} cannot be {given!r}")


def _loaded(
    path: Path | str, configuration: MLModelConfiguration, heads: Mapping[str, type[Head]] | None
) -> MLModel:
    # Where a linked model is has to be known before anything else can be.
    linked = MLModelConfiguration(parameters=only_links(configuration.parameters))
    return MLModel.load(path, linked, heads=heads)
