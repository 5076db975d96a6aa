"""When updates start, how they end, and that nothing the agent waits for keeps it busy."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.agent.pauses import REST_SECONDS
from edge_agent.agent.requests import Request
from edge_agent.config import Config, DropFolderConfig, LearningConfig, LimitsConfig, UpdateConfig
from edge_agent.errors import EngineError, StoreError
from edge_agent.hookspecs import Decision, hookimpl
from edge_agent.ml.task import MLTaskState
from edge_agent.ml.update import MLUpdateTask
from edge_agent.store.registry import VersionRegistry
from edge_agent.store.samples import SampleStore
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import EngineFacts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

DELETE = Config(drop_folder=DropFolderConfig(after_intake="delete"))


class BrokenEngine(FakeEngine):
    """Never starts."""

    def start(self) -> EngineFacts:
        """Refuse."""
        raise EngineError("the engine could not be started: no runtime is installed")


class LazyEngine(FakeEngine):
    """Says nothing about itself before it was started, as the real one."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.facts = None

    def start(self) -> EngineFacts:
        """Be ready."""
        self.facts = self._fake_facts
        return self._fake_facts


class StubbornRegistry(VersionRegistry):
    """Cannot remove old versions, as on a disk that refuses."""

    def prune(self, keep: int) -> list[int]:
        """Refuse."""
        raise StoreError("version 1 cannot be removed")


class ForgetfulStore(SampleStore):
    """Keeps samples, but not a word about updates."""

    def record_update(self, **facts: Any) -> None:
        """Refuse."""
        raise StoreError("the journal cannot be written")

    def set_meta(self, key: str, value: str) -> None:
        """Refuse."""
        raise StoreError("the journal cannot be written")


class CrampedStore(SampleStore):
    """Has no room for further features."""

    def put_features(self, digest: str, fingerprint: str, features: object) -> None:
        """Refuse."""
        raise StoreError("no room for features")


