"""This is where it is said how good a head is by the samples it learned from: an interval, not a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.mixed import MixedHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.intervals import wilson
from edge_agent.ml.linear_answers import Recipe, State
from edge_agent.ml.neighbourhoods import Neighbourhoods
from edge_agent.ml.transforms import signed_root

LOOSE, STRICT = 0.8, 0.7
"""Cosines of features from which samples of one label are left out together."""
LOOKED_AT = 300
"""Of more samples, so many are left out."""
ROWS = 1500
"""So many neighbours of these are left out with them; of the others only single samples are."""
WORK = 3e8
"""The sum of cubes of how many are left out at a time: about 0.1 s."""
BLOCK_ROWS = 512
FLATTERED = 0.1
"""By so much single samples have to be better before it is called flattery."""
NAMED = 5
"""So many labels are named in a sentence."""

Read = Callable[[list[int]], NDArray[np.float32]]
"""Features [k, D] of the samples at k places."""
Members = list[NDArray[np.intp]]


@dataclass(frozen=True)
class Share:
    """How many of the samples that were asked were answered rightly."""

    right: int
    count: int

    @property
    def accuracy(self) -> float:
        """0 to 1."""
        return self.right / self.count

    def to_json(self) -> dict[str, Any]:
        """With the interval that chance leaves (Wilson, 95 %), as if all samples were of different things."""
        return {
            "accuracy": self.accuracy,
            "count": self.count,
            "interval": list(wilson(self.right, self.count)),
        }


@dataclass(frozen=True)
class Shares:
    """Samples left out by themselves, and with all that is nearly the same; None where none could be."""

    single: Share | None = None
    """Flattered by bursts."""
    loose: Share | None = None
    """With neighbours of cosine 0.8 and more."""
    strict: Share | None = None
    """With neighbours of cosine 0.7 and more."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between the two kinds of neighbours, the lower first."""
        bounds = [one.accuracy for one in (self.loose, self.strict) if one]
        return (min(bounds), max(bounds)) if bounds else None

    def to_json(self) -> dict[str, Any]:
        """`interval` rests on as many samples as the smaller `count` says."""
        found = self.interval
        counts = [one.count for one in (self.loose, self.strict) if one]
        return {
            "leave_one_out": self.single.to_json() if self.single else None,
            "leave_duplicates_out": {"interval": list(found), "count": min(counts)} if found else None,
        }


