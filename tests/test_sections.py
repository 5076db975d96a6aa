"""A table is turned into a struct or a dataclass, and what is wrong with it is said key by key."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from edge_agent.config import Section
from edge_agent.sections import convert_section, is_section, section_fields, suggest


class Guest(Section, frozen=True, kw_only=True):
    """Settings of a plugin, with a rule that spans two keys."""

    low: int
    high: int = 10

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_missing_keys_and_spanning_rules_are_reported() -> None:
    """A section without a needed key, and one whose keys contradict each other, come back as None."""
    found: list[str] = []
    assert convert_section(Guest, {}, "g", found) is None
    assert convert_section(Guest, {"low": 11}, "g", found) is None
    assert convert_section(Guest, {"low": 1}, "g", found) == Guest(low=1)
    assert found == ["g.low: missing; this key has no default", "g: low is above high"]


def test_suggestions_help() -> None:
    """A near word is suggested; otherwise all that is known is named."""
    assert suggest("trehads", ["threads", "name"]) == ", did you mean 'threads'?"
    assert suggest("x", ["b", "a"]) == "; known are a, b"
    assert suggest("x", []) == "; known are none"


@dataclass(frozen=True)
class Place:
    """Settings as a dataclass."""

    url: str
    ports: tuple[int, ...] = (1883,)
    tags: list[str] = field(default_factory=list)
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.url:
            raise ValueError("url must not be empty")


def test_a_dataclass_is_a_section() -> None:
    """It has the same checks as a struct: types, unknown and missing keys, rules of its own."""
    found: list[str] = []
    assert convert_section(Place, {"url": "u", "ports": [1]}, "p", found) == Place("u", (1,))
    assert found == []
    assert convert_section(Place, {"ports": ["a"], "asked": 1, "tgas": []}, "p", found) is None
    assert convert_section(Place, {"url": ""}, "p", found) is None
    assert found == [
        "p.ports[0]: expected `int`, got `str`",
        "p.asked: unknown key; known are ports, tags, url",
        "p.tgas: unknown key, did you mean 'tags'?",
        "p.url: missing; this key has no default",
        "p: url must not be empty",
    ]


@pytest.mark.parametrize(("kind", "fits"), [(Guest, True), (Place, True), (dict, False), (Place("u"), False)])
def test_what_is_a_section(kind: object, fits: bool) -> None:
    """Classes of structs and dataclasses, and nothing else."""
    assert is_section(kind) == fits


def test_keys_have_types_and_defaults() -> None:
    """Those of a dataclass are told as those of a struct are."""
    url, ports, tags = section_fields(Place)
    assert (url.name, url.type, url.required) == ("url", str, True)
    assert (ports.default, tags.default_factory()) == ((1883,), [])
    assert [one.name for one in section_fields(Guest)] == ["low", "high"]
