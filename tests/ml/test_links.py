"""Linked models: where they are looked for, what is refused, and that all who link to one share it."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.front import Front, FrozenStage
from edge_agent.ml.heads.features import FeaturesHead
from edge_agent.ml.links import LinkedStage
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.pipeline import linked_model, make_pipeline
from edge_agent.ml.update import MLUpdateTask

SEARCH_PATH = Key.LINKED_MODEL_SEARCH_PATH.scoped_to("model0")
FILE_NAME = Key.LINKED_MODEL_FILE_NAME.scoped_to("model0")
EMBEDDED = ("efficientnet_lite0_int8.json", "$BUNDLE_IDENTIFIER(edge_agent)/extractors")


@pytest.fixture(name="place")
def _place(extractor, tmp_path):
    """A folder with a package of the embedded extractor in `shared/`, called `eyes`."""
    (tmp_path / "shared").mkdir()
    extractor.write(tmp_path / "shared" / "eyes")
    return tmp_path


@pytest.fixture(name="other")
def _other(card, place):
    """The card of another extractor, called `other.json`, in `shared/`; it has the same sizes."""
    described = json.loads(card.read_text()) | {"name": "other"}
    shutil.copy(card.parent / described["file"], place / "shared")
    (place / "shared" / "other.json").write_text(json.dumps(described))
    return place / "shared" / "other.json"


def pipeline(link: FrozenStage) -> MLModel:
    """A link before an empty nearest-neighbours classifier."""
    return make_pipeline([link, MLModel.factory("knn", 1280)])


def extractions(model: MLModel) -> int:
    """How many pictures the network behind a link has looked at."""
    [link] = model.front.stages
    return link.target.stages[0].extractions


def test_a_link_is_a_frozen_stage(place):
    """It takes and gives what the linked model does, and says where that was found."""
    link = linked_model("eyes", str(place / "shared"))
    own = MLModel.load(place / "shared" / "eyes").front

    assert isinstance(link, FrozenStage)
    assert link.path == (place / "shared" / "eyes").resolve()
    assert (link.input, link.n_features, link.fingerprint) == (own.input, 1280, own.fingerprint)
    assert link.files() == {}


RELATIVE = {
    "relative": ("../shared", "eyes"),
    "relative with dots": ("./../shared/.", "eyes"),
    "the model's own folder, said with nothing": ("", "inside"),
    "the model's own folder, said with a dot": (".", "inside"),
    "absolute": ("{place}/shared", "eyes"),
    "the second of two": ("nowhere:../shared", "eyes"),
    "the third of three, of all kinds": ("{place}/none::../shared", "eyes"),
}


@pytest.mark.parametrize("where", RELATIVE)
def test_checklist_71_a_link_is_looked_for_in_its_folders(place, extractor, scene, where):
    """Relative to the saved model, absolute, "" as ".", and through several folders in their order."""
    search_path, name = RELATIVE[where]
    model_folder = place / "model"
    model_folder.mkdir()
    extractor.write(model_folder / "inside")
    link = linked_model(name, search_path.format(place=place), relative_to=model_folder)
    pipeline(link).write(model_folder)
    again = MLModel.load(model_folder)
    sample = MLDictionaryFeatureProvider({"image": scene("rings")})

    assert again.front.stages[0].path == ((place / "shared" if name == "eyes" else model_folder) / name)
    assert np.array_equal(
        again.front.row(sample["image"]), extractor.predict(sample)["features"].multi_array_value
    )


def test_a_search_path_can_be_told_from_anywhere(place):
    """Only relative folders are made absolute: a root of a program or a package stays right when that is moved."""
    link = linked_model("eyes", "shared:/b:$BUNDLE_IDENTIFIER(edge_agent)/x:", relative_to=place)
    from_anywhere = link.search_path_from_anywhere

    assert from_anywhere == f"{place}/shared:/b:$BUNDLE_IDENTIFIER(edge_agent)/x:{place}"
    assert LinkedStage("eyes", from_anywhere, folder=Path("/")).path == link.path


def test_checklist_71_the_first_folder_that_has_it_is_taken(place, extractor):
    """Where two folders have it, the order of the search path decides."""
    (place / "nearer").mkdir()
    extractor.write(place / "nearer" / "eyes")
    for search_path, found in (("nearer:shared", "nearer"), ("shared:nearer", "shared")):
        assert linked_model("eyes", search_path, relative_to=place).path == place / found / "eyes"


def test_checklist_71_special_roots(place, extractor, monkeypatch):
    """$BUNDLE_MAIN is the folder of the program, $BUNDLE_IDENTIFIER(name) that of an installed package."""
    main = types.ModuleType("__main__")
    main.__file__ = str(place / "program.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    (place / "guest_package").mkdir()
    (place / "guest_package" / "__init__.py").write_text("")
    extractor.write(place / "guest_package" / "eyes")
    monkeypatch.syspath_prepend(str(place))

    assert linked_model("eyes", "$BUNDLE_MAIN/shared").path == place / "shared" / "eyes"
    guest = linked_model("eyes", "$BUNDLE_IDENTIFIER(guest_package)")
    assert guest.path == place / "guest_package" / "eyes"
    assert linked_model(*EMBEDDED).path.name == EMBEDDED[0]
    assert linked_model("eyes", "$BUNDLE_IDENTIFIER(guest_package)/none:$BUNDLE_MAIN/shared").path.exists()


def test_checklist_71_without_a_program_file_the_working_folder_is_main(place, monkeypatch):
    """In an interactive interpreter there is no file of a program."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    monkeypatch.chdir(place)

    assert linked_model("eyes", "$BUNDLE_MAIN/shared").path == place / "shared" / "eyes"


