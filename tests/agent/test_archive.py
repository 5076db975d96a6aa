"""Where learned pictures lie, how they are found again, and that the last copy is never lost."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.agent.archive import Archive
from edge_agent.agent.home import Home
from edge_agent.errors import StoreError
from edge_agent.store.samples import Sample
from edge_agent.vision.picture_metadata import without_metadata

DIGEST = "ab" * 32
SECRET = b"52N13E"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """The archive of a fresh state directory."""
    (tmp_path / "home").mkdir()
    return Archive(Home(tmp_path / "home"))


def sample(stored_path: str, label: str = "cat") -> Sample:
    """A stored sample whose picture lies at `stored_path`."""
    return Sample(DIGEST, label, 1, 0.0, "cat.jpg", stored_path, 5, 4, 3)


def write(path: Path, text: str = "cat 1") -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cat.jpg", "cat-abababababababab.jpg"),
        ("My cat (1).JPG", "My_cat_1-abababababababab.jpg"),
        ("../../etc", "etc-abababababababab"),
        ("....", "picture-abababababababab"),
        ("cat.strange suffix", "cat-abababababababab"),
        ("k" * 250 + ".png", "k" * 60 + "-abababababababab.png"),
        ("猫.jpg", "picture-abababababababab.jpg"),
    ],
)
def test_a_picture_is_named_after_its_bytes(archive: Archive, name: str, kept: str) -> None:
    """The archived name has a harmless, short stem, the first part of the digest and the suffix."""
    assert archive.stored_path("cat", name, DIGEST) == f"archive/cat/{kept}"


def test_kept_files_move_and_unkept_ones_go(archive: Archive, tmp_path: Path) -> None:
    """A file goes where its row says; one without a place is removed."""
    one, other = write(tmp_path / "drop" / "1.jpg"), write(tmp_path / "drop" / "2.jpg", "cat 2")
    archive.keep([(one, "archive/cat/one.jpg"), (other, "")])

    assert (tmp_path / "home" / "archive" / "cat" / "one.jpg").read_text() == "cat 1"
    assert list((tmp_path / "drop").iterdir()) == []


def test_a_second_copy_is_superfluous(archive: Archive, tmp_path: Path) -> None:
    """A file whose picture is in its place already, or comes twice in one batch, leaves one copy behind."""
    write(tmp_path / "home" / "archive" / "cat" / "one.jpg")
    copies = [write(tmp_path / "drop" / f"{i}.jpg") for i in range(3)]
    archive.keep(
        [
            (copies[0], "archive/cat/one.jpg"),
            (copies[1], "archive/cat/two.jpg"),
            (copies[2], "archive/cat/two.jpg"),
        ]
    )

    assert sorted(path.name for path in (tmp_path / "home" / "archive" / "cat").iterdir()) == [
        "one.jpg",
        "two.jpg",
    ]
    assert list((tmp_path / "drop").iterdir()) == []


def test_the_only_copy_is_never_removed(archive: Archive, tmp_path: Path) -> None:
    """A file that lies at its own place, under this name or another that leads there, stays."""
    only = write(tmp_path / "home" / "archive" / "cat" / "one.jpg")
    (tmp_path / "detour").symlink_to(tmp_path / "home" / "archive")
    archive.keep([(only, "archive/cat/one.jpg")])
    archive.keep([(tmp_path / "detour" / "cat" / "one.jpg", "archive/cat/one.jpg")])

    assert only.read_text() == "cat 1"


def test_a_file_that_cannot_be_moved_stays(archive: Archive, tmp_path: Path) -> None:
    """When its label's folder cannot be made the file stays where it came from, and the error names it."""
    source = write(tmp_path / "drop" / "1.jpg")
    write(tmp_path / "home" / "archive" / "cat")
    with pytest.raises(StoreError, match="archive/cat"):
        archive.keep([(source, "archive/cat/one.jpg")])

    assert source.read_text() == "cat 1"


