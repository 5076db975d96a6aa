"""This is where it is measured what becomes a version: poisoned candidates are refused, honest ones accepted.

    OPENBLAS_NUM_THREADS=1 python benchmarks/gate.py --data DIR_OR_NPZ... [--runs 100] [--size FIRST THEN]

Each DIR has a folder of pictures for each label; an .npz has features `X` [n, D] and `labels` [n]. Every run draws
its pictures anew, learns and publishes a first version, and then makes a candidate in the agent's own way (store,
held-out split, update task, evaluation, decision):

    honest     as many honest pictures more as `then` says
    arriving   the same, but 30 % of those of one label have another label each, drawn among all others
    relabelled nothing arrives, but 30 % of one label's pictures that were learned are given other labels
    corrected  the other way round: they had other labels, and are given the right ones

The share refused has to be at least 95 % of `arriving` and `relabelled`, and at most 5 % of the others. Then it is
shown what the last line of `meaning` rests on: the interval that pictures left out give, and the truth, where file
names say `train_*` and `test_*`.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from learning import CARD, Pictures

from edge_agent.agent.learning import Learning
from edge_agent.agent.outcomes import Outcome
from edge_agent.agent.serving import Serving
from edge_agent.config import Config, PicturesConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.evidence import evidence
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.plugins import load_plugins
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import NewSample, SampleStore
from edge_agent.store.sums import KeptSums
from edge_agent.vision.engine import EngineFacts
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card

SHARE = 0.3
SIZES = ((10, 10), (20, 10), (20, 20), (35, 10))
KINDS = ("honest", "arriving", "relabelled", "corrected")


class Data:
    """Features [n, D], labels as numbers [n], and which pictures are of the second place."""

    def __init__(self, path: Path, extractor: Callable[[], FeatureExtractor]) -> None:
        self.name = path.stem
        if path.suffix == ".npz":
            with np.load(path) as found:
                self.X = found["X"].astype(np.float32)
                labels = found["labels"].astype(str)
                names = found["names"].astype(str) if "names" in found else np.full(len(labels), "")
            self.names = sorted(set(labels.tolist()))
            self.y = np.array([self.names.index(label) for label in labels])
            self.elsewhere = np.char.startswith(names, "test_")
        else:
            pictures = Pictures(path, extractor(), PicturesConfig())
            self.X, self.y, self.names = pictures.X.astype(np.float32), pictures.y, pictures.names
            self.elsewhere = ~pictures.learnable


class House:
    """One agent's store, versions and learning, without its intake."""

    def __init__(self, folder: Path, data: Data, rng: np.random.Generator) -> None:
        config = Config()
        plugins = load_plugins(config.plugins, built_in=built_in_plugins(config), entry_points=[])
        heads = plugins.register_heads()
        self._time = 1e9
        self.store = SampleStore(folder / "agent.db", clock=self._clock)
        self.registry = VersionRegistry(folder / "models", clock=self._clock)
        self.serving = Serving(self.registry, heads)
        self._learning = Learning(
            self.store,
            self.registry,
            plugins,
            heads,
            config.learning,
            config.update,
            lambda _: None,
            KeptSums(folder / "sums.npz"),
        )
        self._plugins, self._data, self._rng = plugins, data, rng
        self._facts = EngineFacts("features", "features:1", data.X.shape[1], "none", "cpu", 0)
        self.digests: dict[int, str] = {}

    def _clock(self) -> float:
        self._time += 1.0
        return self._time

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Keep pictures under these labels; which side of the split they are on is drawn anew in each run."""
        for row in rows:
            self.digests.setdefault(int(row), self._rng.bytes(32).hex())
        new = [
            NewSample(
                digest=self.digests[int(row)],
                label=self._data.names[label],
                source_name=f"{row}.jpg",
                stored_path="",
                size_bytes=1,
                width=1,
                height=1,
                features=self._data.X[row],
            )
            for row, label in zip(rows, labels, strict=True)
        ]
        self.store.add(new, self._facts.fingerprint)

    def update(self) -> Outcome:
        """Learn, decide and publish."""
        self._learning.start(self._facts)
        outcome = self._learning.finish(self.serving.version, self.serving.model, self._facts)
        self.serving.reload()
        return outcome

    def close(self) -> None:
        """End it."""
        self._plugins.close(timeout=5.0)
        self.store.close()


def run(data: Data, kind: str, first: int, then: int, seed: int) -> Outcome:
    """How the second update of one run ended."""
    rng = np.random.default_rng(seed)
    C = len(data.names)
    drawn = [rng.permutation(np.flatnonzero(data.y == c))[: first + then] for c in range(C)]
    old = np.concatenate([rows[:first] for rows in drawn])
    new = np.concatenate([rows[first:] for rows in drawn])
    victim = int(rng.integers(C))

    def poisoned(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_victim = rows[data.y[rows] == victim]
        chosen = rng.permutation(of_victim)[: max(1, round(SHARE * len(of_victim)))]
        return chosen, (victim + rng.integers(1, C, len(chosen))) % C

    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), data, rng)
        try:
            labels = data.y[old].copy()
            if kind == "corrected":
                wrong, others = poisoned(old)
                labels[[int(np.flatnonzero(old == row)[0]) for row in wrong]] = others
            house.add(old, labels)
            house.update()
            if kind in ("relabelled", "corrected"):
                known = dict(house.store.snapshot("features:1"))
                if kind == "corrected":
                    chosen, others = wrong, data.y[wrong]
                else:
                    aside = {row for row in old if int(house.digests[int(row)][:8], 16) < 0.1 * 0x1_0000_0000}
                    chosen, others = poisoned(np.array([row for row in old if row not in aside]))
                assert all(house.digests[int(row)] in known for row in chosen)
                for row, label in zip(chosen, others, strict=True):
                    house.store.relabel(house.digests[int(row)], data.names[int(label)])
            else:
                labels = data.y[new].copy()
                if kind == "arriving":
                    chosen, others = poisoned(new)
                    labels[[int(np.flatnonzero(new == row)[0]) for row in chosen]] = others
                house.add(new, labels)
            return house.update()
        finally:
            house.close()


def gate(data: Data, runs: int, sizes: Sequence[tuple[int, int]]) -> None:
    """The table of what was refused."""
    smallest = int(np.bincount(data.y).min())
    print(f"\n{data.name}: {len(data.names)} labels, {runs} runs; refused, in per cent")
    print(f"{'first, then':14}" + "".join(f"{kind:>12}" for kind in KINDS))
    for first, then in sizes:
        if first + then > smallest:
            print(f"{first}, {then}: too few pictures, {smallest} of a label")
            continue
        line = f"{first}, {then}".ljust(14)
        for kind in KINDS:
            ends = [run(data, kind, first, then, seed) for seed in range(runs)]
            failed = [one.message for one in ends if one.state not in ("published", "refused")]
            assert not failed, failed[0]
            line += f"{100 * np.mean([one.state == 'refused' for one in ends]):12.0f}"
        print(line, flush=True)


def truth(data: Data, seeds: int) -> None:
    """The interval that pictures left out give, beside the truth in another place."""
    print(f"\n{data.name}: what it says of itself, and the truth elsewhere, in per cent, {seeds} seeds")
    print(f"{'a label':>8} {'left out alone':>15} {'with its likes':>15} {'truth':>7} {'truth within':>13}")
    for size in (5, 10, 20, 30):
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            for here in (~data.elsewhere, data.elsewhere):
                learned = np.concatenate(
                    [
                        rng.permutation(np.flatnonzero((data.y == c) & here))[:size]
                        for c in range(len(data.names))
                    ]
                )
                X, names = data.X[learned], [f"{k:04d}" for k in data.y[learned]]
                head = BUILT_IN_HEADS["auto"](X.shape[1])
                for _ in head.train(MatrixBatchProvider(X, names), {}):
                    pass
                said = evidence(head, lambda at, X=X: X[at], names).whole
                right = head.predict_proba(data.X[~here]).argmax(axis=1) == data.y[~here]
                if said.single and said.interval:
                    low, high = said.interval
                    rows.append((said.single.accuracy, low, high, right.mean(), low <= right.mean() <= high))
        single, low, high, real, within = 100.0 * np.mean(rows, axis=0)
        print(
            f"{size:8} {single:15.1f} {f'{low:.0f} to {high:.0f}':>15} {real:7.1f} {within:13.0f}", flush=True
        )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description="What becomes a version.")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of pictures, or .npz files"
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("FIRST", "THEN"), help="one line of the table only"
    )
    parser.add_argument("--extractor", type=Path, default=CARD, help="its card (default: the embedded one)")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    for path in given.data:
        data = Data(path, lambda: FeatureExtractor(load_card(given.extractor)))
        if data.elsewhere.any():
            truth(data, max(1, given.runs // 20))
        gate(data, given.runs, [tuple(given.size)] if given.size else SIZES)


if __name__ == "__main__":
    main()
