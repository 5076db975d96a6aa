"""This is where softmax regression measures its loss over all samples, one block of rows after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.lbfgs import Evaluation
from edge_agent.ml.transforms import signed_root

Matrix = NDArray[np.float64]
Blocks = Iterable[NDArray[np.float32]]

KEPT_BYTES = 64 * 2**20
"""Unit vectors that need no more than this are made once, others anew in every pass."""
BIAS_UNIT = 0.2
"""About the root of the greatest eigenvalue of the covariance of unit vectors that a network made."""


class UnitRows:
    """All rows as unit vectors (`signed_root`), a block at a time, again and again to the same bits.

    They are rounded to float32, a relative change of 1e-7, so that twice as many can be kept.
    """

    def __init__(self, read: Callable[[], Blocks], n_samples: int, n_features: int) -> None:
        self._read = read
        self._kept: list[NDArray[np.float32]] | None = None
        self._small = n_samples * n_features * 4 <= KEPT_BYTES

    def __iter__(self) -> Iterator[Matrix]:
        """Blocks float64 [m, D]."""
        if self._small and self._kept is None:
            self._kept = list(self._rounded())
        for block in self._rounded() if self._kept is None else self._kept:
            yield block.astype(np.float64)

    def _rounded(self) -> Iterator[NDArray[np.float32]]:
        for X in self._read():
            yield signed_root(X).astype(np.float32)


class SoftmaxRegression:
    """Mean cross-entropy of softmax(z W + b) plus l2/2 |W|^2, as a function of W [D, C] and b [C] in one row.

    The biases bear no penalty. Where `moving` [C] is false, a class stays as it is: its gradient is 0.
    (Bishop, Pattern Recognition and Machine Learning, 4.3.4; the logarithm is taken of the sum, so no
    probability is too small for it.)

    Unit vectors have one large common part, their mean m, along which the loss is a thousand times more
    curved than elsewhere. As b is free, (z - m) W + c with c = b + m W is the same family with the same
    penalty; and c is counted in units of `BIAS_UNIT`, so that it is about as curved as the rest. L-BFGS then
    needs a third of the iterations.
    """

    def __init__(
        self,
        rows: UnitRows,
        y: NDArray[np.intp],
        n_classes: int,
        l2: float,
        *,
        moving: NDArray[np.bool_] | None = None,
        centre: Matrix | None = None,
    ) -> None:
        self._rows = rows
        self._y = y
        self.l2 = l2
        self._moving = np.ones(n_classes, dtype=np.bool_) if moving is None else moving
        self.centre = _mean(rows) if centre is None else centre
        """m [D]; another one is as right and not as fast."""

    @property
    def size(self) -> int:
        """How many variables there are."""
        return (len(self.centre) + 1) * len(self._moving)

    def position(self, W: Matrix, b: Matrix) -> Matrix:
        """Weights [D, C] and biases [C] in one row."""
        return np.concatenate([W.ravel(), (b + self.centre @ W) / BIAS_UNIT])

    def weights(self, position: Matrix) -> tuple[Matrix, Matrix]:
        """Weights [D, C] and biases [C] that `position` put into one row."""
        D, C = len(self.centre), len(self._moving)
        W = position[: D * C].reshape(D, C)
        return W, BIAS_UNIT * position[D * C :] - self.centre @ W

    def __call__(self, position: Matrix) -> Evaluation:
        """One full pass; `loss` without the penalty and `accuracy` are noticed on the way."""
        W, b = self.weights(position)
        dW, db = np.zeros_like(W), np.zeros_like(b)
        n, start, loss, hits = len(self._y), 0, 0.0, 0
        with np.errstate(over="ignore", invalid="ignore"):  # the search looks whether it is finite
            for Z in self._rows:
                y = self._y[start : start + len(Z)]
                start += len(Z)
                P = Z @ W
                P += b
                hits += int((P.argmax(axis=1) == y).sum())
                P -= P.max(axis=1, keepdims=True)
                each = np.arange(len(y))
                own = P[each, y]
                np.exp(P, out=P)
                total = P.sum(axis=1, keepdims=True)
                loss += float(np.log(total).sum() - own.sum())
                P /= total
                P[each, y] -= 1.0
                dW += Z.T @ P
                db += P.sum(axis=0)
            dW -= np.outer(self.centre, db)
            dW /= n
            dW += self.l2 * W
            dW *= self._moving
            db *= self._moving * (BIAS_UNIT / n)
            value = loss / n + 0.5 * self.l2 * float(np.square(W).sum())
        noticed = {"loss": loss / n, "accuracy": hits / n}
        return Evaluation(value, np.concatenate([dW.ravel(), db]), noticed)


def _mean(rows: UnitRows) -> Matrix:
    total, n = np.zeros(0), 0
    for Z in rows:
        total = Z.sum(axis=0) + total if n else Z.sum(axis=0)
        n += len(Z)
    return np.asarray(total / n)
