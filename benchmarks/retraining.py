"""This is where it is timed what learning again costs, from features that are stored already.

    OPENBLAS_NUM_THREADS=1 python benchmarks/retraining.py [--quick] [--cv]

Samples of 1280 features are drawn: classes that overlap, so that a logistic regression needs its iterations. All
times are processor time of one thread. Three tables:

- training from nothing, each head against one converged fit of scikit-learn's logistic regression, and with `--cv`
  (it takes minutes) against its five-fold cross-validation over 13 penalties;
- the most memory that arrays take while a head trains, beside the samples;
- ten samples added, relabelled and removed in a store, with the sums kept in step, and how far the probabilities
  are from those of learning everything again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.transforms import signed_root
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.store.sums import KeptSums

D = 1280
HEADS = ("auto", "lda+ridge", "lda", "ridge", "ncm", "logistic")
SIZES = ((200, 10), (1000, 10), (1000, 100), (10_000, 10), (10_000, 100))
CHANGED = 10
REPEATS = 5
PENALTIES = np.logspace(-2, 4, 13)


def drawn(n: int, C: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Features float32 [n, D], not below 0, and labels."""
    rng = np.random.default_rng(seed)
    means = 0.5 + 0.5 * np.random.default_rng(1).normal(size=(C, D)) * (np.arange(D) < D // 8)
    y = rng.permutation(np.arange(n) % C)
    # What varies is shared by the features, as it is in those of pictures.
    mixing = np.random.default_rng(2).normal(size=(64, D)) / 8.0
    X = means[y] + rng.normal(size=(n, 64)) @ mixing + 0.7 * rng.normal(size=(n, D))
    return np.maximum(X, 0.0).astype(np.float32), [f"{k:04d}" for k in y]


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median processor time."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return float(np.median(taken))


def train(name: str, X: np.ndarray, labels: list[str]) -> None:
    """One of our heads from nothing."""
    learn(name, MatrixBatchProvider(X, labels))


def learn(name: str, provider: object) -> object:
    """The head that learned the samples of a provider."""
    head = BUILT_IN_HEADS[name](D)
    for _ in head.train(provider, {}):
        pass
    return head


def converged(X: np.ndarray, labels: list[str]) -> None:
    """Scikit-learn's logistic regression, to a gradient of 1e-5."""
    LogisticRegression(C=100.0, tol=1e-5, max_iter=5000).fit(signed_root(X), labels)


def cross_validated(X: np.ndarray, labels: list[str]) -> None:
    """Five folds and 13 penalties, to the same gradient."""
    LogisticRegressionCV(
        Cs=PENALTIES, cv=5, tol=1e-5, max_iter=5000, scoring="neg_log_loss", l1_ratios=(0.0,)
    ).fit(signed_root(X), labels)


def from_nothing(sizes: tuple[tuple[int, int], ...], repeats: int, *, cv: bool) -> None:
    """The first two tables."""
    peers = {"scikit-learn": converged} | ({"its CV": cross_validated} if cv else {})
    print("\ntraining from nothing, ms (and of one converged fit of scikit-learn's logistic regression)")
    print(f"{'samples':>8} {'classes':>8}" + "".join(f"{name:>15}" for name in (*HEADS, *peers)))
    for n, C in sizes:
        X, labels = drawn(n, C)
        for name in HEADS[:1]:
            train(name, X[:50], labels[:50])
        peer = {name: seconds(partial(work, X, labels), 1) for name, work in peers.items()}
        cells = []
        for name in HEADS:
            own = seconds(partial(train, name, X, labels), 1 if name == "logistic" else repeats)
            cells.append(f"{1000 * own:8.1f} ({own / peer['scikit-learn']:.2f})")
        cells += [f"{1000 * one:.0f}" for one in peer.values()]
        print(f"{n:8d} {C:8d}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    print("\nmost memory of arrays while training, beside the samples, MB")
    print(f"{'samples':>8} {'classes':>8}" + "".join(f"{name:>15}" for name in HEADS))
    for n, C in sizes:
        X, labels = drawn(n, C)
        peaks = []
        for name in HEADS:
            tracemalloc.start()
            train(name, X, labels)
            peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()
        print(f"{n:8d} {C:8d}" + "".join(f"{one:15.1f}" for one in peaks), flush=True)


class Kept:
    """A store of drawn samples with its sums."""

    def __init__(self, folder: Path, n: int, C: int) -> None:
        self.X, self.labels = drawn(n + 40 * CHANGED, C)
        self.store = SampleStore(folder / "samples.db")
        self.sums = KeptSums(folder / "sums.npz")
        self.next = 0
        while self.next < n:
            self.add(min(500, n - self.next))

    def add(self, count: int) -> None:
        """Samples more."""
        plain = NewSample("", "", "drawn.jpg", "", 1, 1, 1, self.X[0])
        rows = range(self.next, self.next + count)
        self.store.add(
            [
                dataclasses.replace(
                    plain,
                    digest=hashlib.sha256(str(i).encode()).hexdigest(),
                    label=self.labels[i],
                    features=self.X[i],
                )
                for i in rows
            ],
            "drawn",
        )
        self.next += count

    def learn(self, name: str = "auto") -> float:
        """Processor time of one training from the sums; the rest of an update is not looked at."""
        provider = self.store.snapshot("drawn").provider(keeper=self.sums.follow)
        begin = time.process_time()
        self.head = learn(name, provider)
        return time.process_time() - begin

    def relabel(self) -> None:
        """Ten samples get another label."""
        other = sorted(set(self.labels))
        for sample in self.store.list()[:CHANGED]:
            self.store.relabel(sample.digest, other[(other.index(sample.label) + 1) % len(other)])

    def remove(self) -> float:
        """Ten samples are forgotten; the processor time of taking them out of the sums."""
        samples = self.store.list()[:CHANGED]
        begin = time.process_time()
        self.sums.drop([sample.sequence for sample in samples])
        taken = time.process_time() - begin
        self.store.remove_all([sample.digest for sample in samples])
        return taken

    def difference(self) -> float:
        """The largest one to the probabilities of the head that learns everything again."""
        provider = self.store.snapshot("drawn").provider()
        anew = learn("auto", provider)
        X = self.X[: self.next]
        return float(np.abs(self.head.predict_proba(X) - anew.predict_proba(X)).max())


def changes(sizes: tuple[tuple[int, int], ...], repeats: int) -> None:
    """The third table."""
    print(f"\n`auto` after {CHANGED} samples changed, ms; and the largest difference to learning all again")
    print(f"{'samples':>8} {'classes':>8} {'added':>8} {'relabelled':>11} {'removed':>8} {'difference':>11}")
    for n, C in sizes:
        with tempfile.TemporaryDirectory() as folder:
            kept = Kept(Path(folder), n, C)
            kept.learn()
            times: dict[str, list[float]] = {"add": [], "relabel": [], "remove": []}
            for _ in range(repeats):
                kept.add(CHANGED)
                times["add"].append(kept.learn())
                kept.relabel()
                times["relabel"].append(kept.learn())
                taken = kept.remove()
                times["remove"].append(taken + kept.learn())
            cells = [1000 * float(np.median(one)) for one in times.values()]
            print(
                f"{n:8d} {C:8d} {cells[0]:8.1f} {cells[1]:11.1f} {cells[2]:8.1f} {kept.difference():11.1e}",
                flush=True,
            )
            kept.store.close()


def tables(*, quick: bool, cv: bool = False) -> None:
    """All that this command prints."""
    from_nothing(SIZES[:3] if quick else SIZES, 1 if quick else REPEATS, cv=cv)
    changes(((1000, 10), (3000, 10)) if quick else SIZES[1:], 3 if quick else 2 * REPEATS)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 3,000 samples")
    parser.add_argument("--cv", action="store_true", help="cross-validation too; it takes minutes")
    given = parser.parse_args()
    tables(quick=given.quick, cv=given.cv)


if __name__ == "__main__":
    main()
