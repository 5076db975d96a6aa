"""This is where everything a report says is gathered from a session, what came out of it, and a test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ExtractorError, MLCreateError, MLCreateErrorCode, UserError
from edge_agent.ml.diagnosis import data_advice, diagnose
from edge_agent.ml.duplicates import duplicate_advice
from edge_agent.ml.feature_cache import matrix
from edge_agent.ml.feature_source import ExtractedFeatures
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.label_errors import label_doubts, leave_one_out
from edge_agent.ml.learning_curve import CurvePoint, learning_curve
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.ml.picture_labels import printable_path
from edge_agent.ml.session_folder import TRAINING, DataFile
from edge_agent.ml.session_run import SessionResult
from edge_agent.ml.training_session import MLTrainingSession
from edge_agent.report.verdict import conclusion
from edge_agent.vision.feature_source import card_for

SHOWN = 24
"""So many mistakes, and so many doubtful labels, are kept."""
BLOCK_FILES = 256
"""Features are read from the cache for so many files at a time."""
WELL_MEASURED = 10
"""Pictures of each label: with fewer, the validation says less than leaving each picture out in turn."""


@dataclass(frozen=True)
class JudgedPicture:
    """What a classifier said of a picture whose label is known."""

    path: Path
    label: str
    predicted: str
    probability: float
    """Of the predicted label."""
    own_probability: float
    """Of the true one; 0 for a label that was not learned."""
    part: str
    """"training", "validation" or "test"."""


@dataclass(frozen=True)
class SuspectPicture:
    """A picture that is probably called by the wrong name."""

    path: Path
    label: str
    suggested: str
    probability: float
    """Of the suggested label, by a classifier that did not learn this picture."""


@dataclass(frozen=True)
class TestEvaluation:
    """What a classifier said of pictures kept for a test."""

    __test__ = False  # pytest takes classes of such names for its own

    metrics: MLClassifierMetrics
    judged: tuple[JudgedPicture, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why a file could not be used, by its path."""


@dataclass(frozen=True)
class Measured:
    """Accuracy of one kind, and on what it was measured."""

    name: str
    meaning: str
    metrics: MLClassifierMetrics


@dataclass(frozen=True)
class ReportFacts:
    """All that a report says; made by `report_facts`."""

    labels: tuple[str, ...]
    pictures: Mapping[str, int]
    """How many each label has for training and validation, those that could be read."""
    folder: Path
    """That all of them lie below."""
    extractor: str
    classifier: str
    head: str
    augmentation: str
    date: float
    """In seconds since 1970."""
    seconds: float | None
    history: Sequence[Mapping[str, float]]
    converged: bool
    measured: tuple[Measured, ...]
    """Training, validation, test, and each picture left out in turn; those that were not are left out."""
    basis: Measured
    """The one that confusions and the figures of each label are from."""
    mistakes: tuple[JudgedPicture, ...]
    """The worst first, of pictures that were not learned from if there are any."""
    n_mistakes: int
    suspects: tuple[SuspectPicture, ...]
    """The clearest first."""
    n_suspects: int
    curve: tuple[CurvePoint, ...]
    conclusion: str
    """Whether to photograph more, and what."""
    advice: tuple[str, ...]
    """By the accuracies."""
    warnings: tuple[str, ...]
    """About the pictures."""
    unreadable: Mapping[str, str]


def report_facts(
    session: MLTrainingSession,
    result: SessionResult,
    test: TestEvaluation | None = None,
    *,
    seconds: float | None = None,
    date: float | None = None,
) -> ReportFacts:
    """Gather everything; the learning curve and the doubts about labels take the longest.

    `date` is when it was trained, that of the session unless given. Features come from the session's cache.
    Raises `MLCreateError` IO when that is damaged, `StoreError` when there is no room for many features.
    """
    cache = session.cache
    known = set(result.head.classes_)
    lost = [one.key.path for one in session.facts.files if one.key not in cache]
    if lost:
        raise MLCreateError(
            MLCreateErrorCode.IO,
            f"{session.folder}: the features of {len(lost)} files are not there (first {printable_path(lost[0])});"
            " resume the session, it looks at them again",
        )
    files = [one for one in session.facts.files if cache.entry(one.key).error is None]
    X = _originals(session, files)
    judged = _judged(
        result.head,
        X,
        [
            (Path(one.key.path), one.label, "training" if one.role == TRAINING else "validation")
            for one in files
        ],
    )
    own = np.array([index for index, one in enumerate(files) if one.label in known], dtype=np.intp)
    classes = tuple(sorted(known))
    column = {label: index for index, label in enumerate(classes)}
    y = np.array([column.get(one.label, 0) for one in files], dtype=np.intp)
    data = FitData(X, y, classes, None if len(own) == len(files) else own)
    P = leave_one_out(data)
    doubts = label_doubts(data, P)
    measured = _measured(result, test, _left_out(P, data))
    basis = _basis(measured, len(classes))
    pictures = dict(sorted(Counter(one.label for one in files).items()))
    curve = tuple(learning_curve(data))
    wrong = _mistakes([*judged, *(test.judged if test is not None else ())])
    parameters = session.model_parameters
    return ReportFacts(
        labels=classes,
        pictures=pictures,
        folder=_folder(session.facts.files),
        extractor=str(parameters.algorithm.feature_extractor),
        classifier=str(parameters.algorithm.classifier),
        head=result.head.name,
        augmentation=str(parameters.augmentation),
        date=session.date if date is None else date,
        seconds=seconds,
        history=tuple(result.history),
        converged=result.converged,
        measured=measured,
        basis=basis,
        mistakes=tuple(wrong[:SHOWN]),
        n_mistakes=len(wrong),
        suspects=tuple(
            SuspectPicture(Path(files[own[one.index]].key.path), one.label, one.suggested, one.probability)
            for one in doubts[:SHOWN]
        ),
        n_suspects=len(doubts),
        curve=curve,
        conclusion=conclusion(curve, basis.metrics, pictures, doubts=len(doubts)),
        advice=_advice(session, result, test),
        warnings=(
            *_warnings(session, result, pictures, test),
            *map(str, duplicate_advice(files, lambda one: cache.entry(one.key).digest)),
        ),
        unreadable={**result.unreadable, **(test.unreadable if test is not None else {})},
    )


