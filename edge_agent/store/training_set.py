"""This is where the samples of one moment become a batch provider that reads features when wanted."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import NotFoundError, StoreError
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.summed import Sums
from edge_agent.store.chosen import DIGEST_BYTES, Chosen, Keys, keys, keys_of, places
from edge_agent.store.quantised import decode_rows
from edge_agent.store.rows import features_id

if TYPE_CHECKING:
    import sqlite3

Reading = Callable[[], "AbstractContextManager[sqlite3.Connection]"]
"""Gives a read-only connection of one's own, on any thread, for the length of a `with`."""

Keeper = Callable[["StoreBatchProvider", Callable[[], None]], "Sums | None"]
"""Gives the sums of exactly the samples of a provider."""

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
        before: TrainingSet | None = None,
    ) -> None:
        """Digest, label and sequence of samples, and those that were there `before`."""
        self._reading = reading
        self._extractor = extractor
        self.n_features = n_features
        known: tuple[str, ...] = before.names if before else ()
        names = {name: code for code, name in enumerate(known)}
        blob = bytearray()
        # No lists of numbers: of very many samples they would be what is large.
        sequences, codes = array("q"), array("i")
        for digest, label, sequence in rows:
            blob += digest
            sequences.append(sequence)
            codes.append(names.setdefault(label, len(names)))
        table = keys(blob)
        order = np.argsort(table, kind="stable")
        self.table = table[order]
        """The digests, sorted."""
        self.codes = np.array(codes, dtype=np.int32)[order]
        """The place of each label among `names`."""
        self.names: tuple[str, ...] = tuple(names)
        self._sequences = np.array(sequences, dtype=np.int64)[order]
        if before:
            at = np.searchsorted(before.table, self.table)
            self.table = np.insert(before.table, at, self.table)
            self.codes = np.insert(before.codes, at, self.codes)
            self._sequences = np.insert(before._sequences, at, self._sequences)  # noqa: SLF001

    def joined(self, rows: Iterable[tuple[bytes, str, int]]) -> TrainingSet:
        """These samples and others, of which digest, label and sequence are given; this set stays as it is."""
        return TrainingSet(self._reading, self._extractor, self.n_features, rows, self)

    @property
    def newest(self) -> int:
        """The sequence of the sample that arrived last; 0 where there is none."""
        return int(self._sequences.max(initial=0))

    @property
    def chosen(self) -> Chosen:
        """All of them."""
        return Chosen(self.table, np.arange(len(self)))

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
        names = self.names
        return zip(self.chosen, (names[code] for code in self.codes.tolist()), strict=True)

    @property
    def digests(self) -> list[str]:
        """The digests, sorted."""
        return list(self.chosen)

    @property
    def labels(self) -> list[str]:
        """The label of each sample, in the order of the digests."""
        return [self.names[code] for code in self.codes.tolist()]

    def counts(self) -> dict[str, int]:
        """How many samples each label has, sorted by label."""
        numbers = np.bincount(self.codes, minlength=len(self.names))
        return {name: int(number) for name, number in sorted(zip(self.names, numbers, strict=True))}

    def provider(
        self, digests: Iterable[str] | None = None, keeper: Keeper | None = None
    ) -> StoreBatchProvider:
        """A batch provider over the named samples, in the order given; over all of them without an argument.

        `keeper` knows their sums. Raises `NotFoundError` for a digest that is not in this set.
        """
        where = self.choose(digests).at if digests is not None else np.arange(len(self))
        return StoreBatchProvider(
            self._reading,
            self._extractor,
            self.n_features,
            self._sequences[where],
            self.codes[where],
            self.names,
            keeper,
        )

    def choose(self, digests: Iterable[str]) -> Chosen:
        """The samples with these digests, in the order given; raises `NotFoundError` where one is not in this set."""
        if isinstance(digests, Chosen):
            if digests.table is self.table:
                return digests
            wanted = digests.keys
        else:
            try:
                wanted = keys_of(list(digests))
            except ValueError as error:
                raise NotFoundError(str(error)) from None
        at, known = places(self.table, wanted)
        if not known.all():
            lacking = wanted[int(np.argmin(known))].ljust(DIGEST_BYTES, b"\0").hex()
            raise NotFoundError(f"sample {lacking[:12]} is not in this training set")
        return Chosen(self.table, at)

    def has(self, digests: Keys) -> NDArray[np.bool_]:
        """Which of these are in this set."""
        return places(self.table, digests)[1]

    def _pair(self, index: int) -> tuple[str, str]:
        return self.chosen[index], self.names[self.codes[index]]


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
