"""This is where classes are told apart by their means and one shared, shrunk covariance."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, TrainingRows, feature_blocks, training_rows
from edge_agent.ml.estimates import (
    fit_temperature,
    leave_one_out_distances,
    leave_one_out_scores,
    log_loss,
    small_class_bias,
    softmax,
)
from edge_agent.ml.heads.protocol import Parameters, Training, TrainingProgress, stored_array
from edge_agent.ml.parameters import (
    MLNumericConstraint,
    MLParameterDescription,
    MLParameterKey,
    ParameterValue,
    resolve,
)
from edge_agent.ml.statistics import ClassStatistics, Scatter
from edge_agent.ml.transforms import signed_root

Matrix = NDArray[np.float64]

BLOCK_ROWS = 512
DUAL_ROWS = 1500
"""Up to this many rows everything happens in their span and no D x D matrix is formed."""
ESTIMATE_ROWS = 2000
"""Leave-one-out looks at no more samples than this."""
NO_VARIATION = 1e-9
"""Mean squared deviation of unit vectors from their class mean below which there is nothing to learn from it."""
NEAREST_MEAN_TEMPERATURE = 8.0
"""Factor on the cosine where no class has two different samples (calibration error 0.09 on five picture sets)."""
LOOSE_QUANTILE, LOOSE_FACTOR = 0.995, 1.25
"""The unknown threshold: this quantile of own-class leave-one-out distances, times this."""


@dataclass(frozen=True)
class Discriminant:
    """What is learned: the sums' essence (counts, means, scatter) and what follows from it. Never changed in place."""

    classes: tuple[str, ...]
    counts: Matrix
    means: Matrix
    scatter: Scatter
    ridge: float
    """lam, the multiple of the identity added to the covariance; 0 where only the means are used."""
    coef: Matrix
    intercept: Matrix
    temperature: float
    tau: float
    unknown_threshold: float | None
    estimated_from: int
    """How many left-out samples temperature, tau and threshold come from."""
    parameters: Mapping[str, ParameterValue]

    @property
    def centre(self) -> Matrix:
        """The mean of all samples, the origin that keeps differences of large numbers small."""
        return np.asarray(self.counts @ self.means / max(self.counts.sum(), 1.0))


def _nothing(n_features: int) -> Discriminant:
    empty = Scatter(np.zeros(0), np.zeros((0, n_features), dtype=np.float32))
    return Discriminant(
        (), np.zeros(0), np.zeros((0, n_features)), empty, 0.0, np.zeros((n_features, 0)), np.zeros(0),
        NEAREST_MEAN_TEMPERATURE, 0.0, None, 0, {},
    )  # fmt: skip


