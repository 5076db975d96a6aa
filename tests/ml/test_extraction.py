"""Samples of a pipeline on their way to its last stage: once each, checked, in memory or in a file."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml import extraction
from edge_agent.ml.batches import ArrayProvider, MLArrayBatchProvider, TrainingRows, feature_blocks
from edge_agent.ml.extraction import ExtractedBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue
from edge_agent.ml.front import Front
from edge_agent.ml.quarantine import QuarantiningBatchProvider

COLOURS = ("red", "green", "blue")


@pytest.fixture(name="batch")
def _batch(tiny, labelled):
    """Twelve pictures of three colours."""
    return labelled((tiny(COLOURS[at % 3], at), COLOURS[at % 3]) for at in range(12))


def extracted(batch, stage, **more):
    """The batch behind one frozen stage."""
    return ExtractedBatchProvider(batch, Front([stage]), **{"label_name": "label", "label_type": None} | more)


def test_each_sample_is_extracted_once(batch, eye):
    """However often and in whatever order samples are asked for."""
    stage = eye()
    rows = extracted(batch, stage)
    X, labels = rows.arrays([3, 1, 3])

    assert stage.seen == 2
    assert labels == ["red", "green", "red"]
    for _ in range(3):
        whole, _ = rows.arrays(slice(0, 12))
    assert stage.seen == 12
    assert np.array_equal(X, whole[[3, 1, 3]])
    assert np.array_equal(whole[5], Front([eye()]).row(batch.features(5).feature_value("image")))
    assert isinstance(rows, ArrayProvider)
    assert rows.features(4) is batch.features(4)


def test_what_is_handed_out_is_a_copy(batch, eye):
    """Whoever changes it does not change what the next one gets."""
    rows = extracted(batch, eye())
    first, _ = rows.arrays([0])
    first[:] = -1.0

    assert rows.arrays([0])[0].min() >= 0.0


def test_many_samples_wait_in_a_file(batch, eye, monkeypatch, tmp_path):
    """Beyond MOST_IN_MEMORY features lie in a file without a name; what is learned is the same."""
    inside, _ = extracted(batch, eye()).arrays(slice(0, 12))
    monkeypatch.setattr(extraction, "MOST_IN_MEMORY", 12 * 3 * 4 - 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stage = eye()
    rows = extracted(batch, stage)
    for _ in range(2):
        outside, labels = rows.arrays(slice(0, 12))

    assert isinstance(rows._X, np.memmap)
    assert type(outside) is np.ndarray
    assert np.array_equal(outside, inside)
    assert labels == [COLOURS[at % 3] for at in range(12)]
    assert stage.seen == 12
    assert list(tmp_path.iterdir()) == []


def test_in_memory_up_to_the_limit(batch, eye, monkeypatch):
    """Exactly as many bytes as allowed need no file."""
    monkeypatch.setattr(extraction, "MOST_IN_MEMORY", 12 * 3 * 4)

    assert not isinstance(extracted(batch, eye())._X, np.memmap)


def test_no_room_for_the_features_is_an_error(batch, eye, monkeypatch):
    """Where the folder for temporary files refuses, the error is IO and says how much was needed."""
    monkeypatch.setattr(extraction, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(MLModelError, match="12 samples need 144 bytes") as caught:
        extracted(batch, eye())
    assert caught.value.code is MLModelErrorCode.IO


def test_the_room_is_taken_before_anything_is_extracted(batch, eye, monkeypatch):
    """A full disk is found out at once; a mapped file that cannot grow later would end the process."""
    monkeypatch.setattr(extraction, "MOST_IN_MEMORY", 0)

    def full(file, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extraction.os, "posix_fallocate", full)
    stage = eye()
    with pytest.raises(MLModelError, match="No space left"):
        extracted(batch, stage)
    assert stage.seen == 0


WRONG = {
    "no picture": ({"label": "red"}, MLModelErrorCode.UPDATE, "no feature named 'image'"),
    "no label": ({"image": "tiny"}, MLModelErrorCode.UPDATE, "no feature named 'label'"),
    "another size": ({"image": "large", "label": "red"}, MLModelErrorCode.UPDATE, "'image' is"),
    "a text": ({"image": "text", "label": "red"}, MLModelErrorCode.FEATURE_TYPE, "'image' is"),
    "undefined": (
        {"image": MLFeatureValue(undefined=MLFeatureType.IMAGE), "label": "red"},
        MLModelErrorCode.FEATURE_TYPE,
        "'image' is",
    ),
    "an empty label": ({"image": "tiny", "label": ""}, MLModelErrorCode.FEATURE_TYPE, "label"),
    "a number for a label": ({"image": "tiny", "label": 7}, MLModelErrorCode.UPDATE, "label"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_sample_is_named_by_its_index(tiny, labelled, eye, wrong):
    """Whatever is wrong with a sample, the error has its index and the name of the feature; others are learned."""
    values, code, says = WRONG[wrong]
    pictures = {"tiny": tiny(), "large": tiny(side=5), "text": MLFeatureValue(string="red")}
    sample = {name: pictures.get(one, one) if isinstance(one, str) else one for name, one in values.items()}
    good = labelled([(tiny("red"), "red"), (tiny("blue"), "blue")])
    batch = MLArrayBatchProvider([*good.array, MLDictionaryFeatureProvider(sample)])
    rows = TrainingRows(extracted(batch, eye()))

    assert rows.arrays([0, 1])[1] == ["red", "blue"]
    with pytest.raises(MLModelError, match=f"^sample 2: .*{says}") as caught:
        rows.arrays(slice(0, 3))
    assert caught.value.code is code


def test_a_picture_of_the_wrong_size_is_set_aside(tiny, labelled, eye):
    """The quarantine skips it with its index and the reason; every good one is extracted once."""
    pairs = [(tiny("red", at, side=9 if at in (3, 17) else 4), "red") for at in range(40)]
    stage = eye()
    rows = QuarantiningBatchProvider(extracted(labelled(pairs), stage), max_bad_share=0.05, n_features=3)

    assert sorted(rows.skipped) == [3, 17]
    assert all("sample 3: feature 'image' is" in rows.skipped[3] for _ in rows.skipped)
    assert sum(len(labels) for _, labels in feature_blocks(rows)) == 38
    assert stage.seen == 38


def test_a_stage_that_fails_names_the_sample(batch, eye):
    """What a frozen stage raises comes with the index and its own code."""

    class Blind(eye):
        def features(self, value):
            raise MLModelError(MLModelErrorCode.CUSTOM_MODEL, "it is dark")

    with pytest.raises(MLModelError, match="sample 4: it is dark") as caught:
        extracted(batch, Blind()).arrays([4])
    assert caught.value.code is MLModelErrorCode.CUSTOM_MODEL


def test_the_spool_is_not_in_the_way_of_others(batch, eye, monkeypatch):
    """Two batches that wait in files do not share one."""
    monkeypatch.setattr(extraction, "MOST_IN_MEMORY", 0)
    one, other = extracted(batch, eye()), extracted(batch, eye(gain=2.0))
    first, second = one.arrays([0, 1])[0], other.arrays([0, 1])[0]

    assert np.allclose(second, 2.0 * first)
    assert np.array_equal(one.arrays([0, 1])[0], first)
