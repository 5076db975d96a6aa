"""This is where counts, means and scatter are solved into a linear classifier that knows its own error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import (
    fit_temperature,
    leave_one_out_distances,
    leave_one_out_scores,
    log_loss,
    small_class_bias,
    softmax,
)
from edge_agent.ml.statistics import Scatter

Matrix = NDArray[np.float64]

NO_VARIATION = 1e-9
"""Mean squared distance of unit vectors from their class mean that counts as none."""
NEAREST_MEAN_TEMPERATURE = 8.0
"""Factor on the cosine where no class varies (calibration error 0.09 on five picture sets)."""
LOOSE_QUANTILE, LOOSE_FACTOR = 0.995, 1.25
"""The unknown threshold: this quantile of own-class leave-one-out distances, times this."""


@dataclass(frozen=True)
class Precision:
    """A^-1 for A = S/N + lam I, as a product that never forms a D x D matrix (Woodbury's identity)."""

    scatter: Scatter
    n_total: float
    ridge: float
    """lam, above 0."""

    @property
    def share(self) -> Matrix:
        """By how much lam A^-1 shortens a vector along each axis [r], 0 to 1."""
        return self.scatter.eigenvalues / (self.scatter.eigenvalues + self.ridge * self.n_total)

    def times(self, rows: Matrix) -> Matrix:
        """Rows [n, D] times A^-1."""
        axes = self.scatter.axes
        return np.asarray((rows - ((rows @ axes.T) * self.share) @ axes) / self.ridge)

    def quadratic(self, rows: Matrix) -> Matrix:
        """x' A^-1 x [n] of rows [n, D]; in the precision of the axes."""
        axes = self.scatter.axes
        inside = np.asarray(rows.astype(axes.dtype, copy=False) @ axes.T, dtype=np.float64)
        length = np.einsum("nd,nd->n", rows, rows)
        np.square(inside, out=inside)
        return np.asarray((length - inside @ self.share) / self.ridge)


@dataclass(frozen=True)
class Estimates:
    """What leave-one-out says; scalars that averaging over several updates keeps meaningful."""

    temperature: float = NEAREST_MEAN_TEMPERATURE
    tau: float = 0.0
    unknown_threshold: float | None = None
    estimated_from: int = 0
    """How many left-out samples they come from."""

    def joined(self, more: Estimates) -> Estimates:
        """Both, weighted by their samples: tau by its mean, temperature and threshold by their geometric
        mean."""
        if not self.estimated_from or not more.estimated_from:
            return more if more.estimated_from else self
        total = self.estimated_from + more.estimated_from
        mine, its = self.estimated_from / total, more.estimated_from / total
        threshold = self.unknown_threshold or more.unknown_threshold
        if threshold is not None and more.unknown_threshold is not None:
            threshold = threshold**mine * more.unknown_threshold**its
        return Estimates(
            temperature=self.temperature**mine * more.temperature**its,
            tau=mine * self.tau + its * more.tau,
            unknown_threshold=threshold,
            estimated_from=total,
        )


@dataclass(frozen=True)
class Discriminant:
    """What is learned: counts [C], means [C, D] and scatter of the samples, and what follows from them."""

    classes: tuple[str, ...]
    counts: Matrix
    means: Matrix
    scatter: Scatter
    ridge: float
    """lam; 0 where no class varies, so that only the means are used."""
    coef: Matrix
    """[D, C]"""
    intercept: Matrix
    """[C]"""
    estimates: Estimates

    @classmethod
    def of_nothing(cls, n_features: int) -> Discriminant:
        """Before the first sample."""
        none = np.zeros((0, n_features))
        return cls(
            (), np.zeros(0), none, Scatter.of_nothing(n_features), 0.0, none.T, np.zeros(0), Estimates()
        )

    @property
    def centre(self) -> Matrix:
        """The mean of all samples [D], an origin that keeps differences of large numbers small."""
        return np.asarray(self.counts @ self.means / max(float(self.counts.sum()), 1.0))

    def without(self, label: str) -> Discriminant:
        """The same without a class: the others compare as before.

        Nothing of its mean is left. The scatter is one sum over all classes that nobody can take a class out
        of again; it is only made smaller, so that it weighs as the samples that are left.
        """
        keep = np.array([name != label for name in self.classes], dtype=np.bool_)
        if not keep.any():
            return Discriminant.of_nothing(self.means.shape[1])
        counts, means = self.counts[keep], self.means[keep]
        N = float(counts.sum())
        scatter = replace(self.scatter, eigenvalues=self.scatter.eigenvalues * (N / float(self.counts.sum())))
        coef = self.coef[:, keep]
        if self.ridge > 0.0:
            # Another centre changes all scores of a sample alike, so the intercepts stay.
            coef = Precision(scatter, N, self.ridge).times(means - counts @ means / N).T
        names = tuple(name for name in self.classes if name != label)
        return Discriminant(
            names, counts, means, scatter, self.ridge, coef, self.intercept[keep], self.estimates
        )

    def scores(self, Z: Matrix) -> Matrix:
        """Log probabilities [n, C] of unit vectors [n, D], up to a constant in each row."""
        return np.asarray(self.estimates.temperature * (Z @ self.coef + self.intercept))

    def distances(self, Z: Matrix) -> Matrix | None:
        """Squared Mahalanobis distance [n] of unit vectors to the nearest mean; None where no class
        varies."""
        if self.ridge == 0.0:
            return None
        x, m = Z - self.centre, self.means - self.centre
        q = Precision(self.scatter, float(self.counts.sum()), self.ridge).quadratic(x)
        each = q[:, None] - 2.0 * (x @ self.coef) + np.einsum("cd,dc->c", m, self.coef)
        return np.asarray(np.maximum(each.min(axis=1), 0.0))


def solve(
    counts: Mapping[str, float],
    means: Mapping[str, Matrix],
    scatter: Scatter,
    samples: tuple[Matrix, Sequence[str]],
    before: Estimates,
    *,
    shrinkage: float,
    empirical_prior: bool,
) -> tuple[Discriminant, dict[str, float]]:
    """The discriminant of all samples so far, with the loss and accuracy of leave-one-out on `samples`.

    `counts`, `means` and `scatter` are of everything learned; `samples`, unit vectors [n, D] with n labels,
    are those of it that are still at hand; `before` is what earlier ones said. Where none can be left out,
    loss and accuracy are those on the samples themselves.
    """
    classes = tuple(sorted(counts))
    n = np.array([counts[name] for name in classes], dtype=np.float64)
    N = float(n.sum())
    M = np.stack([means[name] for name in classes])
    column = {name: index for index, name in enumerate(classes)}
    Z, y = samples[0], np.array([column[label] for label in samples[1]], dtype=np.intp)
    log_prior = np.log(n / N) if empirical_prior else np.zeros(len(n))
    if scatter.trace <= NO_VARIATION * N:
        nearest = _nearest_mean(classes, n, M, log_prior)
        return nearest, _judged(nearest.scores(Z), y)

    ridge = shrinkage * scatter.trace / N / min(N - 1.0, Z.shape[1])
    precision = Precision(scatter, N, ridge)
    centre = n @ M / N
    m = M - centre
    coef = precision.times(m).T
    V = m @ coef
    out = n[y] >= 2.0
    estimates, scores = before, None
    if out.any():
        x, y = (Z if out.all() else Z[out]) - centre, y[out]
        far = leave_one_out_distances(precision.quadratic(x), x @ coef, V, y, n, N)
        own = far[np.arange(len(y)), y]
        tau = small_class_bias(own, n[y])
        scores = leave_one_out_scores(far, y, n, tau, log_prior)
        threshold = LOOSE_FACTOR * float(np.quantile(own, LOOSE_QUANTILE))
        estimates = before.joined(Estimates(fit_temperature(scores, y), tau, threshold, len(y)))
    intercept = log_prior + 0.5 * estimates.tau / n - 0.5 * np.diag(V) - centre @ coef
    stored = Scatter(scatter.eigenvalues, scatter.axes.astype(np.float32))
    solved = Discriminant(classes, n, M, stored, ridge, coef, intercept, estimates)
    judged = solved.scores(Z) if scores is None else estimates.temperature * scores
    return solved, _judged(judged, y)


def _nearest_mean(classes: tuple[str, ...], n: Matrix, M: Matrix, log_prior: Matrix) -> Discriminant:
    """By the cosine to each mean; a mean of zero is equally far from everything."""
    length = np.linalg.norm(M, axis=1, keepdims=True)
    coef = (M / np.where(length > 0.0, length, 1.0)).T
    intercept = log_prior / NEAREST_MEAN_TEMPERATURE
    return Discriminant(classes, n, M, Scatter.of_nothing(M.shape[1]), 0.0, coef, intercept, Estimates())


def _judged(scores: Matrix, y: NDArray[np.intp]) -> dict[str, float]:
    return {
        "loss_value": log_loss(softmax(scores), y),
        "accuracy": float((scores.argmax(axis=1) == y).mean()),
    }
