"""This is where it is written down what the handlers of an update are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, ClassVar

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.parameters import MLKey, MLParameterKey, ParameterValue

if TYPE_CHECKING:
    from edge_agent.ml.model import MLModel
    from edge_agent.ml.update import MLUpdateTask


class MLUpdateProgressEvent(IntFlag):
    """What a progress handler can be told.

    `MINI_BATCH_END` slows training by what its handler does, and by a copy of the model for its context; nobody
    pays for it where it is not asked for.
    """

    TRAINING_BEGIN = 1
    EPOCH_END = 2
    MINI_BATCH_END = 4


TRAINING_OVER = MLUpdateProgressEvent(0)
"""The event of a completion handler's context: none of the three."""

_EVENT_NAMES = {
    MLUpdateProgressEvent.TRAINING_BEGIN: "training_begin",
    MLUpdateProgressEvent.EPOCH_END: "epoch_end",
    MLUpdateProgressEvent.MINI_BATCH_END: "mini_batch_end",
    TRAINING_OVER: "training_end",
}


@dataclass(frozen=True, repr=False)
class MLMetricKey(MLKey):
    """The name of a metric in a context."""

    LOSS_VALUE: ClassVar[MLMetricKey]
    EPOCH_INDEX: ClassVar[MLMetricKey]
    MINI_BATCH_INDEX: ClassVar[MLMetricKey]
    # Beyond Apple's:
    ACCURACY: ClassVar[MLMetricKey]
    """On the samples learned from; absent, as the loss is, where the head does not know it (k-nearest
    neighbours)."""
    VALIDATION_LOSS: ClassVar[MLMetricKey]
    """Mean cross-entropy on `validation_data`, without the labels the model does not know; absent where the
    head has no loss."""
    VALIDATION_ACCURACY: ClassVar[MLMetricKey]
    """Share of `validation_data` answered right; a label the model does not know is answered wrong."""
    EPOCH_COUNT: ClassVar[MLMetricKey]
    """How many epochs there will be, by the parameters in force."""
    MINI_BATCH_COUNT: ClassVar[MLMetricKey]
    """How many mini-batches an epoch has; absent until it is known."""
    ELAPSED_SECONDS: ClassVar[MLMetricKey]
    """Since the task was started, pauses and handlers included."""
    REMAINING_SECONDS: ClassVar[MLMetricKey]
    """An estimate from the time the mini-batches so far took; absent until it can be made."""
    SKIPPED_SAMPLES: ClassVar[MLMetricKey]
    """How many samples the provider set aside as bad."""


for _name in list(MLMetricKey.__annotations__):
    setattr(MLMetricKey, _name, MLMetricKey(_name.lower()))


@dataclass(frozen=True)
class TrainingEvent:
    """What happened in a task, as plain values. `event` is `training_begin`, `mini_batch_end`, `epoch_end`
    or `training_end`."""

    task_identifier: str
    event: str
    state: str
    metrics: dict[str, float]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class MLUpdateContext:
    """What a handler is given: read-only, and still true after the handler returned."""

    task: MLUpdateTask
    model: MLModel
    """The model as trained so far, to predict with and to write. After a failure or `cancel()` the model it
    began with, which cannot be written."""
    event: MLUpdateProgressEvent
    metrics: Mapping[MLMetricKey, float]
    parameters: Mapping[MLParameterKey, ParameterValue]
    """The values in force."""

    def as_event(self) -> TrainingEvent:
        """The same as plain values, for those who must not hold on to task or model."""
        return TrainingEvent(
            task_identifier=self.task.task_identifier,
            event=_EVENT_NAMES[self.event],
            state=self.task.state.name.lower(),
            metrics={str(key): value for key, value in self.metrics.items()},
            parameters={str(key): value for key, value in self.parameters.items()},
        )


Handler = Callable[[MLUpdateContext], None]


@dataclass(frozen=True)
class MLUpdateProgressHandlers:
    """Whom to tell what. The completion handler is called once, however the task ends.

    Raises `MLModelError` GENERIC for events that are none of the three, and for handlers nobody can call.
    """

    for_events: MLUpdateProgressEvent
    progress_handler: Handler | None
    completion_handler: Handler

    def __post_init__(self) -> None:
        events = self.for_events
        if not isinstance(events, int) or isinstance(events, bool) or not 0 <= events <= 7:
            raise MLModelError(
                MLModelErrorCode.GENERIC,
                f"for_events are of training_begin 1, epoch_end 2 and mini_batch_end 4, not {events!r}",
            )
        object.__setattr__(self, "for_events", MLUpdateProgressEvent(events))
        if not callable(self.completion_handler):
            raise MLModelError(MLModelErrorCode.GENERIC, "a completion handler is needed")
        if self.progress_handler is not None and not callable(self.progress_handler):
            raise MLModelError(MLModelErrorCode.GENERIC, "the progress handler cannot be called")
