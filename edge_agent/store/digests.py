"""This is where a digest leads to the sample that may have it, without an index on the disk.

An index over digests is in no order but chance's: fifty new samples would rewrite up to fifty of its pages
and triple the bytes written. Sixteen bytes a sample in memory do the same. The answers are candidates; the
row has the last word, so entries of removed samples and of transactions that were rolled back do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_RECENT = 4096


class DigestIndex:
    """Candidates by digest, from `(digest, sequence)` pairs."""

    def __init__(self, pairs: Iterable[tuple[bytes, int]] = ()) -> None:
        # Exchanged as a whole, and before anything leaves what is recent: another thread may be looking.
        self._table = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        self._recent: dict[int, list[int]] = {}
        pairs = iter(pairs)
        tables = []
        while block := list(islice(pairs, _RECENT)):
            keys = np.frombuffer(b"".join(digest[:8] for digest, _ in block), dtype=">u8")
            tables.append((keys.astype(np.uint64), np.array([at for _, at in block], dtype=np.int64)))
        if tables:
            self._sort(*(np.concatenate(column) for column in zip(*tables, strict=True)))

    def add(self, digest: bytes, sequence: int) -> None:
        """Let `digest` (32 bytes) lead to `sequence` too."""
        self._recent.setdefault(_key(digest), []).append(sequence)
        if len(self._recent) > max(_RECENT, len(self._table[0]) // 4):
            self._merge()

    def candidates(self, digest: bytes) -> list[int]:
        """Sequences of the samples that may have `digest`."""
        key = np.uint64(_key(digest))
        recent = self._recent.get(int(key), ())
        keys, sequences = self._table
        first, last = (int(np.searchsorted(keys, key, side)) for side in ("left", "right"))
        return [*sequences[first:last].tolist(), *recent]

    def _merge(self) -> None:
        keys = [key for key, sequences in self._recent.items() for _ in sequences]
        sequences = [sequence for sequences in self._recent.values() for sequence in sequences]
        keys_now = np.concatenate([self._table[0], np.array(keys, dtype=np.uint64)])
        sequences_now = np.concatenate([self._table[1], np.array(sequences, dtype=np.int64)])
        self._sort(keys_now, sequences_now)
        self._recent.clear()

    def _sort(self, keys: NDArray[np.uint64], sequences: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._table = keys[order], sequences[order]


def _key(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")
