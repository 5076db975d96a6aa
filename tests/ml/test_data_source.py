"""Labelled pictures are found in folders, by their names or in a list, and divided the same way everywhere."""

from __future__ import annotations

import json
import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import PicturesConfig
from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.data_source import PICTURE_SUFFIXES, DataSource, is_picture

Code = MLCreateErrorCode


def files(folder: Path, *names: str) -> Path:
    """Empty files of these names; their folders are made."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(found: dict[str, list[Path]], root: Path) -> dict[str, list[str]]:
    """What was found, relative to a folder."""
    return {label: [str(path.relative_to(root)) for path in paths] for label, paths in found.items()}


def many(folder: Path, per_label: int = 20) -> DataSource:
    """A source of two labels."""
    files(folder, *(f"{label}/{number:02}.jpg" for label in ("cat", "dog") for number in range(per_label)))
    return DataSource.labeled_directories(at=folder)


def refused(call, code: Code, *words: str) -> None:
    """The call raises this code, in one printable line that has these words."""
    with pytest.raises(MLCreateError) as caught:
        call()
    assert caught.value.code is code
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value)


def test_checklist_103_the_folder_is_the_label(tmp_path):
    """Names of files do not matter; what lies deeper, or beside the folders, does not belong to a label."""
    files(tmp_path, "dog/b.jpg", "dog/a.png", "cat/dog.1.jpg", "cat/older/c.jpg", "d.jpg")

    found = DataSource.labeled_directories(at=tmp_path).labeled_images()
    assert names(found, tmp_path) == {"cat": ["cat/dog.1.jpg"], "dog": ["dog/a.png", "dog/b.jpg"]}
    assert list(found) == ["cat", "dog"]
    assert DataSource.labeled_directories(at=str(tmp_path)).labeled_images() == found


def test_checklist_103_a_folder_may_be_a_link_and_its_name_is_composed(tmp_path):
    """A link to a folder is a label like any other; two spellings of one name are one label."""
    files(tmp_path, "elsewhere/a.jpg", "data/cafe\u0301/b.jpg", "data/caf\u00e9/a.jpg")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")

    found = DataSource.labeled_directories(at=tmp_path / "data").labeled_images()
    assert sorted(found) == ["caf\u00e9", "cat"]
    assert len(found["caf\u00e9"]) == 2
    assert found["cat"] == [tmp_path / "data" / "cat" / "a.jpg"]


def test_checklist_103_a_folder_without_pictures_is_no_label_and_is_named(tmp_path, caplog):
    """It is left out, with a line in the log."""
    files(tmp_path, "cat/a.jpg", "dog/notes.txt")
    with caplog.at_level(logging.WARNING):
        assert list(DataSource.labeled_directories(at=tmp_path).labeled_images()) == ["cat"]

    [record] = caplog.records
    assert str(tmp_path / "dog") in record.getMessage()


def test_checklist_104_the_name_up_to_the_first_period_is_the_label(tmp_path):
    """Apple's buffalo, and a name with several periods; folders are not looked into."""
    files(tmp_path, "buffalo.2.jpg", "buffalo.1.jpg", "cat.jpg", "cat.best.of.all.PNG", "more/dog.1.jpg")

    found = DataSource.labeled_files(at=tmp_path).labeled_images()
    assert names(found, tmp_path) == {
        "buffalo": ["buffalo.1.jpg", "buffalo.2.jpg"],
        "cat": ["cat.best.of.all.PNG", "cat.jpg"],
    }


def test_checklist_105_files_are_given_by_label(tmp_path):
    """Paths and texts, as they are named, each once; a label without files is none."""
    one, other = tmp_path / "1.jpg", tmp_path / "2"
    source = DataSource.files_by_label(
        {"dog": [str(other), one, other], "bird": (), "cat": [tmp_path / "3.jpg"]}
    )

    assert source.labeled_images() == {"cat": [tmp_path / "3.jpg"], "dog": [one, other]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([("cat", ["a.jpg"])], "dictionary"),
        ({"cat": "a.jpg"}, "the files of 'cat'"),
        ({"cat": Path("a.jpg")}, "the files of 'cat'"),
        ({"cat": [3]}, "a path is"),
        ({"cat": [""]}, "a path is"),
        ({"cat": ["a\0b"]}, "a path is"),
        ({"a/b": ["a.jpg"]}, "cannot be a label"),
        ({1: ["a.jpg"]}, "a label is a text"),
        ({"cat": ["a.jpg"], "dog": ["./a.jpg"]}, "one label"),
    ],
)
def test_checklist_105_what_is_no_dictionary_of_files_is_refused(given, words):
    """TYPE, saying which entry; a picture with two labels is one of these."""
    refused(lambda: DataSource.files_by_label(given), Code.TYPE, words)


