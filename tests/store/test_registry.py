"""Versions: published by one rename, verified when read, rolled back, pruned, and safe from any crash."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.errors import DamagedError, DiskFullError, NotFoundError, StoreError
from edge_agent.store.manifest import FORMAT
from edge_agent.store.registry import VersionFacts, VersionRegistry

ROOT = Path(__file__).resolve().parents[2]


def facts(parent=None, **more):
    """Facts of a version, as an agent would have them."""
    given = {
        "parent": parent,
        "labels": ("cat", "dog"),
        "n_features": 4,
        "n_samples": 10,
        "extractor_fingerprint": "fp",
        "extractor_name": "small",
        "head": "lda",
        "agent_version": "0.1",
        "parameters": {"shrinkage": 0.3},
        "metrics": {"accuracy": 0.75},
    }
    return VersionFacts(**{**given, **more})


def fill(folder):
    """What a version holds."""
    (folder / "head.npz").write_bytes(b"arrays of " + folder.name.encode())
    (folder / "samples.json").write_text("[]")
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text("{}")


@pytest.fixture
def registry(tmp_path):
    """An empty registry whose clock stands at 1000."""
    return VersionRegistry(tmp_path / "models", clock=lambda: 1000.0)


@pytest.fixture
def three(registry):
    """A registry with versions 1, 2 and 3, each the parent of the next."""
    for parent in (None, 1, 2):
        registry.publish(fill, facts(parent))
    return registry


def tree(folder):
    """Every path below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def damage(path):
    """Change one bit in the middle of a file without changing its size or time."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


class TestPublish:
    def test_first_version(self, registry):
        """What was written is there, described, verified and current; nothing else is left."""
        version = registry.publish(fill, facts())

        assert (version.number, version.parent, version.created, version.current) == (1, None, 1000.0, True)
        assert (version.labels, version.n_samples, version.accuracy) == (("cat", "dog"), 10, 0.75)
        assert (version.head, version.extractor_fingerprint, version.n_features) == ("lda", "fp", 4)
        assert (version.path / "head.npz").read_bytes() == b"arrays of 000001"
        assert registry.current() == version
        assert registry.damage == []
        assert tree(registry.folder) == [
            "current",
            "staging",
            "versions",
            "versions/000001",
            "versions/000001/head.npz",
            "versions/000001/manifest.json",
            "versions/000001/model",
            "versions/000001/model/model.json",
            "versions/000001/samples.json",
        ]

    def test_is_private(self, three):
        """Folders and files can be read by their owner only."""
        modes = {
            (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
            for path in three.folder.rglob("*")
            if path.name != "model"
        }
        assert modes == {(True, 0o700), (False, 0o600)}

    def test_manifest_names_every_file(self, registry):
        """The manifest is readable JSON with a hash of every file."""
        version = registry.publish(fill, facts(metrics={"accuracy": None, "counts": {3: 1, 20: 2}}))

        manifest = json.loads((version.path / "manifest.json").read_text())
        assert sorted(manifest["files"]) == ["head.npz", "model/model.json", "samples.json"]
        assert manifest["format"] == FORMAT
        assert version.accuracy is None
        assert registry.current() == version

    def test_nothing_is_there_before(self, registry):
        """An empty registry answers with nothing and makes no folder by being asked."""
        assert registry.current() is None
        assert registry.versions() == []
        assert registry.clean() == []
        assert not registry.folder.exists()
        with pytest.raises(NotFoundError, match="no version 1; there are: none"):
            registry.get(1)
        with pytest.raises(NotFoundError, match="nothing has been published"):
            registry.roll_back()

    def test_pointer_moves_only_after_verification(self, three):
        """`verify` sees the version at its final place while the old one still answers."""
        seen = []

        def verify(path):
            reader = VersionRegistry(three.folder)
            seen.append(
                (path.name, reader.current().number, [version.number for version in reader.versions()])
            )

        three.publish(fill, facts(3), verify)

        assert seen == [("000004", 3, [1, 2, 3])]
        assert three.current().number == 4

    @pytest.mark.parametrize("where", ["write", "verify"])
    def test_refused_version_leaves_nothing(self, three, where):
        """What `write` or `verify` raises comes through, and no trace of the attempt remains."""
        before = tree(three.folder)

        def refuse(path):
            if where == "write":
                fill(path)
            raise KeyError("why")

        with pytest.raises(KeyError, match="why"):
            three.publish(
                refuse if where == "write" else fill, facts(3), refuse if where == "verify" else None
            )

        assert [path for path in tree(three.folder) if path != "highest"] == before
        assert three.current().number == 3

    def test_what_is_no_file_is_refused(self, three):
        """A link in a version could lead anywhere tomorrow; it is refused."""
        with pytest.raises(StoreError, match="files and folders only"):
            three.publish(lambda path: (path / "link").symlink_to("/etc/passwd"), facts(3))

        assert three.current().number == 3

    def test_full_disk(self, small_disk, fill_disk):
        """Without room publishing is a `DiskFullError`, the old version answers, and rolling back works."""
        registry = VersionRegistry(small_disk / "models")
        registry.publish(fill, facts())
        registry.publish(fill, facts(1))
        ballast = fill_disk(small_disk)

        with pytest.raises(DiskFullError):
            registry.publish(fill, facts(2))
        assert registry.current().number == 2
        assert registry.roll_back().number == 1
        assert VersionRegistry(small_disk / "models").current().number == 1
        ballast.unlink()

        assert registry.publish(fill, facts(2)).number == 3


class TestRollBack:
    def test_to_the_parent(self, three):
        """The parent answers again; the later version stays and can be gone forward to."""
        assert three.roll_back().number == 2

        assert [(version.number, version.current) for version in three.versions()] == [
            (1, False),
            (2, True),
            (3, False),
        ]
        assert three.roll_back(3).current

    def test_no_parent(self, three):
        """The first version has none; one whose parent is gone has none either."""
        three.roll_back(1)

        with pytest.raises(NotFoundError, match="version 1 has no earlier version"):
            three.roll_back()

    def test_to_a_damaged_version(self, three):
        """A damaged target is refused and the current version stays."""
        damage(three.get(1).path / "head.npz")

        with pytest.raises(DamagedError, match=r"head\.npz is not what was written"):
            three.roll_back(1)
        with pytest.raises(NotFoundError, match="no version 9; there are: 1, 2, 3"):
            three.roll_back(9)

        assert three.current().number == 3

    def test_next_version_after_a_rollback(self, three):
        """Numbers go on from the highest, not from the current."""
        three.roll_back(1)

        assert three.publish(fill, facts(1)).number == 4


class TestPrune:
    def test_keeps_the_newest_the_current_and_its_parent(self, registry):
        """What answers, and what it would be rolled back to, is never pruned."""
        for parent in (None, 1, 2, 3, 4, 5):
            registry.publish(fill, facts(parent))
        registry.roll_back(3)

        assert registry.prune(1) == [1, 4, 5]
        assert [version.number for version in registry.versions()] == [2, 3, 6]
        assert registry.prune(1) == []
        assert registry.prune(0) == [6]

    def test_a_number_is_never_given_twice(self, three):
        """Even when the highest version was removed, and after a restart, the next number is new."""
        three.roll_back(1)
        three.remove(3)
        three.remove(2)

        assert VersionRegistry(three.folder).publish(fill, facts(1)).number == 4

    def test_current_version_cannot_be_removed(self, three):
        """Removing what answers is refused; removing what is not there is a `NotFoundError`."""
        with pytest.raises(StoreError, match="roll back to another first"):
            three.remove(3)
        with pytest.raises(NotFoundError):
            three.remove(9)


class TestDamage:
    def test_any_changed_bit_is_found(self, three):
        """A bit in any file, the manifest included, makes `verify` name that file."""
        path = three.get(2).path
        for name in ("head.npz", "samples.json", "model/model.json", "manifest.json"):
            content = (path / name).read_bytes()
            damage(path / name)
            with pytest.raises(DamagedError, match=name.replace(".", r"\.")):
                three.verify(2)
            (path / name).write_bytes(content)
        three.verify(2)

    def test_a_changed_word_in_the_manifest_is_found(self, three):
        """A figure that somebody improved in the manifest makes the version a damaged one."""
        path = three.get(2).path / "manifest.json"
        path.write_text(path.read_text().replace("0.75", "0.95"))

        with pytest.raises(DamagedError, match=r"manifest\.json: not the bytes that were written"):
            three.verify(2)

    def test_missing_and_additional_files(self, three):
        """What is missing and what does not belong there are both named."""
        path = three.get(2).path
        (path / "samples.json").rename(path / "other.json")

        with pytest.raises(
            DamagedError, match=r"samples\.json is missing, other\.json does not belong there"
        ):
            three.verify(2)

    def test_parent_answers_for_a_damaged_version(self, three):
        """The parent answers and `damage` says why; the pointer stays until `heal` is called."""
        damage(three.current().path / "head.npz")

        assert three.current().number == 2
        assert "000003: head.npz is not what was written" in three.damage[0]
        assert three.damage[1] == "version 2 answers instead"
        assert (three.folder / "current").read_text() == "000003\n"

        assert three.heal().number == 2
        assert (three.folder / "current").read_text() == "000002\n"
        assert three.current().number == 2
        assert three.damage == []

    def test_older_version_answers_when_the_parent_is_damaged_too(self, three):
        """The next older version that verifies is found, also without a manifest to ask for a parent."""
        (three.get(3).path / "manifest.json").write_bytes(b"\xff{")
        damage(three.get(2).path / "samples.json")

        assert three.current().number == 1
        assert len(three.damage) == 3
        assert [version.number for version in three.versions()] == [1, 2]

    def test_newer_version_is_better_than_none(self, three):
        """With nothing older left, a version that was rolled back from answers."""
        three.roll_back(1)
        damage(three.get(1).path / "head.npz")

        assert three.current().number == 2

    def test_nothing_left(self, three):
        """When no version verifies that is a `DamagedError`, and listing and publishing go on."""
        for number in (1, 2, 3):
            damage(three.get(number).path / "head.npz")

        with pytest.raises(DamagedError, match="no version can be used"):
            three.current()
        assert [version.current for version in three.versions()] == [False] * 3
        assert three.publish(fill, facts(3)).number == 4
        assert three.current().number == 4

    @pytest.mark.parametrize(
        "content", [None, b"", b"\xff\xff", b"-3", b"000099", "²".encode(), b"../../etc"]
    )
    def test_pointer_is_nonsense(self, three, content):
        """A pointer that is gone or names nothing lets the newest version answer, and is healed."""
        if content is None:
            (three.folder / "current").unlink()
        else:
            (three.folder / "current").write_bytes(content)

        assert three.current().number == 3
        assert three.damage
        three.heal()
        assert three.current().number == 3
        assert three.damage == []

    @pytest.mark.parametrize("number", [FORMAT + 1, 0, None, True, "1", 1.0])
    def test_newer_format_is_no_damage(self, three, number):
        """A version written by a later edge_agent is refused with the advice to update."""
        path = three.get(3).path / "manifest.json"
        content = json.loads(path.read_text()) | {"format": number}
        del content["manifest_sha256"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
        path.write_text(json.dumps(content))

        with pytest.raises(StoreError, match=rf"format {number}, known is {FORMAT}.*update") as caught:
            three.verify(3)

        assert not isinstance(caught.value, DamagedError)
        assert three.current().number == 2

    def test_strangers_are_not_versions(self, three):
        """Other names in the folder are neither listed nor counted."""
        (three.folder / "versions" / "notes.txt").write_text("x")
        (three.folder / "versions" / "²").mkdir()

        assert [version.number for version in three.versions()] == [1, 2, 3]
        assert three.publish(fill, facts(3)).number == 4


PUBLISH = """
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from edge_agent.store.registry import VersionRegistry
from tests_registry_child import facts, fill
registry = VersionRegistry(Path(sys.argv[2]))
{action}
"""


def run_dying(child, tmp_path, folder, action, die_at):
    """Run one action on the registry in a child that dies at a step."""
    helper = tmp_path / "tests_registry_child.py"
    if not helper.exists():
        source = Path(__file__).read_text()
        parts = [source[source.index(f"def {name}(") :].split("\n\n\n")[0] for name in ("facts", "fill")]
        helper.write_text(
            "from edge_agent.store.registry import VersionFacts\n\n\n" + "\n\n\n".join(parts) + "\n"
        )
    done = child(PUBLISH.format(action=action), folder, tmp_path, die_at=die_at)
    assert done.returncode in (0, 9), done.stderr
    return done.returncode == 0


class TestDeadAtAnyStep:
    """A process that dies before or after any call that changes the disk."""

    @pytest.mark.slow
    def test_of_publishing(self, tmp_path, child):
        """A3: The old version or the new one is current and verifies, and after `clean` nothing else is left."""
        ends = set()
        for step in range(1, 150):
            folder = tmp_path / str(step) / "models"
            registry = VersionRegistry(folder)
            registry.publish(fill, facts())
            before = set(tree(folder))
            finished = run_dying(child, tmp_path, folder, "registry.publish(fill, facts(1))", step)

            reader = VersionRegistry(folder)
            current = reader.current()
            assert reader.damage == []
            assert [version.number for version in reader.versions()] == list(range(1, current.number + 1))
            registry.clean()
            assert registry.current() == current
            registry.verify(current.number)
            left = set(tree(folder)) - before - {"highest"}
            assert left == (
                {path.replace("000001", "000002") for path in before if "000001" in path}
                if current.number == 2
                else set()
            )
            assert registry.publish(fill, facts(current.number)).number > current.number
            ends.add(current.number)
            if finished:
                break
        else:
            pytest.fail("publishing never came to its end")

        assert ends == {1, 2}
        assert step > 30

    def test_a_mark_that_stays_undoes_nothing(self, tmp_path, monkeypatch):
        """A version that answers is published although its mark cannot be removed, and survives going back."""
        registry = VersionRegistry(tmp_path)
        registry.publish(fill, facts())
        with monkeypatch.context() as patch:

            def refuse(path):
                if path.name == "000002.pending":
                    raise StoreError(f"{path}: cannot remove the file")

            patch.setattr("edge_agent.store.registry.remove_file", refuse)
            assert registry.publish(fill, facts(1)).number == 2
        assert list((tmp_path / "staging").iterdir()) != []
        registry.roll_back(1)

        again = VersionRegistry(tmp_path)
        again.clean()
        assert again.numbers() == [1, 2]
        assert list((tmp_path / "staging").iterdir()) == []

    @pytest.mark.slow
    @pytest.mark.parametrize("action", ["registry.prune(1)", "registry.roll_back(1)", "registry.clean()"])
    def test_of_what_else_changes(self, tmp_path, child, action):
        """A3: Pruning, rolling back and cleaning leave a current version that verifies, wherever they end."""
        for step in range(1, 150):
            folder = tmp_path / str(step) / "models"
            registry = VersionRegistry(folder)
            for parent in (None, 1, 2, 3):
                registry.publish(fill, facts(parent))
            (folder / "staging" / "000009").mkdir()
            (folder / "staging" / "000009" / "half").write_bytes(b"")
            finished = run_dying(child, tmp_path, folder, action, step)

            reader = VersionRegistry(folder)
            assert reader.current().number in (1, 4)
            for version in reader.versions():
                reader.verify(version.number)
            assert reader.damage == []
            registry.clean()
            assert tree(folder / "staging") == []
            assert registry.publish(fill, facts(4)).number == 5
            if finished:
                break
        else:
            pytest.fail("it never came to its end")


def test_readers_never_see_half_a_version(three):
    """While versions are published and pruned, a reader that resolves once finds whole, matching files."""
    done = threading.Event()
    wrong: list[object] = []
    seen: set[int] = set()

    def read():
        registry = VersionRegistry(three.folder)
        while not done.is_set():
            version = registry.current()
            content = (version.path / "head.npz").read_bytes()
            seen.add(version.number)
            if content != f"arrays of {version.number:06d}".encode() or registry.damage:
                wrong.append((version, content, registry.damage))

    reader = threading.Thread(target=read)
    reader.start()
    for parent in range(3, 43):
        three.publish(fill, facts(parent))
        three.prune(5)
    done.set()
    reader.join()

    assert wrong == []
    assert len(seen) > 1


def test_reader_overtaken_by_a_publication(registry):
    """A version that is replaced and removed while a reader looks at it is no damage: the reader looks again."""
    registry.publish(fill, facts())

    class Overtaken(VersionRegistry):
        def _resolve(self, pointed):
            if pointed == 1:
                registry.publish(fill, facts())
                registry.remove(1)
            return super()._resolve(pointed)

    reader = Overtaken(registry.folder)

    assert reader.current().number == 2
    assert reader.damage == []


def test_another_process_reads(three):
    """A reader in another process finds the current version without writing anything."""
    before = tree(three.folder)
    code = (
        "import sys, pathlib; from edge_agent.store.registry import VersionRegistry\n"
        "print(VersionRegistry(pathlib.Path(sys.argv[1])).current().number)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(three.folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.stdout == "3\n"
    assert tree(three.folder) == before


def test_a_version_that_did_not_change_is_not_read_again(three):
    """Asking often is cheap: only the manifest is read while no file has changed; a change is still found."""
    path = three.current().path / "head.npz"
    opened = []

    def note(event, arguments):
        if event == "open" and str(arguments[0]) == str(path):
            opened.append(arguments[0])

    sys.addaudithook(note)
    for _ in range(3):
        assert three.current().number == 3
    assert opened == []
    damage(path)
    opened.clear()

    assert three.current().number == 2
    assert len(opened) == 1


def test_after_withdrawing_no_version_answers_and_all_are_kept(three):
    """The next one that is published or rolled back to answers again; numbers go on."""
    three.withdraw()

    assert three.pointed() == 0
    assert three.current() is None
    assert three.damage == []
    assert [version.number for version in three.versions()] == [1, 2, 3]
    assert three.roll_back(2).number == 2
    three.withdraw()
    assert three.publish(fill, facts()).number == 4
    assert three.current().number == 4