class Reluctant:
    """A plugin that does not want updates for now, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    @hookimpl
    def ready_to_update(self, situation: Any) -> Decision | None:
        self.asked += 1
        return Decision(answer=False, reason="on battery")


class Never:
    """A plugin that refuses every candidate but the first version."""

    @hookimpl
    def accept_candidate(self, evaluation: Any) -> Decision | None:
        return Decision(answer=False, reason="not today") if evaluation.current else None


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


class TestTrouble:
    def test_an_engine_that_does_not_start_is_the_answer(self, bench: Bench) -> None:
        """`update` says failed, with the engine's own words, whether pictures or stored samples wait."""
        bench.open()
        teach(bench, cat=2)
        bench.engine_class = BrokenEngine
        bench.open()
        without_files = bench.ask("update", force=True)
        drop_texts(bench.drop, "dog", ["dog 1"])
        with_files = bench.ask("update")

        for answer in (without_files, with_files):
            assert (answer["state"], answer["version"]) == ("failed", None)
            assert "no runtime is installed" in answer["message"]
        assert bench.ask("status")["state"] == "degraded"

    def test_samples_nobody_can_learn_from_are_the_answer(self, bench: Bench) -> None:
        """Samples of another extractor whose pictures were not kept: `update` says so, and nothing spins."""
        bench.open(DELETE)
        teach(bench, cat=3, dog=3)
        agent = bench.open(DELETE, fingerprint="fake:2")
        answer = bench.ask("update")
        steps = bench.live(300.0)

        assert answer["state"] == "failed"
        assert "none of the 6 samples can be learned from" in answer["message"]
        assert steps < 200
        assert agent.idle()
        assert bench.ask("status")["unusable"] == 6

    def test_a_single_run_ends_when_samples_are_lost(self, bench: Bench) -> None:
        """`run_until_idle` comes back, and the status names what is wrong."""
        bench.open(DELETE)
        teach(bench, cat=3)
        agent = bench.open(
            Config(
                drop_folder=DropFolderConfig(after_intake="delete", settle_seconds=0),
                update=UpdateConfig(quiet_seconds=0),
            ),
            fingerprint="fake:2",
        )
        agent.start()
        agent.longest_wait_seconds = 0.01
        agent.run_until_idle()

        assert "can be learned from" in agent.facts()["trouble"]

    def test_a_single_run_waits_for_nobody(self, bench: Bench) -> None:
        """`run_until_idle` makes one version, of everything, and not only when it has been quiet for long."""
        agent = bench.open(
            Config(
                drop_folder=DropFolderConfig(settle_seconds=0),
                update=UpdateConfig(quiet_seconds=3600, min_new_samples=5),
            )
        )
        for word in ("cat", "dog", "fox"):
            drop_texts(bench.drop, word, [f"{word} {i}" for i in range(40)])
        agent.start()
        agent.run_until_idle()
        drop_texts(bench.drop, "cat", ["one more"])
        agent._open_stages.folder.look_again()
        agent.run_until_idle()

        assert next(row["samples"] for row in bench.ask("versions")) > 90
        assert len(bench.ask("versions")) == 2
        assert agent.facts()["samples"] == 121

    def test_old_versions_that_stay_undo_nothing(self, bench: Bench) -> None:
        """When pruning fails the new version is published, told, noted and answered as any other."""
        agent = bench.open(Config(update=UpdateConfig(keep_versions=2)))
        agent._open_stages.registry.__class__ = StubbornRegistry
        for i in range(4):
            drop_texts(bench.drop, "cat", [f"cat {i}"])
            bench.settle()

        status = bench.ask("status")
        assert (status["version"], status["last_update"]["state"]) == (4, "published")
        assert [row["version"] for row in bench.ask("versions")] == [4, 3, 2, 1]
        assert bench.recorder.names().count("version_published") == 4

    def test_a_journal_that_cannot_be_written_undoes_nothing(self, bench: Bench) -> None:
        """When nothing can be noted the version answers all the same, and is not made over and over again."""
        agent = bench.open()
        agent._open_stages.store.__class__ = ForgetfulStore
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        answer = bench.ask("update")
        bench.live(120.0)

        assert (answer["state"], answer["version"]) == ("published", 1)
        status = bench.ask("status")
        assert (status["version"], status["last_update"]["state"]) == (1, "published")
        assert bench.recorder.names().count("version_published") == 1

    def test_lasting_trouble_is_noted_once(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """A failure that comes back at every try is one line of the log, not one for each."""
        bench.open(DELETE)
        teach(bench, cat=3)
        bench.open(DELETE, fingerprint="fake:2")
        with caplog.at_level(logging.ERROR):
            bench.ask("update")
            bench.live(600.0)

        assert sum("can be learned from" in record.getMessage() for record in caplog.records) == 1


class TestRefused:
    def test_a_candidate_for_another_extractor_is_refused_once(self, bench: Bench) -> None:
        """After a changed extractor a refused candidate is not trained again until something new comes."""
        bench.open()
        teach(bench, cat=4, dog=4)
        bench.open(fingerprint="fake:2", extra=[("never", Never())])
        before = bench.recorder.names().count("candidate_evaluated")
        bench.ask("update")
        bench.live(300.0)
        assert bench.recorder.names().count("candidate_evaluated") == before + 1

        teach(bench, fox=2)
        bench.live(300.0)
        assert bench.recorder.names().count("candidate_evaluated") == before + 2


class TestReluctance:
    def test_a_plugin_that_says_no_is_asked_now_and_then(self, bench: Bench) -> None:
        """While a plugin postpones the update it is asked every few seconds, not in a loop."""
        plugin = Reluctant()
        bench.open(extra=[("reluctant", plugin)])
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.live(10.0)
        before = plugin.asked
        bench.live(600.0)

        # Once at each of its own times, and once at each poll of the drop folder.
        assert 600 / REST_SECONDS <= plugin.asked - before <= 2 * 600 / REST_SECONDS + 2
        assert bench.ask("status")["version"] is None

    def test_new_samples_and_removals_in_between_start_no_loop(self, bench: Bench) -> None:
        """What arrives or is forgotten while a plugin says no is asked about once more, then it rests again."""
        plugin = Reluctant()
        bench.open(extra=[("reluctant", plugin)])
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.live(10.0)
        drop_texts(bench.drop, "dog", ["dog 1", "dog 2"])
        bench.live(60.0)
        bench.ask("forget", label="dog")
        before = plugin.asked
        steps = bench.live(60.0)

        assert steps < 60
        assert plugin.asked - before < 60

    def test_a_single_run_does_not_wait_for_it(self, bench: Bench) -> None:
        """With an update that a plugin postpones nothing is left to do for `run --once`."""
        agent = bench.open(extra=[("reluctant", Reluctant())])
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.settle()

        assert agent.idle()

    def test_who_asks_is_told_why_not(self, bench: Bench) -> None:
        """An update a person asked for and a plugin refuses is answered with the plugin's reason."""
        bench.open(extra=[("reluctant", Reluctant())])
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])

        answer = bench.ask("update")
        assert (answer["state"], answer["message"]) == ("nothing", "on battery")


