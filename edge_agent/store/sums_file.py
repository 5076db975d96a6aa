"""This is where sums over samples, and whose they are, are written to a file and read again."""

from __future__ import annotations

import errno
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import StoreError
from edge_agent.ml.statistics import ClassStatistics

FORMAT = 1
Numbers = NDArray[np.int64]

# Whatever numpy and zipfile say of a file that is cut off, empty, foreign or has flipped bits.
UNREADABLE: tuple[type[Exception], ...] = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, OSError, RuntimeError),
    *(MemoryError, zipfile.BadZipFile, zlib.error, StoreError),
)


@dataclass(frozen=True)
class Members:
    """Whose features are in the sums, sorted by their place in the store."""

    sequences: Numbers
    labels: NDArray[np.object_]
    marks: NDArray[np.uint32]

    @classmethod
    def none(cls) -> Members:
        """Nobody's."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=object), np.empty(0, dtype=np.uint32))

    def __len__(self) -> int:
        return len(self.sequences)

    def places(self, sequences: Numbers) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each of some sequences is, and whether it is there at all."""
        where = np.minimum(np.searchsorted(self.sequences, sequences), max(len(self) - 1, 0))
        known = self.sequences[where] == sequences if len(self) else np.zeros(len(sequences), dtype=np.bool_)
        return where, known

    def without(self, gone: NDArray[np.bool_]) -> Members:
        """Those that are left."""
        return Members(self.sequences[~gone], self.labels[~gone], self.marks[~gone])

    def joined(self, more: Members) -> Members:
        """These and others, which are none of these."""
        sequences = np.concatenate([self.sequences, more.sequences])
        order = np.argsort(sequences, kind="stable")
        return Members(
            sequences[order],
            np.concatenate([self.labels, more.labels])[order],
            np.concatenate([self.marks, more.marks])[order],
        )


def opened(path: Path) -> BinaryIO:
    """A regular file, to be read; raises `OSError`, also for anything else that may lie there."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def marks_in(path: Path) -> set[int]:
    """The content marks of all samples whose sums a file holds; raises `StoreError` when it cannot be read."""
    try:
        with opened(path) as file:
            return set(_arrays(file)["marks"].tolist())
    except UNREADABLE as error:
        raise StoreError(f"{path}: {error}") from None


def write_sums(
    file: BinaryIO, of: tuple[int, int], statistics: ClassStatistics, members: Members, changes: int
) -> None:
    """Write everything, the Gram matrix block by block; `of` are the extractor's number in its database and its
    features."""
    classes, gram = statistics.classes, statistics.gram
    assert gram is not None
    names, codes = np.unique(members.labels.astype(str), return_inverse=True)
    facts = {
        "format": FORMAT,
        "of": of,
        "classes": classes,
        "names": names.tolist(),
        "changes": changes,
    }
    arrays: dict[str, NDArray[Any]] = {
        "facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
        "counts": np.array([statistics.counts[name] for name in classes], dtype=np.int64),
        "means": statistics.means(),
        "sequences": members.sequences,
        "codes": codes.astype(np.int32),
        "marks": members.marks,
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("gram.npy", "w", force_zip64=True) as member:
            D = len(gram)
            header = {"descr": "<f8", "fortran_order": False, "shape": (D * (D + 1) // 2,)}
            np.lib.format.write_array_header_1_0(member, header)
            for numbers in gram.parts():
                member.write(numbers.astype("<f8", copy=False).tobytes())


def _arrays(file: BinaryIO) -> dict[str, NDArray[Any]]:
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def read_sums(file: BinaryIO, of: tuple[int, int] | None) -> tuple[ClassStatistics, Members, int]:
    """What `write_sums` was given; raises one of `UNREADABLE` for anything else."""
    arrays = _arrays(file)
    facts = json.loads(arrays["facts"].tobytes())
    if facts["format"] != FORMAT or tuple(facts["of"]) != of:
        raise ValueError("it is of another extractor or format")
    labels = np.array(facts["names"], dtype=object)[arrays["codes"]]
    members = Members(
        arrays["sequences"].astype(np.int64), labels, arrays["marks"].astype(np.uint32, copy=False)
    )
    if len({len(members.sequences), len(labels), len(members.marks)}) != 1:
        raise ValueError("its tables differ in length")
    counts = dict(zip(facts["classes"], arrays["counts"].tolist(), strict=True))
    if counts != _counted(labels):
        raise ValueError("its counts are not those of its samples")
    statistics = ClassStatistics.restore(counts, arrays["means"], arrays["gram"])
    return statistics, members, int(facts["changes"])


def _counted(labels: Sequence[str] | NDArray[np.object_]) -> dict[str, int]:
    names, numbers = np.unique(np.array(labels, dtype=object).astype(str), return_counts=True)
    return {str(name): int(number) for name, number in zip(names, numbers, strict=True)}
