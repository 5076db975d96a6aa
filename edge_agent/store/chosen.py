"""This is where some samples of a training set are named, without a text for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 32
Keys = NDArray[np.bytes_]
"""Digests as numpy strings of fixed width, which compare like the digests themselves."""


class Chosen(Sequence[str]):
    """Digests (64 hexadecimal digits) of the samples at some places of a table of digests, eight bytes each."""

    def __init__(self, table: Keys, at: NDArray[np.intp]) -> None:
        self.table = table
        self.at = at

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Chosen: ...
    def __getitem__(self, index: int | slice) -> str | Chosen:
        if isinstance(index, slice):
            return Chosen(self.table, self.at[index])
        return next(iter(Chosen(self.table, self.at[[index]])))

    def __iter__(self) -> Iterator[str]:
        text = self.keys.tobytes().hex()
        return (text[start : start + 2 * DIGEST_BYTES] for start in range(0, len(text), 2 * DIGEST_BYTES))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Chosen):
            return np.array_equal(self.keys, other.keys)
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as other sequences that are not tuples

    @property
    def keys(self) -> Keys:
        """The digests themselves."""
        return np.asarray(self.table[self.at])

    def only(self, which: NDArray[np.bool_]) -> Chosen:
        """Those of them [n] that are marked."""
        return Chosen(self.table, self.at[which])

    def joined(self, more: Chosen) -> Chosen:
        """These and others of the same table."""
        return Chosen(self.table, np.concatenate([self.at, more.at]))

    def rows(self, other: Chosen) -> NDArray[np.intp]:
        """Where each of another choice of the same table is in this one, -1 where it is not."""
        where = np.full(len(self.table), -1, dtype=np.intp)
        where[self.at] = np.arange(len(self.at))
        return np.asarray(where[other.at])


def keys(digests: bytes | bytearray) -> Keys:
    """Digests that lie one after the other."""
    return np.frombuffer(digests, dtype=f"S{DIGEST_BYTES}")


def keys_of(digests: Sequence[str]) -> Keys:
    """Digests in hexadecimal; raises `ValueError` for one that is none."""
    if any(len(digest) != 2 * DIGEST_BYTES for digest in digests):
        raise ValueError("a digest is 64 hexadecimal digits")
    data = bytes.fromhex("".join(digests))
    if len(data) != DIGEST_BYTES * len(digests):  # there were spaces
        raise ValueError("a digest is 64 hexadecimal digits")
    return keys(data)


def places(table: Keys, wanted: Keys) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each digest is in a sorted table, and whether it is there at all."""
    if not len(table):
        return np.zeros(len(wanted), dtype=np.intp), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return at, np.asarray(table[at] == wanted)
