"""Features of a session on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode, StoreError
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


def cut(path: Path) -> None:
    """A block that ends too early, as on a disk that lies."""
    path.write_bytes(path.read_bytes()[:-40])


def turned(path: Path) -> None:
    """A block with one bit of its features turned."""
    content = bytearray(path.read_bytes())
    content[content.index(b"rows.npy") + 200] ^= 1
    path.write_bytes(content)


HARM: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no zip": lambda path: path.write_bytes(b"PK\x03\x04 no zip"),
    "zeros": lambda path: path.write_bytes(bytes(300)),
    "cut": cut,
    "a bit": turned,
}


@pytest.mark.parametrize("harm", HARM)
def test_checklist_134_a_damaged_block_is_dropped_and_its_files_are_looked_at_again(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and removed; the other blocks stay, and the next one has a number of its own."""
    cache = FeatureCache(tmp_path, D)
    for number in (1, 2, 3):
        cache.add([looked_at(number, rows=20)])
    path = tmp_path / "features" / "00000002.npz"
    HARM[harm](path)

    again = FeatureCache(tmp_path, D)
    again.mend()

    assert not path.exists()
    assert [looked_at(number).key in again for number in (1, 2, 3)] == [True, False, True]
    assert f"{path}: damaged" in caplog.text
    again.add([looked_at(2, rows=20)])
    X, _ = FeatureCache(tmp_path, D).rows([looked_at(number).key for number in (1, 2, 3)])
    assert X[:, 0].tolist() == [1] * 20 + [2] * 20 + [3] * 20


def test_damage_that_happens_meanwhile_is_named(tmp_path: Path) -> None:
    """With the path and what to do."""
    cache = FeatureCache(tmp_path, D)
    cache.add([looked_at(1, rows=20)])
    turned(tmp_path / "features" / "00000001.npz")

    with pytest.raises(MLCreateError, match=r"00000001\.npz: damaged.*resume") as caught:
        cache.rows([looked_at(1).key])
    assert caught.value.code is MLCreateErrorCode.IO


def test_features_of_another_length_are_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They come from another extractor."""
    FeatureCache(tmp_path, D).add([looked_at(1)])

    cache = FeatureCache(tmp_path, D + 1)
    cache.mend()

    assert len(cache) == 0
    assert "features are of shape (1, 5)" in caplog.text


def test_many_small_blocks_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand pictures do not leave ten thousand files; all of them are found again."""
    monkeypatch.setattr(feature_cache, "MOST_SMALL", 8)
    cache = FeatureCache(tmp_path, D)
    keys = [looked_at(number).key for number in range(100)]
    for number in range(100):
        cache.add([looked_at(number, rows=2, error="no picture" if number == 50 else None)])

    again = FeatureCache(tmp_path, D)

    assert len(list((tmp_path / "features").iterdir())) <= 8
    for one in (cache, again):
        X, owners = one.rows(keys)
        assert owners.tolist() == [number for number in range(100) for _ in range(2) if number != 50]
        assert X[:, 0].tolist() == owners.tolist()
        assert one.entry(keys[50]).error == "no picture"


def test_no_room_for_the_features_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for a matrix on disk is taken before it is written to; what cannot be had is refused."""
    with pytest.raises(StoreError, match="keep the features"):
        feature_cache.matrix(1 << 40, 1 << 15, tmp_path)


def test_nothing_is_kept_after_clearing(tmp_path: Path) -> None:
    """Neither in memory nor on disk."""
    cache = FeatureCache(tmp_path, D)
    cache.add([looked_at(1)])

    cache.clear()

    assert looked_at(1).key not in cache
    assert len(FeatureCache(tmp_path, D)) == 0
