"""This is where a candidate is held against the current version, and against the labels it learned from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.evaluation import Comparison, Evaluation, Suspicion, compare, on_common_labels
from edge_agent.agent.learned import Learned
from edge_agent.agent.opinions import UnsoundError, heard, opinion
from edge_agent.agent.publishing import probabilities
from edge_agent.agent.recollection import Answers, Recollection
from edge_agent.agent.split import Split, judges
from edge_agent.agent.verdict import MIN_JUDGES
from edge_agent.ml.contradictions import contradiction, unlearned
from edge_agent.ml.evidence import evidence
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.label_errors import leave_one_out
from edge_agent.ml.model import MLModel
from edge_agent.store.chosen import Chosen, keys_of
from edge_agent.store.registry import Version
from edge_agent.store.samples import Sample, TrainingSet

log = logging.getLogger(__name__)

MOST_CHANGED = 1000
"""So many new and relabelled samples are asked about at most."""
MOST_KEPT = 300
"""So many samples that both versions learned are compared on."""
MOST_HELD_OUT = 3000
"""So many of the held-out samples are asked, the lowest digests first, which chance decides: ten thousand would take
three times as long and halve an interval of two in a hundred."""
MOST_AT_ONCE = 1500
"""Where the method that learns cannot take samples back, another does, with no more than these in memory."""

Matrix = NDArray[np.float64]
Asked = tuple[Sequence[str], Callable[[Sequence[str], NDArray[np.float32]], Matrix]]
"""The labels somebody knows, and the answers [n, C of them] to digests and their features [n, D]."""


@dataclass(frozen=True)
class Trained:
    """A candidate with what it learned from and what may judge it."""

    model: MLModel
    samples: TrainingSet
    parts: Split


def judge(
    candidate: Trained,
    current: Version | None,
    serving: MLModel | None,
    sample_of: Callable[[str], Sample | None],
    before: TrainingSet | None = None,
    recollection: Recollection | None = None,
) -> Evaluation:
    """Everything that is known when it is decided whether the candidate becomes the current version.

    `serving` is the model of `current`; None compares with nothing. `sample_of` gives what is stored of a digest.
    `before` are the samples as the current version sees them, where it was made with another extractor.
    A version that fails when it is asked keeps nobody from another one: it is judged without it, and `unasked` says
    why. With the `recollection` of the judgement before, the same is found sooner.
    """
    anew = serving is not None and before is not None
    if before is not None and not before:
        serving = before = None  # nothing is stored of what the current version sees
    asking = _Asking(candidate, current, sample_of, recollection or Recollection())
    try:
        return _judged(asking, serving, before, anew=anew)
    except UnsoundError as error:
        log.warning("the version that answers cannot be asked: %s", error, exc_info=True)
        return _judged(asking, None, unasked=str(error))


@dataclass(frozen=True)
class _Asking:
    candidate: Trained
    current: Version | None
    sample_of: Callable[[str], Sample | None]
    recollection: Recollection


def _judged(
    asking: _Asking,
    serving: MLModel | None,
    before: TrainingSet | None = None,
    *,
    anew: bool = False,
    unasked: str = "",
) -> Evaluation:
    """`anew`: the current version sees with another extractor, which saw nothing of what is new."""
    candidate, current, sample_of = asking.candidate, asking.current, asking.sample_of
    recollection = asking.recollection
    model, samples, parts = candidate.model, candidate.samples, candidate.parts
    provider = samples.provider(parts.training)
    then = recollection.learned_by(current)
    held_out = judges(parts, then if serving or unasked else None)
    if before:
        held_out = held_out.only(before.has(held_out.keys))
    held_out = held_out[:MOST_HELD_OUT]
    said = probabilities(model, samples, held_out)
    recollection.said = Answers(held_out.keys, said, tuple(model.classes))
    said_then = None
    if serving and before:
        said_then = probabilities(serving, before, held_out, ask=opinion)
    elif serving and current:
        said_then = recollection.opinions(current, serving, samples, held_out)
    evaluation = compare(
        candidate_proba=said,
        candidate_classes=model.classes,
        current_proba=said_then,
        current_classes=serving.classes if serving else None,
        y_true=samples.provider(held_out).labels,
        forgotten=not samples.has(then.table).all(),
    )
    found = evidence(
        model.head,
        lambda rows: provider.arrays(rows)[0],
        provider.labels,
        names=provider.sequences,
        likenesses=recollection.likenesses(model.extractor_fingerprint),
    )
    evaluation = replace(evaluation, evidence=found, unasked=unasked)
    if current is None or not (serving or unasked or anew) or not len(then):
        return evaluation
    same = then.same(samples, parts.training)
    changed, kept = parts.training.only(~same), parts.training.only(same)
    few = evaluation.common is None or evaluation.common.count < MIN_JUDGES
    learned = None
    if few and serving:
        both = kept.only(before.has(kept.keys)) if before else kept
        learned = _on_kept(candidate, serving, both[:MOST_KEPT], before or samples)
    known = {digest: sample for digest in held_out[:MOST_KEPT] if (sample := sample_of(digest)) is not None}
    late = [digest for digest, sample in known.items() if sample.added_at > current.created]
    asked: Asked | None = None
    if anew:
        asked = _stand_in(samples, kept)
    elif serving:
        asked = serving.classes, partial(_of_current, serving, then)
    some = [*changed[:MOST_CHANGED], *late][:MOST_CHANGED]
    return replace(evaluation, suspicion=_suspicion(candidate, asked, some, sample_of), learned=learned)


def _stand_in(samples: TrainingSet, kept: Chosen) -> Asked | None:
    """What speaks for a version of another extractor: discriminant analysis of what both learned, as it is seen now."""
    if not len(kept):
        return None
    X, labels = samples.provider(kept[:: 1 + (len(kept) - 1) // MOST_AT_ONCE]).arrays(slice(None))
    classes = tuple(sorted(set(labels)))
    y = np.array([classes.index(one) for one in labels], dtype=np.intp)
    fit = LDAFit.begin(FitData(X, y, classes), {}, 0)
    fit.step()
    head = fit.head()
    return head.classes_, lambda _changed, Y: np.array(head.predict_proba(Y), dtype=np.float64)


def _suspicion(
    candidate: Trained,
    asked: Asked | None,
    changed: Sequence[str],
    sample_of: Callable[[str], Sample | None],
) -> Suspicion | None:
    """What the candidate without each of these, and the current version if it can be asked, say of their labels."""
    if not changed:
        return Suspicion(0, None, 1.0, ())
    classes = candidate.model.classes
    X, labels = candidate.samples.provider(changed).arrays(slice(None))
    if len(classes) < 2:
        return None
    y = np.array([classes.index(label) for label in labels], dtype=np.intp)
    opinions = [_of_candidate(candidate, changed, X, labels)]
    if asked is not None:
        known, says = asked
        opinions.append(_aligned(says(changed, X), known, classes, labels))
    said = [one for one in opinions if one is not None]
    if not said:
        return None
    found = contradiction(said, y)
    named = [(changed[row], sample_of(changed[row]), labels[row]) for row in found.rows]
    return Suspicion(
        count=len(changed),
        label=classes[found.column],
        odds=found.odds,
        samples=tuple(
            {"digest": digest, "name": sample.source_name if sample else "", "label": label}
            for digest, sample, label in named
        ),
    )


def _of_candidate(
    candidate: Trained, changed: Sequence[str], X: NDArray[np.float32], labels: Sequence[str]
) -> Matrix | None:
    """Its answers [n, C], where it learned a sample as if it had not."""
    place = candidate.parts.training.rows(candidate.samples.choose(changed))
    P = np.array(candidate.model.predict_proba(X), dtype=np.float64)
    rows = np.flatnonzero(place >= 0)
    alone = unlearned(candidate.model.head, X[rows], [labels[row] for row in rows.tolist()])
    if alone is not None:
        P[rows] = alone
        return P
    if len(candidate.parts.training) > MOST_AT_ONCE:
        return None
    # Discriminant analysis speaks in place of a method that cannot take a sample back.
    classes = candidate.model.classes
    whole, names = candidate.samples.provider(candidate.parts.training).arrays(slice(None))
    data = FitData(whole, np.array([classes.index(name) for name in names], dtype=np.intp), tuple(classes))
    P[rows] = leave_one_out(data)[place[rows]]
    return P


def _of_current(serving: MLModel, then: Learned, changed: Sequence[str], X: NDArray[np.float32]) -> Matrix:
    """Its answers [n, C of it]; where it learned a sample under another label, as if it had not."""
    P = opinion(serving, X).copy()
    names = [label for digest in changed if (label := then.label(digest)) is not None]
    if names:
        relabelled = np.flatnonzero(then.has(keys_of(changed)))
        before = heard(lambda: unlearned(serving.head, X[relabelled], names))
        P[relabelled] = np.nan if before is None else before
    return P


def _aligned(P: Matrix, mine: Sequence[str], classes: Sequence[str], labels: Sequence[str]) -> Matrix:
    """The answers among the labels both know [n, C of the candidate]; none where a sample's label is not known."""
    both = [label for label in classes if label in set(mine)]
    Q = np.zeros((len(P), len(classes)))
    Q[:, [classes.index(label) for label in both]] = P[:, [mine.index(label) for label in both]]
    Q[[row for row, label in enumerate(labels) if label not in set(mine)]] = np.nan
    return np.asarray(Q / np.maximum(Q.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _on_kept(candidate: Trained, serving: MLModel, kept: Chosen, samples: TrainingSet) -> Comparison | None:
    """Both on what both learned; `samples` are as the current version sees them."""
    X, labels = candidate.samples.provider(kept).arrays(slice(None))
    Y, _ = samples.provider(kept).arrays(slice(None))
    now = unlearned(candidate.model.head, X, labels)
    then = heard(lambda: unlearned(serving.head, Y, labels))
    if now is None or then is None:
        return None
    rows = np.flatnonzero(np.isfinite(now).all(axis=1) & np.isfinite(then).all(axis=1))
    truth = [labels[row] for row in rows]
    return on_common_labels(now[rows], candidate.model.classes, then[rows], serving.classes, truth)
