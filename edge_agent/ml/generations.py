"""This is where the generations of a model that was updated again and again are kept, and one of them answers.

They are versions of a `VersionRegistry`, each with the model in `model/`. What is particular to a generation
stands among the figures of its manifest, and so is checked with it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.errors import MLModelError, NotFoundError, StoreError
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import Version, VersionFacts, VersionRegistry

log = logging.getLogger(__name__)

FACTORY = 0
"""The number of the model that everything began with; it is not kept here."""

_MODEL = "model"


@dataclass(frozen=True)
class Generation:
    """One model that came from another by a change."""

    number: int
    """From 1 on, in the order they were made; never given twice."""
    parent: int
    """The one it was made from; 0 is the factory model."""
    created: float
    """When, in seconds since 1970."""
    change: str
    """What was done: `added`, `forgot`, `removed` or `relabelled`."""
    samples_added: int
    """How many samples it learned that its parent had not learned."""
    labels: tuple[str | int, ...]
    metrics: Mapping[str, float]
    """The last ones of its update; those that were no finite number are left out."""
    is_current: bool
    """Whether it is the one that is meant to answer."""


@dataclass(frozen=True)
class Change:
    """What has to be written down about a new generation."""

    kind: str
    samples_added: int = 0
    metrics: Mapping[str, float] | None = None
    learned: Sequence[str] = ()
    """Names of the files of pending samples that are in it."""
    replaces: Sequence[int] = ()
    """Generations that must not be left beside it."""


class Generations:
    """The generations below `folder`. One process may change them at a time, any number may read.

    Methods raise `NotFoundError` for one that is not there, `DamagedError` for one that is not what was
    written, `StoreError` (`DiskFullError`) when the disk refuses.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._registry = VersionRegistry(folder, clock=clock)

    def pointed(self) -> int:
        """The generation that is meant to answer: 0 for the factory model, -1 when nobody can tell."""
        pointed = self._registry.pointed()
        if pointed is None:
            return -1 if self._registry.numbers() else FACTORY
        return pointed

    def numbers(self) -> list[int]:
        """Those there are, oldest first, damaged ones among them."""
        return self._registry.numbers()

    def candidates(self) -> list[int]:
        """Those that may answer, best first: the one meant to, then every older one, the newest first."""
        pointed = self.pointed()
        numbers = self.numbers()
        if pointed == -1:
            log.warning("which generation is current cannot be read; the newest that can be used answers")
            return numbers[::-1]
        older = [number for number in reversed(numbers) if number < pointed]
        return [] if pointed == FACTORY else [pointed, *older]

    def model_path(self, number: int) -> Path:
        """Where the model of a generation lies, after every byte of it was held against its sum."""
        self._registry.verify(number)
        return self._registry.get(number).path / _MODEL

    def history(self) -> tuple[Generation, ...]:
        """Everything readable, oldest first."""
        pointed = self.pointed()
        return tuple(_generation(version, pointed) for version in self._registry.versions())

    def publish(
        self, model: MLModel, parent: int, change: Change, check: Callable[[Path], None]
    ) -> Generation:
        """Make a generation of a model and let it answer from now on.

        `check` is given the path of the written model before that, and raises to refuse it; then, as after
        any other failure, nothing is left of it.
        """
        version = self._registry.publish(
            lambda folder: model.write(to=folder / _MODEL),
            _facts(model, parent, change),
            lambda folder: check(folder / _MODEL),
        )
        return _generation(version, version.number)

    def point_to(self, number: int) -> None:
        """Let another generation answer, or the factory model."""
        if number == FACTORY:
            self._registry.withdraw()
        else:
            self._registry.roll_back(number)

    def remove(self, numbers: Collection[int]) -> None:
        """Remove generations for good; those that are not there are fine. The current one stays."""
        for number in self.numbers():
            if number in numbers and number != self.pointed():
                self._registry.remove(number)

    def prune(self, keep: int) -> None:
        """Leave `keep` of them: the current one, its parent, and then the newest."""
        numbers, pointed = self.numbers(), self.pointed()
        parents = [one.parent for one in self.history() if one.number == pointed]
        wanted = [number for number in (pointed, *parents) if number in numbers]
        wanted += [number for number in reversed(numbers) if number not in wanted]
        self.remove(wanted[keep:])

    def clear(self) -> None:
        """Remove all of them."""
        self._registry.remove_all()

    def replaced(self) -> set[int]:
        """Those that are still here though another one was made to be here without them."""
        replaced = {
            one for version in self._registry.versions() for one in version.metrics.get("replaces", ())
        }
        return replaced & set(self.numbers())

    def finish(self) -> set[str]:
        """Finish what a crash interrupted; the names of the pending samples that are learned already."""
        self._registry.clean()
        learned = {str(name) for one in self._registry.versions() for name in one.metrics.get("learned", ())}
        self.remove(self.replaced())
        return learned


def usable(generations: Generations, open_model: Callable[[Path], MLModel]) -> tuple[int, MLModel] | None:
    """The best generation that can be opened; None when it is the factory model. The log says what cannot."""
    passed_over = False
    for number in generations.candidates():
        try:
            model = open_model(generations.model_path(number))
        except (StoreError, NotFoundError, MLModelError) as error:
            log.warning("generation %d cannot be used: %s", number, error)
            passed_over = True
            continue
        if passed_over:
            log.warning("generation %d answers instead", number)
        return number, model
    if passed_over:
        log.warning("the factory model answers instead")
    return None


def _facts(model: MLModel, parent: int, change: Change) -> VersionFacts:
    labels = list(model.classes)
    figures = {name: float(one) for name, one in (change.metrics or {}).items() if math.isfinite(one)}
    return VersionFacts(
        parent=None if parent == FACTORY else parent,
        labels=[str(label) for label in labels],
        n_features=model.n_features,
        n_samples=change.samples_added,
        extractor_fingerprint=model.extractor_fingerprint,
        extractor_name="",
        head=model.head.name,
        agent_version=__version__,
        parameters={str(key): value for key, value in model.parameters.items()},
        metrics={
            "change": change.kind,
            "labels": labels,
            "update": figures,
            "learned": list(change.learned),
            "replaces": list(change.replaces),
        },
    )


def _generation(version: Version, pointed: int) -> Generation:
    known: Mapping[str, Any] = version.metrics
    return Generation(
        number=version.number,
        parent=FACTORY if version.parent is None else version.parent,
        created=version.created,
        change=str(known.get("change", "")),
        samples_added=version.n_samples,
        labels=tuple(known.get("labels", ())),
        metrics=dict(known.get("update", {})),
        is_current=version.number == pointed,
    )
