"""This is where training a head from stored features is timed against scikit-learn, in one process.

Run it with one BLAS thread, as on a device that has better things to do with its other cores:

    OPENBLAS_NUM_THREADS=1 python benchmarks/heads.py [--repeats 5] [--large]

Prints medians of processor time in milliseconds, which other work on the machine disturbs least. The peer is
one fit of `LogisticRegression` on the same transformed features with a fixed C; choosing C by 5-fold
cross-validation costs it some sixty fits.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.ml.transforms import signed_root

N_FEATURES = 1280
SIZES = [(50, 5), (300, 10), (1000, 10), (1000, 100)]
LARGE = [(10_000, 10), (10_000, 100)]


def samples(n: int, classes: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Gaussian classes kept above 0, as the output of a network is, hard enough that heads err."""
    rng = np.random.default_rng(seed)
    means = np.abs(np.random.default_rng(1).normal(size=(classes, N_FEATURES)))
    y = rng.permutation(np.arange(n) % classes)
    X = np.maximum(means[y] + 3.0 * rng.normal(size=(n, N_FEATURES)), 0.0)
    return X.astype(np.float32), [f"class {k:03d}" for k in y]


def median_ms(repeats: int, work: Callable[[], object]) -> float:
    """Median processor time of `repeats` runs after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return 1000.0 * statistics.median(seconds)


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 10,000 samples; takes minutes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"numpy {np.__version__}, {N_FEATURES} features, median processor time of {arguments.repeats}, ms")
    print(
        f"{'samples':>8} {'classes':>8} {'lda':>9} {'softmax':>9} {'logistic':>9}   accuracy lda / logistic"
    )
    for n, classes in SIZES + (LARGE if arguments.large else []):
        X, labels = samples(n, classes, seed=0)
        new, truth = samples(500, classes, seed=1)
        batch = MatrixBatchProvider(X, labels)
        head, peer = LDAHead(N_FEATURES), LogisticRegression(C=100.0, max_iter=200)

        def train(head_class: type, batch: MatrixBatchProvider = batch, **given: object) -> object:
            head = head_class(N_FEATURES)
            list(head.train(batch, {MLParameterKey(name): value for name, value in given.items()}))
            return head

        repeats = arguments.repeats if n < 10_000 else min(arguments.repeats, 3)
        lda = median_ms(repeats, lambda: train(LDAHead))
        softmax = median_ms(1, lambda: train(SoftmaxHead, epochs=10))
        logistic = median_ms(1, lambda X=X, y=labels, peer=peer: peer.fit(signed_root(X), y))
        head = train(LDAHead)
        right = np.array(head.classes_)[head.predict_proba(new).argmax(axis=1)] == truth
        print(
            f"{n:8d} {classes:8d} {lda:9.1f} {softmax:9.1f} {logistic:9.1f}"
            f"   {right.mean():.3f} / {peer.score(signed_root(new), truth):.3f}"
        )


if __name__ == "__main__":
    main()
