"""What is forgotten is gone: from files, rows and versions, whatever interrupts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np
import pytest

from edge_agent.agent.forgetting import NOTE, named_labels
from edge_agent.agent.learned import learned_samples
from edge_agent.agent.requests import Request
from edge_agent.agent.serving import MODEL_FOLDER
from edge_agent.agent.status import silence_status
from edge_agent.agent.traces import Trace, search
from edge_agent.config import Config, UpdateConfig
from edge_agent.errors import NotFoundError, StoreError, UserError
from edge_agent.hookspecs import Decision, hookimpl
from edge_agent.ml.model import MLModel
from edge_agent.store.registry import VersionRegistry
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

ROOT = Path(__file__).resolve().parents[2]


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


def traces(bench: Bench, **what: str) -> list[Trace]:
    """What samples would be recognised by, before they are forgotten."""
    return [Trace.of(**one) for one in bench.ask("traces", **what)]


def left(bench: Bench, sought: list[Trace], label: str | None = None) -> list[Any]:
    """Every place where something of them is."""
    return list(search(bench.home, bench.drop, sought, label).to_json()["found"])


def current_model(home: Path) -> MLModel:
    """The model of the version that answers."""
    version = VersionRegistry(home / "models").current()
    assert version is not None
    return MLModel.load(version.path / MODEL_FOLDER)


def same_heads(one: MLModel, other: MLModel) -> None:
    """Every array and every number of both heads agrees to 1e-6."""
    assert one.classes == other.classes
    arrays, others = one.head.arrays(), other.head.arrays()
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, others[name], rtol=0, atol=1e-6)


class TestGone:
    def test_nothing_of_a_sample_is_left_below_the_home(self, bench: Bench) -> None:
        """D6: Bytes, digest, name, features as stored and as numbers: before they are found, afterwards nowhere."""
        bench.open()
        teach(bench, cat=12, dog=12)
        digest = bench.ask("samples")[3]["digest"]
        sought = traces(bench, digest=digest)
        places = {place["what"] for place in left(bench, sought)}
        assert {"the picture", "the digest, as bytes", "the file name"} <= places
        assert {"features as they are stored", "the digest, in its name"} <= places

        answer = bench.ask("forget", digest=digest)

        assert left(bench, sought) == []
        assert (answer["versions_left"], answer["because"]) == ([], "")

    def test_nothing_of_a_label_is_left(self, bench: Bench) -> None:
        """Neither its samples nor its name: not in versions, evaluations, the journal, the status or a folder."""
        agent = bench.open()
        teach(bench, cat=12, dog=12)
        teach(bench, fox=12)
        sought = traces(bench, label="fox")
        agent._open_stages.store.record_update(
            state="refused", version=None, samples=3, seconds=0.1, message="it also knows fox"
        )
        assert {place["path"].split("/")[0] for place in left(bench, [], "fox")} >= {
            "agent.db-wal", "archive", "models", "status.json",
        }  # fmt: skip

        bench.ask("forget", label="fox")
        bench.settle()

        assert left(bench, sought, "fox") == []
        assert [row["version"] for row in bench.ask("versions")] == [3, 1]
        assert bench.ask("status")["labels"] == {"cat": 12, "dog": 12}

    def test_copies_elsewhere_go_too(self, bench: Bench) -> None:
        """The same bytes among the refused or still in the drop folder, earlier tries of that name, a lost database."""
        agent = bench.open()
        teach(bench, cat=6)
        drop_texts(bench.drop, "dog", ["bad dog"])
        (bench.drop / "cat" / "cat-2.jpg").write_text("bad: cut off")
        bench.settle()
        refused = bench.home / "rejected" / "dog"
        (refused / "other.jpg").write_text("cat 2")
        (refused / "other.jpg.reason.txt").write_text("the engine died")
        (bench.home / "agent.db.damaged-1").write_bytes(
            b"xx" + bytes.fromhex(bench.ask("samples")[2]["digest"])
        )
        (bench.home / "agent.db.damaged-1-wal").write_bytes(b"")
        (bench.home / ".edge-agent-1-1").write_text("half a status")
        (bench.drop / ".waits.jpg").write_text("cat 2")
        digest = bench.ask("samples")[2]["digest"]
        sought = traces(bench, digest=digest)
        assert len({place["path"] for place in left(bench, sought)}) == 6

        bench.ask("forget", digest=digest)

        assert left(bench, sought) == []
        assert not list(bench.home.glob("agent.db.damaged*")) + list(bench.home.glob(".edge-agent*"))
        assert sorted(path.name for path in refused.iterdir()) == ["bad-dog.jpg", "bad-dog.jpg.reason.txt"]
        assert agent.facts()["rejected"] == 1

    def test_what_was_refused_under_a_label_goes_with_it(self, bench: Bench) -> None:
        """Its pictures were given under that name; others stay."""
        bench.open()
        teach(bench, cat=3, dog=3)
        drop_texts(bench.drop, "dog", ["bad dog"])
        drop_texts(bench.drop, "cat", ["bad cat"])
        bench.settle()
        bench.ask("forget", label="dog")

        assert [path.name for path in (bench.home / "rejected").iterdir()] == ["cat"]
        assert bench.ask("status")["rejected"] == 1

    def test_a_picture_of_another_sample_with_equal_features_is_no_trace(self, bench: Bench) -> None:
        """Features that somebody else has too, and names that are part of another's, are not looked for."""
        agent = bench.open()
        teach(bench, cat=3)
        one, other = bench.ask("samples")[:2]
        from edge_agent.store.samples import decode_features

        row = bytes.fromhex(bench.ask("traces", digest=one["digest"])[0]["features"][0])
        agent._open_stages.store.put_features(other["digest"], "fake:1", decode_features(row))

        assert bench.ask("traces", digest=one["digest"])[0]["features"] == []


