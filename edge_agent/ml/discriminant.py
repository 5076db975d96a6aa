"""This is where counts, means and scatter are solved into a linear classifier that knows its own error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import fit_temperature, log_loss, softmax
from edge_agent.ml.left_out import LeftOut
from edge_agent.ml.linear_answers import State
from edge_agent.ml.scatter import Scatter, SpannedScatter
from edge_agent.ml.unknowns import nearest, threshold

Matrix = NDArray[np.float64]

NEAREST_MEAN_TEMPERATURE = 8.0
"""Factor on the cosine where no class varies (calibration error 0.09 on five picture sets)."""


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
            (),
            np.zeros(0),
            none,
            SpannedScatter.of_nothing(n_features),
            0.0,
            none.T,
            np.zeros(0),
            Estimates(),
        )

    @property
    def centre(self) -> Matrix:
        """The mean of all samples [D], an origin that keeps differences of large numbers small."""
        return np.asarray(self.counts @ self.means / max(float(self.counts.sum()), 1.0))

    def as_stored(self) -> Discriminant:
        """The same as it is when it was stored and read again."""
        scatter = self.scatter.as_stored(self.ridge * float(self.counts.sum()))
        return replace(self, scatter=scatter)

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
        scatter = self.scatter.scaled(N / float(self.counts.sum()))
        coef = self.coef[:, keep]
        if self.ridge > 0.0:
            # Another centre changes all scores of a sample alike, so the intercepts stay.
            coef = N * scatter.look(means - counts @ means / N).solved(self.ridge * N).T
        names = tuple(name for name in self.classes if name != label)
        return Discriminant(
            names, counts, means, scatter, self.ridge, coef, self.intercept[keep], self.estimates
        )

    def scores(self, Z: Matrix) -> Matrix:
        """Log probabilities [n, C] of unit vectors [n, D], up to a constant in each row."""
        return np.asarray(self.estimates.temperature * (Z @ self.coef + self.intercept))

    def distances(self, Z: Matrix) -> Matrix | None:
        """Squared Mahalanobis distance [n] of unit vectors to the nearest mean, less tau/n_c; None where no
        class varies."""
        if self.ridge == 0.0:
            return None
        x, m = Z - self.centre, self.means - self.centre
        N = float(self.counts.sum())
        q = N * self.scatter.quadratic(x, self.ridge * N)
        each = q[:, None] - 2.0 * (x @ self.coef) + np.einsum("cd,dc->c", m, self.coef)
        return nearest(each - self.estimates.tau / self.counts)


def solve(
    state: State,
    classes: tuple[str, ...],
    left: LeftOut | None,
    samples: tuple[Matrix, NDArray[np.intp]],
    before: Estimates,
    *,
    shrinkage: float,
    empirical_prior: bool,
    unknown_rate: float,
) -> tuple[Discriminant, dict[str, float]]:
    """The discriminant of a state, with its scatter as it is, and the loss and accuracy of leave-one-out.

    `left` are samples of it that are still at hand, None where no class varies; `samples`, unit vectors
    [n, D] and columns [n], are asked where none can be left out. `before` is what earlier ones said.
    """
    n, M = state.counts, state.means
    log_prior = np.log(n / state.total) if empirical_prior else np.zeros(len(n))
    if left is None:
        imprinted = _nearest_mean(classes, n, M, log_prior)
        return imprinted, _judged(imprinted.scores(samples[0]), samples[1])
    coef = state.directions(shrinkage)
    estimates, scores, y = before, None, samples[1]
    if len(left):
        answers, tau = left.discriminant(shrinkage)
        scores, y = answers + log_prior, left.y
        T = fit_temperature(scores, y) if empirical_prior else left.temperature(shrinkage)
        # What is left out is held against all means, as a new sample is: its score is -1/2 of its distance.
        limit = threshold(nearest(-2.0 * answers), unknown_rate)
        estimates = before.joined(Estimates(T, tau, limit, len(y)))
    m = M - state.centre
    bias = -0.5 * np.einsum("cd,dc->c", m, coef) - state.centre @ coef
    intercept = log_prior + 0.5 * estimates.tau / n + bias
    ridge = state.ridge(shrinkage)
    solved = Discriminant(classes, n, M, state.scatter, ridge, coef, intercept, estimates)
    judged = solved.scores(samples[0]) if scores is None else estimates.temperature * scores
    return solved, _judged(judged, y)


def _nearest_mean(classes: tuple[str, ...], n: Matrix, M: Matrix, log_prior: Matrix) -> Discriminant:
    """By the cosine to each mean; a mean of zero is equally far from everything."""
    length = np.linalg.norm(M, axis=1, keepdims=True)
    coef = (M / np.where(length > 0.0, length, 1.0)).T
    intercept = log_prior / NEAREST_MEAN_TEMPERATURE
    return Discriminant(
        classes, n, M, SpannedScatter.of_nothing(M.shape[1]), 0.0, coef, intercept, Estimates()
    )


def _judged(scores: Matrix, y: NDArray[np.intp]) -> dict[str, float]:
    return {
        "loss_value": log_loss(softmax(scores), y),
        "accuracy": float((scores.argmax(axis=1) == y).mean()),
    }
