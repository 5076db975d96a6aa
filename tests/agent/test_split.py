"""Which samples are trained on and which judge the result."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import nullcontext

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent.learned import Learned
from edge_agent.agent.split import SMALL_LABEL, Split, is_held_out, judges, relearned, split
from edge_agent.store.training_set import TrainingSet


def digest(number: int) -> str:
    """A sha256 in hex."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def stored(pairs: Iterable[tuple[str, str]]) -> TrainingSet:
    """What a store would give that holds these."""
    rows = ((bytes.fromhex(name), label, at) for at, (name, label) in enumerate(pairs))
    return TrainingSet(lambda: nullcontext(sqlite3.connect(":memory:")), 1, 4, rows)


labelled = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["cat", "dog", "fox"])), unique_by=lambda x: x[0]
)


@given(labelled, st.floats(0, 0.5))
def test_every_sample_is_used_once_in_one_part(rows: list[tuple[int, str]], fraction: float) -> None:
    """Training and held-out parts never overlap and together are everything."""
    samples = [(digest(number), label) for number, label in rows]
    parts = split(stored(samples), fraction)

    assert sorted([*parts.training, *parts.held_out]) == sorted(digest for digest, _ in samples)


@given(labelled, labelled, st.floats(0, 0.5))
def test_no_picture_becomes_held_out_because_of_others(
    rows: list[tuple[int, str]], more: list[tuple[int, str]], fraction: float
) -> None:
    """The side of a picture follows from its own bytes: a training picture stays one whatever else arrives."""
    first = {digest(number): label for number, label in rows}
    both = {**{digest(number): label for number, label in more}, **first}
    before = split(stored(first.items()), fraction)
    after = split(stored(both.items()), fraction)
    outside = {name for name in before.training if not is_held_out(name, fraction)}

    assert outside <= set(after.training)


def test_a_small_label_trains_on_all_it_has() -> None:
    """A label with fewer than the minimum on the training side keeps none of its pictures back."""
    samples = [(digest(number), "rare") for number in range(SMALL_LABEL - 1)]
    samples += [(digest(number), "common") for number in range(100, 300)]
    parts = split(stored(samples), 0.5)

    assert {name for name, label in samples if label == "rare"} <= set(parts.training)
    assert 60 < len(parts.held_out) < 140


def test_the_share_that_is_held_out() -> None:
    """About the wanted share of digests is held out, none at 0."""
    digests = [digest(number) for number in range(5000)]

    assert 0.085 < sum(is_held_out(name, 0.1) for name in digests) / 5000 < 0.115
    assert not any(is_held_out(name, 0.0) for name in digests)


def test_judges_have_not_been_learned_from() -> None:
    """A held-out sample that one of the versions has learned from does not judge."""
    samples = stored((digest(number), "cat") for number in range(6))
    one, other, third, *rest = samples.digests
    parts = Split(training=samples.choose([one, *rest]), held_out=samples.choose([one, other, third]))

    assert list(judges(parts)) == [other, third]
    assert list(judges(parts, Learned.by({third: "cat", digest(99): "cat"}))) == [other]


def test_what_a_version_learned_is_learned_again_without_what_is_new() -> None:
    """Gone and relabelled samples are not, whatever side they are on now; judges are held out and of a known label."""
    names = sorted(digest(number) for number in range(6))
    samples = stored(zip(names, ["cat", "cat", "dog", "dog", "fox", "cat"], strict=True))
    [a, b, relabelled, c, new, new_cat] = names
    parts = Split(samples.choose([a, relabelled, new]), samples.choose([b, c, new_cat]))

    learned = Learned.by({a: "cat", b: "cat", relabelled: "cat", digest(99): "dog"})
    again = relearned(samples, parts, learned)

    assert again == Split(samples.choose([a, b]), samples.choose([new_cat]))
    assert relearned(samples, parts, Learned.by({digest(99): "dog"})) == parts
