"""This is where it is measured how well heads know what they do not know, and how sure they should be.

    OPENBLAS_NUM_THREADS=1 python benchmarks/knowing.py --data DIR|NPZ... [--seeds 5] [--json FILE]

Each DIR has a folder of pictures for each label; an NPZ has their features already (X [n, D], y [n], and `learnable`
[n] where some may only be asked). Three classes of ten are held out: their pictures are the near unknowns. Those of
all other sets are the far ones. Of the known classes 5, 10, 20 and 50 pictures are learned where at least five are
left to ask; pictures that may not be learned (names `test_*`) are asked by themselves, as `elsewhere`.

Printed are means over seeds, in per cent: new pictures of known classes that are called unknown (the target is 5),
unknown ones that are; the area under the curve (AUROC) of the distance; the calibration error of probabilities in
ten bins, seeds pooled; and for labels of which a tenth was permuted the AUROC of 1 - the probability of the label,
and how many of the k most doubted are among the k permuted. Peers: the greatest probability of `lda` and the cosine
to the nearest picture learned, both with the threshold that leave-one-out says.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from learning import CARD, Pictures, judged

from edge_agent.config import PicturesConfig
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.label_errors import leave_one_out
from edge_agent.ml.transforms import signed_root
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card

SIZES = (5, 10, 20, 50)
HEADS = ("auto", "lda")
HELD_OUT, LEAST_ASKED, FAR_EACH, FLIPPED, TARGET = 0.3, 5, 40, 0.1, 0.05
KINDS = ("known", "elsewhere", "near", "far")


class Set:
    """Features, classes and which rows may be learned, of one set of pictures."""

    def __init__(self, name: str, X: np.ndarray, y: np.ndarray, learnable: np.ndarray) -> None:
        self.name, self.X, self.y, self.learnable = name, X, y, learnable
        self.fewest = int(np.bincount(y[learnable]).min())

    def drawn(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Rows to learn, n of each known class, and rows to ask by kind."""
        classes = rng.permutation(self.y.max() + 1)
        out = round(HELD_OUT * len(classes)) if len(classes) > 2 else 0
        near, known = classes[:out], np.isin(self.y, classes[out:])
        rows = [rng.permutation(np.flatnonzero((self.y == c) & self.learnable))[:n] for c in classes[out:]]
        learned = np.concatenate(rows)
        new = np.setdiff1d(np.flatnonzero(known & self.learnable), learned)
        asked = {"known": new, "elsewhere": np.flatnonzero(known & ~self.learnable)}
        return learned, {**asked, "near": np.flatnonzero(np.isin(self.y, near))}


def read_sets(paths: list[Path], extractor: Path) -> Iterator[Set]:
    """The sets of folders and files; pictures are extracted."""
    for path in paths:
        if path.suffix == ".npz":
            file = np.load(path)
            learnable = file["learnable"] if "learnable" in file else np.ones(len(file["y"]), dtype=bool)
            yield Set(path.stem, file["X"].astype(np.float32), file["y"].astype(int), learnable)
        else:
            seen = Pictures(path, FeatureExtractor(load_card(extractor)), PicturesConfig())
            yield Set(seen.name, seen.X, seen.y, seen.learnable)