class TestVersions:
    def test_the_head_is_the_one_that_was_trained_without_it(self, bench: Bench, tmp_path: Path) -> None:
        """D6: Taught with and then made to forget, or never taught: the heads agree to 1e-6."""
        from tests.agent.conftest import Bench as Fresh

        bench.open()
        teach(bench, cat=9, dog=9, fox=9)
        digests = [
            row["digest"] for row in bench.ask("samples") if row["source"] in ("cat-4.jpg", "fox-1.jpg")
        ]
        for digest in digests:
            bench.ask("forget", digest=digest)
        bench.settle()
        (tmp_path / "other").mkdir()
        never = Fresh(tmp_path / "other")
        never.open()
        for word, without in (("cat", 4), ("dog", -1), ("fox", 1)):
            drop_texts(never.drop, word, [f"{word} {i}" for i in range(9) if i != without])
        never.settle()
        never.close()

        same_heads(current_model(bench.home), current_model(never.home))

    def test_the_current_version_answers_until_the_next_one(self, bench: Bench, tmp_path: Path) -> None:
        """Right after the question it still answers; then a version without the sample, and the old one is no more."""
        agent = bench.open()
        teach(bench, cat=6, dog=6)
        learned = learned_samples(VersionRegistry(bench.home / "models").get(1))
        request = Request("forget", {"digest": next(iter(learned))})
        agent.answer(request)

        assert not request.reply.done()
        assert bench.predict(tmp_path, "dog 9")["version"] == 1
        bench.settle()
        assert request.reply.result(timeout=0)["version"] == 2
        assert bench.predict(tmp_path, "dog 9")["version"] == 2
        assert [row["version"] for row in bench.ask("versions")] == [2]

    def test_a_sample_nothing_learned_from_costs_no_version(self, bench: Bench) -> None:
        """One that was only held out was never learned: the versions stay, and the answer comes at once."""
        bench.open()
        teach(bench, cat=40, dog=40)
        registry = VersionRegistry(bench.home / "models")
        number = registry.numbers()[-1]
        learned = learned_samples(registry.get(number))
        digest = next(row["digest"] for row in bench.ask("samples") if row["digest"] not in learned)
        sought = traces(bench, digest=digest)
        answer = bench.ask("forget", digest=digest)

        assert (answer["version"], answer["versions_removed"], answer["versions_left"]) == (number, [], [])
        assert left(bench, sought) == []

    def test_an_update_under_way_publishes_nothing_of_it(self, bench: Bench) -> None:
        """Forgotten while a version is being made from it, the version is not published; the next one is."""
        agent = bench.open(Config(update=UpdateConfig(min_new_samples=1000)))
        drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(90)])
        while not agent.updating:
            agent.step()
            bench.clock.advance(0.5)
        stages = agent._open_stages
        assert stages.learning.task is not None
        stages.learning.task.wait(30)  # it has all it needs, and only has to be published
        digest = max(
            sample.digest for sample in stages.store.list()
        )  # not among those a version is checked on
        sought = [Trace.of(**one) for one in stages.answers.traces(digest=digest, label=None)]
        agent.answer(Request("forget", {"digest": digest}))
        bench.settle()

        assert digest not in learned_samples(VersionRegistry(bench.home / "models").get(1))
        assert left(bench, sought) == []

    def test_a_refused_candidate_does_not_keep_the_old_version(self, bench: Bench) -> None:
        """When nothing new may be published an older version that never learned it answers, or none."""

        class Stern:
            @hookimpl
            def accept_candidate(self, evaluation: Any) -> Decision | None:
                """Refuse what comes in place of something forgotten."""
                return Decision(answer=False, reason="no") if evaluation.forgotten else None

        bench.open(extra=[("stern", Stern())])
        teach(bench, cat=6)
        teach(bench, dog=6)
        answer = bench.ask("forget", label="dog")
        assert (answer["version"], answer["versions_removed"], answer["versions_left"]) == (1, [2], [])
        assert ("version_rolled_back", (1, 2)) in bench.recorder.events
        answer = bench.ask("forget", label="cat")
        assert (answer["version"], answer["versions_left"]) == (None, [])
        assert bench.ask("versions") == []

    def test_a_label_only_versions_know_can_be_forgotten(self, bench: Bench) -> None:
        """Samples that went one by one leave no version that knows the label, whoever asks again."""
        bench.open()
        teach(bench, cat=6)
        teach(bench, dog=2)
        for row in bench.ask("samples", label="dog"):
            bench.ask("relabel", digest=row["digest"], label="cat")
        bench.settle()
        assert {place["path"].split("/")[0] for place in left(bench, [], "dog")} >= {"models"}
        bench.ask("forget", label="dog")
        bench.settle()

        assert left(bench, [], "dog") == []

    def test_a_label_only_a_refusal_names_can_be_forgotten(self, bench: Bench) -> None:
        """Refused, then corrected: no version and no sample has it, yet refusal, status and journal lose the name."""

        class Stern:
            @hookimpl
            def accept_candidate(self, evaluation: Any) -> Decision | None:
                """Refuse what knows a lemon."""
                lemons = "zitrone" in evaluation.candidate.per_class or "zitrone" in evaluation.new_labels
                return Decision(answer=False, reason="what is 'zitrone'?") if lemons else None

        bench.open(extra=[("stern", Stern())])
        teach(bench, cat=12, dog=12)
        given = bench.ask("samples", label="dog")[:2]
        for row in given:
            bench.ask("relabel", digest=row["digest"], label="zitrone")
        bench.settle()
        assert bench.ask("status")["refused"]["reason"] == "what is 'zitrone'?"
        for row in given:
            bench.ask("relabel", digest=row["digest"], label="dog")
        bench.close()
        bench.open()
        assert {place["path"] for place in left(bench, [], "zitrone")} >= {
            "status.json", "models/refused/evaluation.json",
        }  # fmt: skip

        answer = bench.ask("forget", label="zitrone")
        bench.settle()

        assert (answer["forgotten"], answer["labels"]) == (0, ["zitrone"])
        assert left(bench, [], "zitrone") == []
        assert bench.ask("status")["labels"] == {"cat": 12, "dog": 12}

    @pytest.mark.parametrize("place", ["status.json", "sums.npz", "agent.db.damaged-1", "journal"])
    def test_a_label_only_one_thing_names_can_be_forgotten(self, bench: Bench, place: str) -> None:
        """Each of what is cleared is also looked into; once nothing names the label, it is unknown."""
        agent = bench.open()
        teach(bench, cat=4)
        with pytest.raises(NotFoundError):
            bench.ask("forget", label="zitrone")
        if place == "journal":
            agent._open_stages.store.record_update(
                state="refused", version=None, samples=3, seconds=0.1, message="what is 'zitrone'?"
            )
        elif place == "status.json":
            status = json.loads((bench.home / place).read_text())
            (bench.home / place).write_text(json.dumps({**status, "labels": {"cat": 4, "zitrone": 2}}))
        else:
            (bench.home / place).write_bytes(b'["cat", "zitrone"]')
        assert left(bench, [], "zitrone")

        assert bench.ask("forget", label="zitrone")["forgotten"] == 0
        bench.settle()
        assert left(bench, [], "zitrone") == []
        with pytest.raises(NotFoundError):
            bench.ask("forget", label="zitrone")

    def test_what_was_refused_because_of_its_label_can_be_forgotten(self, bench: Bench) -> None:
        """A folder that can be no label is named as it is; a path, or nothing, is none."""
        bench.open()
        teach(bench, cat=4)
        name = 'äpfel & "birnen" (2)'
        drop_texts(bench.drop, name, ["apple 1", "apple 2"])
        bench.settle()
        assert bench.ask("status")["rejected"] == 2
        for other in ("../archive", "..", ".", "", "äpfel &", "/"):
            with pytest.raises(UserError):
                bench.ask("forget", label=other)

        answer = bench.ask("forget", label=normalize("NFD", name))
        bench.settle()

        assert (answer["forgotten"], answer["labels"]) == (0, [name])
        assert left(bench, [], name) == []
        assert not (bench.home / "rejected" / name).exists()
        assert bench.ask("status")["rejected"] == 0
        assert len(bench.ask("samples")) == 4

    def test_what_comes_again_is_learned_again(self, bench: Bench) -> None:
        """A forgotten picture that is given anew is new: no later start removes it or its version."""
        bench.open()
        teach(bench, cat=6)
        bench.ask("forget", digest=bench.ask("samples")[0]["digest"])
        teach(bench, cat=6)
        before = [row["version"] for row in bench.ask("versions")]
        bench.open()

        assert (len(bench.ask("samples")), [row["version"] for row in bench.ask("versions")]) == (6, before)

    def test_labels_are_read_out_of_what_versions_say(self) -> None:
        """Lists of labels, classes, confusions and samples; what only sounds like one is none."""
        said = {
            "decision": {"reason": "ok"},
            "candidate": {"per_class": {"a": {"count": 1}}, "confusion": [{"true": "b", "predicted": "c"}]},
            "missing_labels": ["d"],
            "imported": {"samples": {"00": "e"}},
        }
        assert sorted(named_labels(said)) == ["a", "b", "c", "d", "e"]


