"""What came of trying a delegate is remembered by all that it depends on."""

from __future__ import annotations

import json
import os

import pytest

from edge_agent.vision.delegate_records import DelegateRecords, Record, record_key
from edge_agent.vision.delegate_verdict import Verdict

WHAT = {
    "model_sha256": "a" * 64,
    "library_sha256": "b" * 64,
    "options": {"device": "usb"},
    "runtime": "auto",
    "threads": 1,
}
RECORD = Record(name="x", verdict=Verdict(code="ok", cosine=0.999, ms_per_image=2.5), deaths=1)


def test_records_outlast_the_process(tmp_path):
    """They are readable JSON, and each process sees what another one wrote."""
    path = tmp_path / "delegates.json"
    one, other = DelegateRecords(path), DelegateRecords(path)
    assert other.get("key", "x") == Record(name="x")

    one.put("key", RECORD)

    assert other.get("key", "x") == RECORD
    assert json.loads(path.read_text())["key"]["verdict"]["cosine"] == 0.999


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    """`edge-agent delegates --probe` writes while an agent runs that has read the file before."""
    path = tmp_path / "delegates.json"
    one, other = DelegateRecords(path), DelegateRecords(path)
    one.put("first", RECORD)

    other.put("second", RECORD)

    one.put("third", RECORD)
    assert list(json.loads(path.read_text())) == ["first", "second", "third"]


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "c" * 64},
        {"library_sha256": "c" * 64},
        {"options": {"device": "pci"}},
        {"options": {}},
        {"runtime": "litert"},
        {"threads": 2},
    ],
)
def test_what_a_record_depends_on(change):
    """Another model, library, option or runtime is another record; the order of options is not."""
    assert record_key(**{**WHAT, **change}) != record_key(**WHAT)
    assert record_key(**{**WHAT, "options": {"a": "1", "b": "2"}}) == record_key(
        **{**WHAT, "options": {"b": "2", "a": "1"}}
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{ half",
        b'{"key": {"name": "\xff"}}',
        b'{"key": {"name": "x", "later": ' + b"[" * 100_000,
        b'{"key": {"name": "x", "verdict": {"code": "of-the-future"}}}',
    ],
    ids=["empty", "half", "no text", "deep", "of the future"],
)
def test_a_damaged_file_only_costs_trying_again(tmp_path, caplog, damaged):
    """It is said, and overwritten with the next result."""
    path = tmp_path / "delegates.json"
    path.write_bytes(damaged)
    records = DelegateRecords(path)

    assert records.get("key", "x") == Record(name="x")
    assert "cannot be read" in caplog.text
    records.put("key", RECORD)
    assert DelegateRecords(path).get("key", "x") == RECORD


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path, caplog):
    """It is said, and replaced by a file with the next result."""
    os.mkfifo(tmp_path / "delegates.json")
    records = DelegateRecords(tmp_path / "delegates.json")

    assert records.get("key", "x") == Record(name="x")
    assert "no regular file" in caplog.text
    records.put("key", RECORD)
    assert DelegateRecords(tmp_path / "delegates.json").get("key", "x") == RECORD


def test_nothing_is_kept_where_it_cannot_be(tmp_path, caplog):
    """A disk that refuses is said, and trying goes on."""
    (tmp_path / "file").touch()
    records = DelegateRecords(tmp_path / "file" / "delegates.json")

    records.put("key", RECORD)

    assert "cannot be kept" in caplog.text


def test_the_oldest_records_go(tmp_path):
    """The file does not grow with each update of a driver."""
    records = DelegateRecords(None)
    for number in range(250):
        records.put(str(number), RECORD)

    assert records.get("0", "x") == Record(name="x")
    assert records.get("249", "x") == RECORD
