"""Files become samples exactly once, and no file holds up another."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.agent.intake import FRESH_SECONDS, MOST_TRIES
from edge_agent.config import Config, DropFolderConfig, PicturesConfig
from edge_agent.default_plugins import labels
from edge_agent.errors import PluginError
from edge_agent.hookspecs import hookimpl
from edge_agent.testing import FakeEngine, drop_texts
from edge_agent.vision.engine import Extraction

if TYPE_CHECKING:
    from tests.agent.conftest import Bench
    from tests.conftest import Guests


class TiredEngine(FakeEngine):
    """Fails for ever, through no fault of the picture, at every text that begins with `tired`."""

    def _look(self, key: object, data: bytes, variant: str = "") -> Extraction:
        seen = super()._look(key, data, variant)
        if not data.startswith(b"tired"):
            return seen
        return Extraction(
            key=key,
            digest=seen.digest,
            features=None,
            width=0,
            height=0,
            error="the engine died",
            permanent=False,
            seconds=0.0,
        )


class SlowEngine(FakeEngine):
    """Takes a second of the fake clock for each picture, and does something with each."""

    seconds = 1.0
    meanwhile: Callable[[int], None] = staticmethod(lambda _count: None)

    def extract(
        self, jobs: Iterable[tuple[object, int]], *, keep: bool = False, digest: bool = True
    ) -> Iterator[Extraction]:
        """Answer slowly."""
        for extraction in super().extract(jobs):
            self._monotonic.advance(self.seconds)  # type: ignore[attr-defined]
            self.meanwhile(self.extracted)
            yield extraction


def files(folder: Path) -> list[str]:
    """The names of all files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def rejection(bench: Bench, label: str) -> str:
    """The one reason that lies in rejected/<label>."""
    return next((bench.home / "rejected" / label).glob("*.reason.txt")).read_text()


