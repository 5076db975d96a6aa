"""Models: described, predicting, written and read."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import DiskFullError, MLModelError, MLModelErrorCode, ModelNotSavedError, StoreError
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.model import (
    BUILT_IN_HEADS,
    MLModel,
    MLModelConfiguration,
    MLModelMetadata,
)
from edge_agent.ml.parameters import MLParameterKey as Key

FINGERPRINT = "net:0123:pre1:litert-2.3:cpu"


@pytest.fixture(name="model", params=sorted(BUILT_IN_HEADS))
def _model(request, clouds):
    """A trained writable model of each built-in head."""
    X, labels = clouds(40, noise=1.0)
    model = MLModel.factory(
        request.param,
        n_features=12,
        extractor_fingerprint=FINGERPRINT,
        metadata=MLModelMetadata(author="me", creator_defined={"für": "ü"}),
    )
    list(model.head.train(MatrixBatchProvider(X, labels), {}))
    return model


@pytest.fixture(name="saved")
def _saved(model, tmp_path):
    """Where the model was written."""
    model.write(to=tmp_path / "model")
    return tmp_path / "model"


def test_checklist_64_a_reloaded_model_is_the_same(model, saved, clouds):
    """Equal bits of every prediction and distance, equal labels, fingerprint, parameters and metadata."""
    X, _ = clouds(20, noise=2.0, seed=3)
    again = MLModel.load(saved)

    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.is_unknown(X), model.is_unknown(X))
    assert again.unknown_threshold == model.unknown_threshold
    assert again.classes == model.classes == ("class 0", "class 1", "class 2")
    assert again.n_features == 12
    assert again.extractor_fingerprint == FINGERPRINT
    assert again.parameters == model.parameters
    assert again.metadata == model.metadata
    assert again.head.describe() == model.head.describe()
    assert sorted(path.name for path in saved.iterdir()) == ["head.npz", "model.json"]


def test_an_empty_model_can_be_saved_too(tmp_path):
    """A factory model on disk is a model to update."""
    MLModel.factory("lda", 5).write(to=str(tmp_path / "empty"))

    assert MLModel.load(str(tmp_path / "empty")).classes == ()


def test_checklist_28_a_loaded_model_cannot_be_written(saved, tmp_path):
    """Only new models and those of updates can, as with Apple."""
    with pytest.raises(MLModelError, match="can be written") as caught:
        MLModel.load(saved).write(to=tmp_path / "copy")
    assert caught.value.code is MLModelErrorCode.UPDATE
    assert not (tmp_path / "copy").exists()


def test_writing_over_a_model_replaces_it(model, saved, clouds):
    """The folder holds the newer model and nothing of the older one, however often it is done."""
    X, _ = clouds(5, D=4)
    for seed in range(2):
        newer = MLModel.factory("lda", 4)
        list(newer.head.train(MatrixBatchProvider(*clouds(10, D=4, seed=seed)), {}))
        newer.write(to=saved)

        assert np.array_equal(MLModel.load(saved).predict_proba(X), newer.predict_proba(X))
        assert len(list(saved.iterdir())) == 2


def test_a_staging_folder_is_filled(model, tmp_path):
    """A folder that exists and holds other files keeps them and gets the model."""
    (tmp_path / "samples.json").write_text("{}")
    model.write(to=tmp_path)

    assert MLModel.load(tmp_path).classes == model.classes
    assert (tmp_path / "samples.json").exists()


def test_a_place_that_does_not_exist_is_refused(model, tmp_path):
    """The error names the path, and nothing is left behind."""
    with pytest.raises(MLModelError, match="nowhere") as caught:
        model.write(to=tmp_path / "nowhere" / "model")
    assert caught.value.code is MLModelErrorCode.IO
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_kept(model, tmp_path):
    """Writing never replaces what is not a folder; the refusal is Core ML's error and one of the disk."""
    (tmp_path / "model").write_text("mine")
    with pytest.raises(StoreError, match="model: cannot") as caught:
        model.write(to=tmp_path / "model")
    assert isinstance(caught.value, MLModelError)
    assert caught.value.code is MLModelErrorCode.IO

    assert (tmp_path / "model").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_what_the_disk_refuses_is_an_error_of_models_and_of_the_disk(
    model, tmp_path, monkeypatch, call, number, full
):
    """Whichever call it is: with the code IO and the path, to be tried again where there was no room."""

    def refuse(*given, **named):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(ModelNotSavedError, match=str(tmp_path)) as caught:
        model.write(to=tmp_path / "model")
    monkeypatch.undo()

    assert caught.value.code is MLModelErrorCode.IO
    assert isinstance(caught.value, MLModelError)
    assert isinstance(caught.value, StoreError)
    assert isinstance(caught.value, DiskFullError) == full
    for path in tmp_path.iterdir():  # there all the same when only its name is not known to be safe
        assert MLModel.load(path).classes == model.classes