def test_a_status_file_of_an_agent_that_ended_names_nothing(tmp_path: Path) -> None:
    """Labels are the ones there are, and sentences are taken out; the rest stays."""
    path = tmp_path / "status.json"
    silence_status(path, {})
    assert not path.exists()
    said = {
        "state": "stopped",
        "labels": {"fox": 2},
        "trouble": "fox",
        "last_update": {"message": "fox", "samples": 2},
    }
    path.write_text(json.dumps({**said, "version": 3}))
    silence_status(path, {"cat": 4})
    facts = json.loads(path.read_text())

    assert (facts["state"], facts["version"], facts["labels"], facts["samples"]) == (
        "stopped",
        3,
        {"cat": 4},
        4,
    )
    assert facts["last_update"] == {"message": "", "samples": 2}
    assert "fox" not in path.read_text()


def test_the_status_is_silent_before_the_agent_writes_it_again(bench: Bench) -> None:
    """Whoever reads the file right after the question, or after a power cut, finds nothing of a forgotten label."""
    agent = bench.open()
    teach(bench, cat=6, dog=6)
    path = bench.home / "status.json"
    assert json.loads(path.read_text())["labels"] == {"cat": 6, "dog": 6}
    agent.answer(Request("forget", {"label": "dog"}))

    assert json.loads(path.read_text())["labels"] == {"cat": 6}
    assert "dog" not in path.read_text()


