"""This is where our heads are held against what people use, on the same features of labelled pictures.

    OPENBLAS_NUM_THREADS=1 python benchmarks/learning.py --data DIR... [--extractor CARD] [--quick] [--large]
    OPENBLAS_NUM_THREADS=1 python benchmarks/learning.py --data DIR... --heads auto,lda --seeds 10

Each DIR has a folder of pictures for each label. Where there are names `train_*` and `test_*`, the former are
learned from and the latter asked; otherwise as many as are wanted are drawn, and the rest is asked. The peers
are scikit-learn's cross-validated logistic regression, its nearest neighbours, imprinting (`ncm`) and softmax
regression with the defaults that Coral publishes (SGD, 500 iterations of 100 samples, learning rate 0.01).
All see the features as signed roots; Coral's as they are, scaled to unit length. Logistic regression is
cross-validated in the span of the samples around their mean: with its L2 penalty and free intercepts the optimum
is the same, and it is found sooner. `picture_sets.py` makes sets to ask. With `--heads` only these are held
against it, and nothing else is measured; of several sets the means over sets are printed at the end.

Printed are means over seeds: accuracy (with uneven classes balanced accuracy), negative log likelihood,
calibration error in ten bins, processor time of one training. A stream of samples added, relabelled and removed
is held against learning anew, and `retraining.py` gives times and memory, with `--large` for up to 10,000 samples.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import retraining
from coral import coral
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier

from edge_agent.config import PicturesConfig
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.statistics import ClassStatistics
from edge_agent.ml.transforms import signed_root
from edge_agent.vision import images
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card

CARD = Path(images.__file__).parents[1] / "extractors" / "efficientnet_lite0_int8.json"
ENDINGS = {".jpg", ".jpeg", ".png"}
OURS = ("ncm", "ridge", "lda", "lda+ridge", "auto", "logistic")
PEERS = ("logistic CV", "kNN", "Coral SGD")
LARGEST, SMALLEST = 60, 2
PENALTIES = np.logspace(-2, 4, 13)

Answer = Callable[[np.ndarray], np.ndarray]


class Pictures:
    """The features of a folder's pictures, their labels as numbers, and which may be learned from."""

    def __init__(self, folder: Path, extractor: FeatureExtractor, limits: PicturesConfig) -> None:
        paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in ENDINGS)
        self.name = folder.name
        self.names = sorted({path.parent.name for path in paths})
        rows = [
            extractor.extract(
                images.decode(path.read_bytes(), limits=limits, target=extractor.card.size).pixels
            )
            for path in paths
        ]
        self.X = np.stack(rows)
        self.y = np.array([self.names.index(path.parent.name) for path in paths])
        self.learnable = np.array([not path.name.startswith("test_") for path in paths])

    def drawn(self, sizes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which rows are learned, so many of each class, and which are asked; one of each is left to ask."""
        learned = []
        for c, size in enumerate(sizes):
            rows = np.flatnonzero((self.y == c) & self.learnable)
            spare = 0 if not self.learnable.all() else 1
            learned.append(rng.permutation(rows)[: min(size, len(rows) - spare)])
        chosen = np.concatenate(learned)
        asked = np.setdiff1d(np.arange(len(self.y)), chosen)
        return chosen, asked if self.learnable.all() else np.flatnonzero(~self.learnable)


def trained(name: str, X: np.ndarray, y: np.ndarray) -> Answer:
    """What one of ours, or a peer, learned: probabilities [n, C] of features."""
    if name in BUILT_IN_HEADS:
        head = BUILT_IN_HEADS[name](X.shape[1])
        for _ in head.train(MatrixBatchProvider(X, [f"{k:04d}" for k in y]), {}):
            pass
        return head.predict_proba
    if name == "Coral SGD":
        return coral(X, y)
    Z = signed_root(X)
    fewest = int(np.bincount(y)[np.unique(y)].min())
    if name == "kNN":
        near = KNeighborsClassifier(n_neighbors=min(5, fewest)).fit(Z, y)
        return lambda asked: near.predict_proba(signed_root(asked))
    centre = Z.mean(axis=0)
    _, lengths, axes = np.linalg.svd(Z - centre, full_matrices=False)
    axes = axes[lengths > 1e-9 * lengths[0]]
    if fewest >= 2:
        peer = LogisticRegressionCV(Cs=PENALTIES, cv=min(5, fewest), max_iter=500, scoring="neg_log_loss")
    else:
        peer = LogisticRegression(C=100.0, max_iter=500)
    peer.fit((Z - centre) @ axes.T, y)
    return lambda asked: peer.predict_proba((signed_root(asked) - centre) @ axes.T)


def judged(P: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Accuracy, balanced accuracy, negative log likelihood, calibration error in ten bins."""
    right = P.argmax(axis=1) == y
    balanced = np.mean([right[y == c].mean() for c in np.unique(y)])
    loss = -np.log(np.maximum(P[np.arange(len(y)), y], 1e-15)).mean()
    sure = P.max(axis=1)
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs(sure[bins == k].mean() - right[bins == k].mean()) * (bins == k).mean() for k in set(bins)]
    return float(right.mean()), float(balanced), float(loss), float(sum(gaps))


