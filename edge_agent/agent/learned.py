"""This is where it is known what a version learned from: digests, and the label each had then."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError
from edge_agent.store.chosen import Chosen, Keys, keys_of, places
from edge_agent.store.registry import Version
from edge_agent.store.training_set import TrainingSet

SAMPLES_FILE = "samples.json"


class Learned:
    """Digests, sorted, each with its label; 36 bytes a sample, where texts would take five times as much."""

    def __init__(self, table: Keys, codes: NDArray[np.int32], names: tuple[str, ...]) -> None:
        self.table = table
        self._codes = codes
        self._names = names

    @classmethod
    def by(cls, labels: Mapping[str, str]) -> Learned:
        """From the label of each digest; raises `ValueError` for what is no digest."""
        names = {name: code for code, name in enumerate(dict.fromkeys(labels.values()))}
        table = keys_of(list(labels))
        codes = np.array([names[label] for label in labels.values()], dtype=np.int32)
        order = np.argsort(table, kind="stable")
        return cls(table[order], codes[order], tuple(names))

    @classmethod
    def among(cls, samples: TrainingSet, chosen: Chosen) -> Learned:
        """Some of the samples that are stored, with the labels they have now."""
        at = np.sort(chosen.at)
        return cls(samples.table[at], samples.codes[at], samples.names)

    def __len__(self) -> int:
        return len(self.table)

    def has(self, digests: Keys) -> NDArray[np.bool_]:
        """Which of these were learned."""
        return places(self.table, digests)[1]

    def same(self, samples: TrainingSet, chosen: Chosen) -> NDArray[np.bool_]:
        """Which of some stored samples were learned under the label they have now."""
        at, known = places(self.table, chosen.keys)
        # Labels of the one numbering in the other; none is -1, and nothing has that.
        number = {name: code for code, name in enumerate(self._names)}
        mine = np.array([number.get(name, -1) for name in samples.names] or [-1], dtype=np.int32)
        known[known] = self._codes[at[known]] == mine[samples.codes[chosen.at[known]]]
        return known

    def label(self, digest: str) -> str | None:
        """The label a digest was learned under; None where it was not."""
        at, known = places(self.table, keys_of([digest]))
        return self._names[self._codes[at[0]]] if known[0] else None

    def labels(self) -> dict[str, str]:
        """The label of each digest."""
        digests = Chosen(self.table, np.arange(len(self)))
        return dict(zip(digests, (self._names[code] for code in self._codes.tolist()), strict=True))


def write_learned(learned: Learned) -> bytes:
    """What `SAMPLES_FILE` holds; in one line, because with an indentation a large table takes twenty times as long."""
    return json.dumps({"samples": learned.labels()}, ensure_ascii=False).encode()


def learned_samples(version: Version) -> dict[str, str]:
    """The digests a version learned from, with the label each had then; `DamagedError` when it cannot be read."""
    path = version.path / SAMPLES_FILE
    try:
        learned = json.loads(path.read_text())["samples"]
        return learned if isinstance(learned, dict) else dict(learned)  # not twice: it may be large
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: {error}") from None
