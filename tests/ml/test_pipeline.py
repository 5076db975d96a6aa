"""Pipelines: joined, refused, updated from end to end, written, read back, damaged."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.authoring import Array, KNearestNeighborsClassifierBuilder, NeuralNetworkBuilder, SgdParams
from edge_agent.ml.batches import MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.pipeline import extractor_model, linked_model, make_pipeline
from edge_agent.ml.update import MLUpdateProgressEvent, MLUpdateProgressHandlers, MLUpdateTask
from edge_agent.vision.image_values import image_value_at

KINDS = ("stripes", "rings", "squares")


def neighbors(n_features: int, **more: object) -> MLModel:
    """An empty nearest-neighbours classifier."""
    builder = KNearestNeighborsClassifierBuilder(
        "features", "label", n_features, "unknown", number_of_neighbors=1, **more
    )
    return builder.model()


def network(n_features: int, epochs: int = 5) -> MLModel:
    """A network of one updatable layer called FullyConnected, before a softmax."""
    builder = NeuralNetworkBuilder([("features", Array(n_features))])
    builder.add_inner_product(
        "FullyConnected",
        input_channels=n_features,
        output_channels=3,
        input_name="features",
        output_name="scores",
    )
    builder.add_softmax("softmax", "scores", "probabilities")
    builder.set_class_labels(["red", "green", "blue"], predicted_feature_name="label")
    builder.make_updatable(["FullyConnected"])
    builder.set_categorical_cross_entropy_loss("loss", "probabilities")
    builder.set_sgd_optimizer(SgdParams(lr=0.01, batch=10))
    builder.set_epochs(epochs, allowed_set=range(1, 101))
    return builder.model()


def frozen(n_features: int) -> MLModel:
    """A classifier that cannot be updated."""
    builder = KNearestNeighborsClassifierBuilder("features", "label", n_features, "unknown")
    builder.is_updatable = False
    return builder.model()


def answers(model: MLModel, batch: MLArrayBatchProvider) -> list[dict[str, object]]:
    """Everything that is answered."""
    return [
        {
            name: value.value if hasattr(value, "value") else repr(value)
            for name, value in one.dictionary.items()
        }
        for one in model.predictions(batch).array
    ]


@pytest.fixture(name="scenes")
def _scenes(scene, labelled):
    """Three pictures of each kind to learn from, and two others of each."""
    learned = labelled((scene(kind, seed), kind) for kind in KINDS for seed in range(3))
    unseen = labelled((scene(kind, seed), kind) for kind in KINDS for seed in (7, 8))
    return learned, unseen


@pytest.fixture(name="pipeline")
def _pipeline(extractor):
    """The embedded extractor before an empty nearest-neighbours classifier."""
    return make_pipeline([extractor, neighbors(1280)])


def labels(batch):
    """What the answers of a batch are called."""
    return [sample.feature_value("label").string_value for sample in batch.array]


def test_checklist_69_64_an_updatable_pipeline_from_end_to_end(pipeline, scenes, updated, tmp_path):
    """Updated on pictures, written, read back: it knows pictures it never saw, and answers bit for bit the same."""
    learned, unseen = scenes
    model = updated(pipeline, learned)

    assert labels(model.predictions(unseen)) == labels(unseen)
    assert set(labels(pipeline.predictions(unseen))) == {"unknown"}
    model.write(tmp_path / "model")
    again = MLModel.load(tmp_path / "model")
    assert answers(again, unseen) == answers(model, unseen)
    assert answers(again, learned) == answers(model, learned)
    assert (again.front.names, again.extractor_fingerprint) == (
        model.front.names,
        model.extractor_fingerprint,
    )
    assert again.model_description == model.model_description
    assert again.parameters == model.parameters
    assert again.is_updatable
    assert not again.is_writable


def test_checklist_69_a_pipeline_goes_on_from_what_was_saved(pipeline, scene, labelled, updated, tmp_path):
    """A second update from the saved path adds a class and keeps the first; nothing at the path changes."""
    updated(pipeline, labelled([(scene("stripes", 1), "stripes")])).write(tmp_path / "one")
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    model = updated(tmp_path / "one", labelled([(scene("rings", 1), "rings")]))
    unseen = labelled([(scene("stripes", 5), "?"), (scene("rings", 5), "?")])

    assert labels(model.predictions(unseen)) == ["stripes", "rings"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before


@pytest.mark.slow
def test_checklist_69_a_pipeline_learns_real_pictures(pipeline, testdata, labelled, updated, tmp_path):
    """Four photographs each of three groceries are enough to know most of five others of each."""
    constraint = pipeline.model_description.input_descriptions_by_name["image"].image_constraint

    def pictures(kind, count):
        return labelled(
            (image_value_at(path, constraint=constraint), folder)
            for folder in ("banana", "carrots", "kiwi")
            for path in sorted((testdata / "data" / "grocery10" / folder).glob(f"{kind}_*"))[:count]
        )

    model = updated(pipeline, pictures("train", 4))
    unseen = pictures("test", 5)
    given = labels(model.predictions(unseen))

    assert sum(a == b for a, b in zip(given, labels(unseen), strict=True)) >= 12
    model.write(tmp_path / "model")
    assert answers(MLModel.load(tmp_path / "model"), unseen) == answers(model, unseen)


def test_one_stage_file_keeps_its_name_over_generations(pipeline, scene, labelled, updated, tmp_path):
    """A model that is saved, updated and saved again, many times, does not get longer and longer names."""
    model = pipeline
    for at in range(3):
        model.write(tmp_path / str(at))
        model = updated(tmp_path / str(at), labelled([(scene("rings", at), "rings")]))
    names = [sorted(path.name for path in (tmp_path / str(at)).iterdir()) for at in range(3)]

    assert names[0] == names[1] == names[2]
    assert len(names[0]) == 3


@pytest.mark.parametrize("n_stages", [1, 2])
def test_any_number_of_frozen_stages(eye, adder, tiny, labelled, updated, n_stages):
    """One or two before the last: what is learned is what they give in turn."""
    stages = [eye(), adder()][:n_stages]
    model = make_pipeline([*stages, neighbors(stages[-1].n_features)])
    batch = labelled([(tiny("red", 1), "red"), (tiny("blue", 2), "blue")])
    model = updated(model, batch)

    assert labels(model.predictions(batch)) == ["red", "blue"]
    assert model.head.exemplars.rows.shape == (2, stages[-1].n_features)


# ------------------------------------------------------------------ wrong pipelines


def wrong_pipelines(eye, adder, extractor) -> dict[str, tuple[MLModelErrorCode, object]]:
    """What cannot be a pipeline: the code, and how it would be made."""
    generic, update = MLModelErrorCode.GENERIC, MLModelErrorCode.UPDATE
    good = neighbors(3)
    linked = linked_model("efficientnet_lite0_int8.json", "$BUNDLE_IDENTIFIER(edge_agent.extractors)")
    return {
        "an updatable stage first": (update, lambda: make_pipeline([neighbors(3), neighbors(3)])),
        "a last stage that cannot be updated": (update, lambda: make_pipeline([eye(), frozen(3)])),
        "updatable in one that is not": (update, lambda: make_pipeline([eye(), good], is_updatable=False)),
        "a link last": (update, lambda: make_pipeline([eye(), linked])),
        "no stage": (generic, lambda: make_pipeline([])),
        "a classifier first": (generic, lambda: make_pipeline([frozen(3), neighbors(3)])),
        "features that do not fit the last": (generic, lambda: make_pipeline([eye(), neighbors(4)])),
        "features that do not fit a stage": (
            generic,
            lambda: make_pipeline([eye(), adder(5), neighbors(2)]),
        ),
        "too few names": (generic, lambda: make_pipeline([eye(), good], names=["eyes"])),
        "a name twice": (generic, lambda: make_pipeline([eye(), good], names=["same", "same"])),
        "a name with a dot": (generic, lambda: make_pipeline([eye(), good], names=["my.eye", "mind"])),
        "a pipeline last": (generic, lambda: make_pipeline([eye(), make_pipeline([eye(), good])])),
        "an extractor last": (generic, lambda: make_pipeline([extractor, extractor], is_updatable=False)),
        "a text for a stage": (generic, lambda: make_pipeline(["eye", good])),
        "a frozen stage last": (generic, lambda: make_pipeline([eye(), eye()])),
    }


WRONG = [
    "an updatable stage first",
    "a last stage that cannot be updated",
    "updatable in one that is not",
    "a link last",
    "no stage",
    "a classifier first",
    "features that do not fit the last",
    "features that do not fit a stage",
    "too few names",
    "a name twice",
    "a name with a dot",
    "a pipeline last",
    "an extractor last",
    "a text for a stage",
    "a frozen stage last",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_checklist_70_a_wrong_pipeline_is_refused(eye, adder, extractor, wrong):
    """Each with the code of its kind: UPDATE for who may learn, GENERIC for what does not fit."""
    code, make = wrong_pipelines(eye, adder, extractor)[wrong]
    with pytest.raises(MLModelError) as caught:
        make()

    assert caught.value.code is code


def test_checklist_70_every_wrong_pipeline_has_a_message_of_its_own(eye, adder, extractor):
    """No two are told with the same words, also when the names in them are left out."""
    told = {}
    cases = wrong_pipelines(eye, adder, extractor)
    assert list(cases) == WRONG
    for wrong, (_, make) in cases.items():
        with pytest.raises(MLModelError) as caught:
            make()
        told[wrong] = str(caught.value)

    def plain(text: str) -> str:
        return "".join(letter for letter in text if letter.isalpha() or letter == " ")

    for (one, first), (other, second) in itertools.combinations(told.items(), 2):
        assert plain(first) != plain(second), (one, other)
    assert "only the last stage" in told["an updatable stage first"]
    assert "has to be updatable" in told["a last stage that cannot be updated"]
    assert "a linked model can never be updated" in told["a link last"]


def test_checklist_70_the_reason_of_the_last_stage_is_told(eye):
    """Why the last stage cannot be updated is part of the message."""
    with pytest.raises(MLModelError, match="its author made it so"):
        make_pipeline([eye(), frozen(3)])


def test_a_pipeline_that_is_not_updatable_says_why(eye, tiny, labelled):
    """It predicts; a task refuses it with the reason."""
    model = make_pipeline([eye(), frozen(3)], is_updatable=False)

    assert not model.is_updatable
    assert model.model_description.not_updatable_because
    assert labels(model.predictions(labelled([(tiny(), "?")]))) == ["unknown"]
    with pytest.raises(MLModelError, match="was made not to be updated") as caught:
        MLUpdateTask(model, labelled([(tiny(), "red")]))
    assert caught.value.code is MLModelErrorCode.UPDATE


# ------------------------------------------------------------------ names and parameters


def test_checklist_36_stages_are_model0_model1_unless_named(eye, adder):
    """Numbers count all stages; given names take their place, in the parameters too."""
    plain = make_pipeline([eye(), adder(), neighbors(2)])
    named = make_pipeline([eye(), adder(), neighbors(2)], names=["eyes", "sum", "mind"])

    assert plain.front.names == ("model0", "model1", "model2")
    assert named.front.names == ("eyes", "sum", "mind")
    assert {str(one.key).partition(".")[0] for one in plain.parameter_descriptions} == {"model2"}
    assert named.parameter_value(Key.NUMBER_OF_NEIGHBORS.scoped_to("mind")) == 1


def test_checklist_36_layers_are_read_through_a_pipeline(eye, tiny, labelled, updated):
    """`model1.FullyConnected.biases` is what the head has, before and after an update."""
    key = Key.BIASES.scoped_to("model1").scoped_to("FullyConnected")
    model = make_pipeline([eye(gain=0.01), network(3)])
    assert str(key) == "model1.FullyConnected.biases"
    before = model.parameter_value(key)
    after = updated(model, labelled((tiny(one), one) for one in ("red", "green", "blue")))

    assert before.shape == (3,)
    assert np.array_equal(model.parameter_value(key), before)
    assert not np.array_equal(after.parameter_value(key), before)
    assert np.array_equal(after.parameter_value(key), after.head.layer_value(Key("biases", "FullyConnected")))
    with pytest.raises(MLModelError, match=r"model0\.FullyConnected\.biases") as caught:
        model.parameter_value(Key.BIASES.scoped_to("model0").scoped_to("FullyConnected"))
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_36_scoped_parameters_reach_the_last_stage(eye, tiny, labelled):
    """Those of a configuration, of a handler's `resume`, and those told in a context, all carry the stage's name."""
    batch = labelled((tiny(one), one) for one in ("red", "green", "blue"))
    epochs, rate = Key.EPOCHS.scoped_to("mind"), Key.LEARNING_RATE.scoped_to("mind")
    seen = []

    def told(context):
        seen.append((context.parameters[epochs], context.parameters[rate]))
        context.task.resume(with_parameters={rate: 0.5})

    task = MLUpdateTask(
        make_pipeline([eye(gain=0.01), network(3)], names=["eyes", "mind"]),
        batch,
        MLModelConfiguration(parameters={epochs: 3}),
        progress_handlers=MLUpdateProgressHandlers(
            MLUpdateProgressEvent.EPOCH_END, told, lambda context: None
        ),
    )
    task.resume()
    assert task.wait(10)
    assert seen == [(3, 0.01), (3, 0.5), (3, 0.5)]
    with pytest.raises(MLModelError, match=r"eyes\.epochs") as caught:
        MLUpdateTask(
            make_pipeline([eye(), network(3)], names=["eyes", "mind"]),
            batch,
            MLModelConfiguration(parameters={Key.EPOCHS.scoped_to("eyes"): 3}),
        )
    assert caught.value.code is MLModelErrorCode.PARAMETERS


# ------------------------------------------------------------------ what it costs


def test_features_are_extracted_once_over_many_epochs(eye, tiny, labelled, updated):
    """Twenty epochs over twelve pictures look at twelve pictures."""
    stage = eye(gain=0.01)
    batch = labelled((tiny(one, seed), one) for one in ("red", "green", "blue") for seed in range(4))
    updated(make_pipeline([stage, network(3, epochs=20)]), batch)

    assert stage.seen == 12


def test_two_threads_share_an_extractor(extractor, scene, labelled, updated):
    """Two models with one extractor, each asked from a thread of its own, answer as they do alone."""
    pairs = [(scene(kind, 1), kind) for kind in KINDS]
    one = updated(make_pipeline([extractor, neighbors(1280)]), labelled(pairs))
    other = updated(make_pipeline([extractor, neighbors(1280)]), labelled(reversed(pairs)))
    fresh = extractor_model(extractor.front.stages[0]._card.path.with_suffix(".json"))
    batch = labelled((scene(kind, seed), "?") for seed in range(20, 24) for kind in KINDS)
    expected = [answers(model, batch) for model in (one, other)]
    shared = [make_pipeline([fresh, model_with(model)]) for model in (one, other)]
    given: dict[int, list] = {}
    start = threading.Barrier(2)

    def ask(at):
        start.wait(10)
        given[at] = answers(shared[at], batch)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [given[0], given[1]] == expected
    assert fresh.front.stages[0].extractions == batch.count


def model_with(pipeline: MLModel) -> MLModel:
    """The last stage of a pipeline as a model of its own."""
    return MLModel(pipeline.head, parameters=pipeline.parameters)


def test_checklist_56_a_pipeline_leaves_out_a_picture_of_the_wrong_size(eye, tiny, labelled):
    """With `max_bad_share` the task learns the others and tells the index; without, it is refused with it."""
    batch = labelled((tiny("red", at, side=9 if at == 7 else 4), "red") for at in range(20))
    task = MLUpdateTask(make_pipeline([eye(), neighbors(3)]), batch, max_bad_share=0.05)
    task.resume()
    assert task.wait(10)

    assert task.model is not None
    assert len(task.model.head.exemplars) == 19
    assert list(task.skipped_samples) == [7]
    assert "sample 7: feature 'image' is" in task.skipped_samples[7]
    stage = eye()
    with pytest.raises(MLModelError, match="sample 7: feature 'image' is") as caught:
        MLUpdateTask(make_pipeline([stage, neighbors(3)]), batch)
    assert caught.value.code is MLModelErrorCode.UPDATE
    assert stage.seen <= 1


def test_checklist_16_a_lazy_batch_fails_when_its_bad_picture_is_read(eye, tiny, labelled):
    """Samples that are made when they are asked for are not all asked for at construction."""
    good, bad = labelled([(tiny(), "red")]).array[0], labelled([(tiny(side=9), "red")]).array[0]

    class Lazy:
        count = 5

        def features(self, at):
            return bad if at == 3 else good

    task = MLUpdateTask(make_pipeline([eye(), neighbors(3)]), Lazy())
    task.resume()
    assert task.wait(10)

    assert task.error is not None
    assert "sample 3: feature 'image' is" in str(task.error)


# ------------------------------------------------------------------ on disk


@pytest.fixture(name="saved")
def _saved(pipeline, tmp_path):
    """A pipeline on disk, with a stage file and a loose end of nothing."""
    pipeline.write(tmp_path / "saved")
    return tmp_path / "saved"


def edited(folder: Path, change) -> None:
    """Change what model.json says."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def stage_file(folder: Path) -> Path:
    """The one file of a stage."""
    [path] = folder.glob("stage-*")
    return path


