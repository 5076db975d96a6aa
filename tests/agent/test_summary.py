"""The document of `status --json`: other programs rely on its names."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from edge_agent.hookspecs import hookimpl
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def test_a_fresh_agent_says_what_it_is(bench: Bench) -> None:
    """Before anything was learned every name is there, and nothing is claimed."""
    agent = bench.open()
    facts = agent.facts()

    assert (facts["state"], facts["trouble"], facts["pid"]) == ("ok", "", os.getpid())
    assert (facts["version"], facts["accuracy"], facts["last_update"]) == (None, None, None)
    assert (facts["samples"], facts["labels"], facts["pending"], facts["rejected"]) == (0, {}, 0, 0)
    assert (facts["drop_folder"], facts["updating"], facts["ignored"]) == (str(bench.drop), False, [])
    assert set(facts["extractor"]) == {"name", "fingerprint", "n_features"}
    assert set(facts["delegate"]) == {"name", "requested", "fallback_reason"}


def test_it_follows_what_happens(bench: Bench) -> None:
    """Waiting files, then samples, labels, version and how the last update ended."""
    agent = bench.open()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    drop_texts(bench.drop, "dog", ["dog 1", "bad"])
    assert agent.facts()["pending"] == 4
    bench.settle()

    facts = agent.facts()
    assert (facts["pending"], facts["samples"], facts["labels"]) == (0, 3, {"cat": 2, "dog": 1})
    assert (facts["version"], facts["rejected"]) == (1, 1)
    assert (facts["last_update"]["state"], facts["last_update"]["version"]) == ("published", 1)
    assert facts["extractor"]["fingerprint"] == "fake:1"


def test_many_oddities_are_cut_short(bench: Bench) -> None:
    """Twenty of what is ignored are enough for a status."""
    bench.open()
    (bench.drop / "cat").mkdir()
    for i in range(30):
        (bench.drop / "cat" / f"{i}.jpg").symlink_to("nowhere")
    bench.settle()

    assert len(bench.ask("status")["ignored"]) == 20


def test_the_file_says_what_the_answer_says(bench: Bench) -> None:
    """status.json is the same document, as JSON, and says in the end that the agent stopped."""

    class Grumpy:
        @hookimpl
        def sample_ingested(self, sample: Any) -> None:
            raise RuntimeError("no")

    agent = bench.open(extra=[("grumpy", Grumpy())])
    agent.start()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()
    facts = bench.ask("status")
    assert next(row for row in facts["plugins"] if row["name"] == "grumpy")["errors"] == 2

    written = json.loads((bench.home / "status.json").read_text())
    assert set(facts) <= set(written)
    assert {key: written[key] for key in ("version", "samples", "labels", "state")} == {
        key: facts[key] for key in ("version", "samples", "labels", "state")
    }
    bench.close()
    assert json.loads((bench.home / "status.json").read_text())["state"] == "stopped"
