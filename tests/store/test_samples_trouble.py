"""The store when it is killed, damaged, locked, full or from another time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.errors import DamagedError, DiskFailedError, DiskFullError, NotFoundError, StoreError
from edge_agent.store.samples import NewSample, SampleStore

ROOT = Path(__file__).resolve().parents[2]
BATCH = 5

ADD = """
import hashlib, pathlib, sys
import numpy as np
from edge_agent.store.samples import NewSample, SampleStore

def sample(i):
    digest = hashlib.sha256(str(i).encode()).hexdigest()
    return NewSample(digest, "cat", f"{i}.jpg", "", 1, 1, 1, np.full(300, i, np.float32))

store = SampleStore(pathlib.Path(sys.argv[1]))
for batch in range(int(sys.argv[2])):
    store.add([sample(5 * batch + i) for i in range(5)], "fp")
    print(batch, flush=True)
"""


def start(path, batches, *before):
    """A child that adds batches of five and prints the number of each when it is acknowledged."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", ADD, str(path), str(batches)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )


def check_survivors(path, acknowledged):
    """Acknowledged batches are there, each whole, nothing twice, and features belong to their sample."""
    with SampleStore(path) as store:
        samples = store.list()
        training_set = store.snapshot("fp")
        X, _ = training_set.provider().arrays(slice(None))
    if not samples:
        assert acknowledged == 0
        return
    names = [sample.source_name for sample in samples]
    assert names == [f"{i}.jpg" for i in range(len(samples))]
    assert len(samples) % BATCH == 0
    assert len(samples) >= BATCH * acknowledged
    by_digest = {sample.digest: float(sample.source_name.removesuffix(".jpg")) for sample in samples}
    assert [by_digest[digest] for digest in training_set.digests] == X[:, 0].tolist()


class TestKilled:
    def test_each_commit_is_forced_to_the_disk(self, tmp_path):
        """A1: The log is written ahead, and synced at each commit; a power cut cannot be tried here."""
        with SampleStore(tmp_path / "agent.db") as store, store.database.writing() as connection:
            held = [
                connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("journal_mode", "synchronous")
            ]

        assert held == ["wal", 2]

    @pytest.mark.parametrize("acknowledged", [0, 1, 7, 30])
    def test_what_was_acknowledged_is_there(self, tmp_path, acknowledged):
        """A1: A child killed while it adds keeps every batch it reported, and at most one more, whole."""
        path = tmp_path / "agent.db"
        with start(path, 10_000) as process:
            assert process.stdout is not None
            for _ in range(acknowledged):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            heard = acknowledged + len(process.stdout.readlines())

        if path.exists():
            check_survivors(path, heard)

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
    @pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
    def test_killed_at_every_call_that_writes(self, tmp_path, call):
        """A1: Whichever write or sync kills the child, what it acknowledged is there and nothing is twice."""
        for number in range(1, 200, 7):
            path = tmp_path / f"{number}.db"
            inject = f"inject={call}:signal=SIGKILL:when={number}"
            with start(
                path, 8, "strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject
            ) as process:
                assert process.stdout is not None
                heard = len(process.stdout.readlines())
            if path.exists():
                check_survivors(path, heard)
            if heard == 8:
                break
        else:
            pytest.fail("the child never came to its end")
        assert number > 7


