"""Features of a session on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml import feature_cache
from edge_agent.ml.feature_cache import FeatureCache, FileKey, LookedAt

D = 5


def looked_at(number: int, rows: int = 1, error: str | None = None) -> LookedAt:
    """A file after extraction, with features that tell its number."""
    X = np.full((0 if error else rows, D), number, dtype=np.float32) + np.arange(D, dtype=np.float32)
    return LookedAt(FileKey(f"/p/{number}.jpg", number, number), X, 30, 20, f"{number:064x}", error)


def test_checklist_134_features_are_found_again_after_a_restart(tmp_path: Path) -> None:
    """Rows come in the order of the files asked for, copies after their picture, whatever block they are in."""
    cache = FeatureCache(tmp_path, D)
    cache.add([looked_at(3), looked_at(1, rows=3)])
    cache.add([looked_at(2), looked_at(4, error="no picture")])

    again = FeatureCache(tmp_path, D)

    keys = [looked_at(number).key for number in (1, 2, 3)]
    X, owners = again.rows(keys)
    assert X[:, 0].tolist() == [1, 1, 1, 2, 3]
    assert owners.tolist() == [0, 0, 0, 1, 2]
    assert all(key in again for key in keys)
    assert FileKey("/p/1.jpg", 1, 2) not in again
    assert again.entry(looked_at(4).key).error == "no picture"
    assert (again.entry(keys[0]).width, again.entry(keys[0]).height) == (30, 20)
    assert len(again) == 4


def test_many_rows_are_read_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the memory allowed is the same, and leaves no file behind."""
    cache = FeatureCache(tmp_path, D)
    cache.add([looked_at(number) for number in range(1, 9)])
    keys = [looked_at(number).key for number in range(1, 9)]
    small, _ = cache.rows(keys)
    monkeypatch.setattr(feature_cache, "MOST_IN_MEMORY", 16)

    large, _ = cache.rows(keys)

    assert isinstance(large, np.memmap)
    np.testing.assert_array_equal(large, small)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["00000001.npz", "features"]


@pytest.mark.parametrize("harm", [b"", b"PK\x03\x04 no zip", b"\x00" * 300])
def test_a_damaged_block_is_named(tmp_path: Path, harm: bytes) -> None:
    """With its path and what to do."""
    FeatureCache(tmp_path, D).add([looked_at(1)])
    path = tmp_path / "features" / "00000001.npz"
    path.write_bytes(harm)

    with pytest.raises(MLCreateError, match=r"00000001\.npz: damaged.*remove the file") as caught:
        FeatureCache(tmp_path, D)
    assert caught.value.code is MLCreateErrorCode.IO


def test_features_of_another_length_are_refused(tmp_path: Path) -> None:
    """They come from another extractor."""
    FeatureCache(tmp_path, D).add([looked_at(1)])

    with pytest.raises(MLCreateError, match="features are of shape"):
        FeatureCache(tmp_path, D + 1)


def test_nothing_is_kept_after_clearing(tmp_path: Path) -> None:
    """Neither in memory nor on disk."""
    cache = FeatureCache(tmp_path, D)
    cache.add([looked_at(1)])

    cache.clear()

    assert looked_at(1).key not in cache
    assert len(FeatureCache(tmp_path, D)) == 0
