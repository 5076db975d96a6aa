"""What can be asked about samples, versions and pictures, and what forgetting leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.agent.answers import same_extractor
from edge_agent.config import Config, LearningConfig
from edge_agent.errors import LabelError, NoModelError, NotFoundError, StoreError, UserError
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

LITE = "lite:aaaa:pre1:litert-2.1:cpu"


def teach(bench: Bench, **things: int) -> None:
    """Drop pictures of each thing and let the agent come to rest."""
    for word, count in things.items():
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(count)])
    bench.settle()


def kept(bench: Bench) -> list[str]:
    """Every archived file, relative to the archive, without its digest."""
    folder = bench.home / "archive"
    return sorted(
        f"{path.parent.name}/{path.name[:5]}"
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    )


class TestPredict:
    def test_an_answer_is_complete(self, bench: Bench, tmp_path: Path) -> None:
        """It names file, label, probabilities that fall and sum to one, version, and no error."""
        bench.open()
        teach(bench, cat=4, dog=4, fox=4)
        answer = bench.predict(tmp_path, "dog 9")

        assert set(answer) == {
            "path", "label", "probability", "probabilities", "unknown", "version", "error",
        }  # fmt: skip
        shares = list(answer["probabilities"].values())
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        assert (answer["label"], answer["probability"]) == next(iter(answer["probabilities"].items()))
        assert (answer["path"], answer["unknown"], answer["error"]) == ("question.jpg", False, None)

    def test_only_the_most_likely_labels_if_wanted(self, bench: Bench, tmp_path: Path) -> None:
        """`top` limits the labels, not the answer."""
        bench.open()
        teach(bench, cat=4, dog=4, fox=4)

        assert list(bench.predict(tmp_path, "dog 9", top=1)["probabilities"]) == ["dog"]
        assert len(bench.predict(tmp_path, "dog 9", top=9)["probabilities"]) == 3

    @pytest.mark.parametrize(
        ("names", "unknown"), [(None, True), (("NONE",), True), ((), False), (("background",), False)]
    )
    def test_a_label_of_nothing_is_unknown(
        self, bench: Bench, tmp_path: Path, names: tuple[str, ...] | None, unknown: bool
    ) -> None:
        """A picture of a background label keeps label and probability, and is reported as unknown; others are not."""
        learning = LearningConfig() if names is None else LearningConfig(background_labels=names)
        bench.open(Config(learning=learning))
        teach(bench, cat=8, dog=8, none=8)
        answer = bench.predict(tmp_path, "none 99")

        assert (answer["label"], answer["unknown"]) == ("none", unknown)
        assert answer["probability"] == max(answer["probabilities"].values())
        assert bench.predict(tmp_path, "cat 99")["unknown"] is False

    def test_what_is_no_picture_has_no_label(self, bench: Bench, tmp_path: Path) -> None:
        """The error stands in its answer, and everything else says nothing."""
        bench.open()
        teach(bench, cat=4)
        answer = bench.predict(tmp_path, "bad")

        assert (answer["error"], answer["label"], answer["probability"]) == (
            "this is not a picture",
            None,
            None,
        )
        assert answer["probabilities"] == {}

    def test_a_model_of_another_extractor_does_not_answer(self, bench: Bench, tmp_path: Path) -> None:
        """Features of another file or preprocessing mean nothing to a model, so it is not asked."""
        bench.open(fingerprint=LITE)
        teach(bench, cat=4, dog=4)
        for other in (LITE.replace("aaaa", "bbbb"), LITE.replace("pre1", "pre2"), "tiny" + LITE[4:]):
            bench.open(fingerprint=other)
            with pytest.raises(NoModelError, match="another extractor"):
                bench.predict(tmp_path, "cat 9")

    def test_another_runtime_answers_meanwhile(self, bench: Bench, tmp_path: Path) -> None:
        """When only runtime or delegate changed the old version answers until there is a new one."""
        bench.open(fingerprint=LITE)
        teach(bench, cat=4, dog=4)
        bench.open(fingerprint="lite:aaaa:pre1:tflite-2.14:xnnpack")
        assert bench.predict(tmp_path, "cat 9")["version"] == 1
        bench.settle()

        assert bench.predict(tmp_path, "cat 9")["version"] == 2

    @pytest.mark.parametrize(
        ("other", "same"),
        [
            (LITE, True),
            ("lite:aaaa:pre1:tflite-2.14:gpu", True),
            ("lite:aaaa:pre2:litert-2.1:cpu", False),
            ("lite:aaab:pre1:litert-2.1:cpu", False),
            ("other:aaaa:pre1:litert-2.1:cpu", False),
        ],
    )
    def test_file_and_preprocessing_make_an_extractor(self, other: str, same: bool) -> None:
        """Name, bytes and preprocessing must be equal; runtime and delegate need not."""
        assert same_extractor(LITE, other) is same


class TestForget:
    def test_forgetting_everything_leaves_no_version(self, bench: Bench, tmp_path: Path) -> None:
        """When the last sample goes all versions go too: predictions say so, nothing is left to read."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=3)
        bench.ask("forget", label="cat")
        bench.ask("forget", label="dog")

        for _ in range(2):
            assert bench.ask("versions") == []
            assert (bench.ask("status")["version"], bench.ask("status")["samples"]) == (None, 0)
            with pytest.raises(NoModelError):
                bench.predict(tmp_path, "cat 9")
            with pytest.raises(NotFoundError):
                bench.predict(tmp_path, "cat 9", version=1)
            bench.settle()
            bench.open()
        assert kept(bench) == []
        assert [path for path in (bench.home / "models" / "versions").rglob("*") if path.is_file()] == []

    def test_learning_goes_on_afterwards(self, bench: Bench, tmp_path: Path) -> None:
        """After everything was forgotten new pictures make a version under a number never given before."""
        bench.open()
        teach(bench, cat=3)
        bench.ask("forget", label="cat")
        teach(bench, cat=3)

        assert bench.predict(tmp_path, "cat 9")["label"] == "cat"
        assert [row["version"] for row in bench.ask("versions")] == [2]

    def test_one_sample_is_found_by_the_start_of_its_digest(self, bench: Bench) -> None:
        """Its picture and its row go, the others stay."""
        bench.open()
        teach(bench, cat=3)
        digest = bench.ask("samples")[1]["digest"]
        answer = bench.ask("forget", digest=digest[:10])
        assert (answer["forgotten"], answer["labels"]) == (1, ["cat"])

        assert kept(bench) == ["cat/cat-0", "cat/cat-2"]
        assert len(bench.ask("samples")) == 2

    def test_every_copy_goes_also_under_another_label(self, bench: Bench) -> None:
        """A second copy that a crash left under an old label is removed with its sample."""
        bench.open()
        teach(bench, cat=2)
        copy = next((bench.home / "archive" / "cat").iterdir())
        (bench.home / "archive" / "dog").mkdir()
        (bench.home / "archive" / "dog" / copy.name).write_bytes(copy.read_bytes())
        bench.ask("forget", label="cat")

        assert kept(bench) == []

    def test_what_could_not_be_removed_is_removed_later(self, bench: Bench) -> None:
        """When the archive refuses the error is told, and the next start finishes what was asked."""
        bench.open()
        teach(bench, cat=2)
        picture = next((bench.home / "archive" / "cat").iterdir())
        data = picture.read_bytes()
        picture.unlink()
        picture.mkdir()
        (picture / "in the way").write_text("")
        with pytest.raises(StoreError):
            bench.ask("forget", label="cat")
        (picture / "in the way").unlink()
        picture.rmdir()
        picture.write_bytes(data)
        bench.open()

        assert (bench.ask("status")["samples"], kept(bench)) == (0, [])

    def test_a_version_that_knows_what_was_forgotten_is_not_served(self, bench: Bench) -> None:
        """Rolling back to a version that learned from forgotten samples is refused."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=3)
        bench.ask("forget", label="cat")
        bench.settle()
        with pytest.raises(UserError, match="forgotten"):
            bench.ask("rollback")


class TestSamples:
    def test_they_are_listed_in_the_order_they_came(self, bench: Bench) -> None:
        """Label, limit and offset choose; every row says where the picture is kept."""
        bench.open()
        teach(bench, cat=3)
        teach(bench, dog=2)
        rows = bench.ask("samples")

        assert [row["label"] for row in rows] == ["cat"] * 3 + ["dog"] * 2
        assert bench.ask("samples", label="dog") == rows[3:]
        assert bench.ask("samples", limit=2, offset=1) == rows[1:3]
        assert all((bench.home / row["path"]).is_file() for row in rows)
        assert (rows[0]["added"], rows[0]["width"], rows[0]["height"]) == (bench.wall.now, 4, 3)
        with pytest.raises(NotFoundError, match="bird"):
            bench.ask("samples", label="bird")

    def test_a_relabelled_picture_is_kept_under_its_new_label(self, bench: Bench) -> None:
        """Row and picture move together, and back again."""
        bench.open()
        teach(bench, cat=2)
        digest = bench.ask("samples")[0]["digest"]
        answer = bench.ask("relabel", digest=digest[:12], label="dog")

        assert answer == {"digest": digest, "label": "dog", "previous": "cat"}
        assert kept(bench) == ["cat/cat-1", "dog/cat-0"]
        bench.ask("relabel", digest=digest, label="cat")
        assert kept(bench) == ["cat/cat-0", "cat/cat-1"]

    def test_a_label_that_can_be_no_folder_changes_nothing(self, bench: Bench) -> None:
        """It is refused before anything is touched."""
        bench.open()
        teach(bench, cat=2)
        digest = bench.ask("samples")[0]["digest"]
        with pytest.raises(LabelError):
            bench.ask("relabel", digest=digest, label="../cat")

        assert bench.ask("status")["labels"] == {"cat": 2}

    def test_what_was_not_kept_can_be_relabelled_too(self, bench: Bench) -> None:
        """Without an archived picture only the row changes."""
        from edge_agent.config import Config, DropFolderConfig

        bench.open(Config(drop_folder=DropFolderConfig(after_intake="delete")))
        teach(bench, cat=2)
        bench.ask("relabel", digest=bench.ask("samples")[0]["digest"], label="dog")

        assert bench.ask("status")["labels"] == {"cat": 1, "dog": 1}
        assert bench.ask("samples", label="dog")[0]["path"] == ""
