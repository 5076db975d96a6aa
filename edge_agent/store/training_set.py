"""This is where the samples of one moment become a batch provider that reads features when wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import NotFoundError, StoreError
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.summed import Sums
from edge_agent.store.quantised import decode_rows
from edge_agent.store.rows import features_id

if TYPE_CHECKING:
    import sqlite3

Reading = Callable[[], "AbstractContextManager[sqlite3.Connection]"]
"""Gives a read-only connection of one's own, on any thread, for the length of a `with`."""

Keeper = Callable[["StoreBatchProvider", Callable[[], None]], "Sums | None"]
"""Gives the sums of exactly the samples of a provider."""

_DIGEST_BYTES = 32
_PARAMETERS = 500  # SQLite's oldest limit on parameters of one statement is 999
_SELECT = "SELECT id, data FROM features WHERE id IN ({})"
_AHEAD = 64  # rows read at once when a caller asks for one after the other


class TrainingSet(Sequence[tuple[str, str]]):
    """Digest and label of every sample with features of one extractor, as they were at one moment.

    A sequence of `(digest, label)` sorted by digest, so that it does not depend on the order of arrival;
    about 44 bytes a sample. Features stay in the database until a provider is asked for them.
    """

    def __init__(
        self,
        reading: Reading,
        extractor: int,
        n_features: int,
        rows: Iterable[tuple[bytes, str, int]],
        exclude: Iterable[str] = (),
    ) -> None:
        names: dict[str, int] = {}
        blob = bytearray()
        sequences: list[int] = []
        codes: list[int] = []
        left_out = {bytes.fromhex(digest) for digest in exclude}
        for digest, label, sequence in rows:
            if digest not in left_out:
                blob += digest
                sequences.append(sequence)
                codes.append(names.setdefault(label, len(names)))
        order = np.argsort(_keys(bytes(blob)), kind="stable")
        self._reading = reading
        self._extractor = extractor
        self.n_features = n_features
        self._digests = np.frombuffer(bytes(blob), dtype=np.uint8).reshape(-1, _DIGEST_BYTES)[order].tobytes()
        self._sequences = np.array(sequences, dtype=np.int64)[order]
        self._codes = np.array(codes, dtype=np.int32)[order]
        self._names = tuple(names)

    def __len__(self) -> int:
        return len(self._sequences)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        if isinstance(index, slice):
            return [self._pair(i) for i in range(*index.indices(len(self)))]
        return self._pair(range(len(self))[index])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        digests, names = self._digests.hex(), self._names
        starts = range(0, len(digests), 2 * _DIGEST_BYTES)
        return (
            (digests[start : start + 2 * _DIGEST_BYTES], names[code])
            for start, code in zip(starts, self._codes.tolist(), strict=True)
        )

    @property
    def digests(self) -> list[str]:
        """The digests, sorted."""
        return [digest for digest, _ in self]

    @property
    def labels(self) -> list[str]:
        """The label of each sample, in the order of the digests."""
        return [self._names[code] for code in self._codes.tolist()]

    def counts(self) -> dict[str, int]:
        """How many samples each label has, sorted by label."""
        numbers = np.bincount(self._codes, minlength=len(self._names))
        return {name: int(number) for name, number in sorted(zip(self._names, numbers, strict=True))}

    def provider(
        self, digests: Iterable[str] | None = None, keeper: Keeper | None = None
    ) -> StoreBatchProvider:
        """A batch provider over the named samples, in the order given; over all of them without an argument.

        `keeper` knows their sums. Raises `NotFoundError` for a digest that is not in this set.
        """
        where = self._positions(list(digests)) if digests is not None else np.arange(len(self))
        labels = tuple(self._names)
        return StoreBatchProvider(
            self._reading,
            self._extractor,
            self.n_features,
            self._sequences[where],
            self._codes[where],
            labels,
            keeper,
        )

    def holds(self, digests: Sequence[str]) -> bool:
        """Whether all of these are in this set."""
        try:
            self._positions(list(digests))
        except NotFoundError:
            return False
        return True

    def _pair(self, index: int) -> tuple[str, str]:
        start = index * _DIGEST_BYTES
        return self._digests[start : start + _DIGEST_BYTES].hex(), self._names[self._codes[index]]

    def _positions(self, digests: list[str]) -> NDArray[np.intp]:
        try:
            wanted = _keys(bytes.fromhex("".join(digests)))
        except ValueError:
            wanted = np.empty(0, dtype="S32")
        if len(wanted) != len(digests):
            raise NotFoundError("a digest is 64 hexadecimal digits")
        known = _keys(self._digests)
        where = np.searchsorted(known, wanted)
        for index, position in enumerate(where):
            if position == len(known) or known[position] != wanted[index]:
                raise NotFoundError(f"sample {digests[index][:12]} is not in this training set")
        return where


