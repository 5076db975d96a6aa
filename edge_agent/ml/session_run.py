"""This is where a training session goes through its phases: it looks at its files, learns, and is measured."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import (
    ExtractorError,
    HomeError,
    HomeLockedError,
    MLCreateError,
    MLCreateErrorCode,
    MLModelError,
    StoreError,
    UserError,
)
from edge_agent.ml.augmentation import variants
from edge_agent.ml.checkpoints import FitState, MLCheckpoint
from edge_agent.ml.estimates import log_loss
from edge_agent.ml.feature_cache import FeatureCache, LookedAt
from edge_agent.ml.feature_source import ExtractedFeatures, FeatureSource
from edge_agent.ml.fits import FITS
from edge_agent.ml.fits.protocol import Fit, FitData
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.jobs import MLJob
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.ml.model import MLModel
from edge_agent.ml.picture_labels import printable_path
from edge_agent.ml.session_folder import TRAINING, DataFile, change_on_disk
from edge_agent.ml.training_progress import MLPhase, MLProgressMetric
from edge_agent.ml.training_session import MLTrainingSession, modified
from edge_agent.store.lock import ProcessLock

log = logging.getLogger(__name__)

Metric = MLProgressMetric

BLOCK_ROWS = 2048
"""So many pictures are answered for at a time: features that lie on disk stay there."""


@dataclass(frozen=True)
class SessionResult:
    """What came out of a session."""

    head: Head
    fingerprint: str
    n_features: int
    training_metrics: MLClassifierMetrics
    validation_metrics: MLClassifierMetrics
    history: list[dict[str, float]]
    """The metrics of each iteration, from the first on."""
    converged: bool
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why a file could not be used, by its path."""
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each picture, by its path."""


def run_session(
    session: MLTrainingSession,
    job: MLJob[Any],
    open_source: Callable[[], FeatureSource],
    *,
    clock: Callable[[], float] = time.time,
) -> SessionResult:
    """Go on until the session has its result.

    Raises `MLCreateError`: CANCELLED when the job was cancelled, MODIFIED_TRAINING_DATA when a file changed,
    IO when another job runs the session, the disk refuses or the extractor cannot be used, TYPE when there is
    not enough to learn from or no such extractor. What else was raised is the cause.
    """
    lock = ProcessLock(session.folder / "lock")
    try:
        lock.acquire()
        try:
            return _run(session, job, open_source, clock)
        finally:
            session.phase = MLPhase.INITIALIZED
            lock.release()
    except HomeLockedError as error:
        raise _failed(f"{session.folder}: another process or job runs this session") from error
    except (HomeError, StoreError, ExtractorError) as error:
        raise _failed(str(error)) from error
    except UserError as error:
        raise MLCreateError(MLCreateErrorCode.TYPE, str(error)) from error
    except MLModelError as error:
        raise MLCreateError(MLCreateErrorCode.GENERIC, str(error)) from error


def _run(
    session: MLTrainingSession,
    job: MLJob[Any],
    open_source: Callable[[], FeatureSource],
    clock: Callable[[], float],
) -> SessionResult:
    session.check_data()
    run = _Run(session, job, clock)
    cache = session.cache
    cache.mend()
    if not session.is_complete(cache):
        source = open_source()
        try:
            session.set_extractor(source.fingerprint, source.n_features)
            cache = session.cache
            run.extract(source, cache)
        finally:
            source.close()
    return run.learn(cache)


def _failed(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.IO, message)


class _Run:
    def __init__(self, session: MLTrainingSession, job: MLJob[Any], clock: Callable[[], float]) -> None:
        self._session = session
        self._job = job
        self._clock = clock

    def _enter(self, phase: MLPhase) -> None:
        self._session.phase = phase
        self._job.phase.send(phase)

    # ------------------------------------------------------------------ looking at the files

    def extract(self, source: FeatureSource, cache: FeatureCache) -> None:
        """Look at every file that has not been looked at, each with its copies; keep a block at a time."""
        session, job = self._session, self._job
        self._enter(MLPhase.EXTRACTING_FEATURES)
        files = session.facts.files
        todo = [one for one in files if one.key not in cache]
        done, total = len(files) - len(todo), len(files)
        every, kept = session.parameters.report_interval, session.parameters.checkpoint_interval
        block: list[LookedAt] = []
        job.report(MLPhase.EXTRACTING_FEATURES, done, total)
        try:
            for one in self._looked_at(source, todo):
                block.append(one)
                done += 1
                if len(block) >= kept:
                    self._keep(cache, block, done)
                if done % every == 0 or done == total:
                    job.report(MLPhase.EXTRACTING_FEATURES, done, total)
                job.check()
        finally:
            self._keep(cache, block, done)

    def _keep(self, cache: FeatureCache, block: list[LookedAt], done: int) -> None:
        if block:
            cache.add(block)
            block.clear()
            self._checkpoint(MLPhase.EXTRACTING_FEATURES, done, {})

    def _looked_at(self, source: FeatureSource, todo: Sequence[DataFile]) -> Iterator[LookedAt]:
        parameters = self._session.model_parameters
        copies = variants(parameters.augmentation)
        wanted = (
            (Path(one.key.path), variant)
            for one in todo
            for variant in (None, *(copies if one.role == TRAINING else ()))
        )
        answers = iter(source.extract(wanted))
        for one in todo:
            count = 1 + (len(copies) if one.role == TRAINING else 0)
            seen = _file_of(one, list(itertools.islice(answers, count)), source.n_features)
            if seen.error is not None and (gone := change_on_disk([one])):
                # The disk was taken away, say: nothing is wrong with the picture, and it is not kept as bad.
                raise modified(self._session.folder, gone)
            yield seen

    # ------------------------------------------------------------------ learning

    def learn(self, cache: FeatureCache) -> SessionResult:
        """Train to convergence or to the limit, and measure what came out."""
        session, job = self._session, self._job
        files = [one for one in session.facts.files if cache.entry(one.key).error is None]
        learned = [one for one in files if one.role == TRAINING]
        held = [one for one in files if one.role != TRAINING]
        refused = {one.key.path: why for one in session.facts.files if (why := cache.entry(one.key).error)}
        classes = _classes(learned, refused)
        X, owners = cache.rows([one.key for one in learned])
        y = np.array([classes.index(one.label) for one in learned], dtype=np.intp)
        X_held, _ = cache.rows([one.key for one in held])
        self._enter(MLPhase.TRAINING)
        data = FitData(X, y[owners], classes, pictures=owners)
        fit, history = self._begun(data)
        if history:
            known = {Metric(name): value for name, value in history[-1].items()}
            job.report(MLPhase.TRAINING, fit.iteration, session.limit, known)
        while fit.iteration < session.limit and not fit.converged:
            metrics = fit.step()
            row = {Metric.LOSS: metrics.loss, Metric.ACCURACY: metrics.accuracy}
            row |= _validation(fit.head(), X_held, [one.label for one in held])
            history.append({key.value: value for key, value in row.items()})
            over = fit.converged or fit.iteration >= session.limit
            if over or fit.iteration % session.parameters.checkpoint_interval == 0:
                self._checkpoint(MLPhase.TRAINING, fit.iteration, row, fit, history)
            if over or fit.iteration % session.parameters.report_interval == 0:
                job.report(MLPhase.TRAINING, fit.iteration, session.limit, row)
            job.check()
        self._enter(MLPhase.EVALUATING)
        head = fit.head()
        entries = [(one, cache.entry(one.key)) for one in session.facts.files]
        return SessionResult(
            head=head,
            fingerprint=session.facts.fingerprint,
            n_features=session.facts.n_features,
            training_metrics=measured(head, X, [one.label for one in learned], data.originals),
            validation_metrics=measured(head, X_held, [one.label for one in held]),
            history=history,
            converged=fit.converged,
            unreadable=refused,
            sizes={
                one.key.path: (entry.width, entry.height) for one, entry in entries if entry.error is None
            },
        )

    def _begun(self, data: FitData) -> tuple[Fit, list[dict[str, float]]]:
        """The fit as the last checkpoint has it, or a new one."""
        classifier = self._session.model_parameters.algorithm.classifier
        kind = FITS.get(classifier.fit)
        if kind is None:
            raise MLCreateError(
                MLCreateErrorCode.TYPE,
                f"the classifier {classifier.fit!r} is not known; known are {', '.join(sorted(FITS))}",
            )
        limit, kept = self._session.limit, self._session.kept
        for one in reversed(kept.all()):
            if one.phase is not MLPhase.TRAINING or one.iteration > limit:
                continue
            try:
                state = kept.state(one)
                return kind.restore(data, state.arrays, state.description["fit"]), list(
                    state.description["history"]
                )
            except (MLCreateError, MLModelError, LookupError, TypeError, ValueError) as error:
                log.warning("%s: removed, training goes on from the one before: %s", one.url, error)
                kept.remove(one)
        try:
            return kind.begin(data, classifier.parameters, self._session.model_parameters.seed), []
        except MLModelError as error:
            raise MLCreateError(MLCreateErrorCode.TYPE, str(error)) from error

    def _checkpoint(
        self,
        phase: MLPhase,
        iteration: int,
        metrics: Mapping[MLProgressMetric, float],
        fit: Fit | None = None,
        history: Sequence[Mapping[str, float]] = (),
    ) -> MLCheckpoint:
        state = write = None
        if fit is not None:
            described = {"fit": fit.describe(), "history": list(history), "converged": fit.converged}
            state = FitState(fit.arrays(), described)
            model = MLModel(
                fit.head(), extractor_fingerprint=self._session.facts.fingerprint, is_writable=True
            )
            write = model.write
        made = self._session.kept.add(
            phase, iteration, self._clock(), metrics, state=state, write_model=write
        )
        self._job.checkpoints.send(made)
        return made


def _file_of(one: DataFile, answers: Sequence[ExtractedFeatures], n_features: int) -> LookedAt:
    original = answers[0]
    error = next((answer.error for answer in answers if answer.error is not None), None)
    rows = [answer.features for answer in answers if answer.features is not None]
    if error is not None or len(rows) != len(answers):
        nothing = np.zeros((0, n_features), np.float32)
        return LookedAt(
            one.key, nothing, original.width, original.height, original.digest, error or "no features"
        )
    return LookedAt(one.key, np.stack(rows), original.width, original.height, original.digest)


def _classes(learned: Sequence[DataFile], refused: Mapping[str, str]) -> tuple[str, ...]:
    classes = tuple(sorted({one.label for one in learned}))
    if len(classes) < 2:
        found = f"only {classes[0]!r} has" if classes else "no label has"
        first = next((f"; {printable_path(path)}: {why}" for path, why in refused.items()), "")
        more = f", and {len(refused) - 1} more cannot be read" if len(refused) > 1 else ""
        raise MLCreateError(
            MLCreateErrorCode.TYPE,
            f"a classifier tells at least two labels apart; {found} pictures that can be read{first}{more}",
        )
    return classes


def _validation(head: Head, X: NDArray[np.float32], labels: Sequence[str]) -> dict[MLProgressMetric, float]:
    """Accuracy on pictures held out, and loss on those of labels that were learned; nothing without any."""
    if not labels:
        return {}
    P = _answers(head, X)
    known = {label: column for column, label in enumerate(head.classes_)}
    right = [head.classes_[int(row.argmax())] == label for row, label in zip(P, labels, strict=True)]
    found = {Metric.VALIDATION_ACCURACY: float(np.mean(right))}
    rows = [index for index, label in enumerate(labels) if label in known]
    if rows:
        y = np.array([known[labels[index]] for index in rows], dtype=np.intp)
        found[Metric.VALIDATION_LOSS] = log_loss(P[rows], y)
    return found


def measured(
    head: Head, X: NDArray[np.float32], labels: Sequence[str], rows: NDArray[np.intp] | None = None
) -> MLClassifierMetrics:
    """How a head answers for features [n, D], or only some `rows` of them, of known labels.

    Without figures where there are no labels.
    """
    return MLClassifierMetrics.from_probabilities(labels, _answers(head, X, rows), head.classes_)


def _answers(head: Head, X: NDArray[np.float32], rows: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
    n = len(X) if rows is None else len(rows)
    P = np.empty((n, len(head.classes_)))
    for start in range(0, n, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        P[part] = head.predict_proba(X[part] if rows is None else X[rows[part]])
    return P
