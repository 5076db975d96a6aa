"""This is where it is said how good a head is by the samples it learned from: an interval, not a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.mixed import MixedHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.intervals import wilson
from edge_agent.ml.likenesses import Likenesses, Near, Read
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
FLATTERED = 0.1
"""By so much single samples have to be better before it is called flattery."""
NAMED = 5
"""So many labels are named in a sentence."""

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


def evidence(
    head: Head,
    read: Read,
    labels: Sequence[str],
    *,
    names: NDArray[np.int64] | None = None,
    likenesses: Likenesses | None = None,
) -> Evidence:
    """What leaving out samples, alone and with their near-duplicates, says of a head, in closed form.

    `labels` [n] are those of all samples the head has learned, `read` gives their features. Penalty, tau and
    temperature stay as they were learned. Of more than `LOOKED_AT` samples the first of each label are
    looked at, so the order should say nothing; their near-duplicates are sought among all. Memory is
    O(`ROWS`^2 + `ROWS` D).

    With `likenesses` from the time before and `names` [n], which no two samples ever share, only what came or went
    since is held against those looked at. The result is the same.
    """
    n = len(labels)
    parts = linear_parts(head)
    if isinstance(parts, str):
        return Evidence(n, because=parts)
    state, recipe, prior = parts
    if round(state.total) != n:
        return Evidence(n, because="it had learned from other pictures before")
    if names is None or likenesses is None:
        names, likenesses = np.arange(n, dtype=np.int64), Likenesses(STRICT)
    likenesses.keep_labels(head.classes_)
    column_of = {label: column for column, label in enumerate(head.classes_)}
    columns = np.fromiter((column_of[label] for label in labels), dtype=np.intp, count=n)
    answers = Neighbourhoods(state, recipe)
    found: dict[str, tuple[int, Shares]] = {}
    for column, label in enumerate(head.classes_):
        places = np.flatnonzero(columns == column)
        share = len(places) / n
        asked = min(len(places), max(1, round(LOOKED_AT * share)))

        def of_label(rows: list[int], places: NDArray[np.intp] = places) -> NDArray[np.float32]:
            return read(places[rows].tolist())

        # With their neighbours as many are left out as there is room and time for.
        near = likenesses.near(label, names[places], of_label, asked, ROWS * share, WORK * share)
        rows, members = _members(near, asked, len(places))
        lists = [[one for one in kind if len(one) < len(places)] for kind in members]
        # One of the same sample and length is the same list: each kind has the neighbours of the kind before.
        alike = {(int(one[0]), len(one)): one for kind in lists for one in kind}
        Z = signed_root(of_label(rows.tolist()))
        best = (answers.scores(Z, column, list(alike.values())) + prior).argmax(axis=1)
        right = dict(zip(alike, (best == column).tolist(), strict=True))
        counted = [
            Share(sum(right[int(one[0]), len(one)] for one in kind), len(kind)) if kind else None
            for kind in lists
        ]
        found[label] = asked, Shares(*counted)
    whole = Shares(*(_sum([getattr(one, kind) for _, one in found.values()]) for kind in _KINDS))
    return Evidence(
        n,
        looked_at=sum(count for count, _ in found.values()),
        whole=whole,
        per_class={label: one for label, (_, one) in found.items()},
        because="" if whole.single else "each label has one picture",
    )


def _members(near: Sequence[Near], asked: int, n: int) -> tuple[NDArray[np.intp], list[Members]]:
    """Which of the n samples of a label are needed, and the rows of each list: alone, loosely and strictly.

    The first of each list is one of those asked, the first of the label; `near` are the neighbours of some of them.
    """
    needed = np.zeros(n, dtype=np.bool_)
    needed[:asked] = True
    for places, _ in near:
        needed[places] = True
    rows = np.flatnonzero(needed)
    at = np.cumsum(needed) - 1
    alone: Members = [np.array([i], dtype=np.intp) for i in range(asked)]
    loose = [np.append(alone[i], at[places[cosines >= LOOSE]]) for i, (places, cosines) in enumerate(near)]
    strict = [np.append(alone[i], at[places]) for i, (places, _) in enumerate(near)]
    return rows, [alone, loose, strict]


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