def compared(
    pictures: Pictures, sizes: np.ndarray, seeds: int, title: str, names: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """One table; how far each stands above the cross-validated peer in points, and its calibration error."""
    figures: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        learned, asked = pictures.drawn(rng.permutation(sizes), rng)
        for name in names:
            begin = time.process_time()
            answer = trained(name, pictures.X[learned], pictures.y[learned])
            seconds = time.process_time() - begin
            judgement = judged(answer(pictures.X[asked]), pictures.y[asked])
            figures.setdefault(name, []).append((*judgement, 1000.0 * seconds))
    print(f"\n{pictures.name}, {title}: {len(learned)} learned, {len(asked)} asked, {seeds} seeds")
    print(f"{'':12} {'accuracy':>9} {'balanced':>9} {'against CV':>11} {'loss':>7} {'ECE':>6} {'ms':>9}")
    base = np.mean(figures["logistic CV"], axis=0)
    uneven = int(len(set(sizes.tolist())) > 1)
    found = {}
    for name, rows in figures.items():
        mean = np.mean(rows, axis=0)
        found[name] = (100.0 * float(mean[uneven] - base[uneven]), float(mean[3]))
        print(
            f"{name:12} {100 * mean[0]:9.2f} {100 * mean[1]:9.2f} {100 * (mean[uneven] - base[uneven]):+11.2f}"
            f" {mean[2]:7.3f} {mean[3]:6.3f} {mean[4]:9.1f}",
            flush=True,
        )
    return found


def over_all(tables: dict[str, list[dict[str, tuple[float, float]]]]) -> None:
    """Means over the sets of each size: points above the peer, those of the worst set, calibration error."""
    for title, found in tables.items():
        print(f"\n{len(found)} sets, {title}: against CV, the worst set, calibration error")
        for name in found[0]:
            points, errors = zip(*(one[name] for one in found), strict=True)
            print(f"{name:12} {np.mean(points):+8.2f} {min(points):+8.2f} {np.mean(errors):8.3f}", flush=True)


def stream(pictures: Pictures) -> None:
    """Classes that come one by one, 5 % relabelled and 5 % removed: the sums against those made anew."""
    Z, rng = signed_root(pictures.X), np.random.default_rng(0)
    labels = [pictures.names[c] for c in pictures.y]
    order = sorted(range(len(labels)), key=lambda at: (pictures.y[at] // 2, rng.random()))
    kept = ClassStatistics(Z.shape[1])
    truth: dict[int, str] = {}
    slowest = 0.0
    for start in range(0, len(order), 10):
        batch = order[start : start + 10]
        begin = time.process_time()
        wrong = [pictures.names[0] if rng.random() < 0.05 else labels[at] for at in batch]
        kept.add(Z[batch], wrong)
        kept.relabel(Z[batch], wrong, [labels[at] for at in batch])
        gone = [at for at in batch if rng.random() < 0.05]
        kept.remove(Z[gone], [labels[at] for at in gone])
        slowest = max(slowest, time.process_time() - begin)
        truth |= {at: labels[at] for at in batch if at not in gone}
    rows = sorted(truth)
    anew = ClassStatistics.from_blocks([(Z[rows], [truth[at] for at in rows])], Z.shape[1])
    assert kept.gram is not None
    assert anew.gram is not None
    difference = float(np.abs(kept.gram.square() - anew.gram.square()).max())
    means = float(np.abs(kept.means() - anew.means()).max())
    print(
        f"\n{pictures.name}, a stream of {len(order)} with 5 % relabels and 5 % deletions, {len(rows)} left:"
        f" greatest difference to the sums made anew {difference:.1e}, of the means {means:.1e};"
        f" slowest ten {1000 * slowest:.1f} ms"
    )


def main() -> None:
    """Print all tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="folders of labelled pictures")
    parser.add_argument("--extractor", type=Path, default=CARD, help="its card (default: the embedded one)")
    parser.add_argument("--quick", action="store_true", help="two seeds, 5 and 20 a class")
    parser.add_argument("--large", action="store_true", help="times for up to 10,000 samples; minutes")
    parser.add_argument("--heads", help="only these of ours, by commas, and no other peer, stream or times")
    parser.add_argument("--seeds", type=int, default=0, help="how many (default: five)")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    names = (*given.heads.split(","), PEERS[0]) if given.heads else OURS + PEERS
    seeds = given.seeds or (2 if given.quick else 5)
    tables: dict[str, list[dict[str, tuple[float, float]]]] = {}
    if given.data:
        extractor = FeatureExtractor(load_card(given.extractor))
    for folder in given.data:
        pictures = Pictures(folder, extractor, PicturesConfig())
        most = int(np.bincount(pictures.y[pictures.learnable]).max())
        C = len(pictures.names)
        for n in (5, 20) if given.quick else (1, 2, 5, 10, 20, 50):
            if n < most or n == 1:
                title = f"{n} a class"
                found = compared(pictures, np.full(C, n), seeds, title, names)
                tables.setdefault(title, []).append(found)
        uneven = np.round(np.geomspace(min(LARGEST, most), SMALLEST, C)).astype(int)
        found = compared(pictures, uneven, seeds, f"{uneven.max()}..{uneven.min()} a class", names)
        tables.setdefault("uneven classes", []).append(found)
        if not given.heads:
            stream(pictures)
    if len(given.data) > 1:
        over_all(tables)
    if given.heads:
        return
    retraining.tables(quick=not given.large)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\nnumpy {np.__version__}, peak memory of all this {peak} MB")


if __name__ == "__main__":
    main()
