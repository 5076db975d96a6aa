"""This is where a sample is answered by linear answers that have learned neither it nor what is nearly the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.linear_answers import UNIT, Recipe, State
from edge_agent.ml.scatter import Look

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

_Answer = Callable[[Indices, Matrix], Matrix]

AT_ONCE = 1 << 20
"""Numbers in one batch of small systems: 8 MB."""


class Neighbourhoods:
    """What samples would be answered had each, and the neighbours named for it, not been learned.

    Penalties, tau and temperature stay as they were learned. Every sample has neighbours of its own, which
    may be those of others too.
    """

    def __init__(self, state: State, recipe: Recipe) -> None:
        self._state, self._recipe = state, recipe
        self._known: dict[float, Matrix] = {}

    def scores(self, Z: Matrix, column: int, members: Sequence[Indices]) -> Matrix:
        """Scores [j, C] of the first row of each of j lists of rows, with the list left out.

        `Z` are unit vectors [u, D] of one class, that of `column`, which are in the state; the lists name
        rows of `Z`. Memory is O(u u + u D). Raises `ValueError` for a list that is the whole class: nothing
        would be left to answer with.
        """
        if any(len(rows) >= self._state.counts[column] for rows in members):
            raise ValueError("a class of which nothing is left cannot be answered")
        sizes = np.tile(self._state.counts, (len(members), 1))
        sizes[:, column] -= [len(rows) for rows in members]
        scores = -self._recipe.rarity * np.log(sizes)
        of_class = _OfClass(Z, column, np.asarray(Z - self._state.centre), self._state)
        for factor, kind in (
            (self._recipe.discriminant, self._discriminant),
            (UNIT * self._recipe.regression, self._regression),
            (UNIT * self._recipe.nearest, self._nearest),
        ):
            if factor and members:
                answer = kind(of_class)
                for places, rows, there in _batches(members, scores.shape[1]):
                    scores[places] += factor * answer(rows, there)
        return scores

    def _discriminant(self, one: _OfClass) -> _Answer:
        """Woodbury's identity: a list g takes d'(I + 11'/left) d from the scatter, d its rows minus mu_c."""
        state, recipe, c = self._state, self._recipe, one.column
        n, coef = float(state.counts[c]), state.directions(recipe.shrinkage)
        Q = state.total * one.products(state.ridge(recipe.shrinkage) * state.total)
        R = one.x @ coef
        V = self._between_means
        own = R[:, c]
        # d_a' P d_b of all pairs; below d_a' P u, u the first row minus each mean.
        D = Q - own[:, None] - own + V[c, c]

        def answer(rows: Indices, there: Matrix) -> Matrix:
            first, left = rows[:, 0], n - there.sum(axis=1)
            inner = _pairs(D, rows, there)
            gone = inner.sum(axis=2) / left[:, None]
            across = (Q[rows, first[:, None]] - own[first][:, None])[:, :, None] - (R[rows] - V[c])
            across *= there[:, :, None]
            across[:, :, c] = inner[:, :, 0] + gone
            middle = state.total * (np.eye(rows.shape[1]) - _outer(there) / n) - inner
            far = Q[first, first][:, None] - 2.0 * R[first] + np.diag(V)
            far[:, c] = D[first, first] + 2.0 * gone[:, 0] + inner.sum(axis=(1, 2)) / left**2
            far += np.einsum("bkc,bkc->bc", across, np.linalg.solve(middle, across))
            sizes = np.broadcast_to(state.counts, far.shape).copy()
            sizes[:, c] = left
            return np.asarray(-0.5 * (np.maximum(far, 0.0) - recipe.tau / sizes))

        return answer

    def _regression(self, one: _OfClass) -> _Answer:
        """The first row of Y - (I - H)^-1 (Y - F); H = 1/N + x'(T + lam N)^-1 z, T the scatter around the centre."""
        state, c = self._state, one.column
        N, ridge = state.total, self._recipe.ridge * state.total
        XPB = one.look.cross(state.look, ridge) * state.roots
        solved = np.linalg.solve(self._between(ridge), XPB.T).T
        H = 1.0 / N + one.products(ridge) - XPB @ solved.T
        missing = -(solved * state.roots + state.counts / N)
        missing[:, c] += 1.0

        def answer(rows: Indices, there: Matrix) -> Matrix:
            unit = np.zeros((*rows.shape, 1))
            unit[:, 0] = 1.0
            weights = np.linalg.solve(np.eye(rows.shape[1]) - _pairs(H, rows, there), unit)
            answers = -np.einsum("bk,bkc->bc", weights[:, :, 0] * there, missing[rows])
            answers[:, c] += 1.0
            return np.asarray(answers)

        return answer

    def _nearest(self, one: _OfClass) -> _Answer:
        """Cosines to the means, that of the class without the list."""
        state, c = self._state, one.column
        length = np.linalg.norm(state.means, axis=1)
        all_cosines = one.Z @ (state.means / np.where(length > 0.0, length, 1.0)[:, None]).T

        def answer(rows: Indices, there: Matrix) -> Matrix:
            cosines = all_cosines[rows[:, 0]]
            gone = np.stack([one.Z[list_].T @ weight for list_, weight in zip(rows, there, strict=True)])
            mean = state.counts[c] * state.means[c] - gone  # of any length
            length = np.linalg.norm(mean, axis=1)
            own = np.einsum("bd,bd->b", one.Z[rows[:, 0]], mean)
            cosines[:, c] = own / np.where(length > 0.0, length, 1.0)
            return np.asarray(cosines)

        return answer

    @cached_property
    def _between_means(self) -> Matrix:
        """mu' A^-1 mu [C, C] of the means from the centre."""
        state = self._state
        return np.asarray((state.means - state.centre) @ state.directions(self._recipe.shrinkage))

    def _between(self, ridge: float) -> Matrix:
        """I + B (Sw + r I)^-1 B' [C, C], B the spread of the means."""
        state = self._state
        if ridge not in self._known:
            B = state.look.cross(state.look, ridge)
            self._known[ridge] = np.eye(len(B)) + state.roots[:, None] * B * state.roots
        return self._known[ridge]


@dataclass(frozen=True)
class _OfClass:
    Z: Matrix
    column: int
    x: Matrix
    """Z from the centre of all samples."""
    state: State

    def products(self, ridge: float) -> Matrix:
        """x' (Sw + r I)^-1 z of all pairs [u, u]."""
        return self.look.cross(self.look, ridge)

    @cached_property
    def look(self) -> Look:
        """The rows, seen through the scatter."""
        return self.state.scatter.look(self.x)


def _outer(there: Matrix) -> Matrix:
    return there[:, :, None] * there[:, None, :]


def _pairs(products: Matrix, rows: Indices, there: Matrix) -> Matrix:
    """The products [b, k, k] of each list; nothing where a list is shorter."""
    return products[rows[:, :, None], rows[:, None, :]] * _outer(there)


def _batches(members: Sequence[Indices], width: int) -> Iterator[tuple[Indices, Indices, Matrix]]:
    """Lists of about one length together: their places, their rows [b, k] and which of these are theirs."""
    sizes = np.array([len(rows) for rows in members], dtype=np.intp)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < len(order):
        # A list is filled up to no more than a quarter beyond its own length.
        most = max(int(sizes[order[start]] * 1.25), 4)
        end = start + max(1, AT_ONCE // (most * (most + width)))
        end = min(end, int(np.searchsorted(sizes[order], most, side="right")))
        places = order[start : max(end, start + 1)]
        k = int(sizes[places].max())
        rows = np.zeros((len(places), k), dtype=np.intp)
        there = np.zeros((len(places), k))
        for i, place in enumerate(places):
            rows[i, : sizes[place]] = members[place]
            there[i, : sizes[place]] = 1.0
        yield places, rows, there
        start += len(places)
