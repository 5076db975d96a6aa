"""Models that come as plain files: told apart, compiled to a temporary place, refused."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import FEATURES
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.raw import EXTRACTS_ONLY, raw_model


@pytest.fixture(name="temporary")
def _temporary(tmp_path, monkeypatch):
    """A folder for temporary files of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(name="source")
def _source(card, tmp_path):
    """The embedded extractor and its card, copied to a folder of the test's own."""
    folder = tmp_path / "source"
    folder.mkdir()
    for path in (card, card.with_suffix(".tflite")):
        shutil.copy(path, folder)
    return folder / card.name


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file below."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".json", ".tflite"])
def test_checklist_65_an_extractor_is_compiled_and_moved(source, temporary, scene, extractor, suffix):
    """By its card or its file: a package in a folder of its own among the temporary files, which the caller moves."""
    before = contents(source.parent)
    package = MLModel.compile_model(source.with_suffix(suffix))

    assert package.name == source.stem
    assert package.parent.parent == temporary
    assert contents(source.parent) == before
    shutil.move(package, source.parent / "kept")
    shutil.rmtree(temporary)
    model = MLModel.load(source.parent / "kept")
    sample = MLDictionaryFeatureProvider({"image": scene("rings")})
    assert np.array_equal(
        model.predict(sample)[FEATURES].multi_array_value,
        extractor.predict(sample)[FEATURES].multi_array_value,
    )
    assert model.not_updatable_because == EXTRACTS_ONLY


def test_checklist_65_a_model_that_trains_itself_is_compiled(testdata, temporary):
    """A `.tflite` with signatures to train becomes a package that loads and is updatable."""
    source = testdata / "models" / "odd" / "train_linreg_builtin.tflite"
    before = source.read_bytes()
    package = MLModel.compile_model(str(source))
    model = MLModel.load(package)

    assert package.is_dir()
    assert model.is_updatable
    assert model.n_values == 1
    assert source.read_bytes() == before


def test_checklist_65_two_compilations_do_not_meet(source, temporary):
    """Each has a folder of its own, so that the same model can be compiled twice at once."""
    one, other = (MLModel.compile_model(source) for _ in range(2))

    assert one.parent != other.parent
    assert contents(one).keys() == contents(other).keys()


REFUSED = {
    "nothing there": ("none.tflite", MLModelErrorCode.IO, "no such file"),
    "a directory": ("compiled", MLModelErrorCode.GENERIC, "only plain files need compiling"),
    "a text": ("notes.txt", MLModelErrorCode.IO, r"notes\.txt"),
    "a card without its file": ("lonely.json", MLModelErrorCode.IO, r"lonely\.tflite"),
    "a card that is none": ("broken.json", MLModelErrorCode.IO, r"broken\.json"),
    "a file that is no model": ("empty.tflite", MLModelErrorCode.IO, r"empty\.tflite"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_checklist_65_what_cannot_be_compiled_is_refused(source, temporary, wrong):
    """With its path and Apple's code; nothing stays among the temporary files."""
    folder = source.parent
    (folder / "compiled").mkdir()
    (folder / "notes.txt").write_text("not a model")
    (folder / "broken.json").write_text("[]")
    (folder / "empty.tflite").write_bytes(b"")
    described = json.loads(source.read_text())
    (folder / "lonely.json").write_text(json.dumps(described | {"file": "lonely.tflite"}))
    name, code, says = REFUSED[wrong]
    with pytest.raises(MLModelError, match=says) as caught:
        MLModel.compile_model(folder / name)

    assert caught.value.code is code
    assert list(temporary.iterdir()) == []


def test_checklist_65_a_file_that_is_not_the_cards_leaves_nothing(source, temporary):
    """An extractor whose bytes are not those of its card is refused when it is packed, and the folder is removed."""
    source.with_suffix(".tflite").write_bytes(b"something else")
    with pytest.raises(MLModelError, match="damaged") as caught:
        MLModel.compile_model(source)

    assert caught.value.code is MLModelErrorCode.IO
    assert list(temporary.iterdir()) == []


def test_a_classifier_without_training_is_no_raw_model(testdata):
    """A `.tflite` that only infers, with no card beside it, is refused with its path."""
    path = testdata / "models" / "coral_mobilenet_v1_0.25_128_quant.tflite"
    with pytest.raises(MLModelError, match=path.name):
        raw_model(path)
