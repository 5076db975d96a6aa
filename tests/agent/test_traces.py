"""The search for what should be gone finds every trace, and no more."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent.home import CONFIG_FILE
from edge_agent.agent.traces import Trace, names_label, search
from edge_agent.cli.settings import CONFIG_NAME
from edge_agent.ml.summed import content_marks
from edge_agent.store.samples import decode_features, encode_features

PICTURE = b"a picture " * 50
DIGEST = hashlib.sha256(PICTURE).hexdigest()
FEATURES = np.random.default_rng(1).normal(size=1280).astype(np.float32)
ROW = encode_features(FEATURES)
TRACE = Trace(DIGEST, "holiday-17.jpg", (ROW,))


def found(home: Path, *traces: Trace, label: str | None = None) -> list[tuple[str, str]]:
    """Place and reason."""
    places = search(home, home / "drop", traces, label).to_json()["found"]
    return [(place["path"], place["what"]) for place in places]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (PICTURE, "the picture"),
        (b"x" + DIGEST.encode() + b"x", "the digest"),
        (DIGEST.upper().encode(), "the digest"),
        (b"\0\0\0" + bytes.fromhex(DIGEST), "the digest, as bytes"),
        (b"seen holiday-17.jpg today", "the file name"),
        (b"..." + ROW[:700], "features as they are stored"),
        (b"..." + ROW[700:], "features as they are stored"),
    ],
)
@pytest.mark.parametrize("before", [0, 3, (1 << 20) - 5])
def test_every_trace_is_found_wherever_it_lies(tmp_path: Path, data: bytes, what: str, before: int) -> None:
    """At any place of a file, also across the border of what is read at once; whole pictures only as they are."""
    (tmp_path / "file").write_bytes((b"" if what == "the picture" else bytes(before)) + data)

    assert found(tmp_path, TRACE) == [("file", what)]


def test_features_as_numbers_are_found(tmp_path: Path) -> None:
    """A head that remembers its samples holds them as float32."""
    np.save(tmp_path / "exemplars.npy", np.stack([np.zeros(1280, np.float32), decode_features(ROW)]))

    assert found(tmp_path, TRACE) == [("exemplars.npy", "features as numbers")]


def test_others_are_no_trace(tmp_path: Path) -> None:
    """Other digests, names and features, and many of them, are not found."""
    random = np.random.default_rng(2)
    rows = [encode_features(random.normal(size=1280).astype(np.float32)) for _ in range(200)]
    (tmp_path / "agent.db").write_bytes(b"".join(rows))
    (tmp_path / "names").write_text("holiday-18.jpg")

    assert found(tmp_path, TRACE) == []


def test_many_samples_are_searched_for_at_once(tmp_path: Path) -> None:
    """Each of a thousand is found by itself."""
    many = [
        Trace(hashlib.sha256(bytes([i // 256, i % 256])).hexdigest(), f"picture-{i:04}.jpg")
        for i in range(1000)
    ]
    for i in (0, 500, 999):
        (tmp_path / f"{i}").write_text(f"{many[i].digest}, picture-{i:04}.jpg")

    assert sorted({path for path, _ in found(tmp_path, *many)}) == ["0", "500", "999"]


@pytest.mark.parametrize(
    ("name", "data", "is_there"),
    [
        ("models/a.json", b'{"classes": ["cat", "fox"]}', True),
        ("models/a.json", b'{"labels": {"fox": 3}}', True),
        ("status.json", b'{"fox": {"true": 1}, "last": "it also knows fox"}', True),
        ("agent.db", b"\x01fox\x41\xda\x00\x00", True),
        ("agent.db", b"archive/fox/p1.jpg", True),
        ("agent.db", b"foxglove foxtrot outfox", False),
        ("agent.db", b"\x01fox\x00", False),
        ("archive/fox/p1.jpg", b"", True),
        ("archive/cat/p1.jpg", b"a photo of a fox by fox", False),
        ("drop/fox/p1.jpg", b"fox", False),
    ],
)
def test_a_label_is_found_where_it_is_a_label(tmp_path: Path, name: str, data: bytes, is_there: bool) -> None:
    """In JSON, in words, in rows and in paths; not in other words, in pictures, or in the owner's drop folder."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(data)

    assert bool(found(tmp_path, label="fox")) is is_there


def test_a_label_outside_ascii_is_found_in_both_spellings(tmp_path: Path) -> None:
    """JSON may carry it as it is or escaped."""
    (tmp_path / "a.json").write_bytes('["größe"]'.encode())
    (tmp_path / "b.json").write_bytes(b'["gr\\u00f6\\u00dfe"]')
    (tmp_path / "c.json").write_bytes(b'["\\u6a39"]')

    assert [path for path, _ in found(tmp_path, label="größe")] == ["a.json", "b.json"]
    assert [path for path, _ in found(tmp_path, label="樹")] == ["c.json"]


def test_what_is_linked_is_not_followed_and_what_is_gone_meanwhile_is_no_error(tmp_path: Path) -> None:
    """A link leads out of the state directory; a folder that is not there has nothing."""
    (tmp_path / "home").mkdir()
    (tmp_path / "secret").write_bytes(PICTURE)
    (tmp_path / "home" / "link").symlink_to(tmp_path / "secret")

    assert found(tmp_path / "home", TRACE) == []


def test_a_sample_among_the_sums_is_found(tmp_path: Path) -> None:
    """By the marks of those that are summed; a file that does not say so counts as found."""
    other = encode_features(FEATURES[::-1].copy())
    for row, left in ((ROW, True), (other, False)):
        np.savez(tmp_path / "sums.npz", marks=np.array(content_marks(decode_features(row)[None]), np.uint32))
        assert found(tmp_path, TRACE) == ([("sums.npz", "the features, among its sums")] if left else [])
    (tmp_path / "sums.npz").write_bytes(b"no sums")
    assert found(tmp_path, TRACE) == [("sums.npz", "the features, among its sums")]


@pytest.mark.parametrize("plain", [True, False])
def test_a_label_is_found_as_json_writes_it(tmp_path: Path, plain: bool) -> None:
    """Quotation marks in it, letters beyond ASCII and signs beyond 16 bits are escaped there, or not."""
    name = 'äpfel & "birnen" \U0001f34e'
    (tmp_path / "said.json").write_text(json.dumps(["pear", name], ensure_ascii=not plain), "utf-8")
    (tmp_path / "other.json").write_text(json.dumps(["pear", "birnen"]))
    here = [tmp_path / "other.json", tmp_path / "missing.json"]

    assert found(tmp_path, label=name) == [("said.json", "the label")]
    assert names_label([*here, tmp_path / "said.json"], name)
    assert not names_label(here, name)


def test_the_configuration_is_its_owners(tmp_path: Path) -> None:
    """A label that its examples name is no trace there, and is one in any other file."""
    for name in ("edge-agent.toml", "other.toml"):
        (tmp_path / name).write_text('background_labels = ["background", "none"]')

    assert found(tmp_path, label="background") == [("other.toml", "the label")]


def test_the_configuration_has_the_name_that_is_written() -> None:
    """The search passes over the file that the command line reads."""
    assert CONFIG_FILE == CONFIG_NAME
