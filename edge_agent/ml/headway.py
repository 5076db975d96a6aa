"""This is where it is reckoned how far a training has come and how long it may still take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.ml.heads.protocol import TrainingProgress
from edge_agent.ml.parameters import MLParameterKey, ParameterValue
from edge_agent.ml.progress import MLMetricKey


class Headway:
    """The metrics of a training on `samples` samples that begins now, by `clock` in seconds.

    A head without a `mini_batch_size` cuts its batches itself; how many an epoch has is then known at the end
    of the first. What is not known yet is left out.
    """

    def __init__(self, clock: Callable[[], float], samples: int) -> None:
        self._clock = clock
        self._samples = samples
        self._began = clock()
        self._idle = 0.0
        self._mini_batches: int | None = None

    def idle(self, work: Callable[[], object]) -> None:
        """Do what is no training, such as waiting; the time it takes says nothing about the time to come."""
        begin = self._clock()
        work()
        self._idle += self._clock() - begin

    def metrics(
        self, progress: TrainingProgress, parameters: Mapping[MLParameterKey, ParameterValue]
    ) -> dict[MLMetricKey, float]:
        """What the head says, where training is and how much of it there is."""
        epochs = int(parameters.get(MLParameterKey.EPOCHS, 1))
        elapsed = self._clock() - self._began
        found: dict[MLMetricKey, float] = {
            **{MLMetricKey(name): value for name, value in progress.metrics.items()},
            MLMetricKey.EPOCH_INDEX: progress.epoch_index,
            MLMetricKey.EPOCH_COUNT: epochs,
            MLMetricKey.MINI_BATCH_INDEX: progress.mini_batch_index,
            MLMetricKey.ELAPSED_SECONDS: elapsed,
        }
        each = self._in_an_epoch(progress, parameters)
        if each is not None:
            done = progress.epoch_index * each + progress.mini_batch_index + 1
            left = max(epochs * each - done, 0)
            found[MLMetricKey.MINI_BATCH_COUNT] = each
            found[MLMetricKey.REMAINING_SECONDS] = max(elapsed - self._idle, 0.0) / done * left
        return found

    def _in_an_epoch(
        self, progress: TrainingProgress, parameters: Mapping[MLParameterKey, ParameterValue]
    ) -> int | None:
        if progress.kind == "epoch":
            self._mini_batches = progress.mini_batch_index + 1
        elif self._mini_batches is None and MLParameterKey.MINI_BATCH_SIZE in parameters:
            self._mini_batches = -(-self._samples // int(parameters[MLParameterKey.MINI_BATCH_SIZE]))
        return self._mini_batches
