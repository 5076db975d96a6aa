"""This is where the moments of a training session are kept from which it can go on."""

from __future__ import annotations

import io
import itertools
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.training_progress import MLPhase, MLProgressMetric
from edge_agent.store.atomic import TEMPORARY_PREFIX, publish_directory, remove_tree, translated, write_file

FOLDER = "checkpoints"
_FACTS, _ARRAYS, MODEL = "checkpoint.json", "fit.npz", "model"
_FORMAT = 1
_numbers = itertools.count()

MOST_OF_EXTRACTION = 16
"""So many checkpoints of extraction stay, the latest: features are not in them, and a hundred thousand pictures
would leave ten thousand."""


class _Facts(msgspec.Struct, frozen=True):
    format: int
    phase: MLPhase
    iteration: int
    date: float
    metrics: dict[str, float]
    state: dict[str, Any] | None = None


@dataclass(frozen=True)
class MLCheckpoint:
    """A moment of a session. Only one of the training phase makes a classifier."""

    url: Path
    """Its folder below the session's."""
    phase: MLPhase
    iteration: int
    """Files that were looked at, or iterations of training that were done."""
    date: float
    """Seconds since 1970."""
    metrics: Mapping[MLProgressMetric, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values; `from_json` reads them."""
        return {
            "url": str(self.url),
            "phase": self.phase.value,
            "iteration": self.iteration,
            "date": self.date,
            "metrics": {str(key): value for key, value in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MLCheckpoint:
        """The checkpoint these came from; raises `MLCreateError` TYPE for what is none."""
        try:
            return cls(
                Path(values["url"]),
                MLPhase(values["phase"]),
                int(values["iteration"]),
                float(values["date"]),
                {MLProgressMetric(key): float(value) for key, value in values["metrics"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MLCreateError(MLCreateErrorCode.TYPE, f"this is no checkpoint: {error!r}") from error


@dataclass(frozen=True)
class FitState:
    """What a fit needs to go on."""

    arrays: Mapping[str, NDArray[Any]]
    description: Mapping[str, Any]


class CheckpointFolder:
    """All checkpoints of a session, each a folder that is complete or not there."""

    def __init__(self, session: Path) -> None:
        self._folder = session / FOLDER

    def all(self) -> list[MLCheckpoint]:
        """Those that can be read, in the order they were made; what a crash left behind is passed over."""
        found = []
        for path in sorted(self._folder.glob("[et]*-*")) if self._folder.is_dir() else ():
            facts = _facts_in(path)
            if facts is not None:
                metrics = {MLProgressMetric(key): value for key, value in facts.metrics.items()}
                found.append(MLCheckpoint(path, facts.phase, facts.iteration, facts.date, metrics))
        return sorted(found, key=lambda one: (one.phase is MLPhase.TRAINING, one.iteration))

    def latest(self, phase: MLPhase) -> MLCheckpoint | None:
        """The last one of a phase."""
        return next((one for one in reversed(self.all()) if one.phase is phase), None)

    def add(
        self,
        phase: MLPhase,
        iteration: int,
        date: float,
        metrics: Mapping[MLProgressMetric, float],
        *,
        state: FitState | None = None,
        write_model: Any = None,
    ) -> MLCheckpoint:
        """Keep one more, whole or not at all; one of the same phase and iteration stays as it is.

        `write_model` is called with the path where the head is to be written. Raises `StoreError`
        (`DiskFullError`) with the path when the disk refuses.
        """
        short = "training" if phase is MLPhase.TRAINING else "extraction"
        final = self._folder / f"{short}-{iteration:08}"
        if _facts_in(final) is None:
            with translated(final, "keep a checkpoint"):
                self._folder.mkdir(mode=0o700, exist_ok=True)
                remove_tree(final)
                staging = self._folder / f"{TEMPORARY_PREFIX}{final.name}-{os.getpid()}-{next(_numbers)}"
                staging.mkdir(mode=0o700)
            try:
                _fill(staging, _facts_of(phase, iteration, date, metrics, state), state)
                if write_model is not None:
                    write_model(staging / MODEL)
                publish_directory(staging, final)
            finally:
                remove_tree(staging)
            if phase is not MLPhase.TRAINING:
                self._thin_out()
        return MLCheckpoint(final, phase, iteration, date, dict(metrics))

    def _thin_out(self) -> None:
        for path in sorted(self._folder.glob("extraction-*"))[:-MOST_OF_EXTRACTION]:
            remove_tree(path)

    def state(self, checkpoint: MLCheckpoint) -> FitState:
        """What a checkpoint of the training phase keeps; raises `MLCreateError` IO when it cannot be read."""
        facts = _facts_in(checkpoint.url)
        try:
            with (
                (checkpoint.url / _ARRAYS).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                kept = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _unreadable(checkpoint.url, str(error)) from error
        if facts is None or facts.state is None:
            raise _unreadable(checkpoint.url, "it keeps nothing to go on from")
        return FitState(kept, facts.state)

    def remove(self, checkpoint: MLCheckpoint) -> None:
        """Delete one with its files; raises `MLCreateError` IO for one that is not of this session."""
        if checkpoint.url.parent != self._folder:
            raise MLCreateError(
                MLCreateErrorCode.IO, f"{checkpoint.url}: is no checkpoint of the session in {self._folder}"
            )
        remove_tree(checkpoint.url)


def _fill(folder: Path, facts: _Facts, state: FitState | None) -> None:
    if state is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **state.arrays)  # type: ignore[arg-type]
        write_file(folder / _ARRAYS, buffer.getvalue())
    write_file(folder / _FACTS, msgspec.json.encode(facts))


def _facts_of(
    phase: MLPhase,
    iteration: int,
    date: float,
    metrics: Mapping[MLProgressMetric, float],
    state: FitState | None,
) -> _Facts:
    plain = {key.value: float(value) for key, value in metrics.items()}
    return _Facts(_FORMAT, phase, iteration, date, plain, None if state is None else dict(state.description))


def _facts_in(folder: Path) -> _Facts | None:
    try:
        facts = msgspec.json.decode((folder / _FACTS).read_bytes(), type=_Facts)
    except (OSError, msgspec.DecodeError):
        return None
    return facts if facts.format == _FORMAT else None


def _unreadable(path: Path, problem: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.IO, f"{path}: the checkpoint cannot be read: {problem}")