WRONG = {
    "a root that is not known": (
        ("eyes", "$HOME/x"),
        MLModelErrorCode.PARAMETERS,
        r"\$HOME/x.*no known root",
    ),
    "a package that is not there": (
        ("eyes", "$BUNDLE_IDENTIFIER(no_such_package)"),
        MLModelErrorCode.IO,
        "'no_such_package'",
    ),
    "a package without a name": (
        ("eyes", "$BUNDLE_IDENTIFIER()"),
        MLModelErrorCode.IO,
        "no Python package ''",
    ),
    "a folder in the name": (("shared/eyes", ""), MLModelErrorCode.PARAMETERS, "without a folder"),
    "no name": (("", "shared"), MLModelErrorCode.PARAMETERS, "without a folder"),
    "two dots for a name": (("..", "shared"), MLModelErrorCode.PARAMETERS, "without a folder"),
    "a name that is no text": ((7, ""), MLModelErrorCode.PARAMETERS, "linked_model_file_name"),
    "a path that is no text": (("eyes", 7), MLModelErrorCode.PARAMETERS, "linked_model_search_path"),
    "a zero byte": (("ey\0es", ""), MLModelErrorCode.PARAMETERS, "linked_model_file_name"),
    "a zero byte in the path": (("eyes", "a\0"), MLModelErrorCode.PARAMETERS, "linked_model_search_path"),
    "a classifier": (("mind", "shared"), MLModelErrorCode.IO, "is no extractor of its own"),
    "a pipeline": (("whole", "shared"), MLModelErrorCode.IO, "is no extractor of its own"),
    "a link": (("again", "shared"), MLModelErrorCode.IO, "is no extractor of its own"),
    "an empty folder": (("empty", "shared"), MLModelErrorCode.IO, r"model\.json: cannot be read"),
    "a file that is no card": (("plain.txt", "shared"), MLModelErrorCode.IO, "cannot be read"),
    "a card that is none": (("broken.json", "shared"), MLModelErrorCode.IO, "broken.json"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_linked_is_refused(place, extractor, wrong):
    """With the code of its kind, and naming what is wrong."""
    shared = place / "shared"
    MLModel.factory("knn", 1280).write(shared / "mind")
    make_pipeline([extractor, MLModel.factory("knn", 1280)]).write(shared / "whole")
    front = Front([linked_model("eyes", str(shared))])
    MLModel(FeaturesHead(1280), front=front, is_writable=True).write(shared / "again")
    (shared / "empty").mkdir()
    (shared / "plain.txt").write_text("nothing")
    (shared / "broken.json").write_text("{")
    arguments, code, says = WRONG[wrong]
    with pytest.raises(MLModelError, match=says) as caught:
        linked_model(*arguments, relative_to=place)

    assert caught.value.code is code


def test_a_damaged_linked_package_is_refused_with_its_path(place):
    """A description without what a stage needs is damage of the linked model, not of the one that links."""
    path = place / "shared" / "eyes" / "model.json"
    content = json.loads(path.read_text())
    content["front"]["stages"][0]["described"] = {}
    path.write_text(json.dumps(content))
    with pytest.raises(MLModelError, match="damaged") as caught:
        linked_model("eyes", "shared", relative_to=place)

    assert caught.value.code is MLModelErrorCode.IO
    assert str(place / "shared" / "eyes") in str(caught.value)


def test_checklist_71_a_missing_link_lists_the_folders(place):
    """The error is IO and names the file and every folder that was looked in, when loading too."""
    pipeline(linked_model("eyes", "../shared", relative_to=place / "model")).write(place / "model")
    shutil.rmtree(place / "shared")
    overridden = MLModelConfiguration(parameters={SEARCH_PATH: "../a:/b/c"})
    for configuration, folders in [
        (None, [place / "shared"]),
        (overridden, [place / "a", Path("/b/c")]),
    ]:
        with pytest.raises(MLModelError, match="'eyes' is in none of these folders") as caught:
            MLModel.load(place / "model", configuration)
        assert caught.value.code is MLModelErrorCode.IO
        assert all(str(folder) in str(caught.value) for folder in folders)
        assert "model0" in str(caught.value)


def test_checklist_71_34_the_link_is_overridden_at_load(place):
    """By `linked_model_file_name` and `linked_model_search_path`, for the stage; the model tells what is in force."""
    pipeline(linked_model("eyes", "shared", relative_to=place)).write(place / "model")
    (place / "moved").mkdir()
    shutil.move(place / "shared" / "eyes", place / "moved" / "seeing")
    given = {SEARCH_PATH: str(place / "moved"), FILE_NAME: "seeing"}
    model = MLModel.load(place / "model", MLModelConfiguration(parameters=given))

    assert model.front.stages[0].path == place / "moved" / "seeing"
    assert {key: model.parameter_value(key) for key in given} == given
    assert {one.key: one.default_value for one in model.parameter_descriptions if one.key in given} == given
    with pytest.raises(MLModelError, match=r"model0\.epochs|epochs is unknown") as caught:
        MLModel.load(
            place / "model", MLModelConfiguration(parameters={**given, Key.EPOCHS.scoped_to("model0"): 1})
        )
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_71_34_the_link_is_overridden_for_an_update(place, scene, labelled):
    """A task built on a path takes the same parameters, finds the extractor with them and learns; the saved
    model then looks there."""
    pipeline(linked_model("eyes", "shared", relative_to=place)).write(place / "model")
    shutil.move(place / "shared", place / "moved")
    batch = labelled([(scene("rings"), "rings")])
    given = MLModelConfiguration(parameters={SEARCH_PATH: str(place / "moved")})
    with pytest.raises(MLModelError, match="in none of these folders"):
        MLUpdateTask(place / "model", batch)
    task = MLUpdateTask(place / "model", batch, given)
    task.resume()
    assert task.wait(30)
    task.model.write(place / "elsewhere")

    assert MLModel.load(place / "elsewhere").predictions(batch).array[0]["label"].string_value == "rings"
    with pytest.raises(MLModelError, match="only when the model is loaded") as caught:
        MLUpdateTask(
            MLModel.load(place / "elsewhere"), batch, MLModelConfiguration(parameters={SEARCH_PATH: "."})
        )
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_71_another_extractor_than_the_linked_one_is_refused(place, other):
    """Features of two extractors cannot be compared, though they have the same number."""
    pipeline(linked_model("eyes", "../shared", relative_to=place / "model")).write(place / "model")
    given = MLModelConfiguration(parameters={FILE_NAME: other.name})
    with pytest.raises(MLModelError, match="cannot be compared") as caught:
        MLModel.load(place / "model", given)

    assert caught.value.code is MLModelErrorCode.IO
    assert "other:" in str(caught.value)
    assert "efficientnet-lite0-int8:" in str(caught.value)


def test_checklist_71_package_and_card_of_one_extractor_are_the_same(place):
    """What counts is the extractor, not how it is packed: a link may be turned from a package to a card."""
    pipeline(linked_model("eyes", "../shared", relative_to=place / "model")).write(place / "model")
    given = MLModelConfiguration(parameters=dict(zip((FILE_NAME, SEARCH_PATH), EMBEDDED, strict=True)))

    assert MLModel.load(place / "model", given).front.stages[0].path.name == EMBEDDED[0]


def test_checklist_71_linked_models_share_one_extractor(place, scene, labelled, updated):
    """A picture is extracted once for all models that link to it, whenever they were opened."""
    batch = labelled([(scene("rings", 31), "rings"), (scene("stripes", 31), "stripes")])
    for name in ("one", "two"):
        pipeline(linked_model("eyes", "../shared", relative_to=place / name)).write(place / name)
    first = updated(place / "one", batch)
    models = [
        first,
        MLModel.load(place / "two"),
        updated(place / "two", batch),
        pipeline(LinkedStage("eyes", "shared", folder=place)),
    ]
    for model in models:
        model.predictions(batch)

    assert len({id(model.front.stages[0].target) for model in models}) == 1
    assert extractions(first) == 2


def test_a_linked_model_is_let_go_with_the_last_that_links(place):
    """Nobody links to it any more: it is opened anew, also when its files have changed since."""
    link = linked_model("eyes", "shared", relative_to=place)
    kept = link.target
    assert linked_model("eyes", "shared", relative_to=place).target is kept
    content = json.loads((place / "shared" / "eyes" / "model.json").read_text())
    content["metadata"]["author"] = "somebody else"
    (place / "shared" / "eyes" / "model.json").write_text(json.dumps(content))

    assert linked_model("eyes", "shared", relative_to=place).target is not kept


def test_checklist_71_a_linked_model_weighs_kilobytes(place, scene, labelled, updated):
    """Less than 20 kB with what it learned from two pictures; the extractor has 4 MB."""
    model = pipeline(linked_model("eyes", "../shared", relative_to=place / "model"))
    model.write(place / "model")
    batch = labelled([(scene("rings"), "rings"), (scene("stripes"), "stripes")])
    updated(place / "model", batch).write(place / "learned")

    for folder in (place / "model", place / "learned"):
        assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000
    assert sum(path.stat().st_size for path in (place / "shared" / "eyes").iterdir()) > 3_000_000


def test_checklist_69_71_a_linked_pipeline_answers_as_a_whole_one(place, extractor, scene, labelled, updated):
    """With the same samples both learn the same, bit for bit, and call their features by the same fingerprint."""
    batch = labelled([(scene("rings"), "rings"), (scene("stripes"), "stripes")])
    unseen = np.stack([extractor.front.row(scene("squares", seed)) for seed in range(3)])
    linked = updated(pipeline(linked_model("eyes", "shared", relative_to=place)), batch)
    whole = updated(make_pipeline([extractor, MLModel.factory("knn", 1280)]), batch)

    assert linked.extractor_fingerprint == whole.extractor_fingerprint
    assert linked.head.exemplars.rows.tobytes() == whole.head.exemplars.rows.tobytes()
    assert linked.distances(unseen).tobytes() == whole.distances(unseen).tobytes()


def test_a_name_no_disk_can_have_is_refused(place):
    """As a file and as a folder."""
    for name, folder in (("x" * 300, "shared"), ("eyes", "x" * 5000)):
        with pytest.raises(MLModelError, match="too long") as caught:
            linked_model(name, str(place / folder))
        assert caught.value.code is MLModelErrorCode.IO
