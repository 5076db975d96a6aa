"""What a version learned, against dictionaries."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import nullcontext

import numpy as np
import pytest

from edge_agent.agent.learned import Learned, as_bytes, from_bytes
from edge_agent.store.chosen import keys_of
from edge_agent.store.training_set import TrainingSet


def digest(number: int) -> str:
    """A sha256 in hex; some end in zeros, which numpy's texts of fixed width do not tell from nothing."""
    return hashlib.sha256(str(number).encode()).hexdigest()[: 64 - 2 * (number % 3)] + "00" * (number % 3)


@pytest.mark.parametrize("seed", range(4))
def test_it_says_what_a_dictionary_says(seed: int) -> None:
    """Which are known, under which label, and which are stored under the same."""
    rng = np.random.default_rng(seed)
    labels = ["cat", "dog", "fox", 'one with a " and an ü']
    then = {digest(int(n)): str(rng.choice(labels[1:])) for n in rng.permutation(60)[: 10 * seed]}
    now = {digest(int(n)): str(rng.choice(labels[:3])) for n in rng.permutation(60)[:40]}
    rows = ((bytes.fromhex(name), label, at) for at, (name, label) in enumerate(now.items()))
    samples = TrainingSet(lambda: nullcontext(sqlite3.connect(":memory:")), 1, 4, rows)
    learned = Learned.by(then)

    assert len(learned) == len(then)
    assert learned.labels() == then
    assert from_bytes(as_bytes(learned)).labels() == then
    assert learned.has(samples.table).tolist() == [name in then for name in samples.digests]
    chosen = samples.choose(rng.permutation(samples.digests).tolist())
    assert learned.same(samples, chosen).tolist() == [then.get(name) == now[name] for name in chosen]
    assert [learned.label(digest(n)) for n in range(60)] == [then.get(digest(n)) for n in range(60)]
    part = chosen[3:20]
    assert Learned.among(samples, part).labels() == {name: now[name] for name in part}


def test_what_is_no_digest_is_refused() -> None:
    """Too short, too long, or no number."""
    for text in ("", "ab", "x" * 64, "a" * 66, "a" * 62, "a " * 32):
        with pytest.raises(ValueError, match="hex"):
            keys_of([text])
    with pytest.raises(ValueError, match="64 hexadecimal"):
        keys_of(["a" * 32, "a" * 96])


def test_what_is_damaged_is_refused() -> None:
    """Cut off, longer, of another format, out of order, or with a label nobody named."""
    whole = as_bytes(Learned.by({digest(n): f"label {n % 3}" for n in range(20)}))
    head, _, body = whole.partition(b"\n")
    swapped = body[:40] + body[72:104] + body[40:72] + body[104:]
    assert len(body) == 20 * 34
    for data in (whole[:-1], whole + b"x", head, b"", b"{}\n", b"[]\n" + body, head + b"\n" + swapped):
        with pytest.raises((ValueError, KeyError, TypeError)):
            from_bytes(data)
    for other in (head.replace(b": 1,", b": 2,"), head.replace(b', "label 2"', b"")):
        with pytest.raises(ValueError, match=r"format|order"):
            from_bytes(other + b"\n" + body)
    with pytest.raises(ValueError, match="order"):
        from_bytes(head + b"\n" + b"\x09" + body[1:])
    from_bytes(whole)


def test_a_list_is_half_as_large_as_its_texts() -> None:
    """34 bytes a sample."""
    assert len(as_bytes(Learned.by({digest(3 * n): "cat" for n in range(5000)}))) < 5000 * 34 + 200