class TestNote:
    def test_it_holds_nothing_when_all_is_done(self, bench: Bench) -> None:
        """Until then it holds the digests, so that an interrupted removal can go on."""
        agent = bench.open()
        teach(bench, cat=6)
        digest = bench.ask("samples")[0]["digest"]
        agent.answer(Request("forget", {"digest": digest}))
        store = agent._open_stages.store
        assert json.loads(store.meta(NOTE) or "")["digests"] == [digest]
        bench.settle()

        assert store.meta(NOTE) == ""

    def test_another_program_that_reads_is_waited_for(self, bench: Bench) -> None:
        """As long as it keeps old pages in the log the agent says so, and afterwards it ends what it began."""
        import sqlite3

        agent = bench.open()
        teach(bench, cat=6)
        agent._open_stages.store.database._writer.execute("PRAGMA busy_timeout = 0")
        reader = sqlite3.connect(bench.home / "agent.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM samples").fetchall()
        digest = bench.ask("samples")[0]["digest"]
        sought = traces(bench, digest=digest)
        assert "another program" in bench.ask("forget", digest=digest)["because"]
        reader.close()
        bench.clock.advance(60)
        bench.settle()

        assert left(bench, sought) == []


PROGRAM = """
import os, pathlib, shutil, signal, sys
from tests.agent.conftest import Bench
from tests.agent.test_forgetting import current_model, same_heads, teach, traces, left
from edge_agent.agent.requests import Request
from edge_agent.errors import NotFoundError

STEPS = "write fsync replace rename unlink rmdir mkdir open".split()
folder, stride = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def counted(function, left):
    def step(*given, **named):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return function(*given, **named)
    return step

(folder / "whole").mkdir()
bench = Bench(folder / "whole")
bench.open()
teach(bench, cat=7, dog=7)
teach(bench, fox=2)
sought = traces(bench, label="fox")
bench.close()
steps = 0
while True:
    place = folder / f"at{steps}"
    shutil.copytree(folder / "whole", place)
    (place / "drop").rename(place / "kept")
    bench = Bench(place)
    child = os.fork()
    if child == 0:
        left_ = [steps]
        for name in STEPS:
            setattr(os, name, counted(getattr(os, name), left_))
        bench.open()
        bench.ask("forget", label="fox")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    bench.open()
    bench.settle()
    try:
        noted = bench.ask("status")["labels"].get("fox") is None
        if not noted:
            bench.ask("forget", label="fox")  # it was killed before it was asked
            bench.settle()
        found = left(bench, sought, "fox")
        assert found == [], (steps, found)
        if steps == 0:
            reference = current_model(place / "home")
        same_heads(current_model(place / "home"), reference)
    finally:
        bench.close()
    shutil.rmtree(place)
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
    steps += stride
print("steps", steps)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stride", [3])
def test_killed_at_any_step_it_is_finished_at_the_next_start(tmp_path: Path, stride: int) -> None:
    """D6: SIGKILL at steps all the way: the next start leaves nothing of it, and the head is the same."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(stride)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 50


