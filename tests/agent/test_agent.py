"""The agent's main job, driven step by step on text pictures with a fake clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.agent.learned import from_bytes
from edge_agent.agent.requests import Request
from edge_agent.config import Config, DropFolderConfig, LearningConfig, UpdateConfig
from edge_agent.errors import HomeLockedError, NoModelError, NotFoundError, UserError
from edge_agent.hookspecs import Decision, hookimpl
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def texts(word: str, count: int, start: int = 0) -> list[str]:
    """Text pictures of one thing."""
    return [f"{word} {i}" for i in range(start, start + count)]


def teach(bench: Bench, **things: int) -> None:
    """Drop `count` pictures of each thing under its own name and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, texts(word, count))
    bench.settle()


class TestMainJob:
    def test_dropped_pictures_become_a_version_that_recognises_new_ones(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        """Pictures of two things are taken in, archived, learned and published; unseen ones are recognised."""
        bench.open()
        teach(bench, cat=6, dog=6)

        answer = bench.predict(tmp_path, "dog 99")

        assert (answer["label"], answer["version"], answer["error"]) == ("dog", 1, None)
        assert [path for path in bench.drop.rglob("*") if path.is_file()] == []
        assert len(list((bench.home / "archive" / "cat").iterdir())) == 6

    def test_the_life_of_an_update_is_told_in_order(self, bench: Bench) -> None:
        """Plugins hear intake, task states, training events, evaluation and publication in this order."""
        bench.open()
        teach(bench, cat=3)

        names = bench.recorder.names()
        after = [
            name for name in names if name not in ("sample_ingested", "task_state_changed", "mini_batch_end")
        ]
        assert names.count("sample_ingested") == 3
        assert after == [
            "training_begin", "epoch_end", "training_end", "candidate_evaluated", "version_published",
        ]  # fmt: skip
        states = [fact.state for name, fact in bench.recorder.events if name == "task_state_changed"]
        assert states[0] == "running"
        assert states[-1] == "completed"

    def test_the_same_picture_counts_once(self, bench: Bench) -> None:
        """The same bytes under another name are taken away and counted once."""
        bench.open()
        teach(bench, cat=3)
        (bench.drop / "cat" / "again.jpg").write_text("cat 1")
        bench.settle()

        assert bench.ask("status")["samples"] == 3
        assert not (bench.drop / "cat" / "again.jpg").exists()
        assert len(list((bench.home / "archive" / "cat").iterdir())) == 3

    def test_the_same_picture_under_another_label_is_relabelled(self, bench: Bench) -> None:
        """The newest label wins, and the archive follows it."""
        bench.open()
        teach(bench, cat=3, dog=3)
        drop_texts(bench.drop, "dog", ["cat 1"])
        bench.settle()

        assert bench.ask("status")["labels"] == {"cat": 2, "dog": 4}
        assert len(list((bench.home / "archive" / "dog").iterdir())) == 4
        assert len(list((bench.home / "archive" / "cat").iterdir())) == 2

    def test_a_bad_file_is_put_aside_with_its_reason(self, bench: Bench) -> None:
        """A file that is no picture goes to rejected/ with the reason beside it and does not stop the others."""
        bench.open()
        drop_texts(bench.drop, "cat", ["bad one", *texts("cat", 3)])
        bench.settle()

        assert bench.ask("status")["samples"] == 3
        assert bench.ask("status")["rejected"] == 1
        folder = bench.home / "rejected" / "cat"
        assert (folder / "bad-one.jpg").read_text() == "bad one"
        assert "not a picture" in (folder / "bad-one.jpg.reason.txt").read_text()

    def test_engine_trouble_is_tried_again(self, bench: Bench) -> None:
        """A picture that failed because of the engine, not of itself, is taken in at the next try."""
        bench.open()
        drop_texts(bench.drop, "cat", ["flaky 1", "cat 2"])
        bench.settle()

        assert bench.ask("status")["samples"] == 2
        assert bench.ask("status")["rejected"] == 0

    def test_a_new_label_is_predicted_after_its_second_picture(self, bench: Bench, tmp_path: Path) -> None:
        """A label that appears while the agent runs is known as soon as two of its pictures are in."""
        bench.open()
        teach(bench, cat=8, dog=8)
        teach(bench, fox=2)

        assert bench.predict(tmp_path, "fox 77")["label"] == "fox"

    def test_deleting_instead_of_archiving(self, bench: Bench) -> None:
        """With after_intake = "delete" a stored picture's file is gone, and nothing is archived."""
        bench.open(Config(drop_folder=DropFolderConfig(after_intake="delete")))
        teach(bench, cat=3)

        assert bench.ask("status")["samples"] == 3
        assert not (bench.home / "archive").exists()
        assert [path for path in bench.drop.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("head", sorted(BUILT_IN_HEADS))
    def test_every_built_in_head_learns(self, bench: Bench, tmp_path: Path, head: str) -> None:
        """Each built-in head can be chosen in the configuration and recognises unseen pictures."""
        bench.open(Config(learning=LearningConfig(head=head)))
        teach(bench, cat=8, dog=8, fox=8)

        assert bench.predict(tmp_path, "fox 99")["label"] == "fox"


class TestVersions:
    def test_what_a_version_learned_from_is_written_down(self, bench: Bench) -> None:
        """samples.bin names digest and label of every training sample, evaluation.json the decision."""
        bench.open()
        teach(bench, cat=4, dog=4)

        folder = bench.home / "models" / "versions" / "000001"
        samples = from_bytes((folder / "samples.bin").read_bytes()).labels()
        assert {"cat", "dog"} == set(samples.values())
        assert json.loads((folder / "evaluation.json").read_text())["decision"]["accepted"] is True

    def test_held_out_pictures_are_never_trained_on(self, bench: Bench) -> None:
        """With enough pictures the held-out share is left out of training and judges the version."""
        bench.open(Config(learning=LearningConfig(held_out_fraction=0.5)))
        teach(bench, cat=40, dog=40)

        newest = bench.ask("status")["version"]
        folder = bench.home / "models" / "versions" / f"{newest:06}"
        learned = from_bytes((folder / "samples.bin").read_bytes()).labels()
        evaluation = json.loads((folder / "evaluation.json").read_text())
        assert len(learned) + evaluation["n_held_out"] == 80
        assert all(int(digest[:8], 16) >= 0x8000_0000 for digest in learned)

    def test_rollback_is_immediate_and_reversible(self, bench: Bench, tmp_path: Path) -> None:
        """D3: Rolling back answers with the parent at once, without training; an old version can be asked by number."""
        bench.open()
        teach(bench, cat=4, dog=4)
        teach(bench, fox=4)
        assert bench.ask("rollback") == {"version": 1, "previous": 2}

        assert bench.predict(tmp_path, "fox 9")["label"] != "fox"
        assert bench.predict(tmp_path, "fox 9", version=2)["label"] == "fox"
        assert ("version_rolled_back", (1, 2)) in bench.recorder.events
        assert bench.ask("rollback", to=2) == {"version": 2, "previous": 1}

    def test_rollback_without_a_parent_is_refused(self, bench: Bench) -> None:
        """The first version has nothing behind it, and an unknown version is named."""
        bench.open()
        with pytest.raises(NoModelError):
            bench.ask("rollback")
        teach(bench, cat=3)
        with pytest.raises(NotFoundError):
            bench.ask("rollback")
        with pytest.raises(NotFoundError):
            bench.ask("rollback", to=9)

    def test_a_refused_candidate_changes_nothing(self, bench: Bench) -> None:
        """When a plugin refuses the candidate the current version stays, and the same data is not tried again."""

        class Never:
            @hookimpl
            def accept_candidate(self, evaluation: Any) -> Decision | None:
                return Decision(answer=False, reason="not today") if evaluation.current else None

        bench.open(extra=[("never", Never())])
        teach(bench, cat=4)
        teach(bench, dog=4)

        status = bench.ask("status")
        assert (status["version"], status["last_update"]["state"]) == (1, "refused")
        assert bench.recorder.names().count("candidate_evaluated") == 2

    def test_old_versions_are_pruned(self, bench: Bench) -> None:
        """No more than keep_versions remain, the current one and its parent among them."""
        bench.open(Config(update=UpdateConfig(keep_versions=2)))
        for i in range(4):
            drop_texts(bench.drop, "cat", [f"cat {i}"])
            bench.settle()

        assert [row["version"] for row in bench.ask("versions")] == [4, 3]


class TestData:
    def test_relabel_changes_the_next_version(self, bench: Bench, tmp_path: Path) -> None:
        """Relabelled samples are learned under their new label."""
        bench.open()
        teach(bench, cat=4, dog=4)
        for row in bench.ask("samples", label="dog"):
            bench.ask("relabel", digest=row["digest"], label="wolf")
        bench.settle()

        assert bench.predict(tmp_path, "dog 50")["label"] == "wolf"
        assert bench.ask("status")["labels"] == {"cat": 4, "wolf": 4}
        assert len(list((bench.home / "archive" / "wolf").iterdir())) == 4

    def test_forget_removes_bytes_features_and_influence(self, bench: Bench, tmp_path: Path) -> None:
        """A forgotten label's pictures are gone from the archive, and the next version does not know it."""
        bench.open()
        teach(bench, cat=4, dog=4)
        assert bench.ask("forget", label="dog") == {
            "forgotten": 4,
            "labels": ["dog"],
            "version": 2,
            "versions_removed": [1],
            "versions_left": [],
            "because": "",
        }
        bench.settle()

        assert bench.predict(tmp_path, "dog 50")["label"] == "cat"
        assert list((bench.home / "archive").glob("dog/*")) == []
        assert bench.ask("status")["version"] == 2

    def test_forgetting_what_is_not_there_is_refused(self, bench: Bench) -> None:
        """An unknown label or digest is named."""
        bench.open()
        with pytest.raises(NotFoundError, match="bird"):
            bench.ask("forget", label="bird")
        with pytest.raises(NotFoundError, match="abc"):
            bench.ask("forget", digest="abc")

    def test_an_interrupted_forget_is_finished_at_the_next_start(self, bench: Bench) -> None:
        """What was to be forgotten when the power went is forgotten before anything else happens."""
        agent = bench.open()
        teach(bench, cat=4)
        doomed = bench.ask("samples")[0]["digest"]
        agent._open_stages.store.set_meta(
            "forgetting", json.dumps([doomed])
        )  # as far as an interrupted one gets
        bench.open()

        assert doomed not in [row["digest"] for row in bench.ask("samples")]
        assert list((bench.home / "archive").glob(f"*/*{doomed[:16]}*")) == []

    def test_update_on_request(self, bench: Bench) -> None:
        """`update` takes in what waits and publishes; asked again it says that nothing is new; forced it trains."""
        bench.open()
        drop_texts(bench.drop, "cat", texts("cat", 3))

        first = bench.ask("update")
        second = bench.ask("update")
        third = bench.ask("update", force=True)

        assert (first["state"], first["version"]) == ("published", 1)
        assert second["state"] == "nothing"
        assert (third["state"], third["version"]) == ("published", 2)


class TestRestart:
    def test_a_relabel_that_was_interrupted_is_ended(self, bench: Bench) -> None:
        """A3: Killed between the row and its picture, the next start puts the picture where the row says."""
        bench.open()
        teach(bench, cat=2, dog=2)
        row = bench.ask("samples", label="dog")[0]
        bench.ask("relabel", digest=row["digest"], label="cat")
        bench.close()
        (moved,) = (bench.home / "archive" / "cat").glob(f"*{row['digest'][:16]}*")
        moved.rename(bench.home / "archive" / "dog" / moved.name)
        bench.open()

        assert moved.exists()

    def test_everything_is_there_after_a_restart(self, bench: Bench, tmp_path: Path) -> None:
        """Samples, versions and the last update are known again, and nothing is learned twice."""
        bench.open()
        teach(bench, cat=4, dog=4)
        before = bench.ask("status")
        bench.open()
        bench.settle()
        after = bench.ask("status")

        for key in ("version", "samples", "labels", "last_update", "accuracy"):
            assert before[key] == after[key]
        assert bench.predict(tmp_path, "cat 99")["label"] == "cat"

    def test_a_file_left_behind_after_its_commit_counts_once(self, bench: Bench) -> None:
        """A crash between commit and move leaves a file that is recognised by its digest."""
        bench.open()
        teach(bench, cat=3)
        kept = next((bench.home / "archive" / "cat").iterdir())
        (bench.drop / "cat" / "cat-0.jpg").write_bytes(kept.read_bytes())
        kept.unlink()
        bench.open()
        bench.settle()

        assert bench.ask("status")["samples"] == 3
        assert kept.exists()

    def test_a_damaged_version_falls_back_to_its_parent(self, bench: Bench, tmp_path: Path) -> None:
        """A version whose bytes changed is not loaded; the parent answers and the status says degraded."""
        bench.open()
        teach(bench, cat=4, dog=4)
        teach(bench, fox=4)
        bench.close()
        for path in (bench.home / "models" / "versions" / "000002").rglob("*.npz"):
            path.write_bytes(path.read_bytes()[:-7])
        bench.open()

        assert bench.predict(tmp_path, "cat 9")["version"] == 1
        assert bench.ask("status")["state"] == "degraded"

    def test_when_no_version_is_sound_a_new_one_is_made(self, bench: Bench, tmp_path: Path) -> None:
        """With every version damaged the agent starts all the same and learns again from what is stored."""
        bench.open()
        teach(bench, cat=4, dog=4)
        bench.close()
        for path in (bench.home / "models" / "versions").rglob("*.npz"):
            path.write_bytes(b"nonsense")
        bench.open()
        with pytest.raises(NoModelError, match="not what was written"):
            bench.predict(tmp_path, "cat 9")
        bench.settle()

        assert tuple(bench.predict(tmp_path, "cat 9")[key] for key in ("label", "version")) == ("cat", 2)
        assert bench.ask("status")["state"] == "ok"

    def test_another_extractor_reads_the_archive_again(self, bench: Bench, tmp_path: Path) -> None:
        """Under a new fingerprint every archived picture is extracted again before the next version is made."""
        bench.open()
        teach(bench, cat=4, dog=4)
        bench.open(fingerprint="fake:2")
        bench.ask("update")

        assert bench.engines[-1].extracted == 8
        assert bench.predict(tmp_path, "dog 99")["label"] == "dog"
        newest = bench.ask("versions")[0]
        assert (newest["version"], newest["current"]) == (2, True)

    @pytest.mark.parametrize("damage", ["lost", "nonsense", "cut off"])
    def test_a_lost_database_is_made_again_from_the_archive(
        self, bench: Bench, tmp_path: Path, damage: str
    ) -> None:
        """A2: Without its database the agent reads the archive again, keeps every label and goes on learning."""
        bench.open()
        teach(bench, cat=4, dog=4)
        bench.ask("relabel", digest=bench.ask("samples", label="dog")[0]["digest"], label="wolf")
        bench.settle()
        before = {row["digest"]: row["label"] for row in bench.ask("samples")}
        bench.close()
        database = bench.home / "agent.db"
        for extra in bench.home.glob("agent.db-*"):
            extra.unlink()
        if damage == "lost":
            database.unlink()
        else:
            database.write_bytes(b"nonsense" if damage == "nonsense" else database.read_bytes()[:5000])
        bench.open()
        assert "database was lost" in bench.ask("status")["trouble"]
        bench.settle()

        assert {row["digest"]: row["label"] for row in bench.ask("samples")} == before
        assert bench.predict(tmp_path, "cat 99")["label"] == "cat"
        assert bench.ask("status")["state"] == "ok"
        assert len(list(bench.home.glob("agent.db.damaged-*"))) == (damage != "lost")

    def test_a_second_agent_is_refused(self, bench: Bench, tmp_path: Path) -> None:
        """A5: The lock names the process that holds the state directory."""
        agent = bench.open()
        bench.agent = None
        with pytest.raises(HomeLockedError, match=r"process \d+"):
            bench.open()
        agent.close()


class TestTrouble:
    def test_a_raising_observer_changes_nothing_but_the_count(self, bench: Bench, tmp_path: Path) -> None:
        """Observers that raise on every event leave the main job as it is and show in the status."""

        class Grumpy:
            @hookimpl
            def sample_ingested(self, sample: Any) -> None:
                raise RuntimeError("no")

            @hookimpl
            def version_published(self, version: Any) -> None:
                raise SystemExit(3)

        bench.open(extra=[("grumpy", Grumpy())])
        teach(bench, cat=4, dog=4)

        assert bench.predict(tmp_path, "cat 99")["label"] == "cat"
        report = next(row for row in bench.ask("status")["plugins"] if row["name"] == "grumpy")
        assert report["errors"] == 9
        assert bench.ask("status")["state"] == "ok"

    def test_a_policy_that_raises_postpones_the_update_only(self, bench: Bench) -> None:
        """While the policy plugin fails intake goes on; once it is well again the update happens."""
        broken = True

        class Moody:
            @hookimpl
            def ready_to_update(self, situation: Any) -> Decision | None:
                if broken:
                    raise RuntimeError("no weather report")
                return None

        agent = bench.open(extra=[("moody", Moody())])
        drop_texts(bench.drop, "cat", texts("cat", 3))
        for _ in range(20):
            agent.step()
            bench.clock.advance(0.5)
        assert (bench.ask("status")["samples"], bench.ask("status")["version"]) == (3, None)
        assert "no weather report" in bench.ask("status")["trouble"]
        broken = False
        for _ in range(12):
            agent.step(patience_seconds=5.0 if agent.updating else 0.0)
            bench.clock.advance(0.5)
        bench.settle()

        assert bench.ask("status")["version"] == 1
        assert bench.ask("status")["state"] == "ok"

    def test_a_labelling_plugin_that_raises_rejects_that_sample(self, bench: Bench) -> None:
        """An exception in label_sample rejects the file with the plugin's name; the others go on."""

        class Picky:
            @hookimpl
            def label_sample(self, path: str, folder_label: str) -> str | None:
                if "cat-1" in path:
                    raise ValueError("never seen such a cat")
                return None

        bench.open(extra=[("picky", Picky())])
        teach(bench, cat=3)

        assert bench.ask("status")["samples"] == 2
        reason = (bench.home / "rejected" / "cat" / "cat-1.jpg.reason.txt").read_text()
        assert "picky" in reason
        assert "never seen such a cat" in reason

    def test_asking_before_anything_was_learned(self, bench: Bench, tmp_path: Path) -> None:
        """A prediction without a version says what to do."""
        bench.open()
        with pytest.raises(NoModelError, match="drop"):
            bench.predict(tmp_path, "cat 1")

    def test_an_unknown_question_is_refused(self, bench: Bench) -> None:
        """The answer names the questions there are."""
        bench.open()
        with pytest.raises(UserError, match="predict"):
            bench.ask("sing")

    def test_unknown_head_and_parameters_are_refused_at_start(self, bench: Bench) -> None:
        """A head that is not registered, or a parameter it does not have, is named before anything begins."""
        with pytest.raises(UserError, match="lda"):
            bench.open(Config(learning=LearningConfig(head="magic")))
        with pytest.raises(UserError, match="shrinkage"):
            bench.open(Config(learning=LearningConfig(parameters={"shrink": 1})))
        with pytest.raises(UserError, match="shrinkage"):
            bench.open(Config(learning=LearningConfig(parameters={"shrinkage": "much"})))


def test_who_asks_without_end_does_not_stop_the_work(bench: Bench) -> None:
    """A program that asks again as soon as it is answered leaves time for pictures, learning and the watchdog."""
    agent = bench.open()
    asked = 0

    def ask(_answer: object = None) -> None:
        nonlocal asked
        asked += 1
        if asked < 500:
            request = Request("versions", {}, [])
            request.reply.add_done_callback(ask)
            agent.ask(request)

    ask()
    drop_texts(bench.drop, "cat", ["cat 1"])
    agent.step()

    assert asked < 500