class TestWaiting:
    def test_a_changed_extractor_is_noticed(self, bench: Bench) -> None:
        """Asked for an update an agent whose engine was not needed yet finds out that its samples are stale."""
        bench.engine_class = LazyEngine
        agent = bench.open()
        agent.start()
        teach(bench, cat=2)
        bench.open(fingerprint="fake:2")

        assert bench.ask("update")["state"] == "published"
        assert bench.ask("update")["state"] == "nothing"

    def test_a_camera_that_writes_on_and_on_is_no_loop(self, bench: Bench) -> None:
        """An update that was asked for waits for a while without being busy, and then for that file no longer."""
        agent = bench.open(Config(update=UpdateConfig(min_new_samples=1)))
        teach(bench, cat=2)
        path = drop_texts(bench.drop, "dog", ["dog"])[0]
        drop_texts(bench.drop, "cat", ["cat 3"])
        request = Request("update")
        agent.ask(request)
        steps = 0
        for second in range(100):
            path.write_text("dog " * (second + 1))
            steps += bench.live(1.0)

        assert (request.reply.result(timeout=0)["state"], path.exists()) == ("published", True)
        assert steps < 500

    def test_what_was_dropped_just_now_belongs_to_it(self, bench: Bench) -> None:
        """An update takes in a file that came after the last listing of a polled folder."""
        agent = bench.open()
        teach(bench, cat=2)
        agent._open_stages.folder.look_again()
        agent.step()
        drop_texts(bench.drop, "dog", ["dog 1"])

        assert bench.ask("update")["samples"] == 3

    def test_features_that_cannot_be_stored_are_no_loop(self, bench: Bench) -> None:
        """While the archive is read again and the store refuses, the agent rests and says why."""
        bench.open()
        teach(bench, cat=2, dog=2)
        agent = bench.open(fingerprint="fake:2")
        agent.start()
        agent._open_stages.store.__class__ = CrampedStore
        bench.live(300.0)

        status = bench.ask("status")
        assert (status["state"], status["trouble"]) == ("degraded", "no room for features")
        agent._open_stages.store.__class__ = SampleStore
        bench.live(60.0)
        assert (bench.ask("status")["state"], bench.ask("status")["version"]) == ("ok", 2)

    def test_everybody_who_asked_hears_the_outcome(self, bench: Bench) -> None:
        """Several who ask while one update runs all get its answer."""
        agent = bench.open()
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        requests = [Request("update"), Request("update", {"force": True})]
        for request in requests:
            agent.ask(request)
        bench.settle()

        assert [request.reply.result(timeout=0)["version"] for request in requests] == [1, 1]

    def test_an_agent_that_closes_tells_who_waits(self, bench: Bench) -> None:
        """Nobody is left waiting for an update that will not come."""
        agent = bench.open()
        drop_texts(bench.drop, "cat", ["cat 1"])
        request = Request("update")
        agent.ask(request)
        agent.step()
        bench.close()

        with pytest.raises(Exception, match="stopped before it could answer"):
            request.reply.result(timeout=0)