def environment() -> dict[str, str]:
    """Where this package and these tests are found."""
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def test_a_kill_between_the_removal_and_the_next_version(bench: Bench) -> None:
    """A copy of the home as it is in between is a home after a power cut: opened, it ends what was begun."""
    agent = bench.open()
    teach(bench, cat=6, dog=6)
    sought = traces(bench, label="dog")
    agent.answer(Request("forget", {"label": "dog"}))
    shutil.copytree(bench.home, bench.home.parent / "copy", ignore=shutil.ignore_patterns("lock"))
    bench.home = bench.home.parent / "copy"
    bench.open()
    bench.settle()

    assert left(bench, sought, "dog") == []


def test_a_file_that_cannot_be_removed_stops_nothing_else(bench: Bench) -> None:
    """The agent opens, answers and says what is wrong; when the file can go, the rest is forgotten."""
    bench.open()
    teach(bench, cat=8, dog=8)
    stuck = next((bench.home / "archive" / "cat").iterdir())
    stuck.unlink()
    (stuck / "within").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot remove"):
        bench.ask("forget", label="cat")

    agent = bench.open()
    assert bench.predict(bench.home, "dog 3")["label"] == "dog"
    bench.settle()
    assert "cannot remove" in agent.facts()["trouble"]
    assert bench.predict(bench.home, "dog 3")["label"] == "dog"

    shutil.rmtree(stuck)
    bench.open()
    bench.settle()
    assert current_model(bench.home).classes == ("dog",)
