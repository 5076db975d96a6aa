"""Archives: any tar reads them, the same files give the same bytes, nothing leads out, and damage is found."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import DamagedError, StoreError
from edge_agent.store.tarball import SUMS, Packer, safe_name, unpack

FILES = {"a/b.txt": b"one", "a/\N{LATIN SMALL LETTER E WITH ACUTE} c.bin": bytes(100_000), "z": b""}


def packed(files: dict[str, bytes]) -> bytes:
    """An archive of these files."""
    buffer = io.BytesIO()
    with Packer(buffer) as packer:
        for name, data in files.items():
            packer.add(name, io.BytesIO(data), len(data))
    return buffer.getvalue()


def taken_out(
    archive: bytes, folder: Path, accept: Callable[[str], bool] = lambda _name: True
) -> dict[str, bytes]:
    """What is in an archive."""
    folder.mkdir()
    unpack(io.BytesIO(archive), len(archive), folder, accept=accept)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_files_come_back(tmp_path: Path) -> None:
    """Names with accents, empty and large files; private ones."""
    assert taken_out(packed(FILES), tmp_path / "out") == FILES
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")} == {0o600, 0o700}


def test_the_same_files_give_the_same_bytes() -> None:
    """Neither the time nor the user is in it."""
    archive = packed(FILES)

    assert archive == packed(FILES)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname) for one in tar} == {(0, 0, 0, "")}


@pytest.mark.skipif(not shutil.which("sha256sum") or not shutil.which("tar"), reason="there is no tar here")
def test_a_person_can_check_it_by_hand(tmp_path: Path) -> None:
    """`tar` takes it out and `sha256sum --check` finds every file as it was."""
    (tmp_path / "b.tar").write_bytes(packed(FILES))
    subprocess.run(["tar", "-xf", "b.tar"], cwd=tmp_path, check=True)
    done = subprocess.run(["sha256sum", "--check", SUMS], cwd=tmp_path, capture_output=True, check=True)

    assert done.stdout.count(b": OK") == len(FILES)


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    """One bit anywhere in headers, contents or sums: refused, or the very same files come out."""
    files = {"a": b"first", "b": b"second"}
    archive = packed(files)
    end = archive.rindex(b"  b\n") + 4  # what follows are zeros that say nothing
    refused = 0
    for position in range(0, end, 7):
        damaged = bytearray(archive)
        damaged[position] ^= 4
        folder = tmp_path / str(position)
        try:
            assert taken_out(bytes(damaged), folder) == files, position
        except DamagedError:
            refused += 1
        shutil.rmtree(folder)
    assert refused > 50


def test_an_archive_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """At every block: also where a tar would say that all is well."""
    archive = packed({"a": b"first", "b": b"second"})
    for number, length in enumerate(range(0, archive.rindex(b"  b\n"), 512)):
        with pytest.raises(DamagedError):
            taken_out(archive[:length], tmp_path / str(number))


def test_an_archive_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    """The sums name more than there is."""
    whole, less = packed({"a": b"1", "b": b"2"}), packed({"a": b"1"})
    sums = whole[2048:]  # of `whole`: two files of two blocks each, then the sums

    with pytest.raises(DamagedError, match="missing in it"):
        taken_out(less[:1024] + sums, tmp_path / "out")


HOSTILE = ["/etc/passwd", "../out", "a/../../out", "a//b", "./a", "a/.", "", "a\nb", "a\\b", "x" * 256]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing is written outside, whatever the sums say; neither is such an archive made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(DamagedError):
        taken_out(buffer.getvalue(), tmp_path / "out")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not safe_name(name)
    with pytest.raises(StoreError):
        packed({name: b"x"})


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_only_plain_files_come_out(tmp_path: Path, kind: bytes) -> None:
    """A link, a pipe, a device, even a folder: refused by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = kind, "/etc"
        tar.addfile(member)

    with pytest.raises(DamagedError, match="'a' is not a plain file"):
        taken_out(buffer.getvalue(), tmp_path / "out")


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The second cannot take the place of the first, nor of a folder."""
    one = packed({"a": b"1"})[:1024]

    with pytest.raises(DamagedError, match="twice"):
        taken_out(one + packed({"a": b"2"}), tmp_path / "out")


def test_what_is_not_accepted_is_refused(tmp_path: Path) -> None:
    """The caller knows what may be in it."""
    with pytest.raises(DamagedError, match="'z' does not belong there"):
        taken_out(packed(FILES), tmp_path / "out", lambda name: name.startswith("a/"))


def test_a_file_that_shrinks_while_it_is_read_is_noticed() -> None:
    """Half a picture never gets into an archive."""
    with pytest.raises(EOFError), Packer(io.BytesIO()) as packer:
        packer.add("a", io.BytesIO(b"12"), 3)


def test_the_hash_of_what_was_added_is_told() -> None:
    """So the caller can hold it against what it should be."""
    with Packer(io.BytesIO()) as packer:
        digest = packer.add("a", io.BytesIO(b"12"), 2)

    assert digest == hashlib.sha256(b"12").hexdigest()