def flip(path: Path) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stage(content):
    """The first stage in model.json."""
    return content["front"]["stages"][0]


IO, CUSTOM = MLModelErrorCode.IO, MLModelErrorCode.CUSTOM_MODEL
HARM = {
    "a byte of the stage file": (lambda folder: flip(stage_file(folder)), IO, "damaged"),
    "the stage file cut short": (lambda folder: os.truncate(stage_file(folder), 1000), IO, "damaged"),
    "the stage file missing": (lambda folder: stage_file(folder).unlink(), IO, "cannot be read"),
    "an unknown kind of stage": (
        lambda folder: edited(folder, lambda content: stage(content).update(kind="ear")),
        CUSTOM,
        "'ear' is not known",
    ),
    "a newer format": (
        lambda folder: edited(folder, lambda content: content.update(format=2)),
        IO,
        "too new",
    ),
    "an older format": (
        lambda folder: edited(folder, lambda content: content.update(format=0)),
        IO,
        "too old",
    ),
    "a name too few": (
        lambda folder: edited(folder, lambda content: content["front"]["names"].pop()),
        IO,
        "damaged",
    ),
    "a name twice": (
        lambda folder: edited(folder, lambda content: content["front"].update(names=["a", "a"])),
        IO,
        "damaged",
    ),
    "no stages": (
        lambda folder: edited(folder, lambda content: content["front"].update(stages=[], names=["a"])),
        IO,
        "damaged",
    ),
    "nothing said of a stage": (
        lambda folder: edited(folder, lambda content: stage(content).update(described={})),
        IO,
        "damaged",
    ),
    "nonsense said of a stage": (
        lambda folder: edited(folder, lambda content: stage(content)["described"].update(n_features="many")),
        IO,
        "n_features",
    ),
    "other numbers of features": (
        lambda folder: edited(folder, lambda content: stage(content)["described"].update(n_features=7)),
        IO,
        "damaged",
    ),
    "no front": (lambda folder: edited(folder, lambda content: content.update(front=7)), IO, "damaged"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_pipeline_is_refused_with_its_path(saved, harm):
    """Whatever was done to its files, the error has the path and says what is wrong, once and in one line."""
    damage, code, says = HARM[harm]
    damage(saved)
    with pytest.raises(MLModelError, match=says) as caught:
        MLModel.load(saved)

    assert caught.value.code is code
    assert str(caught.value).count(str(saved)) == 1
    assert "\n" not in str(caught.value)


WRITER = """
import os, sys
import numpy as np
from edge_agent.ml import package
from edge_agent.ml.model import MLModel
steps = int(sys.argv[3])
def counted(function):
    def step(*arguments):
        global steps
        if steps == 0:
            os.kill(os.getpid(), 9)
        steps -= 1
        return function(*arguments)
    return step
model = MLModel.load(sys.argv[2])
head = model.head.copy()
head.remember(np.ones((1, model.n_features), np.float32), ["new"])
for name in ("write_file", "remove_file"):
    setattr(package, name, counted(getattr(package, name)))
model.with_head(head, is_writable=True).write(sys.argv[1])
"""


@pytest.mark.parametrize("steps", range(6))
def test_a_killed_writer_leaves_a_loadable_pipeline(saved, card, tmp_path, steps):
    """Killed before any of its steps while it replaces a pipeline by one of another extractor: old or new, whole."""
    other = tmp_path / "cards"
    other.mkdir()
    described = json.loads(card.read_text())
    (other / "other.json").write_text(json.dumps(described | {"name": "other", "file": "other.tflite"}))
    # Other bytes, which nobody runs here: only the sum has to be right.
    (other / "other.tflite").write_bytes(b"other")
    changed = json.loads((other / "other.json").read_text())
    changed["sha256"] = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
    (other / "other.json").write_text(json.dumps(changed))
    make_pipeline([extractor_model(other / "other.json"), neighbors(1280)]).write(tmp_path / "newer")
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(saved), str(tmp_path / "newer"), str(steps)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    loaded = MLModel.load(saved)

    assert done.returncode == (0 if steps == 5 else -9)
    # head, stage, then the description; after that only what is left over is removed.
    assert loaded.classes == (() if steps < 3 else ("new",))
    assert loaded.extractor_fingerprint.startswith("efficientnet" if steps < 3 else "other")


def test_writing_over_a_pipeline_leaves_nothing_of_the_old_one(saved, pipeline, scenes, updated):
    """The folder holds the description, the arrays and the stage file, and no more."""
    updated(saved, scenes[0]).write(saved)

    assert len(list(saved.iterdir())) == 3
    assert MLModel.load(saved).classes == tuple(sorted(KINDS))


def test_an_extractor_is_a_model_too(extractor, scene, tmp_path):
    """A picture in, its features out, named `features`; written and read back, and never updatable."""
    sample = MLDictionaryFeatureProvider({"image": scene("rings")})
    row = extractor.predict(sample)["features"].multi_array_value
    extractor.write(tmp_path / "extractor")
    again = MLModel.load(tmp_path / "extractor")

    assert row.shape == (1280,)
    assert np.array_equal(again.predict(sample)["features"].multi_array_value, row)
    assert "only extracts" in again.not_updatable_because
    [output] = again.model_description.output_descriptions_by_name.values()
    assert (output.name, output.type) == ("features", MLFeatureType.MULTI_ARRAY)
