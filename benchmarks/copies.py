"""This is where it is measured what a limit on pictures that show the same (`most_near_duplicates`) does to accuracy.

    OPENBLAS_NUM_THREADS=1 python benchmarks/copies.py --data DIR... [--head auto] [--each 50] [--seeds 3]

Each DIR has a folder of pictures for each label, or is an .npz with features, as in `suggestions.py`. Up to `--each`
pictures of each label are learned, and the others asked, 1,500 at most. With `--burst N` a third of the labels
get N near-copies of one of their pictures besides: its features with up to a quarter of another picture's of that
label mixed in. Printed are means over seeds: accuracy and pictures learned from, by limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from knowing import Set, read_sets
from learning import CARD, trained

from edge_agent.ml.copies import capped

LIMITS = (0, 1, 3, 10)
MOST_ASKED = 1500


def drawn(one: Set, each: int, burst: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Features and classes to learn, and to ask."""
    classes = np.unique(one.y)
    rows = [rng.permutation(np.flatnonzero((one.y == c) & one.learnable)) for c in classes]
    spare = 1 if one.learnable.all() else 0
    rows = [part[: min(each, len(part) - spare)] for part in rows]
    learned = np.concatenate(rows)
    left = np.setdiff1d(np.flatnonzero(one.learnable), learned)
    asked = rng.permutation(left if one.learnable.all() else np.flatnonzero(~one.learnable))[:MOST_ASKED]
    X, y = [one.X[learned]], [one.y[learned]]
    for c in rng.permutation(len(classes))[: len(classes) // 3] if burst else ():
        share = rng.uniform(0, 0.25, size=(burst, 1)).astype(np.float32)
        others = one.X[rng.choice(rows[c], burst)]
        X.append((1 - share) * one.X[rows[c][0]] + share * others)
        y.append(np.full(burst, classes[c]))
    return np.concatenate(X), np.concatenate(y), one.X[asked], one.y[asked]


def limited(X: np.ndarray, y: np.ndarray, limit: int) -> np.ndarray:
    """Which rows are learned from."""
    if not limit:
        return np.arange(len(y))
    rows = [np.flatnonzero(y == c) for c in np.unique(y)]
    return np.concatenate([part[capped(X[part], limit)] for part in rows])


def main() -> None:
    """A line for each set of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of pictures, or .npz files"
    )
    parser.add_argument("--extractor", type=Path, default=CARD, help="card of the extractor")
    parser.add_argument("--head", default="auto", help="what learns (default %(default)s)")
    parser.add_argument("--each", type=int, default=50, help="pictures of each label (default %(default)s)")
    parser.add_argument("--burst", type=int, default=0, help="near-copies besides (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    print(
        "set               " + "".join(f"{f'limit {limit}' if limit else 'no limit':>18}" for limit in LIMITS)
    )
    for one in read_sets(given.data, given.extractor):
        figures = []
        for seed in range(given.seeds):
            X, y, asked, truth = drawn(one, given.each, given.burst, np.random.default_rng(seed))
            row = []
            for limit in LIMITS:
                kept = limited(X, y, limit)
                right = trained(given.head, X[kept], y[kept])(asked).argmax(axis=1) == truth
                row += [100 * right.mean(), len(kept)]
            figures.append(row)
        means = np.mean(figures, axis=0)
        print(
            f"{one.name:<18}" + "".join(f"{a:10.1f} ({n:5.0f})" for a, n in means.reshape(-1, 2)), flush=True
        )


if __name__ == "__main__":
    main()
