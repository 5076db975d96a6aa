"""What members of the agent's group are told of its status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_agent.agent.excerpt import TOLD, excerpt
from edge_agent.agent.requests import Request
from edge_agent.hookspecs import hookimpl
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

NAMES = ("secret", "private")


class Talkative:
    """A plugin that fails with a picture's name in its mouth."""

    @hookimpl
    def sample_ingested(self, sample: Any) -> None:
        """Name it."""
        raise RuntimeError(f"cannot post {sample.source_name} of private")


def test_no_picture_is_named(bench: Bench) -> None:
    """Not by what is ignored, rejected, refused or was taken back, by what plugins failed with, or by any path."""
    agent = bench.open(extra=[("talkative", Talkative())])
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(6)])
    for path in sorted(bench.drop.rglob("*.jpg")):
        path.rename(path.with_name(f"secret-{path.name}"))
    (bench.drop / "cat" / "secret-link.jpg").symlink_to("private")
    bench.settle()
    said = {"reason": "secret-1.jpg as 'cat'", "created": "2026-01-01", "basis": "labels", "file": "/private"}
    back = {"version": 9, "because": "of secret-2.jpg", "instead": 1, "revision": 1}
    last = {**agent.facts()["last_update"], "message": "secret-3.jpg as 'dog'"}
    facts = agent.facts() | {
        "refused": said,
        "taken_back": back,
        "last_update": last,
        "trouble": "secret-4.jpg",
    }
    assert sum(facts["labels"].values()) == 12
    assert all(name in json.dumps(facts) for name in (*NAMES, str(bench.drop)))

    told = excerpt(facts)
    assert set(told) == set(TOLD)
    assert not [one for one in (*NAMES, "/", ".jpg") if one in json.dumps(told)]
    assert told["refused"] == {"created": "2026-01-01", "basis": "labels"}
    assert told["plugins"][-1]["errors"] == 12
    assert (told["samples"], told["labels"]) == (12, {"cat": 6, "dog": 6})


def test_what_is_new_is_not_told() -> None:
    """Whoever adds a key to the status decides anew whether guests may read it."""
    assert excerpt({"samples": 3, "diary": "secret", "extractor": {"name": "x", "path": "secret"}}) == {
        "samples": 3,
        "extractor": {"name": "x"},
    }


def test_guests_are_told_the_excerpt_and_the_owner_everything(bench: Bench) -> None:
    """By the same question."""
    agent = bench.open()
    answers = []
    for guest in (True, False):
        request = Request("status", guest=guest)
        agent.answer(request)
        answers.append(request.reply.result())
    assert answers == [excerpt(agent.facts()), agent.facts()]