@dataclass(frozen=True)
class Evidence:
    """What samples left out say of a head; every figure None, and `because` says why, where they say nothing."""

    samples: int
    """How many it learned from."""
    looked_at: int = 0
    """How many of them were left out."""
    whole: Shares = Shares()
    per_class: dict[str, Shares] = field(default_factory=dict)
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with what they mean in sentences."""
        return {
            "samples": self.samples,
            "looked_at": self.looked_at,
            **self.whole.to_json(),
            "per_class": {label: one.to_json() for label, one in self.per_class.items()},
            "because": self.because or None,
            "meaning": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """What the figures mean, in plain words."""
        single, found = self.whole.single, self.whole.interval
        if single is None:
            return [f"Pictures it learned from say nothing about it: {self.because}."]
        flattered = (
            f"Left out one at a time, {single.right} of {single.count} pictures it learned from are answered"
            f" rightly ({single.accuracy:.1%}). Pictures of one burst answer for each other, so this flatters."
        )
        said = [flattered]
        if found is None:
            said.append(
                "Too many pictures of each label are nearly the same to leave all of those out: nothing can be said"
                " about other ones."
            )
        else:
            said.append(
                f"With everything left out that is nearly the same, {found[0]:.0%} to {found[1]:.0%} are: new pictures"
                " of the same kinds of things are likely to lie there."
            )
            if single.accuracy - found[0] > FLATTERED:
                said.append(
                    "The gap is wide: pictures of other things and places help more than more of the same."
                )
        silent = [label for label, one in self.per_class.items() if one.interval is None]
        if found is not None and silent:
            more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
            said.append(
                f"Nothing can be said about {', '.join(silent[:NAMED])}{more}: one picture, or nearly all alike."
            )
        if self.looked_at < self.samples:
            said.append(f"{self.looked_at} of {self.samples} pictures were left out in turn.")
        return said


def evidence(head: Head, read: Read, labels: Sequence[str]) -> Evidence:
    """What leaving out samples, alone and with their near-duplicates, says of a head, in closed form.

    `labels` [n] are those of all samples the head has learned, `read` gives their features. Penalty, tau and
    temperature stay as they were learned. Of more than `LOOKED_AT` samples the first of each label are
    looked at, so the order should say nothing; their near-duplicates are sought among all. Memory is
    O(`ROWS`^2 + `ROWS` D).
    """
    n = len(labels)
    parts = linear_parts(head)
    if isinstance(parts, str):
        return Evidence(n, because=parts)
    state, recipe, prior = parts
    if round(state.total) != n:
        return Evidence(n, because="it had learned from other pictures before")
    where: dict[str, list[int]] = {label: [] for label in head.classes_}
    for place, label in enumerate(labels):
        where[label].append(place)
    answers = Neighbourhoods(state, recipe)
    found: dict[str, tuple[int, Shares]] = {}
    for column, (label, places) in enumerate(where.items()):
        share = len(places) / n
        Z, members = _neighbours(places, read, share)
        lists = [[rows for rows in kind if len(rows) < len(places)] for kind in members]
        right = (answers.scores(Z, column, [rows for kind in lists for rows in kind]) + prior).argmax(
            axis=1
        ) == column
        ends = np.cumsum([len(kind) for kind in lists])
        counted = [
            Share(int(right[end - len(kind) : end].sum()), len(kind)) if kind else None
            for kind, end in zip(lists, ends, strict=True)
        ]
        found[label] = len(members[0]), Shares(*counted)
    whole = Shares(*(_sum([getattr(one, kind) for _, one in found.values()]) for kind in _KINDS))
    return Evidence(
        n,
        looked_at=sum(count for count, _ in found.values()),
        whole=whole,
        per_class={label: one for label, (_, one) in found.items()},
        because="" if whole.single else "each label has one picture",
    )


def linear_parts(head: Head) -> tuple[State, Recipe, NDArray[np.float64]] | str:
    """State, recipe and log prior [C] of a head that is a function of counts, means and scatter; else why not."""
    if not isinstance(head, LDAHead):
        return f"what {head.name!r} learned cannot be taken back for single pictures without learning again"
    known = head.learned
    if known.ridge == 0.0:
        return "no label has two different pictures"
    state = State(known.counts, known.means, known.scatter)
    recipe = head.recipe if isinstance(head, MixedHead) else None
    if recipe is None:
        unit = state.scatter.trace / state.total / min(state.total - 1.0, head.n_features)
        one = known.estimates
        recipe = Recipe(discriminant=one.temperature, shrinkage=known.ridge / unit, tau=one.tau)
    empirical = head.describe()["parameters"].get("prior") == "empirical"
    return state, recipe, np.log(known.counts / state.total) * empirical


_KINDS = ("single", "loose", "strict")


def _sum(shares: Sequence[Share | None]) -> Share | None:
    known = [one for one in shares if one]
    return Share(sum(one.right for one in known), sum(one.count for one in known)) if known else None


def _neighbours(places: list[int], read: Read, share: float) -> tuple[NDArray[np.float64], list[Members]]:
    """Unit vectors of those looked at and their neighbours, and the rows of each alone, loosely and strictly.

    `places` are those of one label, which has this share of all samples.
    """
    n = len(places)
    asked = min(n, max(1, round(LOOKED_AT * share)))
    U = _unit(read(places[:asked]))
    cosines = np.concatenate(
        [U @ _unit(read(places[start : start + BLOCK_ROWS])).T for start in range(0, n, BLOCK_ROWS)], axis=1
    )
    cosines[np.arange(asked), np.arange(asked)] = 2.0  # itself, whatever its length
    strict = cosines >= STRICT
    # With their neighbours as many are left out as there is room and time for.
    union = np.maximum.accumulate(strict, axis=0).sum(axis=1)
    work = np.cumsum(strict.sum(axis=1, dtype=np.float64) ** 3)
    grouped = int(((union <= ROWS * share) & (work <= WORK * share)).sum())
    rows = np.union1d(np.arange(asked), np.flatnonzero(strict[:grouped].any(axis=0)))
    at = np.full(n, -1, dtype=np.intp)
    at[rows] = np.arange(len(rows))
    Z = signed_root(read([places[row] for row in rows]))

    def members(cosine: float, count: int) -> Members:
        lists = []
        for i in range(count):
            near = np.flatnonzero(cosines[i] >= cosine)
            lists.append(at[np.concatenate(([i], near[near != i]))])
        return lists

    return Z, [members(1.5, asked), members(LOOSE, grouped), members(STRICT, grouped)]


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.maximum(length, np.finfo(np.float32).tiny))
