"""Samples: what is added, corrected, forgotten and found again."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading

import numpy as np
import pytest

from edge_agent.errors import NotFoundError, StoreError
from edge_agent.store.samples import SampleStore, encode_features


def kinds(results):
    """What became of each."""
    return [result.kind for result in results]


class TestAdd:
    def test_order_of_arrival_and_facts(self, store, new_sample):
        """Samples come back in the order of arrival, with everything that was said about them."""
        results = store.add([new_sample(2), new_sample(1, "dog")], "fp")

        first, second = store.list()
        assert kinds(results) == ["added", "added"]
        assert [result.sample for result in results] == [first, second]
        assert first.sequence < second.sequence
        assert dataclasses.asdict(second) == {
            "digest": new_sample(1).digest,
            "label": "dog",
            "sequence": second.sequence,
            "added_at": 1000.0,
            "source_name": "1.jpg",
            "stored_path": "archive/dog/1.jpg",
            "size_bytes": 1001,
            "width": 640,
            "height": 480,
        }

    def test_same_bytes_count_once(self, store, new_sample):
        """The same picture again is a duplicate, in another call as in the same one, and keeps its path."""
        store.add([new_sample(1)], "fp")

        results = store.add([new_sample(1, stored_path="x"), new_sample(2), new_sample(2)], "fp")

        assert kinds(results) == ["duplicate", "added", "duplicate"]
        assert results[0].sample.stored_path == "archive/cat/1.jpg"
        assert store.count() == 2
        assert store.revision == 2

    def test_newest_label_wins(self, store, new_sample):
        """Known bytes under another label take that label and the path planned now, and keep their place."""
        store.add([new_sample(1), new_sample(2)], "fp")

        [result] = store.add([new_sample(1, "dog")], "fp")

        assert result.kind == "relabelled"
        assert result.previous_path == "archive/cat/1.jpg"
        assert result.sample == store.list()[0]
        assert (result.sample.label, result.sample.stored_path) == ("dog", "archive/dog/1.jpg")

    def test_relabel_without_a_planned_path_keeps_the_old_one(self, store, new_sample):
        """Where pictures are not kept from now on, one that was kept is still found."""
        store.add([new_sample(1)], "fp")

        [result] = store.add([new_sample(1, "dog", stored_path="")], "fp")

        assert result.sample.stored_path == "archive/cat/1.jpg"

    def test_several_words_about_one_picture_in_one_call(self, store, new_sample):
        """Within one call, too, the last label wins."""
        results = store.add([new_sample(1, label) for label in ("a", "b", "a")], "fp")

        assert kinds(results) == ["added", "relabelled", "relabelled"]
        assert store.counts() == {"a": 1}

    def test_nothing_is_nothing(self, store):
        """An empty batch does not even start a transaction."""
        assert store.add([], "fp") == []
        assert store.revision == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"features": np.array([np.nan] * 8, np.float32)},
            {"features": np.zeros(7, np.float32)},
            {"digest": "abc"},
            {"digest": "Z" * 64},
        ],
    )
    def test_one_wrong_sample_and_none_is_kept(self, store, new_sample, wrong):
        """A batch is kept whole or not at all, and the store works on."""
        with pytest.raises(ValueError, match=r"features|digest"):
            store.add([new_sample(1), new_sample(2, **wrong)], "fp")

        assert store.count() == 0
        assert kinds(store.add([new_sample(1)], "fp")) == ["added"]

    def test_an_extractor_keeps_its_length(self, store, new_sample):
        """Features of another length under the same fingerprint are a mistake, said with both lengths."""
        store.add([new_sample(1)], "fp")

        with pytest.raises(ValueError, match="gives 8 features, not 9"):
            store.add([new_sample(2, n_features=9)], "fp")

    def test_digests_that_begin_alike(self, store, new_sample):
        """Two pictures whose digests share their first 20 digits are two samples."""
        digests = ["ab" * 10 + "0" * 44, "ab" * 10 + "1" * 44]

        results = store.add([new_sample(i, digest=digest) for i, digest in enumerate(digests)], "fp")

        assert kinds(results) == ["added", "added"]
        assert store.remove(digests[0]).digest == digests[0]
        assert [sample.digest for sample in store.list()] == digests[1:]

    def test_a_file_name_that_is_not_text(self, store, new_sample):
        """Names that are not UTF-8 come back as they were."""
        name = os.fsdecode(b"p\xff.jpg")

        store.add([new_sample(1, source_name=name, stored_path=f"archive/{name}")], "fp")

        assert store.list()[0].source_name == name
        assert store.list()[0].stored_path == f"archive/{name}"


class TestFind:
    def test_by_the_beginning_of_a_digest(self, store, new_sample):
        """A unique beginning of any length, in any case, finds the sample."""
        store.add([new_sample(i) for i in range(20)], "fp")
        digest = new_sample(7).digest

        assert {store.get(digest[:n]).digest for n in (6, 16, 17, 63, 64)} == {digest}
        assert store.get(digest.upper()).digest == digest

    @pytest.mark.parametrize("prefix", ["", "zz", "%", "f" * 64, "0" * 65, "ab\x00"])
    def test_not_there(self, store, new_sample, prefix):
        """Nothing, nonsense and an unknown digest are a `NotFoundError` that shows what was asked for."""
        store.add([new_sample(1)], "fp")

        with pytest.raises(NotFoundError, match="no sample has"):
            store.get(prefix)

    def test_ambiguous(self, store, new_sample):
        """A beginning that fits two samples is refused."""
        store.add([new_sample(i, digest="ab" + f"{i:062x}") for i in range(2)], "fp")

        with pytest.raises(NotFoundError, match="more than one"):
            store.get("ab")

    def test_list_by_label_and_page(self, store, new_sample):
        """Labels filter; limit and offset page through the order of arrival."""
        store.add([new_sample(i, "cat" if i % 2 else "dog") for i in range(6)], "fp")

        assert [sample.source_name for sample in store.list("cat")] == ["1.jpg", "3.jpg", "5.jpg"]
        assert [sample.source_name for sample in store.list(limit=2, offset=3)] == ["3.jpg", "4.jpg"]
        assert store.list("cow") == []
        assert store.counts() == {"cat": 3, "dog": 3}


class TestCorrect:
    def test_relabel(self, store, new_sample):
        """A relabelled sample is counted under its new label; the same label again changes nothing."""
        store.add([new_sample(1), new_sample(2)], "fp")

        assert store.relabel(new_sample(1).digest, "dog").label == "dog"
        store.relabel(new_sample(1).digest, "dog")

        assert store.counts() == {"cat": 1, "dog": 1}
        assert store.revision == 3

    def test_stored_path(self, store, new_sample):
        """Where a picture lies can be said anew; that is no change of the data."""
        store.add([new_sample(1)], "fp")

        store.set_stored_path(new_sample(1).digest, "archive/elsewhere.jpg")

        assert store.list()[0].stored_path == "archive/elsewhere.jpg"
        assert store.revision == 1

    @pytest.mark.parametrize("digest", ["f" * 64, "f" * 10, ""])
    def test_unknown_sample(self, store, digest):
        """Every correction of a sample that is not there is a `NotFoundError`."""
        for correct in (
            lambda: store.relabel(digest, "dog"),
            lambda: store.remove(digest),
            lambda: store.set_stored_path(digest, "x"),
            lambda: store.put_features(digest, "fp", np.zeros(8, np.float32)),
        ):
            with pytest.raises(NotFoundError):
                correct()


class TestForget:
    def test_nothing_of_it_is_left_in_the_files(self, tmp_path, store, new_sample):
        """After `remove` neither features nor digest nor name are in the database or beside it."""
        store.add([new_sample(i, n_features=1280) for i in range(5)], "fp")
        gone = new_sample(2, n_features=1280)
        traces = [encode_features(gone.features)[8:200], bytes.fromhex(gone.digest), b"cat/2.jpg"]
        before = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert all(trace in before for trace in traces)

        assert store.remove(gone.digest).source_name == "2.jpg"

        after = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert not any(trace in after for trace in traces)
        assert store.count() == 4

    def test_a_label_with_its_name(self, tmp_path, store, new_sample):
        """Forgetting a label returns what was forgotten and leaves not even its name."""
        store.add([new_sample(i, "secret-label" if i % 2 else "cat", stored_path="") for i in range(6)], "fp")

        forgotten = store.remove_label("secret-label")

        assert [sample.source_name for sample in forgotten] == ["1.jpg", "3.jpg", "5.jpg"]
        assert store.counts() == {"cat": 3}
        assert store.remove_label("secret-label") == []
        assert b"secret-label" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())

    def test_may_come_back(self, store, new_sample):
        """A forgotten picture can be learned again, with a number of its own."""
        first = store.add([new_sample(1)], "fp")[0].sample
        store.remove(first.digest)

        again = store.add([new_sample(1)], "fp")[0]

        assert again.kind == "added"
        assert again.sample.sequence > first.sequence

    def test_every_extractor_forgets(self, store, new_sample):
        """Features of all extractors go with the sample."""
        store.add([new_sample(1)], "old")
        store.put_features(new_sample(1).digest, "new", np.zeros(4, np.float32))

        store.remove(new_sample(1).digest)

        assert len(store.snapshot("old")) == len(store.snapshot("new")) == 0


class TestRevision:
    def test_grows_with_every_change_and_never_shrinks(self, tmp_path, new_sample):
        """Added, relabelled and removed count one each, also after the newest is gone and after a restart."""
        path = tmp_path / "agent.db"
        with SampleStore(path) as store:
            store.add([new_sample(1), new_sample(2)], "fp")
            assert store.revision == 2
            store.relabel(new_sample(1).digest, "dog")
            store.remove(new_sample(2).digest)
            assert store.revision == 4

        with SampleStore(path) as store:
            assert store.revision == 4
            store.add([new_sample(3)], "fp")
            assert store.revision == 5


class TestExtractors:
    def test_another_extractor_starts_with_nothing(self, store, new_sample):
        """Features belong to one extractor; the other's are missing until they are put."""
        store.add([new_sample(i) for i in range(3)], "old")
        assert [sample.source_name for sample in store.missing_features("new", limit=2)] == ["0.jpg", "1.jpg"]

        store.put_features(new_sample(1).digest, "new", np.arange(4, dtype=np.float32))

        assert [sample.source_name for sample in store.missing_features("new")] == ["0.jpg", "2.jpg"]
        assert store.missing_features("old") == []
        assert store.snapshot("new").digests == [new_sample(1).digest]
        assert store.snapshot("new").n_features == 4
        assert len(store.snapshot("old")) == 3

    def test_features_can_be_replaced(self, store, new_sample):
        """The same extractor may be asked again; its last answer counts."""
        store.add([new_sample(1)], "fp")

        store.put_features(new_sample(1).digest, "fp", np.full(8, 5, np.float32))

        X, _ = store.snapshot("fp").provider().arrays([0])
        assert (X == 5).all()

    def test_duplicate_brings_missing_features(self, store, new_sample):
        """A picture that arrives again under a new extractor gets its features."""
        store.add([new_sample(1)], "old")

        assert kinds(store.add([new_sample(1)], "new")) == ["duplicate"]
        assert store.missing_features("new") == []

    def test_too_many_are_refused(self, store, new_sample):
        """The limit of extractors is said, not met with wrong numbers."""
        for number in range(62):
            store.add([new_sample(1)], f"fp{number}")

        with pytest.raises(StoreError, match="62 extractors"):
            store.add([new_sample(1)], "one more")

        assert len(store.snapshot("fp61")) == 1


