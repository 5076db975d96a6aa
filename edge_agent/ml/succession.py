"""This is where one model takes the place of another: one change at a time, saved, checked, swapped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.errors import HomeError, HomeLockedError, MLModelError, MLModelErrorCode, StoreError
from edge_agent.ml.configuration import MLModelConfiguration, usable_configuration
from edge_agent.ml.examples import same_answers
from edge_agent.ml.generations import FACTORY, Change, Generation, Generations, usable
from edge_agent.ml.heads.protocol import Head, split_layer_values
from edge_agent.ml.links import LinkedStage, is_absolute
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.ml.pending import PendingSamples
from edge_agent.ml.progress import TRAINING_OVER, MLUpdateContext, MLUpdateProgressHandlers
from edge_agent.ml.providers import MLBatchProvider
from edge_agent.ml.task import TaskStateChange
from edge_agent.ml.update import MLUpdateTask
from edge_agent.store.atomic import make_folder, remove_file, write_file
from edge_agent.store.lock import ProcessLock

_SEARCH_PATH = MLParameterKey.LINKED_MODEL_SEARCH_PATH


@dataclass(frozen=True)
class Live:
    """What answers: replaced as a whole, so whoever holds one sees a number and a model that belong together."""

    number: int
    """Of the generation; 0 is the factory model."""
    model: MLModel
    pointed: int
    """The generation that was meant to answer when this was opened."""


class Succession:
    """The model that answers, and the folder that says which one does after a restart.

    `live()` may be asked from any thread and waits for nobody but who opens the first model. Everything else
    belongs inside `turn()`, which one thread of one process has at a time.
    """

    def __init__(
        self,
        factory_path: Path,
        folder: Path,
        *,
        configuration: MLModelConfiguration | None,
        heads: Mapping[str, type[Head]] | None,
        clock: Callable[[], float],
    ) -> None:
        self.generations = Generations(folder, clock=clock)
        self.pending = PendingSamples(folder / "pending")
        self._factory_path = factory_path
        self._folder = folder
        self._resetting = folder / "resetting"
        self._for_factory = usable_configuration(configuration)
        self._for_generations = self._for_factory.copy()
        self._for_generations.parameters = _for_later(self._for_factory.parameters)
        self._heads = heads
        self._live: Live | None = None
        self._opening = threading.Lock()
        self._changing = threading.RLock()
        # The thread of the update that is going on: its handlers cannot wait for its end.
        self._task_thread: threading.Thread | None = None

    # ------------------------------------------------------------------ from any thread

    def live(self) -> Live:
        """What answers, opened if need be; raises `MLModelError` when not even the factory model opens."""
        live = self._live
        if live is None:
            with self._opening:
                live = self._live = self._live or self._open()
        return live

    def reopen(self) -> Live:
        """What answers by what the folder says now."""
        with self._opening:
            self._live = self._open()
            return self._live

    def factory(self) -> MLModel:
        """The model that everything began with; what it links to is found from wherever it is written."""
        model = MLModel.load(self._factory_path, self._for_factory, self._heads)
        front = model.front
        links = {
            _SEARCH_PATH.scoped_to(name): stage.search_path_from_anywhere
            for name, stage in (() if front is None else zip(front.names, front.stages, strict=False))
            if isinstance(stage, LinkedStage)
        }
        if not links:
            return model
        configuration = self._for_factory.copy()
        configuration.parameters = {**configuration.parameters, **links}
        return MLModel.load(self._factory_path, configuration, self._heads)

    def opened(self, path: Path) -> MLModel:
        """The model of a generation, from where it lies."""
        return MLModel.load(path, self._for_generations, self._heads)

    # ------------------------------------------------------------------ one at a time

    @contextlib.contextmanager
    def turn(self) -> Iterator[Live]:
        """The right to change something, and what answers; what a crash interrupted is finished first.

        Raises `MLModelError` UPDATE for a handler of the update that is going on and when another process
        has the right.
        """
        if threading.current_thread() is self._task_thread:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                "a handler of an update cannot change the model that is being updated",
            )
        with self._changing:
            make_folder(self._folder)
            lock = ProcessLock(self._folder / "lock")
            try:
                lock.acquire()
            except HomeLockedError as error:
                raise MLModelError(
                    MLModelErrorCode.UPDATE,
                    f"{self._folder}: this model is being changed already; try again when that is done",
                ) from error
            except HomeError as error:
                raise StoreError(str(error)) from error
            with lock:
                self._recover()
                live = self.live()
                # Another process may have published or rolled back since.
                yield live if live.pointed == self.generations.pointed() else self.reopen()

    def train(
        self,
        batch: MLBatchProvider,
        configuration: MLModelConfiguration | None,
        handlers: MLUpdateProgressHandlers | None,
    ) -> tuple[MLModel, dict[str, float]]:
        """A copy of what answers that learned a batch too, and the last metrics of the task.

        Raises what the task says, and `MLModelError` UPDATE when a handler cancelled it.
        """
        metrics: dict[str, float] = {}

        def over(context: MLUpdateContext) -> None:
            metrics.update({str(key): value for key, value in context.metrics.items()})
            if handlers is not None:
                handlers.completion_handler(context)

        def on_its_thread(_: TaskStateChange) -> None:
            self._task_thread = threading.current_thread()

        all_handlers = MLUpdateProgressHandlers(TRAINING_OVER, None, over)
        if handlers is not None:
            all_handlers = replace(handlers, completion_handler=over)
        task = MLUpdateTask(
            self.live().model,
            batch,
            configuration,
            progress_handlers=all_handlers,
            on_state_change=on_its_thread,
        )
        task.resume()
        try:
            task.wait()
        finally:
            task.cancel()  # nothing, unless the wait was interrupted
            self._task_thread = None
        if task.error is not None:
            raise task.error
        if task.model is None:
            raise MLModelError(MLModelErrorCode.UPDATE, "the update was cancelled; the model is as it was")
        return task.model, metrics

    def publish(self, model: MLModel, change: Change, samples: MLBatchProvider | None = None) -> Generation:
        """Save a model as a generation, open that again, and let it answer if the two answer the same.

        Both are asked about `samples` and about made-up ones. Raises `MLModelError` UPDATE when they differ,
        IO when what was saved cannot be read; then, and when the disk refuses, the old model goes on
        answering.
        """
        reopened: list[MLModel] = []

        def check(path: Path) -> None:
            again = self.opened(path)
            if not same_answers(model, again, samples):
                raise MLModelError(
                    MLModelErrorCode.UPDATE,
                    f"{path}: the saved model does not answer as the one that was trained; it is not used",
                )
            reopened.append(again)

        generation = self.generations.publish(model, self.live().number, change, check)
        self._live = Live(generation.number, reopened[0], generation.number)
        return generation

    def go_to(self, number: int) -> None:
        """Let another generation answer, or the factory model; it is opened first."""
        model = self.factory() if number == FACTORY else self.opened(self.generations.model_path(number))
        self.generations.point_to(number)
        self._live = Live(number, model, number)

    def reset(self) -> None:
        """Let the factory model answer and remove everything else."""
        model = self.factory()
        write_file(self._resetting, b"")
        self._live = Live(FACTORY, model, FACTORY)
        self._finish_reset()

    # ------------------------------------------------------------------

    def _open(self) -> Live:
        """What the folder says, or the next best; a folder that cannot be written to can still be read."""
        unfinished = self._resetting.exists() or self.generations.replaced()
        if unfinished and self._changing.acquire(blocking=False):
            try:
                with contextlib.suppress(StoreError, HomeError), ProcessLock(self._folder / "lock"):
                    self._recover()
            finally:
                self._changing.release()
        found = None
        pointed = FACTORY
        if not self._resetting.exists():
            pointed = self.generations.pointed()
            found = usable(self.generations, self.opened)
        number, model = found or (FACTORY, self.factory())
        return Live(number, model, pointed)

    def _recover(self) -> None:
        if self._resetting.exists():
            self._finish_reset()
        learned = self.generations.finish()
        self.pending.clean()
        self.pending.remove(learned)

    def _finish_reset(self) -> None:
        self.generations.clear()
        self.pending.clear()
        remove_file(self._resetting)


def _for_later(parameters: Mapping[MLParameterKey, object]) -> dict[MLParameterKey, object]:
    """What is set on the factory model, without what would be wrong for a model made from it.

    An update replaced the weights, and what was set in their place before would undo that. A folder that is
    relative is meant from the factory model; its updates know where that was.
    """
    return {
        key: value
        for key, value in split_layer_values(parameters)[1].items()
        if key.name != _SEARCH_PATH.name or is_absolute(str(value))
    }
