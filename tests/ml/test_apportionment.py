"""Every label is divided in the proportions that are wanted, and so is the whole."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.apportionment import generator_for, normalised, stratified


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    proportions=st.lists(st.floats(0, 1), min_size=1, max_size=4).filter(lambda some: sum(some) > 1e-3),
    seed=st.integers(0, 2**63),
)
def test_checklist_107_each_label_is_divided_in_the_proportions(counts, proportions, seed):
    """Nothing is lost or doubled, each label's part is the exact one rounded up or down, the order is kept."""
    by_label = {f"label {index}": list(range(count)) for index, count in enumerate(counts)}
    parts = stratified(by_label, proportions, random.Random(seed))
    shares = normalised(proportions)

    assert len(parts) == len(proportions)
    for label, given_ones in by_label.items():
        divided = [part.get(label, []) for part in parts]
        assert sorted(one for some in divided for one in some) == given_ones
        for some, share in zip(divided, shares, strict=True):
            assert some == sorted(some)
            exact = round(share * len(given_ones), 9)
            assert math.floor(exact) <= len(some) <= math.ceil(exact)
        if given_ones:
            assert divided[shares.index(max(shares))]
    assert all(some for part in parts for some in part.values())


@pytest.mark.parametrize(("labels", "each"), [(20, 10), (7, 13), (100, 3), (10, 30)])
def test_checklist_107_the_whole_is_divided_in_the_proportions_too(labels, each):
    """A twentieth of many small labels is a twentieth of all pictures, and not none or one of each label."""
    by_label = {f"label {index}": list(range(each)) for index in range(labels)}
    _, held = stratified(by_label, [0.95, 0.05], random.Random(0))

    assert abs(sum(map(len, held.values())) - 0.05 * labels * each) < 1


def test_which_labels_are_rounded_up_is_chance():
    """Different seeds spare different labels, not always those that come first."""
    by_label = {name: list(range(10)) for name in "abcdefgh"}
    held = {tuple(stratified(by_label, [0.95, 0.05], random.Random(seed))[1]) for seed in range(20)}

    assert len(held) > 5
    assert all(len(labels) == 4 for labels in held)


@pytest.mark.parametrize(
    "proportions",
    [
        [],
        [0, 0],
        [-0.1, 1.1],
        [math.nan, 1],
        [math.inf, 1],
        ["half", "half"],
        [True, False],
        [1e308, 1e308],
        3,
        [None],
    ],
)
def test_checklist_107_proportions_that_are_none_are_refused(proportions):
    """TYPE, with what was given."""
    with pytest.raises(MLCreateError, match="proportions are numbers") as caught:
        normalised(proportions)

    assert caught.value.code is MLCreateErrorCode.TYPE


@pytest.mark.parametrize("seed", [-1, 1.5, "x", True])
def test_a_seed_is_a_whole_number(seed):
    """Anything else would be another seed than it seems."""
    with pytest.raises(MLCreateError, match="a seed is"):
        generator_for(seed)
