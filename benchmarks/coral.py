"""This is where softmax regression is learned with the defaults that Coral publishes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ITERATIONS = 500
BATCH = 100
LEARNING_RATE = 0.01


def coral(X: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Softmax regression by plain SGD: 500 iterations, mini-batches of 100, learning rate 0.01."""
    rng, C = np.random.default_rng(0), int(y.max()) + 1

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    U, W, b = unit(X.astype(np.float64)), np.zeros((X.shape[1], C)), np.zeros(C)
    for _ in range(ITERATIONS):
        rows = rng.choice(len(y), min(BATCH, len(y)), replace=False)
        P = shares(U[rows] @ W + b)
        P[np.arange(len(rows)), y[rows]] -= 1.0
        W -= LEARNING_RATE * U[rows].T @ P / len(rows)
        b -= LEARNING_RATE * P.mean(axis=0)
    return lambda asked: shares(unit(asked.astype(np.float64)) @ W + b)


def shares(scores: np.ndarray) -> np.ndarray:
    """The softmax of each row."""
    P = np.exp(scores - scores.max(axis=1, keepdims=True))
    return P / P.sum(axis=1, keepdims=True)