def test_a_picture_is_found_in_its_place_or_by_its_digest(archive: Archive, tmp_path: Path) -> None:
    """When the place in the row is empty a copy under another label is found by the digest in its name."""
    stored = archive.stored_path("cat", "cat.jpg", DIGEST)
    assert archive.find(sample(stored)) is None
    elsewhere = write(tmp_path / "home" / "archive" / "dog" / Path(stored).name)
    assert archive.find(sample(stored)) == elsewhere
    place = write(tmp_path / "home" / stored)
    assert archive.find(sample(stored)) == place
    assert archive.find(sample("")) is None


def test_settling_leaves_one_copy_in_its_place(archive: Archive, tmp_path: Path) -> None:
    """Whatever copies a crash left under other labels, afterwards one lies where the row says."""
    stored = archive.stored_path("cat", "cat.jpg", DIGEST)
    for label in ("dog", "fox"):
        write(tmp_path / "home" / "archive" / label / Path(stored).name)
    archive.settle(sample(stored))
    archive.settle(sample(stored))

    assert [
        path.relative_to(tmp_path / "home").as_posix()
        for path in (tmp_path / "home" / "archive").rglob("*")
        if path.is_file()
    ] == [stored]


def test_another_label_is_another_folder(archive: Archive) -> None:
    """After a relabel the same file name belongs under the new label; what was not kept has no place."""
    assert archive.path_under(sample("archive/cat/one-ab.jpg"), "dog") == "archive/dog/one-ab.jpg"
    assert archive.path_under(sample(""), "dog") == ""


def test_removal_takes_every_copy_and_nothing_else(archive: Archive, tmp_path: Path) -> None:
    """All copies of a digest go, wherever they lie; pictures of other digests stay."""
    folder = tmp_path / "home" / "archive"
    for label in ("cat", "dog"):
        write(tmp_path / "home" / archive.stored_path(label, f"{label}.jpg", DIGEST))
    other = write(tmp_path / "home" / archive.stored_path("cat", "cat.jpg", "cd" * 32))
    archive.remove([DIGEST])

    assert [path for path in folder.rglob("*") if path.is_file()] == [other]


@pytest.mark.parametrize("name", ["my.photo.jpg (1)", "my.photo.png", "v1.2", "cat", "a.b.c.d"])
def test_whatever_its_name_a_picture_is_removed_and_seen_elsewhere(
    archive: Archive, tmp_path: Path, name: str
) -> None:
    """Dots in the stem and a suffix that is not kept do not hide the digest at the name's end."""
    place = archive.stored_path("cat", name, DIGEST)
    lying = write(tmp_path / "home" / place)
    elsewhere = archive.path_under(sample(place), "dog")

    assert archive.agree([(DIGEST, elsewhere)]) == [DIGEST]
    assert archive.agree([(DIGEST, place)]) == []
    assert archive.find(sample(elsewhere)) == lying
    archive.remove([DIGEST])
    assert not lying.exists()


def test_a_picture_with_the_digest_of_another_in_its_stem_is_not_that_other(
    archive: Archive, tmp_path: Path
) -> None:
    """One that was copied out of an archive, changed and dropped again is neither taken for the first nor removed."""
    first = archive.stored_path("cat", "cat.jpg", DIGEST)
    changed = write(tmp_path / "home" / archive.stored_path("dog", Path(first).name, "cd" * 32))

    assert archive.find(sample(first)) is None
    write(tmp_path / "home" / first)
    archive.settle(sample(first))
    archive.remove([DIGEST])
    assert changed.exists()


def test_interrupted_copies_are_cleaned_away(archive: Archive, tmp_path: Path) -> None:
    """Half-written files of the agent's own go at start; pictures stay."""
    folder = tmp_path / "home" / "archive" / "cat"
    write(folder / ".edge-agent-12345")
    kept = write(folder / "one.jpg")
    archive.clean()

    assert list(folder.iterdir()) == [kept]


