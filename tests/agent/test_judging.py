"""A candidate with wrong labels among its new pictures, in the agent's own way from the drop folder on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.agent import judging
from edge_agent.agent.judging import _of_current
from edge_agent.agent.learned import Learned, learned_samples
from edge_agent.agent.requests import Request
from edge_agent.agent.split import is_held_out
from edge_agent.config import Config, LearningConfig, UpdateConfig
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.contradictions import unlearned
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import VersionRegistry
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

PATIENT = Config(update=UpdateConfig(quiet_seconds=3600, min_new_samples=1000, new_label_samples=1000))
THINGS = ("cat", "dog", "fox", "owl")


def texts(word: str, start: int, count: int) -> list[str]:
    """Text pictures of one thing."""
    return [f"{word} {i}" for i in range(start, start + count)]


def teach(bench: Bench, start: int = 0, count: int = 12) -> None:
    """So many pictures of each thing under its own name."""
    for word in THINGS:
        drop_texts(bench.drop, word, texts(word, start, count))
    bench.settle()


def poison(bench: Bench) -> None:
    """Ten new cats, three of which are called something else."""
    drop_poison(bench)
    bench.settle()


def drop_poison(bench: Bench) -> None:
    """The files of them."""
    drop_texts(bench.drop, "cat", texts("cat", 100, 7))
    for word, text in zip(("dog", "fox", "owl"), texts("cat", 107, 3), strict=True):
        drop_texts(bench.drop, word, [text])


def refused_file(bench: Bench) -> Path:
    """Where it says why."""
    return bench.home / "models" / "refused" / "evaluation.json"


def evaluation(bench: Bench, version: int) -> dict[str, Any]:
    """What is written beside a version."""
    path = bench.home / "models" / "versions" / f"{version:06d}" / "evaluation.json"
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("head", ["auto", "lda", "knn", "logistic"])
def test_new_pictures_with_wrong_labels_are_refused_and_named(bench: Bench, head: str) -> None:
    """D1: The version before goes on; the journal, the status and a file say which pictures, with any method."""
    bench.open(Config(learning=LearningConfig(head=head)))
    teach(bench)
    poison(bench)

    status = bench.ask("status")
    assert (status["version"], status["last_update"]["state"]) == (1, "refused")
    assert status["refused"]["basis"] == "labels"
    assert status["refused"]["file"] == str(refused_file(bench))
    assert "look like 'cat'" in status["refused"]["reason"]
    found = json.loads(refused_file(bench).read_text())
    assert found["suspicion"]["label"] == "cat"
    assert {one["name"] for one in found["suspicion"]["samples"]} <= {f"cat-{i}.jpg" for i in (107, 108, 109)}
    assert len(found["suspicion"]["samples"]) >= 2


def test_honest_pictures_become_a_version_that_says_how_good_it_is(bench: Bench) -> None:
    """Evidence with intervals is written beside it and listed in short."""
    bench.open()
    teach(bench)
    teach(bench, start=50, count=20)

    found = evaluation(bench, bench.ask("status")["version"])
    assert found["decision"]["basis"] == "held-out"
    assert found["suspicion"]["odds"] < 1.0
    low, high = found["candidate"]["interval"]
    assert low < found["candidate"]["accuracy"] <= high
    assert found["evidence"]["leave_one_out"]["count"] == found["evidence"]["looked_at"] > 0
    assert set(found["evidence"]["per_class"]) == set(THINGS)
    assert found["evidence"]["meaning"]
    row = bench.ask("versions")[0]
    assert row["evidence"]["leave_one_out"] == found["evidence"]["leave_one_out"]["accuracy"]
    assert row["evidence"]["held_out"] == {"count": found["candidate"]["count"], "interval": [low, high]}
    assert row["evidence"]["change"]["count"] == found["common"]["count"]


def test_too_few_held_out_are_explained(bench: Bench) -> None:
    """Pictures left out decide, and the file says on how many and why; a method without them says none."""
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0)))
    teach(bench)
    teach(bench, start=50)
    found = evaluation(bench, 2)
    assert found["decision"]["basis"] == "leave-one-out"
    assert (
        "48 pictures left out in turn (0 held-out pictures, and 5 are needed)" in found["decision"]["reason"]
    )
    assert found["learned"]["count"] == 48

    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0, head="knn")))
    teach(bench, start=100)
    teach(bench, start=150)
    found = evaluation(bench, 4)
    assert found["decision"]["basis"] == "none"
    assert found["evidence"]["leave_one_out"] is None
    assert "'knn'" in found["evidence"]["because"]


def test_an_owner_can_insist(bench: Bench) -> None:
    """`update --force` publishes what was refused, says so, and those labels are not held against the next one."""
    bench.open()
    teach(bench)
    poison(bench)

    answer = bench.ask("update", force=True)

    assert (answer["state"], answer["version"]) == ("published", 2)
    assert "its owner insists, although: " in answer["message"]
    assert evaluation(bench, 2)["decision"]["basis"] == "owner"
    assert bench.ask("status")["refused"] is None
    assert not refused_file(bench).exists()
    teach(bench, start=200, count=5)
    assert bench.ask("status")["last_update"]["state"] == "published"


def test_corrected_labels_are_learned_by_themselves(bench: Bench) -> None:
    """Once the pictures have their right labels the next candidate is accepted, without being insisted on."""
    bench.open()
    teach(bench)
    poison(bench)

    for one in bench.ask("samples"):
        if one["source"] in {f"cat-{i}.jpg" for i in (107, 108, 109)}:
            bench.ask("relabel", digest=one["digest"], label="cat")
    bench.settle()

    assert bench.ask("status")["version"] == 2
    assert bench.ask("status")["refused"] is None


def test_learned_pictures_that_are_given_wrong_labels_are_refused(bench: Bench) -> None:
    """Four of twelve cats become other things; corrected again they are no reason."""
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0)))
    teach(bench)
    cats = [one["digest"] for one in bench.ask("samples") if one["label"] == "cat"][:4]
    for digest, label in zip(cats, ("dog", "fox", "owl", "dog"), strict=True):
        bench.ask("relabel", digest=digest, label=label)
    bench.settle()
    assert bench.ask("status")["last_update"]["state"] == "refused"

    assert bench.ask("update", force=True)["state"] == "published"
    for digest in cats:
        bench.ask("relabel", digest=digest, label="cat")
    bench.settle()
    assert bench.ask("status")["last_update"]["state"] == "published"
    assert bench.ask("status")["version"] == 3


@pytest.mark.parametrize("kept", [True, False])
def test_wrong_labels_are_noticed_while_the_extractor_changes(bench: Bench, *, kept: bool) -> None:
    """What was learned before speaks of them as the new one sees it; also where nothing is left of what that saw.

    Corrected they are learned, and honest pictures were never a reason.
    """
    bench.open()
    teach(bench)
    drop_poison(bench)
    bench.close()
    if not kept:
        with contextlib.closing(sqlite3.connect(bench.home / "agent.db")) as database, database:
            database.executescript("DELETE FROM features; UPDATE samples SET seen = 0")
    bench.open(fingerprint="fake:2")
    bench.settle()

    status = bench.ask("status")
    assert (status["version"], status["refused"]["basis"]) == (1, "labels")
    assert "look like 'cat'" in status["refused"]["reason"]
    found = json.loads(refused_file(bench).read_text())["suspicion"]["samples"]
    assert {one["name"] for one in found} <= {f"cat-{i}.jpg" for i in (107, 108, 109)}
    for one in bench.ask("samples"):
        if one["source"].startswith("cat") and one["label"] != "cat":
            bench.ask("relabel", digest=one["digest"], label="cat")
    bench.settle()
    assert evaluation(bench, 2)["decision"]["basis"] != "labels"


def test_what_is_forgotten_is_gone_from_the_refusal(bench: Bench) -> None:
    """Digests, names and labels of a refused candidate do not outlive their pictures, also before the next one."""
    bench.open(PATIENT)
    for word in THINGS:
        drop_texts(bench.drop, word, texts(word, 0, 12))
    assert bench.ask("update")["version"] == 1
    drop_poison(bench)
    assert bench.ask("update")["state"] == "refused"
    doomed = json.loads(refused_file(bench).read_text())["suspicion"]["samples"][0]["digest"]

    bench.ask("forget", digest=doomed, label=None)

    assert bench.ask("status")["last_update"]["version"] is None
    assert not refused_file(bench).exists()
    assert bench.ask("status")["refused"] is None


@pytest.mark.parametrize("patient", [True, False])
def test_forgetting_is_no_way_around_the_gate(bench: Bench, patient: bool) -> None:
    """One of the refused relabelled pictures is forgotten: the owner's word is no word for the other three.

    Whether the agent comes to rest in between, or somebody asks for an update while the replacement is made.
    """
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0)))
    teach(bench)
    cats = [one["digest"] for one in bench.ask("samples") if one["label"] == "cat"][:6]
    for digest, label in zip(cats, ("dog", "fox", "owl", "dog", "fox", "owl"), strict=True):
        bench.ask("relabel", digest=digest, label=label)
    bench.settle()
    assert bench.ask("status")["refused"]["basis"] == "labels"

    if patient:
        bench.ask("forget", digest=cats[0])
    else:
        assert bench.agent is not None
        bench.agent.answer(Request("forget", {"digest": cats[0]}))
        assert bench.ask("update")["state"] == "refused"
    learned = learned_samples(VersionRegistry(bench.home / "models").get(2))
    assert evaluation(bench, 2)["decision"]["basis"] == "owner"
    assert len(learned) == 4 * 12 - 6
    assert not set(cats) & set(learned)
    bench.settle()

    status = bench.ask("status")
    assert (status["version"], status["last_update"]["state"]) == (2, "refused")
    assert status["refused"]["basis"] == "labels"
    assert cats[0] not in refused_file(bench).read_text()
    assert bench.ask("update")["state"] == "nothing"
    for digest in cats[1:]:
        bench.ask("relabel", digest=digest, label="cat")
    bench.settle()
    assert len(learned_samples(VersionRegistry(bench.home / "models").get(3))) == 4 * 12 - 1


def test_a_refusal_of_other_pictures_is_known_while_something_is_forgotten(bench: Bench) -> None:
    """The replacement says nothing about what was refused; only what names the forgotten goes with it."""
    bench.open(PATIENT)
    for word in THINGS:
        drop_texts(bench.drop, word, texts(word, 0, 12))
    assert bench.ask("update")["version"] == 1
    drop_poison(bench)
    assert bench.ask("update")["state"] == "refused"
    before = refused_file(bench).read_text()
    owl = next(
        one for one in learned_samples(VersionRegistry(bench.home / "models").get(1)) if one not in before
    )

    bench.ask("forget", digest=owl)

    assert bench.ask("status")["version"] == 2
    assert refused_file(bench).read_text() == before
    assert bench.ask("status")["refused"]["basis"] == "labels"
    assert bench.ask("update")["state"] == "refused"


def test_new_pictures_wait_for_the_update_after_a_replacement(bench: Bench, tmp_path: Path) -> None:
    """What came before something was forgotten is learned next; the head is that of one who never saw it, to 1e-6."""
    from tests.agent.conftest import Bench as Fresh

    bench.open(PATIENT)
    for word in THINGS:
        drop_texts(bench.drop, word, texts(word, 0, 12))
    assert bench.ask("update")["version"] == 1
    for word in THINGS:
        drop_texts(bench.drop, word, texts(word, 50, 6))
    bench.live(60.0)
    doomed = next(iter(learned_samples(VersionRegistry(bench.home / "models").get(1))))
    [name] = [one["source"] for one in bench.ask("samples") if one["digest"] == doomed]
    answer = bench.ask("forget", digest=doomed)
    assert (answer["version"], answer["because"]) == (2, "")
    replacement = learned_samples(VersionRegistry(bench.home / "models").get(2))
    assert bench.ask("update")["version"] == 3
    assert set(replacement) < set(learned_samples(VersionRegistry(bench.home / "models").get(3)))
    (tmp_path / "other").mkdir()
    never = Fresh(tmp_path / "other")
    never.open(PATIENT)
    for word in THINGS:
        drop_texts(never.drop, word, [*texts(word, 0, 12), *texts(word, 50, 6)])
    (never.drop / name.split("-")[0] / name).unlink()
    never.ask("update")
    never.close()

    mine, other = (
        MLModel.load(home / "models" / "versions" / f"{number:06d}" / "model")
        for home, number in ((bench.home, 3), (never.home, 1))
    )
    for key, array in mine.head.arrays().items():
        np.testing.assert_allclose(array, other.head.arrays()[key], rtol=0, atol=1e-6)


def test_the_current_version_is_asked_as_if_it_had_not_learned_what_was_relabelled() -> None:
    """Its answer to a picture it learned under another label is that of leave-one-out, to others its own."""
    rng = np.random.default_rng(5)
    y = np.repeat(np.arange(3), 8)
    X = np.maximum(rng.normal(size=(24, 12)) + 2.0 * np.eye(3, 12)[y], 0.0).astype(np.float32)
    labels = [f"class {c}" for c in y]
    head = LDAHead(12)
    for _ in head.train(MatrixBatchProvider(X, labels), {}):
        pass
    model = MLModel(head)
    new = rng.random((1, 12), dtype=np.float32)

    P = _of_current(
        model, Learned.by({"a" * 64: labels[0]}), ["a" * 64, "b" * 64], np.concatenate([X[:1], new])
    )

    assert np.allclose(P[0], unlearned(head, X[:1], labels[:1])[0])
    assert not np.allclose(P[0], model.predict_proba(X[:1])[0], atol=1e-4)
    assert np.allclose(P[1], model.predict_proba(new)[0])


def test_a_current_version_without_an_opinion_excuses_nothing(bench: Bench) -> None:
    """Neighbours cannot take back what they learned; the candidate still answers as if it had not learned it."""
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0, head="knn")))
    teach(bench)
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.0, head="lda")))
    cats = [one["digest"] for one in bench.ask("samples") if one["label"] == "cat"][:4]
    for digest, label in zip(cats, ("dog", "fox", "owl", "dog"), strict=True):
        bench.ask("relabel", digest=digest, label=label)
    bench.settle()

    assert bench.ask("status")["refused"]["basis"] == "labels"


def sided(word: str, count: int, *, aside: bool) -> list[str]:
    """Text pictures of one thing that are held out, or that are not."""
    named = ((text, hashlib.sha256(text.encode()).hexdigest()) for text in texts(word, 1000, 100 * count))
    return list(islice((text for text, digest in named if is_held_out(digest, 0.1) == aside), count))


def test_new_pictures_that_are_only_held_out_are_asked_about(bench: Bench) -> None:
    """Nothing is learned from them, but they are new and wrong: they would judge every later version."""
    bench.open()
    teach(bench)
    bench.wall.advance(60.0)
    cats = sided("cat", 10, aside=True)
    drop_texts(bench.drop, "cat", cats[:6])
    for word, text in zip(("dog", "fox", "owl", "dog"), cats[6:], strict=True):
        drop_texts(bench.drop, word, [text])
    bench.settle()

    assert bench.ask("status")["refused"]["basis"] == "labels"


def test_what_the_current_version_learned_judges_nobody(bench: Bench) -> None:
    """Held-out pictures of a label that was small were learned; when it has grown they are still not asked."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [*sided(word, 8, aside=False), *sided(word, 3, aside=True)])
    drop_texts(bench.drop, "owl", [*sided("owl", 3, aside=False), *sided("owl", 2, aside=True)])
    bench.settle()
    drop_texts(bench.drop, "owl", sided("owl", 9, aside=False)[3:])
    bench.settle()

    found = evaluation(bench, bench.ask("status")["version"])
    assert found["n_held_out"] == 6
    assert set(found["candidate"]["per_class"]) == {"cat", "dog"}


