"""A candidate becomes a version only when it predicts from disk as it did in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from edge_agent.agent.learned import learned_samples
from edge_agent.agent.publishing import probabilities
from edge_agent.config import Config, LearningConfig
from edge_agent.errors import DamagedError
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


class LossyHead(LDAHead):
    """Comes back from the disk a little different, once it has something to lose."""

    name = "lossy"
    lossy = False

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> Self:
        """Restore with a flaw."""
        head = super().restore(arrays, description)
        head.flawed = cls.lossy  # type: ignore[attr-defined]
        return head

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict with the flaw."""
        answer = super().predict_proba(X)
        return np.roll(answer, 1, axis=1) if getattr(self, "flawed", False) else answer


class Heads:
    """A plugin that offers the lossy head."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(LossyHead)


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


def test_a_version_that_reads_back_differently_is_never_current(bench: Bench, tmp_path: Path) -> None:
    """D2: The update fails, the version before goes on answering, and nothing of the new one is left."""
    LossyHead.lossy = False
    bench.open(Config(learning=LearningConfig(head="lossy")), extra=[("heads", Heads())])
    teach(bench, cat=3, dog=3)
    LossyHead.lossy = True
    try:
        drop_texts(bench.drop, "fox", ["fox 1", "fox 2"])
        answer = bench.ask("update")
    finally:
        LossyHead.lossy = False

    assert (answer["state"], answer["version"]) == ("failed", None)
    assert "does not predict as it did" in answer["message"]
    assert [row["version"] for row in bench.ask("versions")] == [1]
    assert bench.predict(tmp_path, "cat 9")["version"] == 1
    assert list((bench.home / "models" / "staging").iterdir()) == []


def test_what_was_learned_is_read_back(bench: Bench) -> None:
    """The version names every training sample with the label it had then, not the one it has now."""
    agent = bench.open()
    teach(bench, cat=2, dog=2)
    rows = bench.ask("samples")
    for row in rows:
        bench.ask("relabel", digest=row["digest"], label="wolf")
    version = agent._open_stages.registry.get(1)

    assert learned_samples(version) == {row["digest"]: row["label"] for row in rows}


@pytest.mark.parametrize("name", ["samples.bin", "samples.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"samples": 5}', '{"samples": {"a": "cat"}}'])
def test_a_damaged_list_of_samples_is_named(bench: Bench, name: str, text: str) -> None:
    """Whatever became of it, the error says which file it is."""
    agent = bench.open()
    teach(bench, cat=2)
    version = agent._open_stages.registry.get(1)
    (version.path / "samples.bin").unlink()
    (version.path / name).write_text(text)
    with pytest.raises(DamagedError, match=re.escape(name)):
        learned_samples(version)


def test_the_list_of_an_older_version_is_read(bench: Bench) -> None:
    """Versions made before named digests and labels as texts."""
    agent = bench.open()
    teach(bench, cat=2, dog=2)
    version = agent._open_stages.registry.get(1)
    learned = learned_samples(version)
    (version.path / "samples.bin").unlink()
    (version.path / "samples.json").write_text(json.dumps({"samples": learned}))

    assert len(learned) == 4
    assert learned_samples(version) == learned


def test_blocks_make_no_difference(bench: Bench) -> None:
    """Probabilities come out the same whether they are computed in one block or in many, also of nothing."""
    agent = bench.open()
    teach(bench, cat=5, dog=4)
    stages = agent._open_stages
    samples = stages.store.snapshot("fake:1")
    model = stages.serving.model
    assert model is not None
    whole = probabilities(model, samples, samples.digests)

    assert whole.shape == (9, 2)
    np.testing.assert_allclose(probabilities(model, samples, samples.digests, rows=2), whole, atol=1e-12)
    assert probabilities(model, samples, []).shape[0] == 0