class TestJournal:
    def test_last_update(self, tmp_path):
        """The newest entry is found again with the time it was written."""
        with SampleStore(tmp_path / "agent.db", clock=lambda: 12.5) as store:
            assert store.last_update() is None
            store.record_update(state="failed", version=None, samples=3, seconds=0.5, message="why")
            store.record_update(state="completed", version=7, samples=4, seconds=1.5, accuracy=0.9)

            last = store.last_update()

        assert last is not None
        assert dataclasses.astuple(last) == (12.5, "completed", 7, 4, 1.5, 0.9, "")

    def test_does_not_grow_without_end(self, store):
        """Only the newest thousand entries are kept."""
        for number in range(1005):
            store.record_update(state="completed", version=number, samples=0, seconds=0.0)

        with store._database.reading() as connection:
            assert connection.execute("SELECT count(*), min(version) FROM updates").fetchone() == (1000, 5)

    def test_notes(self, store):
        """A note is what was last written under its key."""
        assert store.meta("key") is None
        store.set_meta("key", "a")
        store.set_meta("key", "b")

        assert store.meta("key") == "b"


class TestLife:
    def test_files_are_private(self, tmp_path, store, new_sample):
        """The database and what SQLite puts beside it can be read by their owner only."""
        store.add([new_sample(1)], "fp")

        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == dict.fromkeys(
            ("agent.db", "agent.db-reserve", "agent.db-reserve-2", "agent.db-shm", "agent.db-wal"), 0o600
        )

    def test_everything_is_there_after_reopening(self, tmp_path, new_sample):
        """Closing leaves the file and the reserve; everything is read again; closing twice is fine."""
        with SampleStore(tmp_path / "agent.db") as store:
            store.add([new_sample(i) for i in range(70)], "fp")
            listed = store.list()
            store.close()
        assert {path.name for path in tmp_path.iterdir()} == {
            "agent.db",
            "agent.db-reserve",
            "agent.db-reserve-2",
        }

        with SampleStore(tmp_path / "agent.db") as store:
            assert store.list() == listed
            assert kinds(store.add([new_sample(3), new_sample(70)], "fp")) == ["duplicate", "added"]

    def test_reading_writes_nothing(self, tmp_path, store, new_sample):
        """A6: Looking at the data leaves every file as it is: an idle agent does not wear the card."""
        store.add([new_sample(1)], "fp")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"}

        store.list()
        store.counts()
        store.snapshot("fp").provider().arrays([0])
        assert store.revision == 1

        assert before == {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"
        }

    def test_another_process_may_look(self, tmp_path, store, new_sample):
        """A read-only store sees what was committed, before and after, and cannot write."""
        store.add([new_sample(1)], "fp")
        with SampleStore(tmp_path / "agent.db", read_only=True) as reader:
            assert reader.counts() == {"cat": 1}
            store.add([new_sample(2)], "fp")
            assert reader.counts() == {"cat": 2}
            with pytest.raises(StoreError, match=r"agent\.db"):
                reader.set_meta("a", "b")

    def test_looking_when_nobody_writes(self, tmp_path, new_sample):
        """A read-only store also opens what its writer has closed."""
        with SampleStore(tmp_path / "agent.db") as store:
            store.add([new_sample(1)], "fp")
        with SampleStore(tmp_path / "agent.db", read_only=True) as reader:
            assert reader.counts() == {"cat": 1}
            assert reader.revision == 1

    def test_looking_where_nothing_is(self, tmp_path):
        """A read-only store makes no file, and says that there is none."""
        with pytest.raises(StoreError, match="no database here yet"):
            SampleStore(tmp_path / "agent.db", read_only=True)

        assert list(tmp_path.iterdir()) == []

    def test_closed_store_says_so(self, store, new_sample):
        """Using a closed store is a `StoreError`, not a crash of the database library."""
        store.close()

        for use in (store.count, store.list, lambda: store.add([new_sample(1)], "fp")):
            with pytest.raises(StoreError, match="closed"):
                use()

    def test_threads_read_while_one_writes(self, store, new_sample):
        """Readers on other threads see whole batches only, and never disturb the writer."""
        seen: list[int] = []
        wrong: list[object] = []
        done = threading.Event()

        def read():
            while not done.is_set():
                count = store.count()
                X, labels = store.snapshot("fp").provider().arrays(slice(None))
                seen.append(count)
                if count % 5 or len(X) % 5 or len(labels) != len(X):
                    wrong.append((count, len(X)))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for batch in range(40):
            store.add([new_sample(5 * batch + i) for i in range(5)], "fp")
        done.set()
        for thread in threads:
            thread.join()

        assert wrong == []
        assert len(seen) >= 3
        assert store.count() == 200
