"""This is where a factory model and its updates live in a folder, and the best of them answers.

What Apple's drawing sample calls its model updater. Below the folder:

    versions/, current, staging/   the generations, see `ml.generations`
    pending/                       examples that wait to be learned, see `ml.pending`
    lock                           held by the process that changes something
    resetting                      there while everything is being removed
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode, NotFoundError, StoreError
from edge_agent.ml.configuration import MLModelConfiguration
from edge_agent.ml.examples import Samples, batch_of, examples_of, spread
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureValue, value_of
from edge_agent.ml.forgetting import features_of, knows_sample, with_label, without_label, without_sample
from edge_agent.ml.generations import Change, Generation
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.labels import label_of
from edge_agent.ml.model import MLModel
from edge_agent.ml.package import package_path
from edge_agent.ml.progress import MLUpdateProgressHandlers
from edge_agent.ml.providers import MLArrayBatchProvider, MLBatchProvider, sample_count
from edge_agent.ml.succession import Live, Succession

__all__ = ["Generation", "PersonalModel"]

log = logging.getLogger(__name__)

CHECKED_SAMPLES = 256
"""So many samples of an update, evenly spread, a saved generation must answer as the trained one did."""


class PersonalModel:
    """A factory model that its owner goes on teaching; every update is a generation in `folder`.

    The factory model at `factory_path` is only ever read. Predictions may come from any thread at any time,
    also while an update runs: they never wait for one, each is given by one generation as a whole, and the
    next one by the new generation as soon as that is saved, opened again and found to answer the same. The
    generation that is meant to answer is opened before the first prediction; one that cannot be used is
    passed over for the next older one and at last for the factory model, with a sentence in the log.

    What changes something (`add`, `add_later`, `update_pending`, `roll_back`, `reset`, `forget`, `remove`,
    `relabel`) is done one after the other: a second thread waits its turn, a second process is refused with
    `MLModelError` UPDATE. When one of them raises, the model answers as before.

    `generations` is how many are kept; the oldest go first, the current one and its parent stay.
    `configuration` is what every model is opened with; weights and biases in it are for the factory model
    only, as an update replaces them. `heads` as in `MLModel.load`.

    Raises `MLModelError` GENERIC for a number of generations below 1 and IO for what is no path; everything
    else later, where `StoreError` (`DiskFullError`) is for what the disk refuses.
    """

    def __init__(
        self,
        factory_path: Path | str,
        folder: Path | str,
        *,
        generations: int = 5,
        configuration: MLModelConfiguration | None = None,
        heads: Mapping[str, type[Head]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(generations, bool) or not isinstance(generations, int) or generations < 1:
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"at least 1 generation is kept, not {generations!r}"
            )
        self.factory_path = package_path(factory_path)
        self.folder = package_path(folder)
        self._keep = generations
        self._succession = Succession(
            self.factory_path, self.folder, configuration=configuration, heads=heads, clock=clock
        )

    # ------------------------------------------------------------------ answer

    @property
    def model(self) -> MLModel:
        """The model that answers; it does not change when another one takes its place.

        Raises `MLModelError` when not even the factory model can be opened; so does everything that answers.
        """
        return self._succession.live().model

    @property
    def generation(self) -> int:
        """The number of the generation that answers; 0 is the factory model."""
        return self._succession.live().number

    def label(self, sample: MLFeatureProvider) -> str | int | None:
        """What a sample is, None for no prediction: the default label, or nothing learned yet.

        Raises as `MLModel.predict`.
        """
        model = self.model
        return _told(model, model.predict(sample))

    def labels(self, samples: Samples) -> list[str | int | None]:
        """What each of several samples is, all from one generation; None for no prediction."""
        model = self.model
        return [_told(model, answer) for answer in model.predictions(batch_of(samples)).array]

    def prediction(self, sample: MLFeatureProvider) -> MLFeatureProvider:
        """The whole answer of the model, the default label among it; raises as `MLModel.predict`."""
        return self.model.predict(sample)

    def reload(self) -> int:
        """Take up what another process changed; the number of the generation that answers now."""
        return self._succession.reopen().number

    # ------------------------------------------------------------------ learn

    def add(
        self,
        samples: Samples,
        *,
        configuration: MLModelConfiguration | None = None,
        progress_handlers: MLUpdateProgressHandlers | None = None,
    ) -> Generation:
        """Learn labelled examples now; when this returns, the new generation is saved and answers.

        `configuration` and `progress_handlers` as in `MLUpdateTask`; the completion handler runs before the
        generation is saved.

        Raises `MLModelError`: what the task says, and UPDATE when a handler cancelled it and when the saved
        generation does not answer exactly as the trained one.
        """
        with self._succession.turn():
            return self._learn(batch_of(samples), configuration, progress_handlers)

    def add_later(self, samples: Samples) -> int:
        """Keep labelled examples for `update_pending`; how many wait now.

        They are kept by value and survive a crash. Raises `MLModelError`, naming the index, for one that the
        model could not learn: FEATURE_TYPE for a wrong type, UPDATE for the rest.
        """
        with self._succession.turn() as live:
            waiting = self._succession.pending.read() if live.model.label_type is None else {}
            first = next((several[0] for several in waiting.values()), None)
            kept = examples_of(live.model, batch_of(samples), before=first)
            if kept:
                self._succession.pending.add(kept)
            return self._succession.pending.count()

    def update_pending(
        self,
        *,
        configuration: MLModelConfiguration | None = None,
        progress_handlers: MLUpdateProgressHandlers | None = None,
    ) -> Generation | None:
        """Learn what waits, each example once whatever crashes; None when nothing does. Raises as `add`."""
        with self._succession.turn():
            waiting = self._succession.pending.read()
            samples = [sample for several in waiting.values() for sample in several]
            if not samples:
                return None
            batch = MLArrayBatchProvider(samples)
            return self._learn(batch, configuration, progress_handlers, tuple(waiting))

    @property
    def pending_count(self) -> int:
        """How many examples wait."""
        return self._succession.pending.count()

    def discard_pending(self) -> None:
        """Remove the examples that wait."""
        with self._succession.turn():
            self._succession.pending.clear()

    # ------------------------------------------------------------------ go back

    def history(self) -> tuple[Generation, ...]:
        """The generations that are kept, oldest first."""
        return self._succession.generations.history()

    def roll_back(self, to: int | None = None) -> int:
        """Let an earlier generation answer: the parent of the one that does, or `to`; 0 is the factory model.

        Later ones are kept, and can be gone to in the same way. The number of the one that answers now.
        Raises `NotFoundError` for one that is not there, `DamagedError` or `MLModelError` IO for one that
        cannot be used.
        """
        with self._succession.turn() as live:
            if to is None:
                parents = {one.number: one.parent for one in self.history()}
                if live.number not in parents:
                    raise NotFoundError("the factory model answers; there is nothing before it")
                to = parents[live.number]
            self._succession.go_to(to)
            return to

    def reset(self) -> None:
        """Remove every generation and every example that waits; the factory model answers from now on.

        After a crash on the way the factory model answers too, and the rest is removed later.
        """
        with self._succession.turn():
            self._succession.reset()

    # ------------------------------------------------------------------ forget

    def forget(self, label: str | int) -> int:
        """Forget a class: nothing votes for it any more, and no file in the folder names it.

        Makes a generation without it, if the one that answers knows it. Every other generation that knows it
        is removed and cannot be rolled back to; so are examples that wait with this label. The factory model
        is not touched: what it knows itself comes back with `reset()`. The number of the generation that
        answers now.

        Works for nearest neighbours, where every sample of the class is gone, and for LDA, where its count
        and mean are, but not its part of the scatter that all classes share. Raises `MLModelError` UPDATE for
        other heads and when nobody knows the label.
        """
        with self._succession.turn() as live:
            name = live.model.output_name
            changed = without_label(live.model, label) if label in live.model.classes else None
            others = self._others(live, lambda model: label in model.classes)

            def kept(one: MLDictionaryFeatureProvider) -> dict[str, MLFeatureValue] | None:
                return None if label_of(one[name]) == label else one.dictionary

            if not self._replace(live, changed, "forgot", others, kept):
                raise MLModelError(MLModelErrorCode.UPDATE, f"there is no label {label!r} to forget")
            return self.generation

    def remove(self, sample: MLFeatureProvider) -> int:
        """Forget a sample, whatever its label: every remembered one with the same features, and those waiting.

        Works as `forget`, for heads that remember their samples: nearest neighbours.
        """
        return self._revise(sample, None, "removed")

    def relabel(self, sample: MLFeatureProvider, label: str | int) -> int:
        """Give a sample another label, wherever it is remembered or waits; works as `remove`."""
        return self._revise(sample, label, "relabelled")

    # ------------------------------------------------------------------

    def _learn(
        self,
        batch: MLBatchProvider,
        configuration: MLModelConfiguration | None,
        handlers: MLUpdateProgressHandlers | None,
        learned: tuple[str, ...] = (),
    ) -> Generation:
        model, metrics = self._succession.train(batch, configuration, handlers)
        change = Change("added", sample_count(batch), metrics, learned)
        generation = self._succession.publish(model, change, spread(batch, CHECKED_SAMPLES))
        try:
            self._succession.pending.remove(learned)
            self._succession.generations.prune(self._keep)
        except StoreError as error:
            # The new generation answers, so the update did not fail; what is left over goes next time.
            log.warning("after generation %d: %s", generation.number, error)
        return generation

    def _revise(self, sample: MLFeatureProvider, label: str | int | None, kind: str) -> int:
        """Forget a sample, or give it a label."""
        with self._succession.turn() as live:
            model = live.model
            features = features_of(model, sample)

            def holds(other: MLModel) -> bool:
                return knows_sample(other, features, but_as=label)

            def revised(one: MLDictionaryFeatureProvider) -> dict[str, MLFeatureValue] | None:
                if not np.array_equal(features_of(model, one), features):
                    return one.dictionary
                return (
                    None if label is None else {**one.dictionary, model.output_name: MLFeatureValue.of(label)}
                )

            changed = None
            if holds(model):
                changed = (
                    without_sample(model, features) if label is None else with_label(model, features, label)
                )
            if not self._replace(live, changed, kind, self._others(live, holds), revised):
                what = "" if label is None else f" that is not {label!r} already"
                raise MLModelError(MLModelErrorCode.UPDATE, f"there is no such sample{what}")
            return self.generation

    def _others(self, live: Live, holds: Callable[[MLModel], bool]) -> list[int]:
        """The other generations that hold something, or of which nobody can tell whether they do."""
        succession = self._succession
        found = []
        for number in succession.generations.numbers():
            if number == live.number:
                continue
            try:
                if holds(succession.opened(succession.generations.model_path(number))):
                    found.append(number)
            except (StoreError, NotFoundError, MLModelError) as error:
                log.warning("generation %d cannot be looked into and is removed: %s", number, error)
                found.append(number)
        return found

    def _replace(
        self,
        live: Live,
        changed: MLModel | None,
        kind: str,
        others: list[int],
        revised: Callable[[MLDictionaryFeatureProvider], dict[str, MLFeatureValue] | None],
    ) -> bool:
        """Put `changed` in the place of what answers, remove `others`, revise what waits; False if all is nothing."""
        succession = self._succession
        waiting = succession.pending.change(revised)
        if changed is None:
            if others:
                succession.generations.point_to(live.number)
                succession.generations.remove(others)
            return bool(others or waiting)
        # What is replaced is named in the generation itself: a crash from here on is finished by the next start.
        replaces = [*others, live.number]
        succession.publish(changed, Change(kind, replaces=replaces))
        succession.generations.remove(replaces)
        return True


def _told(model: MLModel, answer: MLFeatureProvider) -> str | int | None:
    """The label of an answer, None for the default label and for none at all."""
    label = label_of(value_of(answer, model.output_name, missing=MLModelErrorCode.GENERIC))
    return None if label == model.default_label else label
