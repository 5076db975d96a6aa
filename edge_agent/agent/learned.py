"""This is where it is known what a version learned from: digests, and the label each had then."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError
from edge_agent.store.chosen import DIGEST_BYTES, Chosen, Keys, keys, keys_of, places
from edge_agent.store.registry import Version
from edge_agent.store.training_set import TrainingSet

SAMPLES_FILE = "samples.bin"
TEXT_FILE = "samples.json"
"""Of versions that were made before."""


class Learned:
    """Digests, sorted, each with its label; 36 bytes a sample, where texts would take five times as much."""

    def __init__(self, table: Keys, codes: NDArray[np.int32], names: tuple[str, ...]) -> None:
        self.table = table
        self.codes = codes
        self.names = names

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
        used, codes = np.unique(samples.codes[at], return_inverse=True)
        return cls(
            samples.table[at], codes.astype(np.int32), tuple(samples.names[code] for code in used.tolist())
        )

    def __len__(self) -> int:
        return len(self.table)

    def has(self, digests: Keys) -> NDArray[np.bool_]:
        """Which of these were learned."""
        return places(self.table, digests)[1]

    def same(self, samples: TrainingSet, chosen: Chosen) -> NDArray[np.bool_]:
        """Which of some stored samples were learned under the label they have now."""
        at, known = places(self.table, chosen.keys)
        # Labels of the one numbering in the other; none is -1, and nothing has that.
        number = {name: code for code, name in enumerate(self.names)}
        mine = np.array([number.get(name, -1) for name in samples.names] or [-1], dtype=np.int32)
        known[known] = self.codes[at[known]] == mine[samples.codes[chosen.at[known]]]
        return known

    def label(self, digest: str) -> str | None:
        """The label a digest was learned under; None where it was not."""
        at, known = places(self.table, keys_of([digest]))
        return self.names[self.codes[at[0]]] if known[0] else None

    def labels(self) -> dict[str, str]:
        """The label of each digest."""
        digests = Chosen(self.table, np.arange(len(self)))
        return dict(zip(digests, (self.names[code] for code in self.codes.tolist()), strict=True))


def as_bytes(learned: Learned) -> bytes:
    """What `SAMPLES_FILE` holds: a line of JSON, then a number for the label of each sample, then the digests.

    It is written anew with every version, so it is half as large as their texts would be.
    """
    kind = "<u2" if len(learned.names) <= 0x1_0000 else "<u4"
    facts = {"format": 1, "samples": len(learned), "codes": kind, "labels": learned.names}
    head = json.dumps(facts, ensure_ascii=False).encode() + b"\n"
    return head + learned.codes.astype(kind).tobytes() + learned.table.tobytes()


def from_bytes(data: bytes) -> Learned:
    """What `as_bytes` was given; `ValueError`, `KeyError` or `TypeError` for anything else."""
    head, _, body = data.partition(b"\n")
    facts = json.loads(head)
    names, count = tuple(map(str, facts["labels"])), int(facts["samples"])
    kind = np.dtype({"<u2": "<u2", "<u4": "<u4"}[facts["codes"]])
    if facts["format"] != 1 or len(body) != count * (kind.itemsize + DIGEST_BYTES):
        raise ValueError("it is of another format or cut off")
    codes = np.frombuffer(body, dtype=kind, count=count).astype(np.int32)
    table = keys(body[count * kind.itemsize :])
    if count and (int(codes.max()) >= len(names) or (table[1:] <= table[:-1]).any()):
        raise ValueError("its digests or labels are not in order")
    return Learned(table, codes, names)


def read_learned(version: Version) -> Learned:
    """What a version learned from; `DamagedError` when that cannot be read."""
    path = version.path / SAMPLES_FILE
    try:
        if path.exists():
            return from_bytes(path.read_bytes())
        path = version.path / TEXT_FILE
        return Learned.by(dict(json.loads(path.read_text())["samples"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path}: {error}") from None


def learned_samples(version: Version) -> dict[str, str]:
    """The digests a version learned from, with the label each had then; `DamagedError` when it cannot be read."""
    return read_learned(version).labels()
