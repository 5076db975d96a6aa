"""How much is set aside for validation follows Apple's rule exactly, and what validates can be anything."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData

PLACE = DataSource.labeled_directories(at="here")


def test_checklist_111_validation_is_a_share_a_source_a_dictionary_or_nothing():
    """Each of the four is kept as what it is; a dictionary is a source."""
    strategy = MLSplitStrategy.fixed(0.2, seed=1)
    files = {"cat": ["a.jpg"]}

    assert (ValidationData.split(strategy).strategy, ValidationData.split(strategy).source) == (
        strategy,
        None,
    )
    assert ValidationData.data_source(PLACE) == ValidationData(source=PLACE)
    assert ValidationData.dictionary(files) == ValidationData.data_source(DataSource.files_by_label(files))
    assert ValidationData.dictionary(files).source.labeled_images() == {"cat": [Path("a.jpg").absolute()]}
    assert (ValidationData.none().strategy, ValidationData.none().source) == (None, None)
    assert ValidationData.automatic() == ValidationData.split(MLSplitStrategy.automatic())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValidationData.split(None),
        lambda: ValidationData.split(0.2),
        lambda: ValidationData.data_source(None),
        lambda: ValidationData.data_source("here"),
        lambda: ValidationData.dictionary([]),
        lambda: ValidationData(MLSplitStrategy.automatic(), PLACE),
    ],
)
def test_checklist_111_anything_else_is_refused(make):
    """TYPE, when it is made."""
    with pytest.raises(MLCreateError) as caught:
        make()
    assert caught.value.code is MLCreateErrorCode.TYPE


@pytest.mark.parametrize(
    ("count", "share"),
    [
        (0, 0.0),
        (1, 0.0),
        (49, 0.0),
        (50, 0.1),
        (51, 0.1),
        (199, 0.1),
        (200, 0.05),
        (201, 0.05),
        (10**6, 0.05),
    ],
)
def test_checklist_112_the_automatic_share_follows_from_the_count(count, share):
    """Nothing below 50, a tenth below 200, a twentieth from there on."""
    assert MLSplitStrategy.automatic().resolve(count) == share


@pytest.mark.parametrize(("count", "lines"), [(49, 1), (50, 0), (200, 0)])
def test_checklist_112_it_is_logged_when_nothing_is_set_aside(caplog, count, lines):
    """One line with the number of pictures, and only then."""
    with caplog.at_level(logging.INFO, logger="edge_agent.ml.splitting"):
        MLSplitStrategy.automatic().resolve(count)

    assert len(caplog.records) == lines
    for record in caplog.records:
        assert record.getMessage() == (
            "No pictures are set aside for validation: 49 are fewer than the 50 it takes"
        )


@pytest.mark.parametrize("ratio", [0, 0.0, 0.25, 1, 1.0])
def test_checklist_113_a_fixed_share_is_what_was_said(ratio):
    """For every count, with or without a seed."""
    for count in (0, 10, 1000):
        assert MLSplitStrategy.fixed(ratio).resolve(count) == ratio
        assert MLSplitStrategy.fixed(ratio, seed=7).resolve(count) == ratio
    assert MLSplitStrategy.fixed(ratio).seed is None
    assert MLSplitStrategy.fixed(ratio, seed=7).seed == 7


@pytest.mark.parametrize(
    ("ratio", "seed"),
    [
        *((ratio, None) for ratio in (-0.1, 1.1, math.nan, "half", None, True)),
        *((0.5, seed) for seed in (-1, 1.5, "x", True)),
    ],
)
def test_checklist_113_other_shares_and_seeds_are_refused(ratio, seed):
    """TYPE, naming which of the two."""
    with pytest.raises(MLCreateError, match="ratio is" if seed is None else "seed is") as caught:
        MLSplitStrategy.fixed(ratio, seed)
    assert caught.value.code is MLCreateErrorCode.TYPE


@pytest.mark.parametrize("count", [-1, 1.5, "x", True])
def test_checklist_113_a_count_is_a_whole_number(count):
    """Whatever the strategy."""
    for strategy in (MLSplitStrategy.automatic(), MLSplitStrategy.fixed(0.5)):
        with pytest.raises(MLCreateError, match="count is"):
            strategy.resolve(count)


@pytest.mark.parametrize(
    ("validation", "text"),
    [
        (ValidationData.automatic(), "a share that follows from the number of pictures"),
        (ValidationData.split(MLSplitStrategy.fixed(0.25)), "25 % of the pictures"),
        (ValidationData.split(MLSplitStrategy.fixed(0.25, seed=3)), "25 % of the pictures, seed 3"),
        (ValidationData.data_source(PLACE), str(PLACE)),
        (ValidationData.dictionary({"cat": ["a.jpg"]}), "1 file of 1 label"),
        (ValidationData.none(), "none"),
    ],
)
def test_checklist_143_validation_says_what_it_is_and_can_be_kept(validation, text):
    """A text for people, and plain values from which it comes back equal."""
    assert str(validation) == text
    assert ValidationData.from_json(json.loads(json.dumps(validation.to_json()))) == validation
