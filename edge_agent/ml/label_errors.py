"""This is where labels are found that are probably wrong: the pictures look like those of another label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.estimates import leave_one_out_distances, leave_one_out_scores, softmax
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import BLOCK_ROWS, FitData
from edge_agent.ml.transforms import signed_root

LITTLE = 0.2
"""The probability of its own label, at most, of a picture whose label is doubted."""
MUCH = 0.5
"""The probability of another label, at least."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LabelDoubt:
    """A picture whose label is probably wrong. It is for a person to decide; nothing is ever dropped."""

    index: int
    """Of its row in the data."""
    label: str
    """What it is called."""
    suggested: str
    """What it looks like."""
    own_probability: float
    """Of its label, when it is not learned from."""
    probability: float
    """Of the suggested one."""


def leave_one_out(data: FitData) -> Matrix:
    """Probabilities [n, C] of every sample as discriminant analysis without that sample gives them.

    In closed form: one fit, whatever the number of samples; the temperature is that of the fit. The columns
    are in the order of `data.classes`. NaN for samples that are the only one of their class, and for all
    where no class has two different samples.
    """
    P = np.full((len(data), len(data.classes)), np.nan)
    fit = LDAFit.begin(data, {}, 0)
    fit.step()
    learned = fit.head().learned
    if learned.ridge == 0.0:
        return P
    column = np.array([learned.classes.index(label) for label in data.classes], dtype=np.intp)
    n, N = learned.counts, float(learned.counts.sum())
    means = learned.means - learned.centre
    coef = N * learned.scatter.look(means).solved(learned.ridge * N).T
    V = means @ coef
    y = column[data.targets]
    start = 0
    for block in data.blocks(BLOCK_ROWS):
        rows = np.arange(start, start + len(block))
        start += len(block)
        out = n[y[rows]] >= 2.0
        if not out.any():
            continue
        x, own = signed_root(block[out]) - learned.centre, y[rows[out]]
        q = N * learned.scatter.quadratic(x, learned.ridge * N)
        far = leave_one_out_distances(q, x @ coef, V, own, n, N)
        scores = leave_one_out_scores(far, own, n, learned.estimates.tau, np.zeros(len(n)))
        P[rows[out]] = softmax(learned.estimates.temperature * scores)[:, column]
    return P


def label_doubts(
    data: FitData, P: Matrix | None = None, *, little: float = LITTLE, much: float = MUCH
) -> list[LabelDoubt]:
    """The samples whose own label gets little and another one much probability, the clearest first.

    `P` is what `leave_one_out` gave, if it is at hand. The order is that of the difference of the two
    probabilities.
    """
    P = leave_one_out(data) if P is None else P
    y = data.targets
    own = P[np.arange(len(y)), y]
    others = P.copy()
    others[np.arange(len(y)), y] = -1.0
    best = others.argmax(axis=1)
    other = others[np.arange(len(y)), best]
    # NaN compares as false, so what was not judged is not doubted.
    doubted = np.flatnonzero((own <= little) & (other >= much))
    order = doubted[np.argsort(own[doubted] - other[doubted], kind="stable")]
    return [
        LabelDoubt(
            int(row), data.classes[y[row]], data.classes[best[row]], float(own[row]), float(other[row])
        )
        for row in order
    ]