WRITER = """
import os, sys
from edge_agent.ml import package
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.model import MLModel
import numpy as np
steps = int(sys.argv[2])
def counted(function):
    def step(*arguments):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return function(*arguments)
    return step
for name in ("write_file", "remove_file"):
    setattr(package, name, counted(getattr(package, name)))
model = MLModel.factory("lda", 3)
X = np.random.default_rng(1).normal(size=(8, 3)).astype("f4")
list(model.head.train(MatrixBatchProvider(X, list("abababab")), {}))
model.write(to=sys.argv[1])
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_checklist_63_a_killed_writer_leaves_a_loadable_model(saved, model, steps):
    """Killed before any of its steps, the folder holds the old model or the new one, whole."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(saved), str(steps)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    loaded = MLModel.load(saved)

    assert done.returncode == (0 if steps == 3 else -9)
    assert loaded.classes == (model.classes if steps < 2 else ("a", "b"))
    assert loaded.predict_proba(np.ones((1, loaded.n_features))).sum() == pytest.approx(1.0)


def edit(folder, **changes):
    """Change keys of model.json."""
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def truncate(folder):
    """Cut the arrays in half."""
    data = (folder / "head.npz").read_bytes()
    (folder / "head.npz").write_bytes(data[: len(data) // 2])


def flip(folder):
    """Change one byte of the arrays."""
    data = bytearray((folder / "head.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "head.npz").write_bytes(data)


HARM = {
    "arrays cut short": (truncate, "damaged"),
    "one byte changed": (flip, "damaged"),
    "arrays missing": (lambda folder: (folder / "head.npz").unlink(), "cannot be read"),
    "no description": (lambda folder: (folder / "model.json").unlink(), "cannot be read"),
    "description cut short": (lambda folder: (folder / "model.json").write_text('{"format": 1, '), "damaged"),
    "description not text": (
        lambda folder: (folder / "model.json").write_bytes(b'{"format": "\xff"}'),
        "damaged",
    ),
    "description a list": (lambda folder: (folder / "model.json").write_text("[]"), "damaged"),
    "a key missing": (lambda folder: (folder / "model.json").write_text('{"format": 1}'), "damaged"),
    "too new": (lambda folder: edit(folder, format=2), "format 2 is too new"),
    "too old": (lambda folder: edit(folder, format=0), "format 0 is too old"),
    "other labels": (lambda folder: edit(folder, labels=["a", "b", "c"]), "damaged"),
    "other length": (lambda folder: edit(folder, n_features=5), "damaged"),
    "learned nothing": (lambda folder: edit(folder, learned={}), "damaged"),
    "metadata of another type": (lambda folder: edit(folder, metadata={"author": 1}), "damaged"),
    "arrays elsewhere": (lambda folder: edit(folder, arrays_file="../other.npz"), "cannot be read"),
    "folder missing": (lambda folder: folder.rename(folder.parent / "moved"), "cannot be read"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_model_is_refused_with_its_path(saved, harm):
    """Whatever was done to the files, the error is Apple's IO, with the path and what is wrong."""
    damage, says = HARM[harm]
    damage(saved)

    with pytest.raises(MLModelError, match=says) as caught:
        MLModel.load(saved)
    assert caught.value.code is MLModelErrorCode.IO
    assert str(saved) in str(caught.value)


def test_arrays_are_read_from_the_models_own_folder(saved):
    """A description that points elsewhere is not followed, though the file there is sound."""
    (saved.parent / "other.npz").write_bytes((saved / "head.npz").read_bytes())
    edit(saved, arrays_file="../other.npz")

    with pytest.raises(MLModelError, match="cannot be read"):
        MLModel.load(saved)


def test_arrays_that_need_unpickling_are_refused(saved):
    """An array of objects is never loaded, though its sum is right."""
    np.savez(saved / "head.npz", coef=np.array([object()]))
    edit(saved, arrays_sha256=hashlib.sha256((saved / "head.npz").read_bytes()).hexdigest())

    with pytest.raises(MLModelError, match="damaged"):
        MLModel.load(saved)


def test_a_zip_that_is_none_is_refused(saved):
    """A broken container with the right sum is damage, not a crash."""
    for data in (b"", b"PK\x03\x04 but no more", b"plain text"):
        (saved / "head.npz").write_bytes(data)
        edit(saved, arrays_sha256=hashlib.sha256(data).hexdigest())
        assert not zipfile.is_zipfile(saved / "head.npz")
        with pytest.raises(MLModelError) as caught:
            MLModel.load(saved)
        assert caught.value.code is MLModelErrorCode.IO


DEFECTS = {
    "no dictionary": {"parameters": None},
    "a list for a dictionary": {"parameters": [1]},
    "a length that is none": {"n_features": -1},
    "a length beyond all": {"n_features": 10**30},
    "classes that are a number": {"classes": 3},
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_head_that_cannot_be_restored_is_damage(saved, defect):
    """Whatever a head stumbles over in what it should have said of itself."""
    learned = json.loads((saved / "model.json").read_text())["learned"]
    edit(saved, learned=learned | DEFECTS[defect])

    if "parameters" in DEFECTS[defect] and "parameters" not in learned:
        pytest.skip("this head says nothing of parameters")
    with pytest.raises(MLModelError):
        MLModel.load(saved).model_description.parameter_descriptions_by_key  # noqa: B018


@pytest.mark.parametrize("key", ["temperature", "unknown_threshold", "ridge"])
@pytest.mark.parametrize("number", [-1.0, 1e999])
def test_a_scale_out_of_its_range_is_damage(clouds, tmp_path, key, number):
    """A power of a negative one would be complex, and could not be written again."""
    model = MLModel.factory("lda", 12)
    list(model.head.train(MatrixBatchProvider(*clouds(40)), {}))
    model.write(to=tmp_path / "model")
    learned = json.loads((tmp_path / "model" / "model.json").read_text())["learned"]
    edit(tmp_path / "model", learned=learned | {key: number})

    with pytest.raises(MLModelError) as caught:
        MLModel.load(tmp_path / "model")
    assert caught.value.code is MLModelErrorCode.IO


def test_a_description_nested_without_end_is_damage(saved):
    """Not a RecursionError."""
    for deep in (b'{"a":' * 200_000, b'{"format":' + b"[" * 200_000):
        (saved / "model.json").write_bytes(deep)
        with pytest.raises(MLModelError, match="damaged"):
            MLModel.load(saved)


@pytest.mark.parametrize("shape", [(10**14,), (2**62,), (2**40, 2**40), (-1,)])
def test_an_array_larger_than_any_memory_is_damage(saved, shape):
    """What it says of its size is not believed."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(saved / "head.npz", "w") as members:
        members.writestr("coef.npy", head.getvalue() + bytes(64))
    edit(saved, arrays_sha256=hashlib.sha256((saved / "head.npz").read_bytes()).hexdigest())

    with pytest.raises(MLModelError, match="damaged"):
        MLModel.load(saved)


def test_arrays_that_grow_when_they_are_read_are_refused(saved):
    """Compressed ones could be a thousand times the size of their file; models are written without."""
    with np.load(saved / "head.npz") as arrays:
        np.savez_compressed(saved / "head.npz", **arrays)
    edit(saved, arrays_sha256=hashlib.sha256((saved / "head.npz").read_bytes()).hexdigest())

    with pytest.raises(MLModelError, match="compressed"):
        MLModel.load(saved)


@pytest.mark.parametrize("name", ["model.json", "head.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_file_that_never_ends_is_not_read(saved, name, kind):
    """A pipe nobody writes to and a device are refused at once."""
    (saved / name).unlink()
    if kind == "pipe":
        os.mkfifo(saved / name)
    else:
        (saved / name).symlink_to("/dev/zero")

    with pytest.raises(MLModelError, match="not a regular file") as caught:
        MLModel.load(saved)
    assert caught.value.code is MLModelErrorCode.IO


@pytest.mark.parametrize("path", [None, b"model", 3, "a\0b", "x" * 300])
def test_what_is_no_path_is_refused_wherever_one_is_given(model, path):
    """Loading, writing and compiling say the same of it."""
    for use in (MLModel.load, model.write, MLModel.compile_model):
        with pytest.raises(MLModelError) as caught:
            use(path)
        assert caught.value.code is MLModelErrorCode.IO


def test_a_text_that_no_file_can_hold_is_refused(tmp_path):
    """Nothing is left of the model then, and one that was there stays."""
    MLModel.factory("knn", 3).write(to=tmp_path / "there")
    bad = MLModel.factory("knn", 3, metadata=MLModelMetadata(author="\ud800"))

    for name in ("there", "new"):
        with pytest.raises(MLModelError, match="no Unicode") as caught:
            bad.write(to=tmp_path / name)
        assert caught.value.code is MLModelErrorCode.IO
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert MLModel.load(tmp_path / "there").metadata.author == ""


def test_an_unknown_head_is_named(saved):
    """A model of a plugin that is not installed says so."""
    edit(saved, head="guest")
    with pytest.raises(MLModelError, match="'guest'") as caught:
        MLModel.load(saved)

    assert caught.value.code is MLModelErrorCode.CUSTOM_MODEL


def test_heads_of_guests_are_found(tmp_path):
    """What is registered can be made, written and loaded by its name."""
    guest = type("GuestHead", (LDAHead,), {"name": "guest"})
    heads = {**BUILT_IN_HEADS, "guest": guest}
    MLModel.factory("guest", 3, heads=heads).write(to=tmp_path / "model")

    assert type(MLModel.load(tmp_path / "model", heads=heads).head) is guest
    assert type(MLModel.factory(guest, 3).head) is guest


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: MLModel.factory("guess", 3), MLModelErrorCode.CUSTOM_MODEL),
        (lambda: MLModel.factory("lda", 0), MLModelErrorCode.GENERIC),
        (lambda: MLModel.factory("lda", 3, parameters={Key.EPOCHS: 1}), MLModelErrorCode.PARAMETERS),
        (lambda: MLModel.factory("lda", 3, parameters={Key.SHRINKAGE: -1}), MLModelErrorCode.PARAMETERS),
    ],
)
def test_a_factory_refuses_nonsense(make, code):
    """An unknown head, no features, bad parameters."""
    with pytest.raises(MLModelError) as caught:
        make()
    assert caught.value.code is code


def test_predictions_name_the_best_label(model, clouds):
    """Label and probabilities of one sample are the row of the matrix, sums to one, best first."""
    X, _ = clouds(3, noise=0.0)
    answer = model.predict(MLDictionaryFeatureProvider({"features": X[1]}))
    row = model.predict_proba(X)[1]

    assert answer["label"].string_value == model.classes[row.argmax()] == "class 1"
    assert answer["label_probabilities"].dictionary_value == pytest.approx(
        dict(zip(model.classes, row, strict=True))
    )


@pytest.mark.parametrize("as_array", [True, False])
def test_a_batch_is_predicted_in_order(model, clouds, as_array):
    """Any provider will do, and more samples than one block."""
    X, labels = clouds(600, noise=0.0)
    batch = MatrixBatchProvider(X, labels)
    if not as_array:
        batch = MLArrayBatchProvider([MLDictionaryFeatureProvider({"features": row}) for row in X])
    answers = model.predictions(from_=batch)

    assert [answer["label"].string_value for answer in answers.array] == labels


def test_before_training_there_is_no_answer():
    """An empty model predicts an undefined label and no probabilities, and rejects nothing as unknown."""
    model = MLModel.factory("lda", 2)
    answer = model.predict(MLDictionaryFeatureProvider({"features": np.ones(2)}))

    assert answer["label"] == MLFeatureValue(undefined=MLFeatureType.STRING)
    assert answer["label_probabilities"].dictionary_value == {}
    assert model.predict_proba(np.ones((3, 2))).shape == (3, 0)
    assert not model.is_unknown(np.ones((3, 2))).any()


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        ({"feature": np.ones(12)}, "no feature named 'features'"),
        ({"features": 1.0}, "DOUBLE"),
        ({"features": np.ones(11)}, r"shape \(11,\)"),
        ({"features": np.ones((1, 12))}, r"shape \(1, 12\)"),
        ({"features": MLFeatureValue(undefined=MLFeatureType.MULTI_ARRAY)}, "undefined"),
        ({"features": np.full(12, np.nan)}, "finite"),
    ],
)
def test_what_cannot_be_predicted_from_is_refused(model, sample, says):
    """One by one and in a batch, where the index is named; the code is Apple's for a wrong type."""
    provider = MLDictionaryFeatureProvider(sample)
    good = MLDictionaryFeatureProvider({"features": np.ones(12)})

    with pytest.raises(MLModelError, match=says) as caught:
        model.predict(provider)
    assert caught.value.code is MLModelErrorCode.FEATURE_TYPE
    with pytest.raises(MLModelError, match=f"sample 1: .*{says}"):
        model.predictions(MLArrayBatchProvider([good, provider]))


def test_a_bad_row_of_a_matrix_is_named(model):
    """Also within a batch."""
    X = np.ones((3, 12))
    X[2, 0] = np.nan
    with pytest.raises(MLModelError, match="row 2"):
        model.predict_proba(X)
    with pytest.raises(MLModelError, match="row 2"):
        model.predictions(MatrixBatchProvider(X, ["a"] * 3))


def test_the_unknown_is_told_from_the_known(clouds):
    """A head with distances rejects what is far from everything and about one in twenty of its own; another
    rejects nothing."""
    X, labels = clouds(200, noise=0.5)
    strange = np.abs(np.random.default_rng(0).normal(size=(20, 12))).astype(np.float32) ** 8
    models = [MLModel.factory(name, 12) for name in ("lda", "softmax")]
    for model in models:
        list(model.head.train(MatrixBatchProvider(X, labels), {}))
    lda, softmax = models

    assert lda.is_unknown(strange).mean() > 0.9
    assert lda.is_unknown(clouds(400, noise=0.5, seed=1)[0]).mean() < 0.1
    assert not softmax.is_unknown(strange).any()


def test_the_description_says_what_goes_in_and_out(model):
    """Names, types, shapes, labels, parameters and their limits, outside of any handler."""
    description = model.model_description
    features = description.input_descriptions_by_name["features"]

    assert description.is_updatable
    assert description.class_labels == model.classes
    assert description.predicted_feature_name == "label"
    assert description.predicted_probabilities_name == "label_probabilities"
    assert set(description.training_input_descriptions_by_name) == {"features", "label"}
    assert set(description.output_descriptions_by_name) == {"label", "label_probabilities"}
    assert features.is_allowed_value(MLFeatureValue(multi_array=np.ones(12)))
    assert not features.is_allowed_value(MLFeatureValue(multi_array=np.ones(11)))
    assert not features.is_allowed_value(MLFeatureValue(double=1.0))
    assert not features.is_allowed_value(MLFeatureValue(undefined=MLFeatureType.MULTI_ARRAY))
    assert description.parameter_descriptions_by_key.keys() == model.parameters.keys()
    assert description.metadata is model.metadata


def test_defaults_come_from_the_author_and_then_from_the_configuration(tmp_path):
    """The author's values are kept on disk; a configuration overrides them for one load, as it was then."""
    MLModel.factory("softmax", 3, parameters={Key.EPOCHS: 7, Key.SEED: 5}).write(to=tmp_path / "model")
    given = {Key.EPOCHS: 9}
    configuration = MLModelConfiguration(parameters=given)
    given[Key.SEED] = 1
    plain, configured = MLModel.load(tmp_path / "model"), MLModel.load(tmp_path / "model", configuration)

    assert [plain.parameter_value(key) for key in (Key.EPOCHS, Key.SEED)] == [7, 5]
    assert [configured.parameter_value(key) for key in (Key.EPOCHS, Key.SEED)] == [9, 5]
    assert configured.configuration == configuration
    assert configured.model_description.parameter_descriptions_by_key[Key.EPOCHS].default_value == 9
    for make in (
        lambda: plain.parameter_value(Key.NUMBER_OF_NEIGHBORS),
        lambda: MLModel.load(tmp_path / "model", MLModelConfiguration(parameters={Key.PRIOR: "uniform"})),
    ):
        with pytest.raises(MLModelError) as caught:
            make()
        assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_a_model_says_what_it_is_in_a_line(model) -> None:
    """Its head, how many features and labels, and whether it can be updated."""
    assert repr(MLModel.factory("lda", 5)) == "<MLModel lda of 5 features, 0 labels, updatable>"
    assert f"{len(model.classes)} labels" in repr(model)