def area(low: np.ndarray, high: np.ndarray) -> float:
    """AUROC: how often a score of `high` is above one of `low`; equal ones count half."""
    both = np.concatenate([low, high])
    _, places, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[places]
    return float((ranks[len(low) :].sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def quantile(scores: np.ndarray) -> float:
    """Above it lies a new score, like these, with the probability of the target."""
    return float(np.quantile(scores, 1.0 - TARGET, method="weibull"))


def ours(name: str, X: np.ndarray, y: np.ndarray, asked: dict[str, np.ndarray]) -> dict[str, Any]:
    """Distances by kind, the threshold and the probabilities of a head."""
    head = BUILT_IN_HEADS[name](X.shape[1])
    for _ in head.train(MatrixBatchProvider(X, [f"{k:04d}" for k in y]), {}):
        pass
    scores = {kind: head.distances(rows) for kind, rows in asked.items()}
    P = {kind: head.predict_proba(asked[kind]) for kind in ("known", "elsewhere") if kind in asked}
    return {"scores": scores, "threshold": head.unknown_threshold, "P": P}


def peers(X: np.ndarray, y: np.ndarray, asked: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The same of the greatest probability and of the nearest picture."""
    head = BUILT_IN_HEADS["lda"](X.shape[1])
    for _ in head.train(MatrixBatchProvider(X, [f"{k:04d}" for k in y]), {}):
        pass
    left = 1.0 - leave_one_out(fit_data(X, y)).max(axis=1)
    sure = {kind: 1.0 - head.predict_proba(rows).max(axis=1) for kind, rows in asked.items()}
    Z = signed_root(X)
    among = Z @ Z.T
    np.fill_diagonal(among, -1.0)
    near = {kind: 1.0 - (signed_root(rows) @ Z.T).max(axis=1) for kind, rows in asked.items()}
    return {
        "softmax": {"scores": sure, "threshold": quantile(left)},
        "nearest": {"scores": near, "threshold": quantile(1.0 - among.max(axis=1))},
    }


def fit_data(X: np.ndarray, y: np.ndarray) -> FitData:
    """Samples as `label_errors` reads them."""
    return FitData(X, y, tuple(f"{k:04d}" for k in range(int(y.max()) + 1)))


def doubted(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """AUROC and precision at k of label errors, of which there are k: a tenth gets another class."""
    k, C = max(1, round(FLIPPED * len(y))), int(y.max()) + 1
    wrong = rng.permutation(len(y))[:k]
    given = y.copy()
    given[wrong] = (y[wrong] + rng.integers(1, C, k)) % C
    if len(np.unique(given)) < C:
        return np.nan, np.nan
    P = leave_one_out(fit_data(X, given))
    doubt = np.nan_to_num(1.0 - P[np.arange(len(y)), given])
    flipped = np.isin(np.arange(len(y)), wrong)
    most = np.argsort(-doubt, kind="stable")[:k]
    return area(doubt[~flipped], doubt[flipped]), float(flipped[most].mean())


def measured(pictures: Set, sets: list[Set], n: int, seeds: int) -> list[dict[str, Any]]:
    """One row of figures for each method."""
    found: dict[str, dict[str, list[float]]] = {}
    pooled: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}

    def note(method: str, what: str, value: float) -> None:
        found.setdefault(method, {}).setdefault(what, []).append(value)

    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        learned, rows = pictures.drawn(n, rng)
        classes, y = np.unique(pictures.y[learned], return_inverse=True)
        X = pictures.X[learned]
        asked = {kind: pictures.X[at] for kind, at in rows.items() if len(at)}
        others = [one.X[rng.permutation(len(one.X))[:FAR_EACH]] for one in sets if one is not pictures]
        if others:
            asked["far"] = np.concatenate(others)
        answers = {name: ours(name, X, y, asked) for name in HEADS} | peers(X, y, asked)
        for method, answer in answers.items():
            for kind, scores in answer["scores"].items():
                note(method, f"unknown {kind}", 100.0 * float((scores > answer["threshold"]).mean()))
                if kind in ("near", "far"):
                    note(method, f"auroc {kind}", area(answer["scores"]["known"], scores))
            for kind, P in answer.get("P", {}).items():
                pooled.setdefault((method, kind), []).append(
                    (P, np.searchsorted(classes, pictures.y[rows[kind]]))
                )
        error_area, precision = doubted(X, y, rng)
        note("lda", "auroc label errors", error_area)
        note("lda", "precision at k", precision)
    for (method, kind), both in pooled.items():
        P, truth = (np.concatenate(one) for one in zip(*both, strict=True))
        accuracy, _, _, gap = judged(P, truth)
        note(method, f"accuracy {kind}", 100.0 * accuracy)
        note(method, f"calibration error {kind}", gap)
    return [
        {"data": pictures.name, "n": n, "method": method}
        | {what: float(np.nanmean(values)) for what, values in figures.items()}
        for method, figures in found.items()
    ]


COLUMNS = {
    **{f"unknown {kind}": ("?" + kind, 10, ".1f") for kind in KINDS},
    **{f"auroc {kind}": (f"AUROC {kind}", 11, ".3f") for kind in ("near", "far")},
    "accuracy known": ("right", 6, ".1f"),
    "calibration error known": ("ECE", 6, ".3f"),
    "calibration error elsewhere": ("ECE else", 9, ".3f"),
    "auroc label errors": ("AUROC err", 10, ".3f"),
    "precision at k": ("p@k", 6, ".2f"),
}


def shown(rows: list[dict[str, Any]]) -> None:
    """The rows as a table."""
    print(
        f"{'':12} {'n':>3} {'':8}" + "".join(f"{title:>{width + 1}}" for title, width, _ in COLUMNS.values())
    )
    for row in rows:
        cells = (
            f" {row[what]:{width}{form}}" if what in row else " " * (width + 1)
            for what, (_, width, form) in COLUMNS.items()
        )
        print(f"{row['data']:12} {row['n']:3} {row['method']:8}" + "".join(cells), flush=True)


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over all sets, and the sets that are farthest from the target, of each size and method."""
    whole = []
    for n, method in dict.fromkeys((row["n"], row["method"]) for row in rows):
        same = [row for row in rows if (row["n"], row["method"]) == (n, method)]
        figures = {what: [row[what] for row in same if what in row] for what in COLUMNS}
        for title, of in (("mean", np.mean), ("lowest", np.min), ("highest", np.max)):
            whole.append(
                {"data": title, "n": n, "method": method}
                | {what: float(of(values)) for what, values in figures.items() if values}
            )
    return sorted(whole, key=lambda row: (["mean", "lowest", "highest"].index(row["data"]), row["n"]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of labelled pictures, or .npz"
    )
    parser.add_argument("--extractor", type=Path, default=CARD, help="its card (default: the embedded one)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", help="names of sets to measure; the others are far unknowns only"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    sets = list(read_sets(given.data, given.extractor))
    rows: list[dict[str, Any]] = []
    for pictures in sets:
        if given.only and pictures.name not in given.only:
            continue
        for n in SIZES:
            if n + LEAST_ASKED <= pictures.fewest:
                more = measured(pictures, sets, n, given.seeds)
                rows += more
                shown(more)
    print(f"\nall {len({row['data'] for row in rows})} sets, {given.seeds} seeds")
    shown(means(rows))
    if given.json:
        given.json.write_text(json.dumps({"sets": rows, "all": means(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