class StoreBatchProvider:
    """An `MLBatchProvider` that reads features block by block; any thread may use it while the store is open.

    Each entry has the features "features" (float32 [n_features]) and "label" (text). Memory is that of the
    block asked for. A sample that was forgotten since raises `StoreError`, which ends the training that
    wanted it.
    """

    def __init__(
        self,
        reading: Reading,
        extractor: int,
        n_features: int,
        sequences: NDArray[np.int64],
        codes: NDArray[np.int32],
        names: tuple[str, ...],
        keeper: Keeper | None = None,
    ) -> None:
        self._reading = reading
        self.extractor = extractor
        self.n_features = n_features
        self._keeper = keeper
        self._sequences = sequences
        self._codes = codes
        self._names = names
        self._block: tuple[int, NDArray[np.float32]] = (0, np.empty((0, n_features), dtype=np.float32))

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._sequences)

    @property
    def sequences(self) -> NDArray[np.int64]:
        """The place of each sample in the order of arrival; no number is ever given twice."""
        return self._sequences

    def sums(self, stop: Callable[[], None]) -> Sums | None:
        """The sums of all samples, where they are kept; `stop` is called between blocks that are read."""
        return None if self._keeper is None else self._keeper(self, stop)

    @property
    def labels(self) -> list[str]:
        """The label of each sample."""
        return [self._names[code] for code in self._codes.tolist()]

    def features(self, at: int) -> MLDictionaryFeatureProvider:
        """The sample at index `at`, 0 <= at < count; `IndexError` otherwise."""
        if not 0 <= at < self.count:
            raise IndexError(f"sample {at} of {self.count}")
        start, X = self._block  # read once: another thread may exchange it
        if not start <= at < start + len(X):
            start = at - at % _AHEAD
            X, _ = self.arrays(slice(start, start + _AHEAD))
            self._block = (start, X)
        return MLDictionaryFeatureProvider(
            dictionary={"features": X[at - start].copy(), "label": self._names[self._codes[at]]}
        )

    def arrays(self, indices: Sequence[int] | slice) -> tuple[NDArray[np.float32], list[str]]:
        """Features float32 [n, n_features] and labels of the samples at `indices`, in that order."""
        where = (
            np.arange(self.count)[indices]
            if isinstance(indices, slice)
            else np.asarray(indices, dtype=np.intp)
        )
        labels = [self._names[code] for code in self._codes[where]]
        return self.stored(self._sequences[where]), labels

    def stored(self, sequences: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features float32 [n, n_features] of any stored samples; raises `StoreError` for one that is gone."""
        wanted = [features_id(self.extractor, int(sequence)) for sequence in sequences]
        if not wanted:
            return np.empty((0, self.n_features), dtype=np.float32)
        found: dict[int, bytes] = {}
        with self._reading() as connection:
            for start in range(0, len(wanted), _PARAMETERS):
                part = wanted[start : start + _PARAMETERS]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(_SELECT.format(marks), part))
        try:
            return decode_rows([found[key] for key in wanted])
        except KeyError:
            raise StoreError("a sample was forgotten while its features were being read") from None


def _keys(digests: bytes) -> NDArray[np.bytes_]:
    """Digests as numpy strings of fixed width, which compare like the digests themselves."""
    return np.frombuffer(digests, dtype=f"S{_DIGEST_BYTES}")