class TestLimits:
    @staticmethod
    def heat(bench: Bench, celsius: float) -> None:
        """Let the board's sensor say so."""
        zone = bench.home.parent / "board" / "sys" / "class" / "thermal" / "thermal_zone0"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "type").write_text("cpu-thermal\n")
        (zone / "temp").write_text(f"{celsius * 1000:.0f}\n")

    def config(self, bench: Bench, **limits: Any) -> Config:
        """An agent that learns in many mini-batches, on a board of files."""
        self.heat(bench, 50.0)
        return Config(
            limits=LimitsConfig(root=str(bench.home.parent / "board"), **limits),
            learning=LearningConfig(head="sgd", parameters={"epochs": 100_000, "mini_batch_size": 1}),
        )

    def test_no_update_begins_on_a_hot_board(self, bench: Bench) -> None:
        """E6: what arrives is taken in, the status says what is waited for, and the update comes by itself."""
        root = str(bench.home.parent / "board")
        self.heat(bench, 90.0)
        bench.open(Config(limits=LimitsConfig(root=root)))
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.live(60.0)
        hot = bench.ask("status")
        asked = bench.ask("update")
        self.heat(bench, 78.0)
        bench.live(60.0)
        warm = bench.ask("status")
        self.heat(bench, 74.0)
        bench.live(60.0)
        cool = bench.ask("status")

        assert (hot["samples"], hot["version"]) == (2, None)
        assert "90 °C" in hot["limited"]
        assert (asked["state"], "90 °C" in asked["message"]) == ("nothing", True)
        assert "78 °C" in warm["limited"]
        assert (cool["version"], cool["limited"]) == (1, "")

    def test_who_insists_is_obeyed(self, bench: Bench) -> None:
        """`update --force` learns on a hot board, too."""
        self.heat(bench, 90.0)
        bench.open(Config(limits=LimitsConfig(root=str(bench.home.parent / "board"))))
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])

        assert bench.ask("update", force=True)["state"] == "published"

    def test_an_update_rests_within_two_seconds_and_goes_on(self, bench: Bench) -> None:
        """E6: heat suspends the task under way; it goes on below the limit less its margin, not before."""
        agent = bench.open(self.config(bench))
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        drop_texts(bench.drop, "dog", ["dog 1", "dog 2"])
        while not agent.updating:
            bench.clock.advance(1.0)
            agent.step()
        task = agent._open_stages.learning.task
        assert task is not None

        def after(celsius: float, state: MLTaskState) -> bool:
            """Whether the task is told so at most two seconds after the sensor says so, and gets there."""
            self.heat(bench, celsius)
            waited = 0.0
            while waited < 2.0:
                patience = min(agent._patience(), 2.0 - waited)
                bench.clock.advance(patience)
                waited += max(patience, 0.1)
                agent.step()
            return told_to_rest(task) is (state is MLTaskState.SUSPENDED) and gets_to(task, state)

        assert after(60.0, MLTaskState.RUNNING)
        assert after(85.0, MLTaskState.SUSPENDED)
        assert "85 °C" in bench.ask("status")["limited"]
        assert after(77.0, MLTaskState.SUSPENDED)
        assert after(74.0, MLTaskState.RUNNING)
        assert bench.ask("status")["limited"] == ""
        assert after(85.0, MLTaskState.SUSPENDED)
        bench.close()
        assert task.state is MLTaskState.CANCELLED


def told_to_rest(task: MLUpdateTask) -> bool:
    """Whether a pause was asked for and not taken back."""
    return task._pausing


def gets_to(task: MLUpdateTask, state: MLTaskState) -> bool:
    """Whether the task's thread gets to a state; it passes through others while its handler is told something."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        if task.state is state:
            return True
        threading.Event().wait(0.001)
    return False
