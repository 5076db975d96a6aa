"""This is where it is known which samples of a label are nearly the same as those looked at, from update to update.

Each pair is looked at once: a sample that came since is held against those looked at, and one that left is struck out,
so that ten samples more cost the same whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 512
SLACK = 2
"""Of a sample that has too many near-duplicates so many times too many are named, and the rest not looked for."""
SPARE = 8
"""So many times what was wanted is kept for the next time."""

Names = NDArray[np.int64]
Read = Callable[[list[int]], NDArray[np.float32]]
"""Features [k, D] of the samples at k places."""
Near = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Places of other samples in ascending order, and their cosines."""


@dataclass
class _Kept:
    """What one sample was found to resemble: the names of those, and the cosines."""

    names: Names
    cosines: NDArray[np.float32]
    whole: bool
    """All of them are named; else there are more than anybody wants to know."""

    def joined(self, names: Names, cosines: NDArray[np.float32]) -> _Kept:
        return _Kept(np.append(self.names, names), np.append(self.cosines, cosines), self.whole)

    def among(self, there: Names) -> _Kept:
        stay = _known(self.names, there)
        return _Kept(self.names[stay], self.cosines[stay], self.whole)


@dataclass
class _Label:
    known: Names
    """Sorted."""
    lists: dict[int, _Kept] = field(default_factory=dict)


class Likenesses:
    """Near-duplicates of the samples looked at, by label.

    A sample is known by a name, a number that no other sample ever has. What is kept are names and cosines, as many
    as the samples looked at have near-duplicates that are wanted, and eight bytes for each sample.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._labels: dict[str, _Label] = {}

    def keep_labels(self, labels: Sequence[str]) -> None:
        """Let go of all other labels."""
        self._labels = {label: one for label, one in self._labels.items() if label in set(labels)}

    def near(self, label: str, names: Names, read: Read, asked: int, most: float, work: float) -> list[Near]:
        """The near-duplicates of the first samples [g] of a label, g at most `asked`.

        `names` [n] are those of all its samples, in an order of the caller's; `read` gives features by their places
        in it.  g is how many samples, each with its near-duplicates, are `most` different ones together at most, the
        cubes of how many each has with itself at most `work` together.
        """
        order = np.argsort(names, kind="stable")
        there = names[order]
        kept = self._labels[label] = self._followed(label, there, names[:asked], order, read)
        cap = min(most, np.cbrt(work) * (1 + 1e-9))
        seen = np.zeros(len(names), dtype=np.bool_)
        union, cubes, found = 0, 0.0, []
        for place in range(asked):
            one = kept.lists.get(int(names[place]))
            if one is None or not (one.whole or len(one.names) + 1 > cap):
                lacking = [i for i in range(place, asked) if int(names[i]) not in kept.lists or i == place]
                kept.lists |= self._searched(lacking, names, order, read, cap)
                one = kept.lists[int(names[place])]
            at = order[np.searchsorted(there, one.names)]
            union += int((~seen[at]).sum()) + int(not (seen[place] or place in at))
            seen[at] = seen[place] = True
            cubes += (len(at) + 1.0) ** 3
            if union > most or cubes > work:
                break
            rank = np.argsort(at)
            found.append((at[rank], one.cosines[rank]))
        self._let_go(kept, names[:asked], len(found), most)
        return found

    @staticmethod
    def _let_go(kept: _Label, looked_at: Names, found: int, most: float) -> None:
        """Keep what was found, the first that was too much and some that follow, which may be wanted again."""
        size, lists = 0, {}
        for place, name in enumerate(looked_at.tolist()):
            if name in kept.lists:
                size += len(kept.lists[name].names)
                if place <= found or size <= SPARE * most:
                    lists[name] = kept.lists[name]
        kept.lists = lists

    def _followed(
        self, label: str, there: Names, looked_at: Names, order: NDArray[np.intp], read: Read
    ) -> _Label:
        """What is kept of a label, brought to the samples `there`, which are sorted."""
        kept = self._labels.get(label)
        if kept is None:
            return _Label(there)
        new = np.flatnonzero(~_known(there, kept.known))
        if 2 * len(new) > len(there):
            return _Label(there)
        stay = {int(name) for name in looked_at}
        lists = {name: one for name, one in kept.lists.items() if name in stay}
        if len(kept.known) + len(new) > len(there):
            lists = {name: one.among(there) for name, one in lists.items()}
        if len(new) and lists:
            mine = order[np.searchsorted(there, list(lists))]
            U = _unit(read(mine.tolist()))
            for start in range(0, len(new), BLOCK_ROWS):
                part = new[start : start + BLOCK_ROWS]
                cosines = U @ _unit(read(order[part].tolist())).T
                for row, name in enumerate(lists):
                    hits = np.flatnonzero((cosines[row] >= self._threshold) & (there[part] != name))
                    if len(hits):
                        lists[name] = lists[name].joined(there[part[hits]], cosines[row, hits])
        return _Label(there, lists)

    def _searched(
        self, places: list[int], names: Names, order: NDArray[np.intp], read: Read, cap: float
    ) -> dict[int, _Kept]:
        """What the samples at some places resemble, in ascending order of names, as long as anybody wants to know.

        Nobody does of those that follow one with more than `cap` of them.
        """
        U = _unit(read(places))
        parts: list[list[tuple[Names, NDArray[np.float32]]]] = [[] for _ in places]
        counts = np.ones(len(places))
        end = len(places)
        for start in range(0, len(order), BLOCK_ROWS):
            at = order[start : start + BLOCK_ROWS]
            cosines = U[:end] @ _unit(read(at.tolist())).T
            for row, near in enumerate(cosines >= self._threshold):
                hits = np.flatnonzero(near)
                hits = hits[at[hits] != places[row]]
                parts[row].append((names[at[hits]], cosines[row, hits]))
                counts[row] += len(hits)
            over = np.flatnonzero(counts[:end] > cap)
            if len(over):
                end = int(over[0]) + 1
                if end == 1 and counts[0] > SLACK * cap:
                    break
        else:
            start = len(order)
        whole = start >= len(order)
        return {
            int(names[places[row]]): _Kept(
                np.concatenate([name for name, _ in parts[row]]),
                np.concatenate([cosine for _, cosine in parts[row]]),
                whole,
            )
            for row in range(end)
        }


def _known(names: Names, there: Names) -> NDArray[np.bool_]:
    """Which of these are there; `there` is sorted."""
    if not len(there):
        return np.zeros(len(names), dtype=np.bool_)
    at = np.minimum(np.searchsorted(there, names), len(there) - 1)
    return np.asarray(there[at] == names)


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.maximum(length, np.finfo(np.float32).tiny))
