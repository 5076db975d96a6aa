"""Moments of a session from which it can go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode, StoreError
from edge_agent.ml.checkpoints import MOST_OF_EXTRACTION, CheckpointFolder, FitState, MLCheckpoint
from edge_agent.ml.training_progress import MLPhase, MLProgressMetric

LOSS = MLProgressMetric.LOSS


def filled(folder: Path) -> CheckpointFolder:
    """Two checkpoints of extraction, one of training."""
    kept = CheckpointFolder(folder)
    kept.add(MLPhase.EXTRACTING_FEATURES, 20, 1.0, {})
    kept.add(MLPhase.TRAINING, 10, 3.0, {LOSS: 0.5}, state=FitState({"W": np.arange(4.0)}, {"iteration": 10}))
    kept.add(MLPhase.EXTRACTING_FEATURES, 30, 2.0, {})
    return kept


def test_checklist_130_a_checkpoint_has_place_phase_iteration_date_and_metrics(tmp_path: Path) -> None:
    """They are listed in the order they were made, and survive the process and JSON."""
    filled(tmp_path)

    found = CheckpointFolder(tmp_path).all()

    assert [(one.phase, one.iteration, one.date) for one in found] == [
        (MLPhase.EXTRACTING_FEATURES, 20, 1.0),
        (MLPhase.EXTRACTING_FEATURES, 30, 2.0),
        (MLPhase.TRAINING, 10, 3.0),
    ]
    assert found[-1].metrics == {LOSS: 0.5}
    assert found[-1].url.is_dir()
    assert MLCheckpoint.from_json(json.loads(json.dumps(found[-1].to_json()))) == found[-1]
    with pytest.raises(MLCreateError) as caught:
        MLCheckpoint.from_json({"phase": "training"})
    assert caught.value.code is MLCreateErrorCode.TYPE


def test_what_a_fit_needs_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Arrays and the rest."""
    kept = filled(tmp_path)
    latest = kept.latest(MLPhase.TRAINING)
    assert latest is not None

    state = CheckpointFolder(tmp_path).state(latest)

    np.testing.assert_array_equal(state.arrays["W"], np.arange(4.0))
    assert state.description == {"iteration": 10}
    with pytest.raises(MLCreateError) as caught:
        kept.state(kept.all()[0])
    assert caught.value.code is MLCreateErrorCode.IO


def test_checklist_132_removing_deletes_the_files(tmp_path: Path) -> None:
    """One of another session is refused and stays."""
    kept, other = filled(tmp_path), CheckpointFolder(tmp_path / "other")
    last = kept.all()[-1]
    with pytest.raises(MLCreateError, match="no checkpoint of the session"):
        other.remove(last)
    assert last.url.exists()

    kept.remove(last)

    assert not last.url.exists()
    assert last not in kept.all()


def test_one_that_is_incomplete_is_passed_over(tmp_path: Path) -> None:
    """What a crash leaves is no checkpoint; a moment that is there already is not written again."""
    kept = filled(tmp_path)
    before = kept.all()
    (tmp_path / "checkpoints" / "training-00000099").mkdir()
    (tmp_path / "checkpoints" / "training-00000010" / "checkpoint.json").read_bytes()

    kept.add(MLPhase.TRAINING, 10, 9.0, {})

    assert kept.all() == before


def test_one_that_cannot_be_read_is_written_anew(tmp_path: Path) -> None:
    """The same moment of a later run takes its place."""
    kept = filled(tmp_path)
    (tmp_path / "checkpoints" / "training-00000010" / "checkpoint.json").write_bytes(b"{")
    assert kept.latest(MLPhase.TRAINING) is None

    kept.add(MLPhase.TRAINING, 10, 9.0, {LOSS: 0.25})

    latest = kept.latest(MLPhase.TRAINING)
    assert latest is not None
    assert latest.metrics == {LOSS: 0.25}


def test_only_the_last_of_extraction_stay(tmp_path: Path) -> None:
    """They hold no features; those of training all stay."""
    kept = CheckpointFolder(tmp_path)
    for number in range(1, 40):
        kept.add(MLPhase.EXTRACTING_FEATURES, number, 1.0, {})
        kept.add(MLPhase.TRAINING, number, 1.0, {})

    found = kept.all()

    extraction = [one.iteration for one in found if one.phase is MLPhase.EXTRACTING_FEATURES]
    assert extraction == list(range(40 - MOST_OF_EXTRACTION, 40))
    assert [one.iteration for one in found if one.phase is MLPhase.TRAINING] == list(range(1, 40))


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """The error of the model is told; the folder is as it was."""
    kept = filled(tmp_path)
    before = sorted((tmp_path / "checkpoints").iterdir())

    def write_model(_: Path) -> None:
        raise StoreError("no")

    with pytest.raises(StoreError):
        kept.add(MLPhase.TRAINING, 20, 4.0, {}, write_model=write_model)

    assert sorted((tmp_path / "checkpoints").iterdir()) == before


def test_a_clock_that_goes_back_does_not_turn_the_order(tmp_path: Path) -> None:
    """The last one is that of the most iterations."""
    kept = CheckpointFolder(tmp_path)
    for iteration, date in ((1, 300.0), (2, 100.0), (10, 200.0)):
        kept.add(MLPhase.TRAINING, iteration, date, {})

    assert [one.iteration for one in kept.all()] == [1, 2, 10]
