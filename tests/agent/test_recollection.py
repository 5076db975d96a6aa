"""What is kept from one judgement to the next changes no answer, only how many are asked for."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_agent.agent.learned import Learned
from edge_agent.agent.opinions import UnsoundError
from edge_agent.agent.publishing import probabilities
from edge_agent.agent.recollection import Answers, Recollection
from edge_agent.agent.requests import Request
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import Version
from edge_agent.store.training_set import TrainingSet
from edge_agent.testing import drop_texts

from .conftest import Bench


class Asked:
    """A model that counts what it is asked; `wrong` answers otherwise than it did."""

    def __init__(self, model: MLModel, *, wrong: bool = False, fails: bool = False) -> None:
        self.classes = model.classes
        self.rows = 0
        self._model, self._wrong, self._fails = model, wrong, fails

    def predict_proba(self, X: Any) -> Any:
        """As the model would, or turned round."""
        self.rows += len(X)
        if self._fails:
            raise ZeroDivisionError
        P = self._model.predict_proba(X)
        return P[:, ::-1] if self._wrong else P

    def is_unknown(self, X: Any) -> Any:
        """Never."""
        return np.zeros(len(X), dtype=bool)


@pytest.fixture
def taught(bench: Bench) -> tuple[Version, MLModel, TrainingSet]:
    """A version, its model and two hundred samples."""
    agent = bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {number}" for number in range(100)])
    bench.settle()
    stages = agent._open_stages
    assert stages.serving.version is not None
    assert stages.serving.model is not None
    return stages.serving.version, stages.serving.model, stages.store.snapshot("fake:1")


def remembering(version: Version, model: MLModel, samples: TrainingSet, count: int) -> Recollection:
    """Of the first samples it was asked before it was published."""
    recollection = Recollection()
    some = samples.chosen[:count]
    recollection.said = Answers(some.keys, probabilities(model, samples, some), tuple(model.classes))
    recollection.publish(version, Learned.among(samples, some))
    return recollection


def test_only_new_pictures_and_some_others_are_asked_about(taught: Any) -> None:
    """The answers are those of asking about all."""
    version, model, samples = taught
    asked = Asked(model)
    found = remembering(*taught, 180).opinions(version, cast("MLModel", asked), samples, samples.chosen)

    assert np.allclose(found, probabilities(model, samples, samples.chosen), atol=1e-9)
    assert asked.rows == 20 + 64


@pytest.mark.parametrize("other", ["number", "extractor_fingerprint", "classes", "nothing"])
def test_another_version_is_asked_about_everything(taught: Any, other: str) -> None:
    """One that was not published last, of another extractor or with other labels; or nothing is kept."""
    version, model, samples = taught
    recollection = Recollection() if other == "nothing" else remembering(*taught, 180)
    asked = Asked(model)
    facts = {"number": version.number, "extractor_fingerprint": version.extractor_fingerprint}
    if other in facts:
        facts[other] = "another"  # type: ignore[assignment]
    if other == "classes":
        asked.classes = model.classes[::-1]
    recollection.opinions(
        cast("Version", SimpleNamespace(**facts)), cast("MLModel", asked), samples, samples.chosen
    )

    assert asked.rows == len(samples)


def test_a_version_that_says_something_else_now_is_asked_about_everything(taught: Any) -> None:
    """What it says now counts, and where it fails that is told."""
    version, model, samples = taught
    recollection = remembering(*taught, 200)
    turned = Asked(model, wrong=True)
    found = recollection.opinions(version, cast("MLModel", turned), samples, samples.chosen)
    assert np.array_equal(found, probabilities(model, samples, samples.chosen)[:, ::-1])
    with pytest.raises(UnsoundError):
        recollection.opinions(version, cast("MLModel", Asked(model, fails=True)), samples, samples.chosen)


def test_what_it_learned_is_the_same_from_memory_and_from_its_file(taught: Any) -> None:
    """Nothing is read again of the version published last; of another one it is what its file says."""
    version, _, samples = taught
    learned = Learned.among(samples, samples.chosen)
    recollection = Recollection()
    from_file = recollection.learned_by(version)
    recollection.publish(version, learned)

    assert recollection.learned_by(version) is learned
    assert from_file.labels() == Recollection().learned_by(version).labels()
    assert from_file.same(samples, samples.chosen).sum() == len(from_file) > 100
    assert len(recollection.learned_by(None)) == 0
    (version.path / "samples.bin").write_text("[]")
    assert len(Recollection().learned_by(version)) == 0


def test_forgetting_lets_go_of_it(bench: Bench) -> None:
    """What a version learned and said of samples does not stay in memory once one of them is forgotten."""
    agent = bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {number}" for number in range(20)])
    bench.settle()
    learning = agent._open_stages.learning
    kept = [weakref.ref(one) for one in (learning._recollection, learning._recollection._published) if one]
    assert len(kept) == 2
    request = Request("forget", {"digest": bench.ask("samples")[0]["digest"]})
    agent.answer(request)
    gc.collect()
    assert [one() for one in kept] == [None, None]
