"""This is where learning again from stored features is measured against scikit-learn and Coral's defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.bare import Bare
from benchmarks.coral import coral
from benchmarks.hooks import calls
from benchmarks.setting import VGA, Setting
from benchmarks.table import Row
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.transforms import signed_root

D = 1280
CLASSES = 10
GUESTS = 20
HOOK_ROUNDS = 5


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [n, D] of classes that overlap, none below 0, and the numbers of their classes."""
    rng = np.random.default_rng(0)
    means = 0.5 + 0.5 * rng.normal(size=(CLASSES, D)) * (np.arange(D) < D // 8)
    y = rng.permutation(np.arange(n) % CLASSES)
    mixing = rng.normal(size=(64, D)) / 8.0  # what varies is shared by the features, as in those of pictures
    X = means[y] + rng.normal(size=(n, 64)) @ mixing + 0.7 * rng.normal(size=(n, D))
    return np.maximum(X, 0.0).astype(np.float32), y


def ours(X: np.ndarray, y: np.ndarray) -> None:
    """The default head, from nothing."""
    head = BUILT_IN_HEADS["auto"](D)
    for _ in head.train(MatrixBatchProvider(X, [f"{c:04d}" for c in y]), {}):
        pass


def theirs(X: np.ndarray, y: np.ndarray) -> None:
    """Scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression  # a board need not have it

    LogisticRegression(C=100.0, tol=1e-4, max_iter=1000).fit(signed_root(X), y)


def processor(work: Callable[[np.ndarray, np.ndarray], object], X: np.ndarray, y: np.ndarray) -> float:
    """Seconds of the processor."""
    begin = time.process_time()
    work(X, y)
    return time.process_time() - begin


def learners(setting: Setting) -> Iterator[Row]:
    """Rows of each number of samples and each peer, in processor time of one thread."""
    X, y = drawn(max(setting.sizes.retrained))
    ours(X[:50], y[:50])
    for n in setting.sizes.retrained:
        peers = {"scikit-learn's logistic regression": theirs, "softmax with Coral's defaults": coral}
        for beside, peer in peers.items():
            name = f"learn {n:,} samples again"
            try:
                pairs = [
                    (processor(ours, X[:n], y[:n]), processor(peer, X[:n], y[:n]))
                    for _ in range(setting.sizes.turns if n < 10_000 else 1)
                ]
            except ImportError as error:
                yield Row(name, "s", missing=f"{beside}: {error}")
                continue
            figures, others = zip(*pairs, strict=True)
            yield Row(name, "s", figures, beside, others, note="processor time")


def hooks(setting: Setting) -> Iterator[Row]:
    """What twenty plugins that listen cost the agent for a picture, beside looking at it."""
    (path,) = setting.photographs(setting.place("hooks"), 1, VGA)
    bare = Bare("draft")
    bare.look(path)
    for guests in (0, GUESTS):
        costs, looks = [], []
        for _ in range(setting.sizes.turns):
            found = calls(guests, HOOK_ROUNDS)
            costs.append((found["tell_agent_us"] + found["ask_us"]) / 1e3)
            begin = time.process_time()
            bare.look(path)
            looks.append(1e3 * (time.process_time() - begin))
        name = f"hooks of a picture, {guests} guests"
        yield Row(name, "ms", costs, "decode + invoke, VGA", looks, note="processor time")
