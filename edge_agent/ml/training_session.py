"""This is where the training of an image classifier has a folder, in which it survives everything."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from edge_agent.errors import MLCreateError, MLCreateErrorCode, StoreError, UserError
from edge_agent.ml.checkpoints import CheckpointFolder, MLCheckpoint
from edge_agent.ml.classifier_parameters import ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_cache import FeatureCache, FileKey
from edge_agent.ml.session_data import assigned, merged
from edge_agent.ml.session_folder import (
    FILE,
    FORMAT,
    GIVEN,
    TRAINING,
    DataFile,
    SessionFacts,
    change,
    change_on_disk,
    damaged,
    listed,
    read_facts,
    write_facts,
)
from edge_agent.ml.training_progress import MLPhase
from edge_agent.store.atomic import make_folder

_RAISABLE = {"max_iterations"}
"""Parameters that may grow between two runs of a session: a longer training begins as the shorter one did."""


@dataclass(frozen=True)
class MLTrainingSessionParameters:
    """Where a session lies and how often it tells and keeps what it has.

    Raises `MLCreateError` TYPE, naming the parameter, for a value of another kind.
    """

    session_directory: Path | str | None = None
    """None: a folder among the temporary files, which is not taken up again."""
    report_interval: int = 5
    """Files or iterations between two reports."""
    checkpoint_interval: int = 10
    """Files or iterations between two checkpoints."""
    iterations: int = 1000
    """An upper bound beside `max_iterations` of the model's parameters; the smaller one holds."""
    accepts_modified_data: bool = False
    """Whether files may be added, removed or changed between two runs: only new ones are looked at, and
    training begins anew. Otherwise that is refused, as Apple's sessions do."""

    def __post_init__(self) -> None:
        if self.session_directory is not None:
            given = self.session_directory
            if not isinstance(given, str | Path) or not str(given) or "\0" in str(given):
                raise _wrong(f"session_directory is a path, not {self.session_directory!r}")
            object.__setattr__(self, "session_directory", Path(self.session_directory))
        for name in ("report_interval", "checkpoint_interval", "iterations"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise _wrong(f"{name} is a whole number above 0, not {value!r}")


class MLTrainingSession:
    """The training of one image classifier, from its first file to its last iteration, on disk.

    Made by `MLImageClassifier.make_training_session` or `restore_training_session`; run by a job, one at a
    time. Whatever ends a run, the next one goes on from the last checkpoint and comes to the same result.
    """

    folder: Path
    parameters: MLTrainingSessionParameters
    model_parameters: ModelParameters
    phase: MLPhase
    """What the job that runs it is doing; INITIALIZED while none does."""

    def __init__(self, folder: Path, parameters: MLTrainingSessionParameters, facts: SessionFacts) -> None:
        self.folder = folder
        self.parameters = parameters
        self.facts = facts
        self.model_parameters = ModelParameters.from_json(facts.parameters)
        self.kept = CheckpointFolder(folder)
        self.phase = MLPhase.INITIALIZED

    @property
    def date(self) -> float:
        """When it was made, in seconds since 1970."""
        return self.facts.date

    @property
    def checkpoints(self) -> list[MLCheckpoint]:
        """All that are on disk, in the order they were made."""
        return self.kept.all()

    @property
    def iteration(self) -> int:
        """How many iterations of training the last checkpoint has."""
        last = self.kept.latest(MLPhase.TRAINING)
        return last.iteration if last else 0

    @property
    def limit(self) -> int:
        """How many iterations training has at most."""
        return min(self.parameters.iterations, self.model_parameters.max_iterations)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the training pictures, sorted."""
        return tuple(sorted({one.label for one in self.facts.files if one.role == TRAINING}))

    @property
    def cache(self) -> FeatureCache:
        """The features of the files that were looked at."""
        return FeatureCache(self.folder, self.facts.n_features)

    @property
    def has_extracted(self) -> bool:
        """Whether every file has been looked at."""
        return self.is_complete(self.cache)

    def is_complete(self, cache: FeatureCache) -> bool:
        """Whether every file is in `cache`."""
        return bool(self.facts.fingerprint) and all(one.key in cache for one in self.facts.files)

    def remove_checkpoints(self, predicate: Callable[[MLCheckpoint], bool]) -> None:
        """Delete the checkpoints for which `predicate` is true, with their files; features stay."""
        for checkpoint in self.checkpoints:
            if predicate(checkpoint):
                self.kept.remove(checkpoint)

    def reuse_extracted_features(self, from_session: MLTrainingSession) -> None:
        """Take over what another session has seen of the same files, so that they need not be looked at again.

        Raises `MLCreateError`: GENERIC when this session has checkpoints of its own or the other has not
        looked at all of its files, INCOMPATIBLE_PARAMETERS when its extractor or its augmentation is another.
        """
        if self.checkpoints:
            raise MLCreateError(
                MLCreateErrorCode.GENERIC,
                f"{self.folder}: has checkpoints of its own; features can be reused only in a new session",
            )
        if not from_session.has_extracted:
            raise MLCreateError(
                MLCreateErrorCode.GENERIC,
                f"{from_session.folder}: has not extracted the features of all its files yet",
            )
        if from_session.folder.absolute() == self.folder.absolute():
            return
        for name in ("feature_extractor", "augmentation", "augmentation_settings"):
            theirs, ours = from_session.facts.parameters[name], self.facts.parameters[name]
            if theirs != ours:
                raise incompatible(name, theirs, ours)
        theirs = from_session.cache
        roles = {one.key: one.role for one in from_session.facts.files}
        same = [one.key for one in self.facts.files if roles.get(one.key) == one.role and one.key in theirs]
        self.set_extractor(from_session.facts.fingerprint, from_session.facts.n_features)
        cache = self.cache
        block = 256
        for start in range(0, len(same), block):
            cache.add(theirs.all(same[start : start + block]))

    def set_extractor(self, fingerprint: str, n_features: int) -> None:
        """Write down which extractor gives the features; what another one gave is forgotten."""
        facts = self.facts
        if (facts.fingerprint, facts.n_features) == (fingerprint, n_features):
            return
        if facts.fingerprint:
            self.cache.clear()
            self.remove_checkpoints(lambda _: True)
        self._write(fingerprint=fingerprint, n_features=n_features)

    def check_data(self) -> None:
        """Raises `MLCreateError` MODIFIED_TRAINING_DATA when a file is gone or another than it was.

        A session that accepts modified data does without the files that are gone, and looks at the others
        anew.
        """
        found = change_on_disk(self.facts.files)
        if not found:
            return
        if not self.parameters.accepts_modified_data:
            raise modified(self.folder, found)
        gone = set(found.removed)
        parts: dict[bool, dict[str, list[Path]]] = {False: {}, True: {}}
        for one in self.facts.files:
            if one.key.path not in gone:
                parts[one.role == GIVEN].setdefault(one.label, []).append(Path(one.key.path))
        given = [DataFile(key, label, GIVEN) for key, label in listed(parts[True])]
        self.take_data(listed(parts[False]), given)

    def take_data(self, now: list[tuple[FileKey, str]], given: list[DataFile] | None = None) -> None:
        """Go on with these files: those known keep their part, training begins anew.

        `given` are the files to validate by, where they are not those of before.
        """
        known = self.facts.files
        if given is not None:
            known = [one for one in known if one.role != GIVEN] + given
        files = merged(known, now, self.model_parameters)
        self.remove_checkpoints(lambda one: one.phase is MLPhase.TRAINING)
        self._write(files=files)

    def take_parameters(self, given: ModelParameters) -> None:
        """Go on with these parameters.

        Raises `MLCreateError` INCOMPATIBLE_PARAMETERS for one that is not what the session began with; only
        `max_iterations` may be raised.
        """
        kept, new = self.facts.parameters, given.to_json()
        for name, value in new.items():
            raised = name in _RAISABLE and value > kept[name]
            if value != kept.get(name) and not raised:
                raise incompatible(name, kept.get(name), value)
        if new != kept:
            self._write(parameters=new)
            self.model_parameters = given

    def _write(self, **changes: Any) -> None:
        fields: dict[str, Any] = {name: getattr(self.facts, name) for name in SessionFacts.__struct_fields__}
        self.facts = SessionFacts(**{**fields, **changes})
        write_facts(self.folder, self.facts)


def open_session(
    data: DataSource,
    parameters: ModelParameters,
    session_parameters: MLTrainingSessionParameters,
    *,
    clock: Callable[[], float] = time.time,
) -> MLTrainingSession:
    """A new session, or the one that lies in the folder already.

    Raises `MLCreateError`: IO when nothing is found to learn from or the folder cannot be used,
    INCOMPATIBLE_PARAMETERS and MODIFIED_TRAINING_DATA when the session there began otherwise, TYPE for
    parameters that are none and when there is one label only.
    """
    expect(parameters, ModelParameters)
    expect(session_parameters, MLTrainingSessionParameters)
    folder = session_parameters.session_directory
    if folder is None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="edge-agent-training-"))
        except OSError as error:
            raise _unusable(f"a folder among the temporary files cannot be made: {error}") from error
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        session_parameters = replace(session_parameters, session_directory=folder)
    folder = Path(folder)
    now = listed(data.labeled_images())
    if (folder / FILE).exists():
        session = restored_session(session_parameters)
        session.take_parameters(parameters)
        found = change([one for one in session.facts.files if one.role != GIVEN], now)
        if found:
            if not session_parameters.accepts_modified_data:
                raise modified(folder, found)
            session.take_data(now)
        return session
    files = assigned(now, parameters)
    labels = sorted({one.label for one in files if one.role == TRAINING})
    if not labels:
        raise _unusable("there are no pictures to learn from")
    if len(labels) < 2:
        raise _wrong(f"a classifier tells at least two labels apart; only {labels[0]!r} has pictures")
    facts = SessionFacts(
        format=FORMAT,
        date=clock(),
        parameters=parameters.to_json(),
        fingerprint="",
        n_features=0,
        files=files,
    )
    try:
        make_folder(folder)
        write_facts(folder, facts)
    except StoreError as error:
        raise _unusable(str(error)) from error
    return MLTrainingSession(folder, session_parameters, facts)


def restored_session(session_parameters: MLTrainingSessionParameters) -> MLTrainingSession:
    """The session in a folder, from what lies there alone; raises `MLCreateError` IO when there is none."""
    expect(session_parameters, MLTrainingSessionParameters)
    folder = session_parameters.session_directory
    if folder is None:
        raise MLCreateError(MLCreateErrorCode.IO, "a session is restored from its folder: session_directory")
    try:
        return MLTrainingSession(Path(folder), session_parameters, read_facts(Path(folder)))
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise damaged(Path(folder) / FILE, repr(error)) from error
    except MLCreateError as error:
        if error.code is MLCreateErrorCode.IO:
            raise
        raise damaged(Path(folder) / FILE, str(error)) from error


def expect(value: object, kind: type) -> None:
    """Raises `MLCreateError` TYPE for a value of another kind."""
    if not isinstance(value, kind):
        raise _wrong(f"{kind.__name__} is expected, not {value!r}")


def incompatible(name: str, original: Any, new: Any) -> MLCreateError:
    """The error for a parameter that is not what a session began with."""
    return MLCreateError(
        MLCreateErrorCode.INCOMPATIBLE_PARAMETERS,
        f"{name} was {_shown(original)} when the session began and is {_shown(new)} now;"
        " begin another session for that",
        parameter=name,
        original_value=original,
        new_value=new,
    )


def modified(folder: Path, found: object) -> MLCreateError:
    """The error for files that are not those a session began with."""
    return MLCreateError(
        MLCreateErrorCode.MODIFIED_TRAINING_DATA,
        f"{folder}: the pictures are not those the session began with: {found};"
        " accept modified data to look at the new ones only, or begin another session",
    )


def _shown(value: Any) -> str:
    return (
        ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else repr(value)
    )


def _unusable(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.IO, message)


def _wrong(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.TYPE, message)
