"""`add`, `samples` and `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


class TestAdd:
    def test_copies_wait_in_the_drop_folder(self, shell: Shell, tmp_path: Path) -> None:
        """A copy of each file appears under its label; the originals stay, and names are not overwritten."""
        (tmp_path / "a.jpg").write_text("cat 1")
        first = shell.ask("add", "cat", tmp_path / "a.jpg")
        second = shell.ask("add", "cat", tmp_path / "a.jpg")

        paths = [Path(document["paths"][0]) for document in (first, second)]
        assert [path.parent for path in paths] == [shell.drop / "cat"] * 2
        assert paths[0] != paths[1]
        assert (tmp_path / "a.jpg").read_text() == "cat 1"
        assert "1 file for 'cat'" in shell.run("add", "cat", tmp_path / "a.jpg").out

    def test_an_unusable_home_is_named(self, shell: Shell, tmp_path: Path) -> None:
        """Where the state directory cannot be, the error is about it, and no folder is made."""
        (tmp_path / "a.jpg").write_text("cat 1")
        shell.home.write_text("a file")
        done = shell.run("add", "cat", tmp_path / "a.jpg")

        assert (done.status, done.out) == (2, "")
        assert (str(shell.home) in done.err, "--home" in done.err) == (True, True)
        assert shell.home.read_text() == "a file"

    def test_a_home_that_add_makes_is_private(self, shell: Shell, tmp_path: Path) -> None:
        """The state directory appears with mode 0700, as `init` makes it."""
        (tmp_path / "a.jpg").write_text("cat 1")
        shell.run("add", "cat", tmp_path / "a.jpg")
        assert shell.home.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("label", ["../cat", ".hidden", "", "a/b", "x" * 65])
    def test_a_bad_label_copies_nothing(self, shell: Shell, tmp_path: Path, label: str) -> None:
        """It is refused before anything is made."""
        (tmp_path / "a.jpg").write_text("cat 1")
        assert shell.run("add", label, tmp_path / "a.jpg").status == 2
        assert not shell.home.exists()

    def test_a_missing_file_copies_nothing(self, shell: Shell, tmp_path: Path) -> None:
        """When one of the files cannot be read none is copied."""
        (tmp_path / "a.jpg").write_text("cat 1")
        done = shell.run("add", "cat", tmp_path / "a.jpg", tmp_path / "none.jpg")

        assert (done.status, "none.jpg" in done.err) == (2, True)
        assert not (shell.drop / "cat").exists()


class TestSamples:
    def test_they_are_listed(self, learned: Shell) -> None:
        """A table for people, a document for programs; label, limit and offset choose."""
        rows = learned.ask("samples", "list")
        assert [row["label"] for row in rows] == ["cat"] * 4 + ["dog"] * 4 + ["fox"] * 4
        assert learned.ask("samples", "list", "--label", "dog", "--limit", 2, "--offset", 1) == rows[5:7]
        lines = learned.run("samples", "list").out.splitlines()
        assert lines[0].split() == ["DIGEST", "LABEL", "ADDED", "SOURCE"]
        assert [line.split()[:2] for line in lines[1:]] == [
            [row["digest"][:12], row["label"]] for row in rows
        ]

    def test_a_label_is_corrected(self, learned: Shell) -> None:
        """`relabel` says what changed; the sample is listed under its new label."""
        digest = learned.ask("samples", "list", "--label", "cat")[0]["digest"]
        assert f"{digest[:12]}: cat is now wolf" in learned.run("samples", "relabel", digest[:10], "wolf").out
        assert [row["digest"] for row in learned.ask("samples", "list", "--label", "wolf")] == [digest]

    def test_unknown_labels_and_digests_are_named(self, learned: Shell) -> None:
        """What is not there is one line with status 2."""
        for arguments in (
            ("samples", "list", "--label", "bird"),
            ("samples", "relabel", "ffffffffffff", "cat"),
            ("forget", "--label", "bird"),
            ("forget", "--sample", "ffffffffffff"),
        ):
            done = learned.run(*arguments)
            assert (done.status, len(done.err.splitlines())) == (2, 1)

    def test_forgetting_takes_one_or_a_label(self, learned: Shell) -> None:
        """Either is said; both or neither is a mistake."""
        assert learned.run("forget").status == 2
        assert learned.run("forget", "--sample", "ab", "--label", "cat").status == 2
        digest = learned.ask("samples", "list", "--label", "cat")[0]["digest"]
        answer = learned.ask("forget", "--sample", digest)
        assert (answer["forgotten"], answer["labels"]) == (1, ["cat"])
        assert "forgot 4 samples of dog" in learned.run("forget", "--label", "dog").out
        assert learned.ask("status")["labels"] == {"cat": 3, "fox": 4}

    def test_a_running_agent_is_asked_instead(self, running: Shell) -> None:
        """With an agent running the same commands give the same answers."""
        assert len(running.ask("samples", "list", "--label", "fox")) == 4
        answer = running.ask("forget", "--label", "fox")
        assert (answer["forgotten"], answer["labels"], answer["versions_removed"]) == (4, ["fox"], [2])
        assert "fox" not in running.ask("status")["labels"]

    def test_what_was_forgotten_is_searched_for(self, running: Shell) -> None:
        """`--verify` says what it looked for and that it is gone, also when it is asked again later."""
        digest = running.ask("samples", "list", "--label", "cat")[0]["digest"]
        answer = running.ask("forget", "--sample", digest[:12], "--verify")
        assert (answer["gone"], answer["found"], answer["versions_left"]) == (True, [], [])
        assert answer["searched"]["for"] == {"digest": 1, "file name": 1, "feature row": 1, "label": 0}
        done = running.run("forget", "--label", "fox", "--verify")
        assert (done.status, done.out.splitlines()[-1]) == (0, "gone")
        for again in (("--sample", digest), ("--label", "fox")):
            assert running.ask("forget", *again, "--verify")["gone"]
        assert running.run("forget", "--sample", digest).status == 2
        assert running.run("forget", "--sample", digest[:12], "--verify").status == 2

    def test_a_folder_of_refused_pictures_is_forgotten_by_its_name(self, learned: Shell) -> None:
        """Also one that can be no label; afterwards it is unknown, and can be searched for again."""
        name = 'äpfel & "birnen" (2)'
        refused = learned.home / "rejected" / name
        refused.mkdir(parents=True)
        (refused / "one.jpg.reason.txt").write_text(f"'{name}' cannot be a label")
        assert learned.ask("forget", "--label", name, "--verify")["gone"]
        assert not refused.exists()
        assert learned.run("forget", "--label", name).status == 2
        assert learned.ask("forget", "--label", name, "--verify")["gone"]

    def test_what_is_left_is_named(self, running: Shell) -> None:
        """A copy that somebody put into the state directory is found: status 1 and the place."""
        row = running.ask("samples", "list", "--label", "cat")[0]
        (running.home / "notes").mkdir()
        (running.home / "notes" / "mine.bin").write_bytes((running.home / row["path"]).read_bytes())
        (running.home / "notes" / "sums.txt").write_text(f"x{row['digest']}x")
        done = running.run("forget", "--sample", row["digest"], "--verify")

        assert done.status == 1
        assert "left: notes/mine.bin: the picture" in done.out
        assert "left: notes/sums.txt: the digest" in done.out
        assert "gone" not in done.out.splitlines()