class LDAHead:
    """Linear discriminant analysis in closed form, exact whatever the order of the samples.

    Features go through `signed_root`. With class means mu_c, within-class scatter Sw of N samples and
    lam = shrinkage tr(Sw)/N / min(N - 1, D), the score of class c is T (x'A^-1 mu_c - 1/2 mu_c'A^-1 mu_c
    + 1/2 tau/n_c + log prior_c), A = Sw/N + lam I. tau undoes the disadvantage of small classes; tau and the
    temperature T come from closed-form leave-one-out. (Friedman, Regularized Discriminant Analysis, JASA 1989, for the
    shrinkage; the fixed 0.3 was measured on five picture sets.)

    Where no class has two different samples it is the nearest mean by cosine. Training adds to what is known:
    counts, means and scatter are merged exactly (to float32 in the stored axes); tau, T and the threshold are averaged,
    weighted by the samples they come from. There is one epoch; the model changes at its end. Nothing is random.
    """

    name: ClassVar[str] = "lda"
    parameter_descriptions: ClassVar[tuple[MLParameterDescription, ...]] = (
        MLParameterDescription(MLParameterKey.SHRINKAGE, 0.3, MLNumericConstraint(1e-3, 100.0)),
        MLParameterDescription(
            MLParameterKey.PRIOR, "uniform", allowed_values=frozenset({"uniform", "empirical"})
        ),
    )

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self.learned = _nothing(n_features)

    @property
    def classes_(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return self.learned.classes

    @property
    def unknown_threshold(self) -> float | None:
        """The distance above which a picture is like nothing that was learned; None before two alike were seen."""
        return self.learned.unknown_threshold

    def train(self, data: MLBatchProvider, parameters: Parameters) -> Training:
        """Learn from all samples in addition to what is known; a mini-batch is a block of samples.

        Up to `DUAL_ROWS` samples are kept while training; more are summed up block by block, O(D D) in memory.
        """
        settings = resolve(self.parameter_descriptions, parameters)
        rows = training_rows(data)
        if rows.n_features != self.n_features:
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"sample 0: {rows.n_features} features, the model has {self.n_features}",
            )
        old = self.learned
        dual = rows.count + len(old.scatter.eigenvalues) + len(old.classes) <= DUAL_ROWS
        statistics = ClassStatistics(self.n_features, gram=not dual)
        kept: list[tuple[Matrix, list[str]]] = []
        marks: list[int] = []
        index = 0
        for index, (X, labels) in enumerate(feature_blocks(rows, rows=BLOCK_ROWS)):
            Z = signed_root(X)
            statistics.add(Z, labels)
            if dual:
                kept.append((Z, labels))
            else:
                # Which samples are left out later must not depend on their order, so their content decides.
                marks += [zlib.crc32(row) for row in X]
            yield TrainingProgress("mini_batch", 0, index)
        if dual:
            Z = np.concatenate([block for block, _ in kept])
            labels = [label for _, names in kept for label in names]
            kept.clear()
        else:
            Z, labels = _sampled(rows, marks)
        scatter = _scatter(statistics, old, (Z, labels) if dual else None)
        counts, means = _merged(statistics, old)
        self.learned, metrics = _solve(old, counts, means, scatter, (Z, labels), settings)
        yield TrainingProgress("epoch", 0, index, metrics)

    def predict_proba(self, X: NDArray[np.float32]) -> Matrix:
        """Probabilities [n, C] of features [n, D]."""
        known = self.learned
        return softmax(known.temperature * (signed_root(X) @ known.coef + known.intercept))

    def distances(self, X: NDArray[np.float32]) -> Matrix | None:
        """Squared Mahalanobis distance [n] to the nearest class mean; None where only means are known."""
        known = self.learned
        if known.ridge == 0.0:
            return None
        x = signed_root(X) - known.centre
        M = known.means - known.centre
        inside = np.asarray(x.astype(np.float32) @ known.scatter.axes.T, dtype=np.float64)
        q = _quadratic(x, inside, known)
        each = q[:, None] - 2.0 * (x @ known.coef) + np.einsum("cd,dc->c", M, known.coef)
        return np.maximum(each.min(axis=1), 0.0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Coefficients, means and the scatter; the axes as float32, the rest float64."""
        known = self.learned
        return {
            "coef": known.coef,
            "intercept": known.intercept,
            "means": known.means,
            "counts": known.counts,
            "eigenvalues": known.scatter.eigenvalues,
            "axes": known.scatter.axes,
        }

    def describe(self) -> dict[str, Any]:
        """The labels, the learned scalars and the parameters in force."""
        known = self.learned
        return {
            "classes": list(known.classes),
            "n_features": self.n_features,
            "ridge": known.ridge,
            "temperature": known.temperature,
            "tau": known.tau,
            "unknown_threshold": known.unknown_threshold,
            "estimated_from": known.estimated_from,
            "parameters": dict(known.parameters),
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any]) -> Self:
        """The head these came from; raises `MLModelError` IO when they do not fit together."""
        head = cls(description["n_features"])
        D, C = head.n_features, len(description["classes"])
        eigenvalues = stored_array(arrays, "eigenvalues", (None,))
        head.learned = Discriminant(
            classes=tuple(description["classes"]),
            counts=stored_array(arrays, "counts", (C,)),
            means=stored_array(arrays, "means", (C, D)),
            scatter=Scatter(eigenvalues, stored_array(arrays, "axes", (len(eigenvalues), D), np.float32)),
            coef=stored_array(arrays, "coef", (D, C)),
            intercept=stored_array(arrays, "intercept", (C,)),
            **{
                key: description[key]
                for key in (
                    "ridge",
                    "temperature",
                    "tau",
                    "unknown_threshold",
                    "estimated_from",
                    "parameters",
                )
            },
        )
        return head

    def copy(self) -> Self:
        """A head that knows the same; what is learned is never changed in place, so it is shared."""
        other = type(self)(self.n_features)
        other.learned = self.learned
        return other


def _sampled(rows: TrainingRows, marks: list[int]) -> tuple[Matrix, list[str]]:
    chosen = sorted(np.argsort(np.array(marks), kind="stable")[:ESTIMATE_ROWS].tolist())
    Z = np.empty((len(chosen), rows.n_features))
    labels: list[str] = []
    for start in range(0, len(chosen), BLOCK_ROWS):
        X, names = rows.arrays(chosen[start : start + BLOCK_ROWS])
        Z[start : start + len(X)] = signed_root(X)
        labels += names
    return Z, labels


def _merged(statistics: ClassStatistics, old: Discriminant) -> tuple[dict[str, float], dict[str, Matrix]]:
    counts = {name: float(count) for name, count in zip(old.classes, old.counts, strict=True)}
    means = dict(zip(old.classes, old.means, strict=True))
    for name, mean in zip(statistics.classes, statistics.means(), strict=True):
        before, more = counts.get(name, 0.0), float(statistics.counts[name])
        means[name] = mean if before == 0.0 else (before * means[name] + more * mean) / (before + more)
        counts[name] = before + more
    return counts, means


def _scatter(
    statistics: ClassStatistics, old: Discriminant, kept: tuple[Matrix, list[str]] | None
) -> Scatter:
    """The within-class scatter of old and new samples together, from kept rows or from the Gram matrix."""
    new_means = dict(zip(statistics.classes, statistics.means(), strict=True))
    shifts = [
        np.sqrt(count * statistics.counts[name] / (count + statistics.counts[name]))
        * (mean - new_means[name])
        for name, count, mean in zip(old.classes, old.counts, old.means, strict=True)
        if name in new_means
    ]
    parts = [old.scatter.rows(), *([np.stack(shifts)] if shifts else [])]
    if kept is not None:
        Z, labels = kept
        return Scatter.from_rows(
            np.concatenate([*parts, Z - np.stack([new_means[label] for label in labels])])
        )
    Sw = statistics.within_scatter()
    for part in parts:
        if len(part):
            Sw += part.T @ part
    return Scatter.from_matrix(Sw)


def _quadratic(x: Matrix, inside: Matrix, known: Discriminant) -> Matrix:
    """x' A^-1 x [n] from rows [n, D] and their coordinates [n, r] along the axes of the scatter."""
    share = _share(known.scatter, known.ridge, known.counts.sum())
    return np.asarray(((x**2).sum(axis=1) - (inside**2) @ share) / known.ridge)


def _share(scatter: Scatter, ridge: float, n_total: float) -> Matrix:
    return scatter.eigenvalues / (scatter.eigenvalues + ridge * n_total)


def _solve(
    old: Discriminant,
    counts: Mapping[str, float],
    means: Mapping[str, Matrix],
    scatter: Scatter,
    samples: tuple[Matrix, list[str]],
    settings: Mapping[MLParameterKey, ParameterValue],
) -> tuple[Discriminant, dict[str, float]]:
    """The discriminant of all samples so far, and its leave-one-out loss and accuracy on the new ones."""
    classes = tuple(sorted(counts))
    n = np.array([counts[name] for name in classes])
    N = float(n.sum())
    M = np.stack([means[name] for name in classes])
    number = {name: column for column, name in enumerate(classes)}
    Z, y = samples[0], np.array([number[label] for label in samples[1]], dtype=np.intp)
    parameters = {str(key): value for key, value in settings.items()}
    log_prior = np.log(n / N) if settings[MLParameterKey.PRIOR] == "empirical" else np.zeros(len(n))
    if scatter.trace <= NO_VARIATION * N:
        length = np.linalg.norm(M, axis=1, keepdims=True)
        coef = (M / np.where(length > 0.0, length, 1.0)).T
        intercept = log_prior / NEAREST_MEAN_TEMPERATURE
        flat = _nothing(Z.shape[1]).scatter
        known = Discriminant(
            classes, n, M, flat, 0.0, coef, intercept, NEAREST_MEAN_TEMPERATURE, 0.0, None, 0, parameters
        )
        return known, _judged(NEAREST_MEAN_TEMPERATURE * (Z @ coef + intercept), y)

    ridge = float(settings[MLParameterKey.SHRINKAGE]) * scatter.trace / N / min(N - 1.0, Z.shape[1])
    share = _share(scatter, ridge, N)
    centre = n @ M / N
    m, x = M - centre, Z - centre
    coef = ((m - ((m @ scatter.axes.T) * share) @ scatter.axes) / ridge).T
    V = m @ coef
    left_out = n[y] >= 2.0
    x, y = (x[left_out], y[left_out]) if left_out.any() else (x, y)
    tau, temperature, threshold, estimated_from = (
        old.tau, old.temperature, old.unknown_threshold, old.estimated_from
    )  # fmt: skip
    R = x @ coef
    scores = R - 0.5 * np.diag(V) + 0.5 * tau / n + log_prior
    if left_out.any():
        q = ((x**2).sum(axis=1) - ((x @ scatter.axes.T) ** 2) @ share) / ridge
        far = leave_one_out_distances(q, R, V, y, n, N)
        own = far[np.arange(len(y)), y]
        weight = len(y) / (len(y) + estimated_from)
        estimated_from += len(y)
        tau = weight * small_class_bias(own, n[y]) + (1.0 - weight) * tau
        scores = leave_one_out_scores(far, y, n, tau, log_prior)
        temperature = _blended(fit_temperature(scores, y), temperature, weight)
        threshold = _blended(float(np.quantile(own, LOOSE_QUANTILE)) * LOOSE_FACTOR, threshold, weight)
    intercept = log_prior + 0.5 * tau / n - 0.5 * np.diag(V) - centre @ coef
    stored = Scatter(scatter.eigenvalues, scatter.axes.astype(np.float32))
    known = Discriminant(
        classes, n, M, stored, ridge, coef, intercept, temperature, tau, threshold, estimated_from, parameters
    )
    return known, _judged(temperature * scores, y)


def _blended(new: float, old: float | None, weight: float) -> float:
    """The geometric mean of two positive numbers, the new one counting `weight`."""
    return new if old is None or weight == 1.0 else float(new**weight * old ** (1.0 - weight))


def _judged(scores: Matrix, y: NDArray[np.intp]) -> dict[str, float]:
    return {
        "loss_value": log_loss(softmax(scores), y),
        "accuracy": float((scores.argmax(axis=1) == y).mean()),
    }
