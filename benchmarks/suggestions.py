"""This is where it is measured how many labels a person needs who labels what `edge-agent review` suggests.

    OPENBLAS_NUM_THREADS=1 python benchmarks/suggestions.py --data DIR... [--head lda] [--seeds 3]

Each DIR has a folder of pictures for each label (where names begin with `test_`, those are asked and the others
are the pool), or is an .npz with features `X` [n, D], `y` [n] and, if wanted, `learnable` [n]. Otherwise half of
the pictures, 800 at most, are the pool, and up to 800 of the others are asked. Nothing in the pool has a label at
first; ten pictures are labelled at a time, drawn at random or as suggested.

Printed are means over seeds: accuracy after so many labels, and after how many suggested ones it is at least that
after `--reach` random ones; between two batches it is interpolated.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from knowing import read_sets
from learning import CARD

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.selection import ReviewPool, suggestions

BATCH = 10
SHOWN = (10, 50, 100, 150, 200)
LARGEST_POOL = LARGEST_TEST = 800


class Pool:
    """Pictures nobody has labelled, and pictures to ask about."""

    def __init__(self, X: np.ndarray, y: np.ndarray, learnable: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(y))
        if learnable.all():
            half = min(LARGEST_POOL, len(y) // 2)
            pool, asked = order[:half], order[half : half + LARGEST_TEST]
        else:
            pool, asked = order[learnable[order]], np.flatnonzero(~learnable)
        self.X, self.y = X[pool], y[pool]
        self.asked, self.truth = X[asked], y[asked]
        self.rng = rng

    def curve(self, head: str, *, suggested: bool, most: int) -> dict[int, float]:
        """Accuracy by the number of labels."""
        done: list[int] = []
        found = {}
        learned = None
        while len(done) < min(most, len(self.y)):
            left = np.setdiff1d(np.arange(len(self.y)), done)
            if suggested:
                done += self.suggested(left, done, learned)
            else:
                done += self.rng.permutation(left)[:BATCH].tolist()
            learned = trained(head, self.X[done], self.y[done])
            right = np.array([int(name) for name in learned.classes_])
            found[len(done)] = float(
                (right[learned.predict_proba(self.asked).argmax(axis=1)] == self.truth).mean()
            )
        return found

    def suggested(self, left: np.ndarray, done: list[int], learned: object) -> list[int]:
        """What the shipped rule picks next."""
        P = np.zeros((len(left), 0)) if learned is None else learned.predict_proba(self.X[left])
        pool = ReviewPool(
            candidates=tuple(map(str, left)),
            features=self.X[left],
            labels=() if learned is None else tuple(learned.classes_),
            probabilities=P,
            labelled=self.X[done],
            counts=Counter(map(name, self.y[done])),
            wanted=BATCH,
        )
        return [int(one.candidate) for one in suggestions(pool)]


def name(c: int) -> str:
    """A class as a label."""
    return f"{c:04d}"


def trained(head: str, X: np.ndarray, y: np.ndarray) -> object:
    """A head that learned these."""
    learned = BUILT_IN_HEADS[head](X.shape[1])
    for _ in learned.train(MatrixBatchProvider(X, list(map(name, y))), {}):
        pass
    return learned


def labels_needed(curve: dict[int, float], goal: float) -> float:
    """After how many labels a curve first reaches the goal; infinite when it does not."""
    sizes = sorted(curve)
    before = (0, 0.0)
    for size in sizes:
        if curve[size] >= goal:
            share = (goal - before[1]) / max(curve[size] - before[1], 1e-12)
            return before[0] + share * (size - before[0])
        before = (size, curve[size])
    return float("inf")


def averaged(curves: list[dict[int, float]]) -> dict[int, float]:
    """The mean of several curves, where all of them are."""
    return {
        size: float(np.mean([curve[size] for curve in curves]))
        for size in set.intersection(*map(set, curves))
    }


def main() -> None:
    """One line for each set of pictures, and one for their mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of pictures, or .npz files"
    )
    parser.add_argument("--extractor", type=Path, default=CARD, help="card of the extractor")
    parser.add_argument("--head", default="lda", help="what learns (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reach", type=int, default=200, help="random labels to keep up with (%(default)s)")
    given = parser.parse_args()
    both: dict[bool, list[dict[int, float]]] = {False: [], True: []}
    print("set               rule      " + "".join(f"{size:>7}" for size in SHOWN) + "   labels needed")
    for one in read_sets(given.data, given.extractor):
        means = {
            suggested: averaged(
                [
                    Pool(one.X, one.y, one.learnable, seed).curve(
                        given.head, suggested=suggested, most=given.reach
                    )
                    for seed in range(given.seeds)
                ]
            )
            for suggested in (False, True)
        }
        show(one.name, means, given.reach)
        for suggested in both:
            both[suggested].append(means[suggested])
    if len(given.data) > 1:
        show("mean", {suggested: averaged(curves) for suggested, curves in both.items()}, given.reach)


def show(title: str, means: dict[bool, dict[int, float]], reach: int) -> None:
    """Both rules, and what the second one needs."""
    last = max(size for size in means[False] if size <= reach)
    needed = labels_needed(means[True], means[False][last])
    for suggested, rule in ((False, "random"), (True, "suggested")):
        row = "".join(
            f"{100 * means[suggested][size]:7.1f}" if size in means[suggested] else "      -"
            for size in SHOWN
        )
        tail = f"   {needed:.0f} instead of {last}" if suggested else ""
        print(f"{title:<17} {rule:<10}{row}{tail}", flush=True)


if __name__ == "__main__":
    main()