def evaluated(
    head: Head, images: Mapping[str, Sequence[Path | str]], seen: Iterable[ExtractedFeatures]
) -> TestEvaluation:
    """What a head says of labelled pictures; `seen` is one answer for each, label by label in their order.

    Without a picture that could be read the metrics are invalid and say why.
    """
    names = [(Path(path), label) for label, paths in images.items() for path in paths]
    usable: list[tuple[Path, str, str]] = []
    rows: list[NDArray[np.float32]] = []
    unreadable: dict[str, str] = {}
    for (path, label), one in zip(names, seen, strict=True):
        if one.features is None:
            unreadable[str(path)] = one.error or "no features"
        else:
            usable.append((path, label, "test"))
            rows.append(one.features)
    if not rows:
        return TestEvaluation(MLClassifierMetrics.invalid("no picture could be read"), (), unreadable)
    judged = tuple(_judged(head, np.stack(rows), usable))
    metrics = MLClassifierMetrics.from_probabilities(
        [label for _, label, _ in usable], head.predict_proba(np.stack(rows)), head.classes_
    )
    return TestEvaluation(metrics, judged, unreadable)


def _originals(session: MLTrainingSession, files: Sequence[DataFile]) -> Any:
    """The features [n, D] of the files as they are, without those of their copies."""
    cache = session.cache
    X = matrix(len(files), session.facts.n_features, session.folder)
    for start in range(0, len(files), BLOCK_FILES):
        block = files[start : start + BLOCK_FILES]
        rows, owners = cache.rows([one.key for one in block])
        X[start : start + len(block)] = rows[np.searchsorted(owners, np.arange(len(block)))]
    return X


def _judged(
    head: Head, X: NDArray[np.float32], pictures: Sequence[tuple[Path, str, str]]
) -> list[JudgedPicture]:
    column = {label: index for index, label in enumerate(head.classes_)}
    found = []
    for start in range(0, len(X), BLOCK_FILES):
        for P, (path, label, part) in zip(
            head.predict_proba(X[start : start + BLOCK_FILES]),
            pictures[start : start + BLOCK_FILES],
            strict=True,
        ):
            best = int(P.argmax())
            own = float(P[column[label]]) if label in column else 0.0
            found.append(JudgedPicture(path, label, head.classes_[best], float(P[best]), own, part))
    return found


def _folder(files: Sequence[DataFile]) -> Path:
    parents = {str(Path(one.key.path).parent.parent) for one in files}
    return Path(os.path.commonpath(parents)) if parents else Path("/")


def _mistakes(judged: Iterable[JudgedPicture]) -> list[JudgedPicture]:
    """Those of the test and the validation; where there are none, those of training."""
    wrong = [one for one in judged if one.predicted != one.label]
    others = [one for one in wrong if one.part != "training"]
    return sorted(others or wrong, key=lambda one: (one.own_probability - one.probability, str(one.path)))


def _left_out(P: NDArray[np.float64], data: FitData) -> MLClassifierMetrics:
    rows = np.flatnonzero(~np.isnan(P[:, 0]))
    labels = [data.classes[index] for index in data.targets[rows]]
    return MLClassifierMetrics.from_probabilities(labels, P[rows], data.classes)


def _measured(
    result: SessionResult, test: TestEvaluation | None, left_out: MLClassifierMetrics
) -> tuple[Measured, ...]:
    every = [
        Measured("Training", "pictures it learned from", result.training_metrics),
        Measured("Validation", "pictures held out while it learned", result.validation_metrics),
        Measured(
            "Left out in turn", "each picture by a classifier (LDA) that learned all the others", left_out
        ),
    ]
    if test is not None:
        every.insert(2, Measured("Test", "pictures it never saw", test.metrics))
    return tuple(one for one in every if one.metrics.is_valid)


def _basis(measured: Sequence[Measured], n_labels: int) -> Measured:
    by_name = {one.name: one for one in measured}
    validation = by_name.get("Validation")
    if "Test" in by_name:
        return by_name["Test"]
    if validation is not None and validation.metrics.count >= WELL_MEASURED * n_labels:
        return validation
    return by_name.get("Left out in turn") or validation or by_name["Training"]


def _advice(
    session: MLTrainingSession, result: SessionResult, test: TestEvaluation | None
) -> tuple[str, ...]:
    found = diagnose(
        result.training_metrics,
        result.validation_metrics,
        None if test is None else test.metrics,
        max_iterations=session.limit,
        converged=result.converged,
    )
    return tuple(map(str, found))


def _warnings(
    session: MLTrainingSession,
    result: SessionResult,
    pictures: Mapping[str, int],
    test: TestEvaluation | None,
) -> tuple[str, ...]:
    size = None
    with suppress(ExtractorError, UserError):  # an extractor of one's own may have been moved since
        size = card_for(session.model_parameters.algorithm.feature_extractor).size
    found = data_advice(
        pictures,
        ((path, width, height) for path, (width, height) in result.sizes.items()),
        extractor_size=size,
        has_test=test is not None,
    )
    return tuple(map(str, found))