class TestDamaged:
    def fill(self, path, new_sample):
        """A store with enough samples for several pages."""
        with SampleStore(path) as store:
            store.add([new_sample(i, n_features=600) for i in range(60)], "fp")

    def test_not_a_database(self, tmp_path):
        """Other bytes under the name are a `DamagedError` with the path, and are left as they are."""
        (tmp_path / "agent.db").write_bytes(b"no database at all " * 100)

        with pytest.raises(DamagedError, match=r"agent\.db"):
            SampleStore(tmp_path / "agent.db")

        assert (tmp_path / "agent.db").read_bytes().startswith(b"no database")

    @pytest.mark.parametrize("offset", [100, 1024, 12 * 1024])
    def test_overwritten_page(self, tmp_path, new_sample, offset):
        """A page full of other bytes is found at the latest when the store is opened."""
        self.fill(tmp_path / "agent.db", new_sample)
        with (tmp_path / "agent.db").open("r+b") as file:
            file.seek(offset)
            file.write(b"\xa5" * 4000)

        with pytest.raises(DamagedError, match=r"agent\.db: the database is damaged"):
            SampleStore(tmp_path / "agent.db")

    @pytest.mark.parametrize(
        "damage",
        [
            "PRAGMA application_id = 7",
            "ALTER TABLE samples RENAME COLUMN label TO labdl",
            "DROP TABLE meta",
            "UPDATE samples SET digest = x'00' WHERE sequence = 3",
            "UPDATE samples SET label = CAST(x'ff61' AS TEXT) WHERE sequence = 3",
            "UPDATE samples SET size_bytes = 'many' WHERE sequence = 3",
            "UPDATE features SET data = x'00' WHERE id = (SELECT min(id) FROM features)",
            "UPDATE extractors SET n_features = 601",
            "INSERT INTO meta VALUES ('forgetting', '{\"digests\": [')",
            "INSERT INTO meta VALUES ('forgetting', CAST(x'e5e5' AS TEXT))",
        ],
    )
    def test_bytes_that_changed_within_a_sound_tree(self, tmp_path, new_sample, damage):
        """A2: What SQLite itself does not mind and the agent would fail over, again and again, is damage too."""
        self.fill(tmp_path / "agent.db", new_sample)
        with contextlib.closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as connection:
            connection.execute(damage)

        with pytest.raises(DamagedError, match=r"agent\.db: the database is damaged"):
            SampleStore(tmp_path / "agent.db")

    def test_cut_short(self, tmp_path, new_sample):
        """A file that lost its end is a `DamagedError`."""
        self.fill(tmp_path / "agent.db", new_sample)
        os.truncate(tmp_path / "agent.db", 20 * 1024)

        with pytest.raises(DamagedError):
            SampleStore(tmp_path / "agent.db")

    def test_damage_under_way(self, tmp_path, new_sample):
        """Damage that comes while the store is open is a `DamagedError` when it is met, never a raw error."""
        self.fill(tmp_path / "agent.db", new_sample)
        with SampleStore(tmp_path / "agent.db") as store:
            size = (tmp_path / "agent.db").stat().st_size
            with (tmp_path / "agent.db").open("r+b") as file:
                file.seek(1024)
                file.write(b"\xa5" * (size - 1024))

            with pytest.raises(DamagedError, match=r"agent\.db"):
                store.snapshot("fp").provider().arrays(slice(None))

    def test_newer_format(self, tmp_path, new_sample):
        """A database of a later version is refused with both numbers and is not touched."""
        self.fill(tmp_path / "agent.db", new_sample)
        with sqlite3.connect(tmp_path / "agent.db") as connection:
            connection.execute("PRAGMA user_version = 2")
        connection.close()

        with pytest.raises(StoreError, match=r"newer edge_agent.*format 2.*known is 1") as caught:
            SampleStore(tmp_path / "agent.db")

        assert not isinstance(caught.value, DamagedError)

    def test_another_programs_database(self, tmp_path):
        """A database with tables that are not ours is left alone."""
        with sqlite3.connect(tmp_path / "agent.db") as connection:
            connection.execute("CREATE TABLE photos (id)")
        connection.close()

        with pytest.raises(StoreError, match="another program's database"):
            SampleStore(tmp_path / "agent.db")

    def test_a_folder_or_a_link_instead(self, tmp_path):
        """What cannot be opened as a file is a `StoreError` with the path."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")

        for name in ("folder", "link"):
            with pytest.raises(StoreError, match=name):
                SampleStore(tmp_path / name)


class TestFailedDisk:
    def test_nothing_is_written_after_an_error(self, tmp_path, new_sample):
        """A4: Once the disk is known to have failed every change is refused with the reason; reading goes on."""
        with SampleStore(tmp_path / "agent.db") as store:
            store.add([new_sample(1)], "fp")
            store.database.distrust("the disk reports an error")
            changes = [
                lambda: store.add([new_sample(2)], "fp"),
                lambda: store.remove(new_sample(1).digest),
                lambda: store.set_meta("doing", '"nothing"'),
                store.database.rewrite,
                store.database.erase_traces,
            ]
            for change in changes:
                with pytest.raises(DiskFailedError, match="disk reports an error; nothing more is stored"):
                    change()

            assert store.count() == 1
        with SampleStore(tmp_path / "agent.db") as store:
            store.add([new_sample(2)], "fp")

            assert store.count() == 2


class TestInTheWay:
    def test_locked_by_another_process(self, tmp_path, store, new_sample):
        """Another writer is a `StoreError` that says so; the store works on when it has gone."""
        other = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store._database._writer.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StoreError, match="locked by another process"):
            store.add([new_sample(1)], "fp")
        other.execute("ROLLBACK")
        other.close()

        store.add([new_sample(1)], "fp")

        assert store.count() == 1

    def test_full_disk(self, small_disk, fill_disk, new_sample):
        """With no room adding is a `DiskFullError`, reading goes on, and so does adding after that."""
        with SampleStore(small_disk / "agent.db") as store:
            store.add([new_sample(1)], "fp")
            ballast = fill_disk(small_disk)
            with contextlib.suppress(DiskFullError):
                for i in range(2, 300):
                    store.add([new_sample(i)], "fp")
            with pytest.raises(DiskFullError, match=r"agent\.db"):
                store.add([new_sample(400 + i) for i in range(50)], "fp")
            kept = store.count()
            assert len(store.snapshot("fp")) == kept
            ballast.unlink()
            store.add([new_sample(1000)], "fp")

        with SampleStore(small_disk / "agent.db") as store:
            assert store.count() == kept + 1

    def test_forgetting_on_a_full_disk(self, small_disk, fill_disk, new_sample):
        """Samples can be forgotten and notes kept one after the other while there is no room at all."""
        with SampleStore(small_disk / "agent.db") as store:
            store.add([new_sample(i, n_features=1280) for i in range(100)], "fp")
            store.set_meta("doing", '"nothing"')
        with SampleStore(small_disk / "agent.db") as store:
            fill_disk(small_disk)
            store.set_meta("doing", '"forget"')
            for i in range(20):
                store.remove(new_sample(i).digest)

            assert store.count() == 80
            assert store.meta("doing") == '"forget"'

    def test_opening_on_a_full_disk(self, small_disk, fill_disk):
        """A store cannot be made where there is no room; that is a `DiskFullError` too."""
        fill_disk(small_disk)

        with pytest.raises(DiskFullError, match=r"agent\.db"):
            SampleStore(small_disk / "agent.db")

    def test_opening_again_on_a_full_disk(self, small_disk, fill_disk, new_sample):
        """A store that is there opens without any room, answers, and forgets; only adding waits for room."""
        with SampleStore(small_disk / "agent.db") as store:
            store.add([new_sample(i) for i in range(10)], "fp")
        fill_disk(small_disk)

        with SampleStore(small_disk / "agent.db") as store:
            assert store.count() == 10
            store.remove(new_sample(1).digest)
            with pytest.raises(DiskFullError):
                store.add([new_sample(100 + i, n_features=500) for i in range(500)], "fp2")
            assert store.count() == 9

    def test_looking_on_a_full_disk(self, small_disk, fill_disk, new_sample):
        """Another process that only looks is told that there is no room, not that something is broken."""
        with SampleStore(small_disk / "agent.db") as store:
            store.add([new_sample(1)], "fp")
        fill_disk(small_disk)

        with pytest.raises(DiskFullError, match=r"agent\.db"):
            SampleStore(small_disk / "agent.db", read_only=True)

    def test_opening_without_inodes(self, small_disk):
        """Where no more files can be made it is the same error."""
        with contextlib.suppress(OSError):
            for number in range(100):
                (small_disk / str(number)).touch()

        with pytest.raises(DiskFullError, match=r"agent\.db"):
            SampleStore(small_disk / "agent.db")


@pytest.mark.measured
def test_bytes_written_for_a_sample(tmp_path, new_sample):
    """A6: In batches of fifty, what reaches the disk is at most 2.5 times what was handed over."""
    counter = Path("/proc/self/io")
    if not counter.exists():
        pytest.skip("this kernel does not count the bytes a process writes")

    def written():
        lines = dict(line.split(": ") for line in counter.read_text().splitlines())
        return int(lines["write_bytes"])

    number = 1000
    with SampleStore(tmp_path / "agent.db") as store:
        before = written()
        for start in range(0, number, 50):
            store.add([new_sample(start + i, n_features=1280) for i in range(50)], "fp")
    bytes_each = (written() - before) / number
    if bytes_each == 0:
        pytest.skip("the temporary folder is not on a disk")

    # Features, digest, path, name, label, and seven numbers.
    payload = 1288 + 32 + len("archive/cat/500.jpg") + len("500.jpg") + len("cat") + 7 * 4
    assert bytes_each < 2.5 * payload


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary, through any sequence of changes and restarts."""

    digests = st.integers(0, 30).map(lambda i: f"{i:02x}" * 32)
    labels = st.sampled_from(["cat", "dog", "cow"])

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SampleStore(Path(self.folder.name) / "agent.db", clock=lambda: 0.0)
        self.model = {}
        self.changes = 0

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    @rule(batch=st.lists(st.tuples(digests, labels), max_size=8))
    def add(self, batch):
        """A batch of pictures, some known, some twice."""
        self.store.add(
            [
                NewSample(d, label, "", "", 0, 0, 0, np.full(3, int(d[:2], 16), np.float32))
                for d, label in batch
            ],
            "fp",
        )
        for digest, label in batch:
            self.changes += self.model.get(digest) != label
            self.model[digest] = label

    @rule(digest=digests, label=labels)
    def relabel(self, digest, label):
        """A correction by hand."""
        if digest not in self.model:
            with pytest.raises(NotFoundError):
                self.store.relabel(digest, label)
            return
        self.store.relabel(digest, label)
        self.changes += self.model[digest] != label
        self.model[digest] = label

    @rule(digest=digests)
    def remove(self, digest):
        """One sample forgotten."""
        if digest not in self.model:
            with pytest.raises(NotFoundError):
                self.store.remove(digest)
            return
        self.store.remove(digest)
        del self.model[digest]
        self.changes += 1

    @rule(label=labels)
    def remove_label(self, label):
        """A label forgotten."""
        gone = {sample.digest for sample in self.store.remove_label(label)}
        assert gone == {digest for digest, known in self.model.items() if known == label}
        self.changes += len(gone)
        self.model = {digest: known for digest, known in self.model.items() if known != label}

    @rule()
    def restart(self):
        """Closed and opened again."""
        self.store.close()
        self.store = SampleStore(Path(self.folder.name) / "agent.db", clock=lambda: 0.0)

    @invariant()
    def agrees(self):
        """Store and model hold the same samples after as many changes, each with its own features."""
        training_set = self.store.snapshot("fp")
        assert list(training_set) == sorted(self.model.items())
        assert self.store.revision == self.changes
        X, _ = training_set.provider().arrays(slice(None))
        assert (
            X[:, 0].tolist() == [int(digest[:2], 16) for digest in sorted(self.model)]
            if len(X)
            else not self.model
        )


TestAnySequence = StoreMachine.TestCase
TestAnySequence.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
