"""This is where linear answers are held against samples, or whole bursts of them, that they then have not learned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import (
    fit_temperature,
    leave_one_out_distances,
    log_loss,
    small_class_bias,
    softmax,
)
from edge_agent.ml.linear_answers import State
from edge_agent.ml.scatter import Look

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

RIDGES = tuple(10.0 ** (-5.0 + 0.5 * step) for step in range(11))
"""The penalties ridge regression chooses from, per sample: 1e-5 to 1."""
NEAR = 0.25
"""Near-duplicates have at most this share of the mean distance of samples of a class, as one minus cosine."""


class LeftOut:
    """What each of some samples would be answered, exactly, had it and the rest of its group not been learned.

    `Z` are unit vectors [n, D] that are in the state, `y` [n] their columns, `groups` [n] numbers that
    samples of one class share which are left out together (None: each by itself). Samples whose class would
    be empty are not looked at. The penalties are held fixed.
    """

    def __init__(
        self,
        state: State,
        Z: Matrix,
        y: Indices,
        groups: Indices | None = None,
        *,
        seen: LeftOut | None = None,
    ) -> None:
        """`seen` has left out the same rows of the same state in other groups: what it computed is used again."""
        groups = np.arange(len(y)) if groups is None else groups
        sizes = np.bincount(groups)[groups] if len(y) else np.zeros(0, dtype=np.intp)
        self._out = np.flatnonzero(state.counts[y] > sizes)
        self.state, self.y = state, y[self._out]
        self._Z, self._columns = Z, y
        self._left = state.counts[self.y] - sizes[self._out]
        self._groups = groups[self._out]
        self._x: Matrix = np.asarray(Z - state.centre) if seen is None else seen._x  # noqa: SLF001 - its own
        self._look: Look = state.scatter.look(self._x) if seen is None else seen._look  # noqa: SLF001

    def __len__(self) -> int:
        return len(self.y)

    @property
    def complete(self) -> bool:
        """Whether these are all samples that can be left out at all."""
        counts = self.state.counts
        return len(self.y) == float(counts[counts > 1.0].sum())

    def in_bursts(self, cosine: float) -> LeftOut:
        """The same samples, those that may be from one burst of a camera left out together.

        `near_duplicates` links the features that the unit vectors came from, at this cosine or, where samples
        of a class are much alike anyway, at a quarter of their mean distance. What is more than half of its
        class is no burst, but how the class looks.
        """
        # The square of a signed root is the feature again, up to its length.
        X = self._Z * np.abs(self._Z)
        X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        members = np.bincount(self._columns, minlength=len(self.state.counts))
        sums = np.eye(len(members))[self._columns].T @ X
        pairs = float((members * (members - 1)).sum())
        alike = (float(np.square(sums).sum()) - len(X)) / pairs if pairs else 0.0
        groups = near_duplicates(X, self._columns, max(cosine, 1.0 - NEAR * (1.0 - alike)))
        sizes = np.bincount(groups)[groups]
        groups = np.where(2 * sizes <= self.state.counts[self._columns], groups, np.arange(len(groups)))
        return LeftOut(self.state, self._Z, self._columns, groups, seen=self)

    @property
    def pieces(self) -> int:
        """How many groups there are."""
        return len(self.y) - sum(len(rows) - 1 for rows in self._bursts)

    @cached_property
    def _bursts(self) -> list[Indices]:
        """The rows of each group of more than one."""
        order = np.argsort(self._groups, kind="stable")
        starts = np.flatnonzero(np.diff(self._groups[order])) + 1
        return [rows for rows in np.split(order, starts) if len(rows) > 1]

    @cached_property
    def _mine(self) -> Matrix:
        """Those of the rows from the centre that are left out [n, D]."""
        return self._x if len(self._out) == len(self._x) else self._x[self._out]

    def distances(self, shrinkage: float) -> tuple[Matrix, float]:
        """Squared Mahalanobis distances [n, C] to all means, and tau; not to be changed."""
        if shrinkage not in self._far:
            self._far[shrinkage] = self._distances(shrinkage)
        return self._far[shrinkage]

    @cached_property
    def _far(self) -> dict[float, tuple[Matrix, float]]:
        return {}

    def _distances(self, shrinkage: float) -> tuple[Matrix, float]:
        state, y, N = self.state, self.y, self.state.total
        ridge = state.ridge(shrinkage) * N
        m, coef = state.means - state.centre, state.directions(shrinkage)
        q = N * self._look.quadratic(ridge)[self._out]
        R, V = self._mine @ coef, m @ coef
        counts = np.maximum(state.counts, 2.0)
        far = leave_one_out_distances(q, R, V, y, counts, N)
        # Of single samples, in bursts too: those of whole bursts say more than the size of a class explains.
        tau = small_class_bias(far[np.arange(len(y)), y], counts[y])
        for rows in self._bursts:
            Q = N * self._look.pairs(self._out[rows], ridge)
            far[rows] = _burst_distances(Q, R[rows], V, int(y[rows[0]]), state, self._left[rows[0]])
        return far, tau

    def discriminant(self, shrinkage: float) -> tuple[Matrix, float]:
        """Scores [n, C] of discriminant analysis, and tau; not to be changed."""
        if shrinkage not in self._scores:
            far, tau = self.distances(shrinkage)
            sizes = np.broadcast_to(self.state.counts, far.shape).copy()
            sizes[np.arange(len(self.y)), self.y] = self._left
            self._scores[shrinkage] = -0.5 * (far - tau / sizes), tau
        return self._scores[shrinkage]

    @cached_property
    def _scores(self) -> dict[float, tuple[Matrix, float]]:
        return {}

    def temperature(self, shrinkage: float) -> float:
        """Of discriminant analysis with a uniform prior."""
        if shrinkage not in self._temperatures:
            self._temperatures[shrinkage] = fit_temperature(self.discriminant(shrinkage)[0], self.y)
        return self._temperatures[shrinkage]

    @cached_property
    def _temperatures(self) -> dict[float, float]:
        return {}

    def regression(self, ridge: float) -> Matrix:
        """Answers [n, C] of ridge regression on indicators: Y - (I - H)^-1 (Y - F) for each group.

        With the penalty lam N: H = 1/N + x'(T + lam N)^-1 z, T the scatter of all samples around their mean.
        """
        state, N = self.state, self.state.total
        roots, means = state.roots, state.look
        XPB = self._look.cross(means, ridge * N)[self._out] * roots
        K = np.eye(len(roots)) + roots[:, None] * means.cross(means, ridge * N) * roots
        solved = np.linalg.solve(K, XPB.T).T
        F = solved * roots + state.counts / N
        within = self._look.quadratic(ridge * N)[self._out]
        h = 1.0 / N + within - np.einsum("nc,nc->n", XPB, solved)
        each = np.arange(len(self.y))
        answers = F.copy()
        answers[each, self.y] -= h
        answers /= np.maximum(1.0 - h, np.finfo(np.float64).eps)[:, None]
        for rows in self._bursts:
            Q = self._look.pairs(self._out[rows], ridge * N)
            H = 1.0 / N + Q - XPB[rows] @ solved[rows].T
            Y = np.zeros((len(rows), len(state.counts)))
            Y[:, self.y[rows[0]]] = 1.0
            answers[rows] = Y - np.linalg.solve(np.eye(len(rows)) - H, Y - F[rows])
        return np.asarray(answers)

    def nearest(self) -> Matrix:
        """Cosines [n, C] to the means."""
        state, each = self.state, np.arange(len(self.y))
        length = np.linalg.norm(state.means, axis=1)
        Z = self._Z[self._out]
        R = Z @ (state.means / np.where(length > 0.0, length, 1.0)[:, None]).T
        gone = Z.copy()
        for rows in self._bursts:
            gone[rows] = Z[rows].sum(axis=0)
        mean = (state.counts[self.y][:, None] * state.means[self.y] - gone) / self._left[:, None]
        length = np.linalg.norm(mean, axis=1)
        R[each, self.y] = np.einsum("nd,nd->n", Z, mean) / np.where(length > 0.0, length, 1.0)
        return np.asarray(R)

    def best_ridge(self, ridges: Iterable[float] = RIDGES) -> tuple[float, Matrix]:
        """The penalty with the least squared error when left out, each class weighing alike; its answers."""
        grid = sorted(ridges)
        found: dict[int, tuple[float, Matrix]] = {}

        def look(places: Iterable[int]) -> int:
            for place in places:
                if 0 <= place < len(grid) and place not in found:
                    answers = self.regression(grid[place])
                    error = answers.copy()
                    error[np.arange(len(self.y)), self.y] -= 1.0
                    found[place] = float(self.weights @ np.square(error).sum(axis=1)), answers
            return min(found, key=lambda place: found[place][0])

        # Every other one first, then the neighbours of the best: the error has one valley.
        best = look(range(0, len(grid), 2))
        best = look((best - 1, best + 1))
        return grid[best], found[best][1]

    @cached_property
    def weights(self) -> Matrix:
        """Of each sample [n], so that each class weighs alike and all together weigh one."""
        weights = 1.0 / np.bincount(self.y, minlength=len(self.state.counts))[self.y]
        return np.asarray(weights / weights.sum())

    def judged(self, scores: Matrix) -> dict[str, float]:
        """Loss and accuracy of left-out samples."""
        return {
            "loss_value": log_loss(softmax(scores), self.y),
            "accuracy": float((scores.argmax(axis=1) == self.y).mean()),
        }


def _burst_distances(Q: Matrix, R: Matrix, V: Matrix, c: int, state: State, left: float) -> Matrix:
    """Distances [k, C] of a burst of class c to all means, as if none of the k had been learned.

    `Q` [k, k] is x' A^-1 z of its pairs, `R` [k, C] x' A^-1 mu, `V` [C, C] mu' A^-1 mu. Leaving the burst out
    takes d'(I + 11'/left) d from the scatter, d [k, D] the rows minus their mean mu_c, and moves the mean
    by -sum(d)/left; Woodbury's identity gives the rest.
    """
    n = state.counts[c]
    own = R[:, c]
    inner = Q - own[:, None] - own + V[c, c]
    k = len(Q)
    middle = state.total * (np.eye(k) - 1.0 / n) - inner
    # d_a' A^-1 u_ij, u_ij = x_i minus the mean of class j, is p[a, i] - w[a, j].
    p, w = Q - own, R - V[c]
    mine = inner + inner.sum(axis=1, keepdims=True) / left
    solved = np.linalg.solve(middle, np.hstack([p, w, mine]))
    by_p, by_w, by_mine = solved[:, :k], solved[:, k:-k], solved[:, -k:]
    far = np.diag(Q)[:, None] - 2.0 * R + np.diag(V)
    far += np.einsum("ai,ai->i", p, by_p)[:, None] - 2.0 * p.T @ by_w + np.einsum("ac,ac->c", w, by_w)
    far[:, c] = np.diag(inner) + 2.0 * inner.sum(axis=1) / left + inner.sum() / left**2
    far[:, c] += np.einsum("ai,ai->i", mine, by_mine)
    return np.asarray(np.maximum(far, 0.0))


def near_duplicates(Z: Matrix, y: Indices, cosine: float) -> Indices:
    """Groups [n] of samples of one class that are linked by pairs with at least this cosine, unit rows [n, D]."""
    groups = np.arange(len(y), dtype=np.intp)
    for c in np.unique(y):
        rows = np.flatnonzero(y == c)
        linked = Z[rows] @ Z[rows].T >= cosine
        open_rows = linked.sum(axis=1) > 1
        for start in np.flatnonzero(open_rows):
            if not open_rows[start]:
                continue
            member = np.zeros(len(rows), dtype=np.bool_)
            member[start] = True
            while True:
                more = linked[member].any(axis=0) | member
                if (more == member).all():
                    break
                member = more
            open_rows &= ~member
            groups[rows[member]] = rows[member].min()
    return groups