class FrailHead(LDAHead):
    """Fails once it is told to, as long as it knows just the four things."""

    name = "frail"
    how = ""

    def predict_proba(self, X: Any) -> np.ndarray:
        """Answer, raise or answer nothing."""
        P = super().predict_proba(X)
        if type(self).how and tuple(self.classes_) == tuple(sorted(THINGS)):
            if type(self).how == "nan":
                return np.full_like(P, np.nan)
            raise KeyError(type(self).how)
        return P


class Heads:
    """A plugin that offers it."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(FrailHead)


@pytest.mark.parametrize(
    ("how", "because"), [("raises", "it failed with KeyError"), ("nan", "it answered no probabilities")]
)
def test_a_current_version_that_fails_keeps_nobody_from_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str, because: str
) -> None:
    """It is judged without it, and says so; wrong labels are found by the candidate alone."""
    bench.open(Config(learning=LearningConfig(head="frail")), extra=[("heads", Heads())])
    teach(bench)
    monkeypatch.setattr(FrailHead, "how", how)
    drop_texts(bench.drop, "hen", texts("hen", 0, 8))
    drop_poison(bench)
    bench.settle()
    assert bench.ask("status")["refused"]["basis"] == "labels"

    for one in bench.ask("samples"):
        if one["source"] in {f"cat-{i}.jpg" for i in (107, 108, 109)}:
            bench.ask("relabel", digest=one["digest"], label="cat")
    bench.settle()

    assert bench.ask("status")["last_update"]["state"] == "published"
    found = evaluation(bench, 2)
    assert found["decision"]["basis"] == "none"
    assert f"the current version cannot be asked, {because}" in found["decision"]["reason"]
    assert found["unasked"] == because


def test_a_refusal_is_known_after_a_restart(bench: Bench) -> None:
    """The owner may look days later; a file that cannot be read says nothing."""
    bench.open()
    teach(bench)
    poison(bench)
    reason = bench.ask("status")["refused"]["reason"]

    bench.open()
    assert bench.ask("status")["refused"]["reason"] == reason

    refused_file(bench).write_text("{")
    bench.open()
    assert bench.ask("status")["refused"] is None


def test_of_very_many_held_out_samples_some_are_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than is worth the time the lowest digests judge, whatever else is stored."""
    monkeypatch.setattr(judging, "MOST_HELD_OUT", 5)
    bench.open(Config(learning=LearningConfig(held_out_fraction=0.5)))
    teach(bench)

    assert evaluation(bench, 1)["n_held_out"] == 5
