"""This is where pictures are divided into parts, so that every label is divided in the same proportions."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Protocol, TypeVar, runtime_checkable

from edge_agent.errors import MLCreateError, MLCreateErrorCode

One = TypeVar("One")


@runtime_checkable
class Generator(Protocol):
    """What chance is drawn from: `random.Random` and numpy's `Generator` and `RandomState` all can do this."""

    def shuffle(self, x: Any, /) -> Any:
        """Bring a list into a random order, in place."""


def stratified(
    by_label: Mapping[str, Sequence[One]], proportions: Iterable[float], generator: Generator
) -> list[dict[str, list[One]]]:
    """Divide what each label has; one dictionary for each proportion, in which the order is kept.

    Of n pictures of a label a part of proportion p gets n * p, rounded up or down. Which of the two is decided
    over all labels together, so that the whole is divided as exactly as each label: a part of 5 % of ten labels
    with ten pictures each has five pictures, of five labels. The largest part has a picture of every label. A
    label of which a part has nothing is not in that part's dictionary. Proportions are normalised.

    Raises `MLCreateError` TYPE for proportions that are none, and for none at all.
    """
    shares = normalised(proportions)
    parts: list[dict[str, list[One]]] = [{} for _ in shares]
    labels = sorted(by_label)
    drawn = list(labels)
    generator.shuffle(drawn)  # or the labels that come first would be favoured by the rounding
    owed = [0.0] * len(shares)
    places: dict[str, list[list[int]]] = {}
    for label in drawn:
        counts = _counts(len(by_label[label]), shares, owed)
        order = list(range(len(by_label[label])))
        generator.shuffle(order)
        ends = [sum(counts[: index + 1]) for index in range(len(counts))]
        places[label] = [sorted(order[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    for label in labels:
        for part, chosen in zip(parts, places[label], strict=True):
            if chosen:
                part[label] = [by_label[label][index] for index in chosen]
    return parts


def generator_for(seed: int) -> random.Random:
    """The chance of a seed; raises `MLCreateError` TYPE for what is none."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise MLCreateError(MLCreateErrorCode.TYPE, f"a seed is a whole number, 0 or above, not {seed!r}")
    return random.Random(int(seed))  # noqa: S311 - chance, no secret


def normalised(proportions: Iterable[float]) -> list[float]:
    """Proportions that add up to 1; raises `MLCreateError` TYPE for what cannot be made so."""
    given = list(proportions) if isinstance(proportions, Iterable) else []
    usable = all(
        isinstance(one, Real) and not isinstance(one, bool) and math.isfinite(one) and one >= 0
        for one in given
    )
    total = sum(given) if usable else 0.0
    if not given or not math.isfinite(total) or total <= 0:
        raise MLCreateError(
            MLCreateErrorCode.TYPE,
            f"proportions are numbers, 0 or above and not all of them 0, not {proportions!r}",
        )
    return [float(one) / total for one in given]


def _counts(count: int, shares: Sequence[float], owed: list[float]) -> list[int]:
    """How many of `count` go to each part; `owed` is what each part is short of so far, and is kept up."""
    exact = [round(count * share, 9) for share in shares]  # 0.1 * 30 is a little more than 3
    counts = [math.floor(one) for one in exact]
    left = count - sum(counts)
    largest = max(range(len(shares)), key=lambda index: shares[index])
    due = {index: one - counts[index] for index, one in enumerate(exact) if one > counts[index]}

    def first(index: int) -> tuple[bool, float, float]:
        none_of_the_largest = index == largest and counts[index] == 0
        return not none_of_the_largest, -round(due[index] + owed[index], 9), -shares[index]

    for index in sorted(due, key=first)[:left]:
        counts[index] += 1
    for index, one in enumerate(exact):
        owed[index] += one - counts[index]
    return counts
