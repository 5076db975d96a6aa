"""This is where labels are held against what those who have not learned them would say: chance, or another cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import softmax
from edge_agent.ml.evidence import linear_parts
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.neighbourhoods import Neighbourhoods
from edge_agent.ml.transforms import signed_root

SHARE = 0.3
"""Of the pictures of one thing that have other labels, in the explanation that honest labels are held against."""
SMALLEST = 1e-6
"""What an opinion gives to a label at least: no opinion is worth more than a million to one."""
TELLING = 2.0
"""A picture speaks for the explanation when it is so many times likelier by it."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Contradiction:
    """The one thing whose pictures seem to have other labels, with the pictures that say so."""

    column: int
    """Of the thing."""
    odds: float
    """How many times likelier the labels are if a share of the pictures of one thing has other labels, than if
    the opinions are right about all of them. With honest labels and opinions that are calibrated, k is reached in at
    most one of k cases (Ville's inequality for a likelihood ratio)."""
    rows: tuple[int, ...]
    """The pictures that speak for it, the clearest first."""


def contradiction(opinions: Sequence[Matrix], y: NDArray[np.intp]) -> Contradiction:
    """What opinions P [n, C] of samples, by who has not learned them, say against their labels `y` [n].

    For each class c: under its explanation a sample of c has another label with the probability 0.3, any of
    them alike, so a label y != c has P_y + 0.3 P_c / (C - 1) and y = c has 0.7 P_c. The log ratios to P_y are summed
    over samples, averaged over opinions (a geometric mean, which keeps the bound), and the ratios are averaged over
    classes. NaN is no opinion.
    """
    n, C = opinions[0].shape
    each = np.zeros((n, C))
    known = np.zeros((n, 1))
    rows = np.arange(n)
    for P in opinions:
        heard = np.isfinite(P).all(axis=1)
        own = np.maximum(P[rows, y], SMALLEST)[:, None]
        ratio = 1.0 + SHARE / max(C - 1, 1) * P / own
        ratio[rows, y] = 1.0 - SHARE
        each[heard] += np.log(ratio[heard])
        known[heard] += 1.0
    each /= np.maximum(known, 1.0)
    total = each.sum(axis=0)
    best = int(total.argmax())
    odds = float(np.exp(min(float(total[best]), 300.0)) * np.exp(total - total[best]).mean())
    speaking = np.flatnonzero((each[:, best] >= np.log(TELLING)) & (y != best))
    order = speaking[np.argsort(-each[speaking, best], kind="stable")]
    return Contradiction(best, odds, tuple(order.tolist()))


def unlearned(head: Head, X: NDArray[np.float32], labels: Sequence[str]) -> Matrix | None:
    """Probabilities [n, C] of samples the head has learned, each as if it had not; None when they cannot be had.

    Features are [n, D]. Rows are NaN of samples that are the only one of their label. In closed form, with
    penalty, tau and temperature as they were learned.
    """
    parts = linear_parts(head)
    if isinstance(parts, str):
        return None
    state, recipe, prior = parts
    column = {label: index for index, label in enumerate(head.classes_)}
    y = np.array([column.get(label, -1) for label in labels], dtype=np.intp)
    P = np.full((len(labels), len(head.classes_)), np.nan)
    answers = Neighbourhoods(state, recipe)
    for c in np.unique(y[y >= 0]):
        rows = np.flatnonzero(y == c)
        if state.counts[c] >= 2.0:
            alone = [np.array([i], dtype=np.intp) for i in range(len(rows))]
            P[rows] = softmax(answers.scores(signed_root(X[rows]), int(c), alone) + prior)
    return P