class TestStuck:
    def test_a_stored_file_that_cannot_leave_holds_up_nobody(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where the archive refuses one label its samples count, are told once and named; the others go on."""
        (bench.home / "archive").mkdir(parents=True)
        (bench.home / "archive" / "cat").write_text("in the way")
        bench.open()
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        drop_texts(bench.drop, "dog", ["dog 1", "dog 2"])
        with caplog.at_level(logging.WARNING):
            bench.settle()
            bench.live(700.0)

        status = bench.ask("status")
        assert (status["labels"], status["pending"]) == ({"cat": 2, "dog": 2}, 0)
        assert sorted(one["path"] for one in status["ignored"]) == [
            str(bench.drop / "cat" / f"cat-{i}.jpg") for i in (1, 2)
        ]
        assert "cannot leave the drop folder" in status["ignored"][0]["reason"]
        assert (status["state"], status["version"]) == ("ok", 1)
        assert bench.recorder.names().count("sample_ingested") == 4
        assert bench.engines[-1].extracted <= 4 + 2 * 4  # once, and again at most every rescan_seconds
        assert sum("cannot leave" in record.getMessage() for record in caplog.records) == 2

    def test_it_leaves_once_the_way_is_free(self, bench: Bench) -> None:
        """At the next look after the obstacle is gone the file is archived and no longer named."""
        (bench.home / "archive").mkdir(parents=True)
        obstacle = bench.home / "archive" / "cat"
        obstacle.write_text("in the way")
        bench.open()
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.settle()
        obstacle.unlink()
        bench.live(700.0)

        assert files(bench.drop) == []
        assert len(files(bench.home / "archive" / "cat")) == 2
        assert bench.ask("status")["ignored"] == []
        assert bench.recorder.names().count("sample_ingested") == 2

    def test_one_that_its_owner_takes_away_is_waited_for_no_longer(self, bench: Bench) -> None:
        """It is neither named nor counted from the next question on, without a look at the drop folder."""
        (bench.home / "archive").mkdir(parents=True)
        (bench.home / "archive" / "cat").write_text("in the way")
        bench.open().start()
        paths = drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        bench.settle()
        assert len(bench.ask("status")["ignored"]) == 2
        paths[0].unlink()

        status = bench.ask("status")
        assert (status["pending"], [one["path"] for one in status["ignored"]]) == (0, [str(paths[1])])

    def test_a_refused_file_that_cannot_leave_holds_up_nobody(self, bench: Bench) -> None:
        """Where rejected/ is in the way a bad file is named and stays; pictures are taken in all the same."""
        bench.home.mkdir()
        (bench.home / "rejected").write_text("in the way")
        bench.open()
        drop_texts(bench.drop, "cat", ["bad 1", "cat 1", "cat 2"])
        bench.settle()

        status = bench.ask("status")
        assert (status["samples"], status["rejected"], status["pending"]) == (2, 0, 0)
        assert "not a picture" in status["ignored"][0]["reason"]
        assert files(bench.drop) == ["bad-1.jpg"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
    def test_a_folder_without_write_permission_holds_up_nobody(self, bench: Bench) -> None:
        """Files that may be read but not taken away are learned from once, and named."""
        bench.open()
        drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
        (bench.drop / "cat").chmod(0o500)
        try:
            drop_texts(bench.drop, "dog", ["dog 1"])
            bench.settle()
            status = bench.ask("status")
        finally:
            (bench.drop / "cat").chmod(0o700)

        assert status["labels"] == {"cat": 2, "dog": 1}
        assert len(status["ignored"]) == 2


class TestRefused:
    def test_the_longest_names_are_put_aside(self, bench: Bench) -> None:
        """Names of 250 bytes are shortened so that the reason fits beside them; none takes another's place."""
        bench.open()
        names = ["ü" * 123 + ".jpg", "ü" * 122 + "y" + ".jpg"]
        for name in names:
            path = bench.drop / "cat" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("bad one")
        drop_texts(bench.drop, "cat", ["cat 1"])
        bench.settle()

        status = bench.ask("status")
        assert (status["samples"], status["rejected"], status["ignored"]) == (1, 2, [])
        kept = files(bench.home / "rejected")
        assert len(kept) == 4
        assert all(len(name.encode()) <= 255 for name in kept)
        assert {Path(name).suffix for name in kept if not name.endswith(".reason.txt")} == {".jpg"}

    def test_the_same_name_again_gets_a_number(self, bench: Bench) -> None:
        """Refused files of the same name lie beside each other, each with its own reason."""
        bench.open()
        for text in ("bad 1", "bad again"):
            bench.drop.joinpath("cat").mkdir(exist_ok=True)
            (bench.drop / "cat" / "x.jpg").write_text(text)
            bench.settle()

        assert files(bench.home / "rejected") == [
            "x-2.jpg",
            "x-2.jpg.reason.txt",
            "x.jpg",
            "x.jpg.reason.txt",
        ]

    def test_a_reason_without_its_file_is_written_anew(self, bench: Bench) -> None:
        """When the power went between the reason and the file the next refusal takes the same name."""
        note = bench.home / "rejected" / "cat" / "bad-1.jpg.reason.txt"
        note.parent.mkdir(parents=True)
        note.write_text("half a rea")
        bench.open()
        drop_texts(bench.drop, "cat", ["bad 1"])
        bench.settle()

        assert files(bench.home / "rejected") == ["bad-1.jpg", "bad-1.jpg.reason.txt"]
        assert note.read_text() == "this is not a picture\n"

    def test_files_without_a_label_and_bad_labels_are_told_why(self, bench: Bench) -> None:
        """A file directly in the drop folder, and one in a folder that can be no label, are put aside."""
        bench.open()
        (bench.drop / "stray.jpg").write_text("cat 1")
        drop_texts(bench.drop, "what?", ["cat 2"])
        bench.settle()

        assert "folder named after its label" in rejection(bench, "unlabelled")
        told = [fact for name, fact in bench.recorder.events if name == "sample_rejected"]
        assert sorted(fact.label for fact in told) == ["", "what?"]
        assert all((bench.home / fact.stored_path).is_file() for fact in told)

    def test_a_large_file_is_not_even_read(self, bench: Bench) -> None:
        """A file beyond pictures.max_file_bytes is refused with both numbers, and the engine never sees it."""
        bench.open(Config(pictures=PicturesConfig(max_file_bytes=10)))
        drop_texts(bench.drop, "cat", ["cat 12345678"])
        bench.settle()

        assert "12 bytes; the limit is 10" in rejection(bench, "cat")
        assert bench.engines[-1].extracted == 0

    def test_lasting_engine_trouble_ends_in_a_refusal(self, bench: Bench) -> None:
        """A file the engine fails at every time is tried a few times, then put aside; the others are not."""
        bench.engine_class = TiredEngine
        bench.open()
        drop_texts(bench.drop, "cat", ["tired 1", "cat 1"])
        bench.live(120.0)

        status = bench.ask("status")
        assert (status["samples"], status["rejected"], status["pending"]) == (1, 1, 0)
        assert "the engine died" in rejection(bench, "cat")
        assert bench.engines[-1].extracted == MOST_TRIES + 1

    def test_a_file_that_is_still_being_written_gets_time(self, bench: Bench) -> None:
        """A fresh file that is no picture yet is looked at again and taken in once it is whole."""
        bench.open()
        path = drop_texts(bench.drop, "cat", ["bad, half written"])[0]
        os.utime(path, (bench.wall.now, bench.wall.now))
        bench.live(5.0)
        assert (bench.ask("status")["rejected"], path.exists()) == (0, True)

        path.write_text("cat 1")
        os.utime(path, (bench.wall.now, bench.wall.now))
        bench.settle()
        assert (bench.ask("status")["samples"], bench.ask("status")["rejected"]) == (1, 0)

    def test_an_old_file_that_is_no_picture_is_refused_at_once(self, bench: Bench) -> None:
        """What was last written to more than a minute ago is whole, so there is nothing to wait for."""
        bench.open()
        path = drop_texts(bench.drop, "cat", ["bad"])[0]
        then = bench.wall.now - FRESH_SECONDS - 1
        os.utime(path, (then, then))
        bench.live(3.0)

        assert bench.engines[-1].extracted == 1
        assert bench.ask("status")["rejected"] == 1

    def test_refused_files_are_counted_after_a_restart(self, bench: Bench) -> None:
        """The number of refused files comes from the folder, without their reasons."""
        bench.open()
        drop_texts(bench.drop, "cat", ["bad 1", "bad 2"])
        bench.settle()
        bench.open()

        assert bench.ask("status")["rejected"] == 2


class TestBatches:
    def test_stopping_ends_within_one_picture_and_loses_nothing(self, bench: Bench) -> None:
        """`stop` during intake: what was extracted is committed and archived, the rest waits in its folder."""
        bench.engine_class = SlowEngine
        agent = bench.open()
        drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(10)])
        engine = bench.engines[-1]
        assert isinstance(engine, SlowEngine)
        engine.meanwhile = lambda count: agent.stop("SIGTERM") if count == 3 else None  # type: ignore[assignment]
        bench.live(3.0)
        assert (agent.stopping, engine.extracted) == ("SIGTERM", 3)
        bench.close()

        assert len(files(bench.drop)) == 7
        assert len(files(bench.home / "archive")) == 3
        bench.open()
        bench.settle()
        assert bench.ask("status")["samples"] == 10
        assert bench.recorder.names().count("sample_ingested") == 10

    def test_a_slow_batch_is_committed_before_it_is_full(self, bench: Bench) -> None:
        """A6: After five seconds what is extracted is stored, so that a power cut costs little."""
        bench.engine_class = SlowEngine
        bench.open()
        drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(12)])
        archived: list[int] = []
        engine = bench.engines[-1]
        assert isinstance(engine, SlowEngine)
        engine.meanwhile = lambda _count: archived.append(len(files(bench.home / "archive")))  # type: ignore[assignment]
        bench.settle()

        assert archived == [0] * 5 + [5] * 5 + [10] * 2

    def test_a_question_is_answered_between_two_pictures(self, bench: Bench, tmp_path: Path) -> None:
        """While a batch is under way the agent answers after the picture at hand, also predictions."""
        from edge_agent.agent.requests import Request

        bench.engine_class = SlowEngine
        agent = bench.open()
        drop_texts(bench.drop, "cat", [f"cat {i}" for i in range(6)])
        request = Request("status")
        answered: list[bool] = []

        def meanwhile(count: int) -> None:
            answered.append(request.reply.done())
            if count == 2:
                agent.ask(request)

        engine = bench.engines[-1]
        assert isinstance(engine, SlowEngine)
        engine.meanwhile = meanwhile  # type: ignore[assignment]
        bench.settle()

        assert answered == [False, False, True, True, True, True]

    def test_a_file_that_changes_under_way_is_read_again(self, bench: Bench) -> None:
        """A file written to after it was extracted is not stored as what it was, but as what it is."""
        bench.engine_class = SlowEngine
        bench.open()
        path = drop_texts(bench.drop, "cat", ["cat 1"])[0]
        engine = bench.engines[-1]
        assert isinstance(engine, SlowEngine)
        engine.meanwhile = lambda count: path.write_text("cat two") if count == 1 else None  # type: ignore[assignment]
        bench.settle()

        kept = [path.read_text() for path in (bench.home / "archive" / "cat").iterdir()]
        assert kept == ["cat two"]
        assert bench.ask("status")["samples"] == 1

    @pytest.mark.parametrize("stored", [False, True])
    def test_an_edit_that_sets_the_date_back_is_noticed(self, bench: Bench, stored: bool) -> None:
        """E9, B6: exchanged bytes of the same size and date are not kept for what was looked at, silent as it was,
        neither before the features are stored nor after."""
        bench.engine_class = SlowEngine
        edits: list[Path] = []

        def edit(_count: int = 0) -> None:
            if not edits:
                edits.append(path)
                date = path.stat().st_mtime_ns
                path.write_text("cat 2")
                os.utime(path, ns=(date, date))

        class Editor:
            @hookimpl
            def sample_ingested(self, sample: Any) -> None:
                edit()

        bench.open(extra=[("editor", Editor())] if stored else [])
        path = drop_texts(bench.drop, "cat", ["cat 1"])[0]
        engine = bench.engines[-1]
        assert isinstance(engine, SlowEngine)
        if not stored:
            engine.meanwhile = edit  # type: ignore[assignment]
        bench.settle()

        digest = hashlib.sha256(b"cat 2").hexdigest()
        assert edits == [path]
        assert [kept.name[-20:-4] for kept in (bench.home / "archive" / "cat").iterdir()] == [digest[:16]]
        assert digest in {row["digest"] for row in bench.ask("samples")}

    def test_a_plugin_names_the_label(self, bench: Bench) -> None:
        """What `label_sample` says is the label; one that can be no folder name puts the file aside."""

        class Namer:
            @hookimpl
            def label_sample(self, path: str, folder_label: str) -> str | None:
                return {"cat": "feline", "dog": "../dog"}.get(folder_label)

        bench.open(extra=[("namer", Namer())])
        drop_texts(bench.drop, "cat", ["cat 1"])
        drop_texts(bench.drop, "dog", ["dog 1"])
        drop_texts(bench.drop, "fox", ["fox 1"])
        bench.settle()

        assert bench.ask("status")["labels"] == {"feline": 1, "fox": 1}
        assert bench.ask("status")["rejected"] == 1
        [reason] = (bench.home / "rejected").rglob("*.reason.txt")
        assert "'../dog' cannot be a label" in reason.read_text()

    def test_a_wrong_label_of_a_guest_is_told_with_its_name(self, bench: Bench, guests: Guests) -> None:
        """The owner of the folder is not to blame, and sees who is."""
        guests.add("namer", "@hookimpl\ndef label_sample(folder_label):\n    return '../dog'\n")
        host = guests.load(built_in=[("labels", labels)])

        with pytest.raises(PluginError, match=r"plugin 'namer': label_sample: '\.\./dog' cannot be a label"):
            host.label_sample("drop/dog/1.jpg", "dog")
        assert host.reports()[0].errors == 1

    def test_what_is_no_file_is_named(self, bench: Bench, tmp_path: Path) -> None:
        """Links and folders inside a label folder are not read, and the status names them with the reason."""
        bench.open(Config(drop_folder=DropFolderConfig(settle_seconds=0)))
        drop_texts(bench.drop, "cat", ["cat 1"])
        (tmp_path / "secret.jpg").write_text("cat 2")
        (bench.drop / "cat" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
        bench.settle()

        status: dict[str, Any] = bench.ask("status")
        assert status["samples"] == 1
        assert [one["path"] for one in status["ignored"]] == [str(bench.drop / "cat" / "link.jpg")]


def test_a_file_that_is_replaced_while_it_is_stored_is_not_lost(bench: Bench) -> None:
    """B6: a camera that saves each picture under one name loses none: the new one is learned, and kept, too."""

    class Camera:
        """Saves its next picture in the moment when the one before has been stored."""

        @hookimpl
        def sample_ingested(self, sample: Any) -> None:
            if sample.source_name == "now.jpg" and not (bench.drop / "cat" / "seen").exists():
                (bench.drop / "cat" / "seen").mkdir()
                (bench.drop / "next").write_text("cat second")
                (bench.drop / "next").replace(bench.drop / "cat" / "now.jpg")

    bench.open(extra=[("camera", Camera())])
    (bench.drop / "cat").mkdir(parents=True)
    (bench.drop / "cat" / "now.jpg").write_text("cat first")
    bench.settle()
    bench.live(60.0)

    assert bench.ask("status")["samples"] == 2
    assert {path.read_text() for path in (bench.home / "archive" / "cat").iterdir()} == {"cat second"}