class TestTake:
    """What arrives is kept without what its file says besides the pixels."""

    @pytest.fixture
    def photograph(self) -> bytes:
        """A JPEG with a place in it."""
        tags = Image.Exif()
        tags[0x010F] = SECRET.decode()
        file = BytesIO()
        Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "JPEG", exif=tags)
        assert SECRET in file.getvalue()
        return file.getvalue()

    def test_a_file_is_overwritten_where_it_lies(self, tmp_path: Path, photograph: bytes) -> None:
        """E9: the archive has the same file, as long as before, without the place."""
        source = tmp_path / "p.jpg"
        source.write_bytes(photograph)
        inode = source.stat().st_ino
        home = Home(tmp_path / "home")
        Archive(home).take([(source, "archive/cat/p.jpg")])

        kept = home.path / "archive" / "cat" / "p.jpg"
        assert kept.read_bytes() == without_metadata(photograph)
        assert SECRET not in kept.read_bytes()
        assert (kept.stat().st_ino, kept.stat().st_mode & 0o777) == (inode, 0o600)

    def test_a_second_name_is_left_whole(self, tmp_path: Path, photograph: bytes) -> None:
        """Whoever put a hard link into the drop folder keeps the photograph as it was."""
        own, source = tmp_path / "own.jpg", tmp_path / "p.jpg"
        own.write_bytes(photograph)
        source.hardlink_to(own)
        home = Home(tmp_path / "home")
        Archive(home).take([(source, "archive/cat/p.jpg")])

        assert own.read_bytes() == photograph
        assert not source.exists()
        assert (home.path / "archive" / "cat" / "p.jpg").read_bytes() == without_metadata(photograph)

    def test_what_is_not_kept_is_not_touched(self, tmp_path: Path, photograph: bytes) -> None:
        """It is removed, as its configuration says."""
        own, source = tmp_path / "own.jpg", tmp_path / "p.jpg"
        own.write_bytes(photograph)
        source.hardlink_to(own)
        Archive(Home(tmp_path / "home")).take([(source, "")])

        assert (own.read_bytes(), source.exists()) == (photograph, False)

    def test_a_file_that_was_replaced_is_left_alone(self, tmp_path: Path, photograph: bytes) -> None:
        """What is not the file that was read any more stays as it is, and the others go on."""
        new, other = tmp_path / "new.jpg", tmp_path / "other.jpg"
        new.write_bytes(photograph)
        other.write_bytes(photograph)
        home = Home(tmp_path / "home")
        Archive(home).take(
            [(new, "archive/cat/new.jpg"), (other, "archive/cat/other.jpg")], same=other.__eq__
        )

        assert new.read_bytes() == photograph
        assert [path.name for path in (home.archive_folder / "cat").iterdir()] == ["other.jpg"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
    def test_a_file_of_somebody_else_is_left_whole(self, tmp_path: Path, photograph: bytes) -> None:
        """E9: even where it could be written, as by root or a group, it is copied; its owner may have it open."""
        source = tmp_path / "p.jpg"
        source.write_bytes(photograph)
        os.chown(source, 4321, 4321)
        home = Home(tmp_path / "home")
        with source.open("rb") as owners:
            Archive(home).take([(source, "archive/cat/p.jpg")])
            assert owners.read() == photograph

        assert (home.path / "archive" / "cat" / "p.jpg").read_bytes() == without_metadata(photograph)

    def test_a_link_or_a_pipe_in_its_place_is_not_followed(self, tmp_path: Path, photograph: bytes) -> None:
        """Where a link took the file's place, it is not followed, and a pipe keeps nobody waiting."""
        own, link, pipe = tmp_path / "own.jpg", tmp_path / "p.jpg", tmp_path / "q.jpg"
        own.write_bytes(photograph)
        link.symlink_to(own)
        os.mkfifo(pipe)
        archive = Archive(Home(tmp_path / "home"))
        with pytest.raises(StoreError):
            archive.take([(link, "archive/cat/p.jpg")])
        archive.take([(pipe, "archive/cat/q.jpg")])

        assert (own.read_bytes(), link.is_symlink()) == (photograph, True)
