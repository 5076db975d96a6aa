"""Records as JSON, with names of files that are no text."""

from __future__ import annotations

import msgspec
import pytest

from edge_agent.ml.records import decoded, encoded


class Thing(msgspec.Struct, frozen=True):
    """Something that is kept."""

    name: str
    sizes: list[float]


@pytest.mark.parametrize("name", ["plain", "caf\u00e9 \U0001f34b", "\udcff\udcfe.jpg", "a\udc80\u00e9\n"])
def test_every_name_comes_back(name: str) -> None:
    """Also bytes that are no UTF-8, beside letters that are."""
    assert decoded(encoded([Thing(name, [1.5, 2])]), list[Thing]) == [Thing(name, [1.5, 2.0])]


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"{}", b"[]", b'{"name": "\xff", "sizes": []}', b'{"name": "\\udcff", "sizes": [NaN]}',
     b'{"name": "\\udcff", "sizes": "many"}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_record_is_one_kind_of_error(data: bytes) -> None:
    """Whatever the bytes are, the caller has one error to expect."""
    with pytest.raises(msgspec.DecodeError):
        decoded(data, Thing)