def test_checklist_106_hidden_and_foreign_files_are_not_seen(tmp_path):
    """What file managers, cameras, editors and the agent leave beside pictures is no picture."""
    files(
        tmp_path,
        "cat/a.jpg",
        *(
            f"cat/{name}"
            for name in (".b.jpg", "._a.jpg", "~$a.jpg", "Thumbs.db", ".DS_Store", "desktop.ini")
        ),
        *(
            f"cat/{name}"
            for name in ("a.jpg.reason.txt", "a.jpg.part", "notes.txt", "film.mp4", "raw.cr2", "jpg")
        ),
        ".hidden/b.jpg",
    )
    (tmp_path / "cat" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")

    assert names(DataSource.labeled_directories(at=tmp_path).labeled_images(), tmp_path) == {
        "cat": ["cat/a.jpg"]
    }


def test_checklist_106_pictures_are_what_the_decoder_accepts():
    """Each accepted format by its usual endings, in any case, and no other format."""
    known = {
        suffix: name for suffix, name in Image.registered_extensions().items() if suffix in PICTURE_SUFFIXES
    }
    formats = {"JPEG" if name == "MPO" else name for name in known.values()}

    assert formats == set(PicturesConfig().formats)
    for suffix in (".jpg", ".jpeg", ".JPG", ".png", ".webp", ".bmp", ".gif", ".Jpeg"):
        assert is_picture(f"a{suffix}")
    assert set(known) == PICTURE_SUFFIXES


@pytest.mark.parametrize(
    ("kind", "made", "words"),
    [
        ("labeled_directories", [], "put pictures into a folder"),
        ("labeled_directories", ["cat/notes.txt"], "put pictures into a folder"),
        ("labeled_directories", ["cat.1.jpg"], "make a folder for each label"),
        ("labeled_files", [], "name them after their labels"),
        ("labeled_files", ["cat/1.jpg"], "labeled_directories"),
    ],
)
def test_checklist_106_nothing_found_is_an_error_that_helps(tmp_path, kind, made, words):
    """IO, with the folder and what to do."""
    files(tmp_path, *made)
    refused(getattr(DataSource, kind)(at=tmp_path).labeled_images, Code.IO, str(tmp_path), words)


def test_checklist_106_no_files_by_label_are_an_error():
    """An empty dictionary and empty lists alike."""
    for given in ({}, {"cat": []}):
        refused(DataSource.files_by_label(given).labeled_images, Code.IO, "no file is named")


def test_checklist_106_what_cannot_be_read_is_one_line(tmp_path):
    """A folder that is not there or is none, links in a circle and links to nothing: IO with the path."""
    files(tmp_path, "file", "round/cat/a.jpg", "lost/cat/a.jpg")
    for name in ("nothing", "file"):
        refused(
            DataSource.labeled_directories(at=tmp_path / name).labeled_images, Code.IO, str(tmp_path / name)
        )
        refused(DataSource.labeled_files(at=tmp_path / name).labeled_images, Code.IO, str(tmp_path / name))
    circle = tmp_path / "round" / "dog"
    circle.symlink_to(circle)
    refused(DataSource.labeled_directories(at=tmp_path / "round").labeled_images, Code.IO, str(circle))
    nowhere = tmp_path / "lost" / "cat" / "b.jpg"
    nowhere.symlink_to(tmp_path / "gone")
    refused(DataSource.labeled_directories(at=tmp_path / "lost").labeled_images, Code.IO, str(nowhere))


def test_checklist_106_a_folder_that_leads_back_ends(tmp_path):
    """A link to a folder above it is a label folder like any other, and nothing goes round."""
    files(tmp_path, "data/cat/a.jpg")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "cat" / "up").symlink_to(tmp_path / "data")

    assert list(DataSource.labeled_directories(at=tmp_path / "data").labeled_images()) == ["cat"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_one_line(tmp_path):
    """A label that cannot be looked at is not silently left out."""
    files(tmp_path, "cat/a.jpg", "dog/a.jpg")
    (tmp_path / "dog").chmod(0)
    try:
        refused(DataSource.labeled_directories(at=tmp_path).labeled_images, Code.IO, str(tmp_path / "dog"))
    finally:
        (tmp_path / "dog").chmod(0o700)


def test_a_name_that_is_no_label_is_refused_with_its_place(tmp_path):
    """TYPE, one line, even for bytes that are no text."""
    files(tmp_path, "data/black & white/a.jpg")
    refused(DataSource.labeled_directories(at=tmp_path / "data").labeled_images, Code.TYPE, "'&'", "data")
    files(tmp_path / "named", os.fsdecode(b"caf\xe9.1.jpg"))
    refused(DataSource.labeled_files(at=tmp_path / "named").labeled_images, Code.TYPE, "cannot be a label")


def test_checklist_107_a_split_is_stratified_and_loses_nothing(tmp_path):
    """Both labels are divided four to one, and each picture is in one part."""
    source = many(tmp_path)
    training, testing = source.stratified_split([0.8, 0.2], seed=1)

    assert {label: len(paths) for label, paths in training.items()} == {"cat": 16, "dog": 16}
    assert {label: len(paths) for label, paths in testing.items()} == {"cat": 4, "dog": 4}
    for label, paths in source.labeled_images().items():
        assert sorted(training[label] + testing[label]) == paths


def test_checklist_107_proportions_are_normalised(tmp_path):
    """Only what they are to each other counts."""
    source = many(tmp_path)

    assert source.stratified_split([0.4, 0.1], seed=3) == source.stratified_split([0.8, 0.2], seed=3)
    assert source.stratified_split([80, 20], seed=3) == source.stratified_split([0.8, 0.2], seed=3)
    assert source.stratified_split([0.7], seed=3) == [source.labeled_images()]


def test_checklist_107_a_seed_says_which_pictures(tmp_path):
    """The same seed gives the same parts on every machine; another seed others."""
    source = many(tmp_path)
    first = source.stratified_split([0.8, 0.2], seed=1)

    assert source.stratified_split([0.8, 0.2], seed=1) == first
    assert source.stratified_split([0.8, 0.2], seed=2) != first
    assert names(first[1], tmp_path) == {
        "cat": ["cat/03.jpg", "cat/07.jpg", "cat/08.jpg", "cat/10.jpg"],
        "dog": ["dog/02.jpg", "dog/03.jpg", "dog/08.jpg", "dog/18.jpg"],
    }


def test_checklist_107_without_a_seed_the_clock_decides(tmp_path):
    """Its milliseconds are the seed."""
    source = many(tmp_path)
    at_noon = source.stratified_split([0.8, 0.2], clock=lambda: 1234.5678)

    assert at_noon == source.stratified_split([0.8, 0.2], seed=1234567)
    assert at_noon != source.stratified_split([0.8, 0.2], clock=lambda: 1234.5698)
    assert len(source.stratified_split([0.8, 0.2])) == 2


@pytest.mark.parametrize("make", [random.Random, np.random.default_rng, np.random.RandomState])
def test_checklist_107_a_generator_of_the_callers_is_taken(tmp_path, make):
    """Equal generators give equal parts; one that goes on gives others."""
    source = many(tmp_path)
    generator = make(5)
    first = source.stratified_split([0.8, 0.2], generator=generator)

    assert source.stratified_split([0.8, 0.2], generator=make(5)) == first
    assert source.stratified_split([0.8, 0.2], generator=generator) != first


def test_checklist_107_what_is_no_chance_is_refused(tmp_path):
    """TYPE for a seed or a generator that is none, and for both."""
    source = many(tmp_path)
    refused(lambda: source.stratified_split([1], seed=-1), Code.TYPE, "a seed is")
    refused(lambda: source.stratified_split([1], generator=7), Code.TYPE, "shuffle")
    refused(lambda: source.stratified_split([1], seed=1, generator=random.Random(1)), Code.TYPE, "both")
    refused(lambda: source.stratified_split([], seed=1), Code.TYPE, "proportions")
    refused(lambda: many(tmp_path / "x", 0).stratified_split([1], seed=1), Code.IO, "x")


def test_checklist_143_a_source_says_what_it_is(tmp_path):
    """As text for people, and as the call that makes it."""
    named = DataSource.labeled_directories(at=tmp_path)
    listed = DataSource.files_by_label({"cat": ["a.jpg", "b.jpg"], "dog": ["c.jpg"]})

    assert str(named) == f"labelled folders in {tmp_path}"
    assert str(DataSource.labeled_files(at=tmp_path)) == f"labelled files in {tmp_path}"
    assert str(listed) == "3 files of 2 labels"
    assert repr(named) == f"DataSource.labeled_directories(at={str(tmp_path)!r})"
    assert repr(listed) == "DataSource.files_by_label({'cat': 2 files, 'dog': 1 file})"


def test_a_source_can_be_kept_and_means_the_same_elsewhere(tmp_path, monkeypatch):
    """It comes back equal from JSON, in another working folder too; what is none is refused."""
    monkeypatch.chdir(tmp_path)
    for source in (
        DataSource.labeled_directories(at="here"),
        DataSource.labeled_files(at="here"),
        DataSource.files_by_label({"cat": ["a.jpg"]}),
    ):
        text = json.dumps(source.to_json())
        monkeypatch.chdir("/")
        kept = DataSource.from_json(json.loads(text))
        monkeypatch.chdir(tmp_path)
        assert kept == source
        assert hash(kept) == hash(source)
        assert str(tmp_path) in text
    for values in ({}, {"kind": "labeled_files"}, {"kind": "other", "at": "x"}):
        refused(lambda values=values: DataSource.from_json(values), Code.TYPE, "not a data source")


def test_checklist_103_a_real_folder_is_read(testdata):
    """The shared pictures of ten groceries: ten labels, each picture once."""
    folder = testdata / "data" / "grocery10"
    found = DataSource.labeled_directories(at=folder).labeled_images()

    assert set(found) <= {entry.name for entry in folder.iterdir() if entry.is_dir()}
    assert sum(map(len, found.values())) == len({path for paths in found.values() for path in paths}) > 0
