"""This is where classes are told apart by their means and one shared, shrunk covariance."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, TrainingRows, feature_blocks, training_rows
from edge_agent.ml.discriminant import Discriminant, Estimates, solve
from edge_agent.ml.estimates import softmax
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress, stored_array
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import Linear, State
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)
from edge_agent.ml.scatter import FullScatter, Scatter, SpannedScatter, stored_scatter
from edge_agent.ml.statistics import ClassStatistics
from edge_agent.ml.summed import content_marks, sums_at_hand
from edge_agent.ml.transforms import signed_root
from edge_agent.ml.unknowns import UNKNOWN_RATE

Matrix = NDArray[np.float64]

BLOCK_ROWS = 512
DUAL_ROWS = 400
"""Up to this many rows everything happens in their span and no D x D matrix is formed."""
EIGEN_FEATURES = 400
"""Up to so many features the Gram matrix is brought to its eigenvectors; of more, which takes long, to a factor."""
SHRINKAGE = 0.3
"""Unless something else is given; the flat optimum on five picture sets."""
ESTIMATE_ROWS = 300
"""With more samples than `DUAL_ROWS`, leave-one-out looks at so many of them."""

RATE = MLParameterDescription(MLParameterKey.UNKNOWN_RATE, UNKNOWN_RATE, MLNumericConstraint(0.0, 0.5))
"""The share of new samples of known classes that may be taken for unknown; 0: nothing is."""


class LDAHead:
    """Linear discriminant analysis in closed form, exact whatever the order of the samples.

    Features go through `signed_root`. With class means mu_c, within-class scatter Sw of N samples and lam =
    shrinkage tr(Sw)/N / min(N - 1, D), the score of class c is T (x'A^-1 mu_c - 1/2 mu_c'A^-1 mu_c + 1/2
    tau/n_c + log prior_c), A = Sw/N + lam I. tau undoes the disadvantage of small classes; tau and the
    temperature T come from closed-form leave-one-out. (Shrinkage as in Friedman, Regularized Discriminant
    Analysis, JASA 1989; the fixed 0.3 was measured.)

    Where no class has two different samples it is the nearest mean by cosine. Training adds to what is known:
    counts and means are merged exactly, the scatter to the float32 of the stored axes; what leave-one-out
    said is averaged. There is one epoch; the model changes at its end. Nothing is random.
    """

    name: ClassVar[str] = "lda"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(MLParameterKey.SHRINKAGE, SHRINKAGE, MLNumericConstraint(1e-3, 100.0)),
        MLParameterDescription(
            MLParameterKey.PRIOR, "uniform", allowed_values=frozenset({"uniform", "empirical"})
        ),
        RATE,
    )

    order_matters: ClassVar[bool] = False

    def __init__(self, n_features: int) -> None:
        self._n_features = n_features
        self._parameters: dict[str, ParameterValue] = {}
        self.learned = Discriminant.of_nothing(n_features)

    @property
    def n_features(self) -> int:
        """How many features a sample has."""
        return self._n_features

    @property
    def classes_(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return self.learned.classes

    @property
    def unknown_threshold(self) -> float | None:
        """The distance above which a sample is like nothing that was learned; None where no class varies, and
        where `unknown_rate` is 0."""
        return self.learned.estimates.unknown_threshold

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn from all samples in addition to what is known; a mini-batch is a block of samples.

        Up to `DUAL_ROWS` samples are kept while training; more are summed up block by block, O(D D) in
        memory.
        """
        settings = resolve(self.parameter_descriptions, parameters)
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        old = self.learned
        dual = isinstance(old.scatter, SpannedScatter) and (
            rows.count + len(old.scatter.eigenvalues) + len(old.classes) <= DUAL_ROWS
        )
        known = None if dual else sums_at_hand(data)
        statistics = known.statistics if known else ClassStatistics(self.n_features, gram=not dual)
        kept: list[Matrix] = []
        labels: list[str] = []
        marks: list[int] = []
        index = 0
        for index, (X, names) in enumerate(() if known else feature_blocks(rows, rows=BLOCK_ROWS)):
            Z = signed_root(X)
            statistics.add(Z, names)
            if dual:
                kept.append(Z)
                labels += names
            else:
                marks += content_marks(X)
            yield TrainingProgress("mini_batch", 0, index)
        if known:
            yield TrainingProgress("mini_batch", 0, 0)
        counts, means = _merged(statistics, old)
        classes = tuple(sorted(counts))
        if dual:
            Z = np.concatenate(kept)
            scatter: Scatter = _spanned(Z, labels, statistics, old)
        else:
            scatter = _full(statistics, old)
            Z, labels = _sampled(rows, known.marks if known else np.array(marks, dtype=np.uint32))
        del statistics, known  # the Gram matrix is the largest thing here, and no longer needed
        column = {name: at for at, name in enumerate(classes)}
        y = np.array([column[label] for label in labels], dtype=np.intp)
        n = np.array([counts[name] for name in classes], dtype=np.float64)
        state = State(n, np.stack([means[name] for name in classes]), scatter)
        metrics = self._solve(state, classes, (Z, y), settings)
        del state, Z  # what is stored is made beside the scatter only
        self.learned = self.learned.as_stored()
        self._parameters = {str(key): value for key, value in settings.items()}
        yield TrainingProgress("epoch", 0, index, metrics)

    def _solve(
        self,
        state: State,
        classes: tuple[str, ...],
        samples: tuple[Matrix, NDArray[np.intp]],
        settings: Mapping[MLParameterKey, ParameterValue],
    ) -> dict[str, float]:
        """Learn what follows from the state; the loss and the accuracy of leave-one-out."""
        left = LeftOut(state, *samples) if state.varies else None
        return self._learn(state, classes, left, samples, settings)

    def _learn(
        self,
        state: State,
        classes: tuple[str, ...],
        left: LeftOut | None,
        samples: tuple[Matrix, NDArray[np.intp]],
        settings: Mapping[MLParameterKey, ParameterValue],
    ) -> dict[str, float]:
        self.learned, metrics = solve(
            state,
            classes,
            left,
            samples,
            self.learned.estimates,
            shrinkage=float(settings.get(MLParameterKey.SHRINKAGE, SHRINKAGE)),
            empirical_prior=settings.get(MLParameterKey.PRIOR) == "empirical",
            unknown_rate=float(settings.get(MLParameterKey.UNKNOWN_RATE, UNKNOWN_RATE)),
        )
        return metrics

    @property
    def linear(self) -> Linear:
        """What gives the logarithms of the probabilities of unit vectors, up to a constant in each row."""
        known, factor = self.learned, self.learned.estimates.temperature
        return Linear(factor * known.coef, factor * known.intercept)

    def remove_label(self, label: str) -> None:
        """Forget a class, its count and its mean; raises `MLModelError` UPDATE for one that is not there.

        Its samples' share in the scatter that all classes have in common stays, without a name.
        """
        if label not in self.classes_:
            raise MLModelError(MLModelErrorCode.UPDATE, f"there is no label {label!r} to forget")
        self.learned = self.learned.without(label)

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D]."""
        return softmax(self.learned.scores(signed_root(X)))

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:
        """Squared Mahalanobis distance [n] to the nearest class mean, less tau/n_c for what a mean of n_c
        samples is off; None where no class varies."""
        return self.learned.distances(signed_root(X))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Coefficients, counts, means and the scatter; its axes or its factor float32, the rest float64."""
        known = self.learned
        return {
            "coef": known.coef,
            "intercept": known.intercept,
            "means": known.means,
            "counts": known.counts,
            **known.scatter.arrays(known.ridge * float(known.counts.sum())),
        }

    def describe(self) -> dict[str, Any]:
        """The labels, the learned scalars and the parameters in force."""
        return {
            "classes": list(self.classes_),
            "n_features": self.n_features,
            "ridge": self.learned.ridge,
            **asdict(self.learned.estimates),
            "parameters": dict(self._parameters),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = cls(description["n_features"])
        D, C = head.n_features, len(description["classes"])
        threshold = description["unknown_threshold"]
        scales = [float(description[name]) for name in ("temperature", "ridge")]
        scales += [] if threshold is None else [float(threshold)]
        if not all(0 <= one < math.inf for one in scales) or not math.isfinite(description["tau"]):
            raise MLModelError(MLModelErrorCode.IO, "a learned number is not in its range")
        head._parameters = dict(description["parameters"])
        counts = stored_array(arrays, "counts", (C,))
        head.learned = Discriminant(
            classes=tuple(description["classes"]),
            counts=counts,
            means=stored_array(arrays, "means", (C, D)),
            scatter=stored_scatter(arrays, D, float(description["ridge"]) * float(counts.sum())),
            ridge=float(description["ridge"]),
            coef=stored_array(arrays, "coef", (D, C)),
            intercept=stored_array(arrays, "intercept", (C,)),
            estimates=Estimates(
                temperature=float(description["temperature"]),
                tau=float(description["tau"]),
                unknown_threshold=None if threshold is None else float(threshold),
                estimated_from=int(description["estimated_from"]),
            ),
        )
        return head

    def copy(self) -> Self:
        """A head that knows the same; what is learned is never changed in place, so it is shared."""
        return copy.copy(self)


def _sampled(rows: TrainingRows, marks: NDArray[np.uint32]) -> tuple[Matrix, list[str]]:
    """At most `ESTIMATE_ROWS` samples, those with the smallest marks, as unit vectors."""
    chosen = sorted(np.argsort(marks, kind="stable")[:ESTIMATE_ROWS].tolist())
    X, labels = rows.arrays(chosen)
    return signed_root(X), labels


def _merged(statistics: ClassStatistics, old: Discriminant) -> tuple[dict[str, float], dict[str, Matrix]]:
    """Counts and means of old and new samples together."""
    counts = {name: float(count) for name, count in zip(old.classes, old.counts, strict=True)}
    means: dict[str, Matrix] = dict(zip(old.classes, old.means, strict=True))
    for name, mean in zip(statistics.classes, statistics.means(), strict=True):
        before, more = counts.get(name, 0.0), float(statistics.counts[name])
        means[name] = (before * means[name] + more * mean) / (before + more) if before else mean
        counts[name] = before + more
    return counts, means


def _shifts(statistics: ClassStatistics, old: Discriminant) -> list[Matrix]:
    """Where a class has old and new samples, their means differ by d: sqrt(n_old n_new / (n_old + n_new)) d."""
    new_means = dict(zip(statistics.classes, statistics.means(), strict=True))
    return [
        np.sqrt(count * statistics.counts[name] / (count + statistics.counts[name]))
        * (mean - new_means[name])
        for name, count, mean in zip(old.classes, old.counts, old.means, strict=True)
        if name in new_means
    ]


def _spanned(Z: Matrix, labels: list[str], statistics: ClassStatistics, old: Discriminant) -> SpannedScatter:
    """The within-class scatter of old samples and new unit vectors [n, D] together, in the span of all."""
    assert isinstance(old.scatter, SpannedScatter)
    number = {name: at for at, name in enumerate(statistics.classes)}
    B = Z - statistics.means()[[number[label] for label in labels]]
    parts = [*old.scatter.rows(), *_shifts(statistics, old)]
    return SpannedScatter.from_rows(np.vstack([*parts, B]) if parts else B)


def _full(statistics: ClassStatistics, old: Discriminant) -> Scatter:
    """The same from the Gram matrix; in its eigenvectors where they are few enough to be found quickly."""
    Sw = statistics.within_scatter()
    parts = _shifts(statistics, old)
    if isinstance(old.scatter, SpannedScatter):
        parts += [*old.scatter.rows()]
    elif isinstance(old.scatter, FullScatter):
        Sw.add(old.scatter.matrix)
    if parts:
        Sw.add_products(np.stack(parts))
    return SpannedScatter.from_matrix(Sw.square()) if len(Sw) <= EIGEN_FEATURES else FullScatter(Sw)
