"""The classifier that comes out: metrics, answers, evaluation, writing."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.augmentation import ImageAugmentationOptions
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.classifier_metadata import DESCRIPTION, created_metadata
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.model import MLModel
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.update import MLTaskState, MLUpdateTask
from tests.ml.session_kit import LABELS, D, NumberSource, picture_folder, write_picture

WAIT = 60.0
HELD = ValidationData.split(MLSplitStrategy.fixed(0.25, seed=1))


def trained(folder: Path, **given: Any) -> MLImageClassifier:
    """Of the pictures in a folder, without a picture library."""
    return MLImageClassifier(
        DataSource.labeled_directories(at=folder), ModelParameters(**given), open_source=NumberSource()
    )


@pytest.fixture(name="pictures")
def _pictures(tmp_path: Path) -> Path:
    return picture_folder(tmp_path / "data")


def test_checklist_110_parameters_have_apples_defaults() -> None:
    """Automatic validation, 25 iterations, no augmentation, the latest built-in extractor, logistic regression."""
    given = ModelParameters()

    assert given.validation == ValidationData.split(MLSplitStrategy.automatic())
    assert given.max_iterations == 25
    assert not given.augmentation
    assert given.algorithm == ModelAlgorithmType.transfer_learning(
        FeatureExtractorType.built_in(), ClassifierType.logistic_regressor()
    )
    assert ModelParameters.from_json(given.to_json()) == given


@pytest.mark.parametrize(
    "given",
    [
        {"validation": 0.2},
        {"max_iterations": 0},
        {"max_iterations": 2.5},
        {"augmentation": "flip"},
        {"algorithm": "lda"},
        {"seed": -1},
        {"augmentation_settings": None},
    ],
)
def test_checklist_110_wrong_parameters_are_refused_by_name(given: dict[str, Any]) -> None:
    """Before anything is looked at."""
    with pytest.raises(MLCreateError, match=next(iter(given))) as caught:
        ModelParameters(**given)
    assert caught.value.code is MLCreateErrorCode.TYPE


@pytest.mark.parametrize("sizes", [[], [0], [3, -1], [2.5], "64", 64, [True]])
def test_checklist_114_layer_sizes_are_whole_numbers(sizes: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(MLCreateError, match="layer_sizes"):
        ClassifierType.multilayer_perceptron(sizes)


def test_checklist_140_training_and_validation_are_measured(pictures: Path) -> None:
    """Without pictures held out the validation metrics say so and are not valid."""
    with_some = trained(pictures, validation=HELD)
    without = trained(pictures, validation=ValidationData.none())

    assert with_some.training_metrics.count == 27
    assert with_some.validation_metrics.is_valid
    assert with_some.validation_metrics.count == 9
    assert without.training_metrics.count == 36
    assert not without.validation_metrics.is_valid
    assert "no pictures to validate by" in str(without.validation_metrics.error)


def test_checklist_105_119_files_by_label_are_taken_everywhere(pictures: Path) -> None:
    """A dictionary trains and is evaluated on like a source; what is neither is refused before anything else."""
    files = {label: sorted((pictures / label).iterdir()) for label in LABELS}

    classifier = MLImageClassifier(training_data=files, open_source=NumberSource())

    assert classifier.training_metrics.count == 36
    assert classifier.evaluation(on=files).accuracy == 1.0
    for wrong in ("text", 17, [("cat", [])]):
        with pytest.raises(MLCreateError) as caught:
            MLImageClassifier.make_training_session(wrong)  # type: ignore[arg-type]
        assert caught.value.code is MLCreateErrorCode.TYPE


def test_checklist_110_copies_go_by_apples_name_too() -> None:
    """`augmentation_options` is `augmentation`."""
    given = ModelParameters(augmentation=ImageAugmentationOptions.FLIP | ImageAugmentationOptions.CROP)

    assert given.augmentation_options is given.augmentation


def test_checklist_111_validation_may_have_pictures_of_its_own(pictures: Path, tmp_path: Path) -> None:
    """They are never learned from; a picture that is among both is refused."""
    other = DataSource.labeled_directories(at=picture_folder(tmp_path / "other", per_label=2))

    classifier = trained(pictures, validation=ValidationData.data_source(other))

    assert (classifier.training_metrics.count, classifier.validation_metrics.count) == (36, 6)
    both = ValidationData.dictionary({"cat": [pictures / "cat" / "000.jpg"]})
    with pytest.raises(MLCreateError, match="among the pictures to learn from and among"):
        trained(pictures, validation=both)


def test_checklist_141_evaluation_never_raises(pictures: Path, tmp_path: Path) -> None:
    """Whatever is wrong is the `error` of metrics that are not valid; one bad file of many is left out."""
    classifier = trained(pictures)
    assert classifier.evaluation(on=DataSource.labeled_directories(at=pictures)).accuracy == 1.0
    (pictures / "cat" / "bad.jpg").write_text("bad", encoding="utf-8")
    assert classifier.evaluation(on=DataSource.labeled_directories(at=pictures)).count == 36
    bad: list[Any] = [
        DataSource.labeled_directories(at=tmp_path / "nowhere"),
        DataSource.files_by_label({"cat": [pictures / "cat" / "bad.jpg"]}),
        {"cat": ["/nowhere/a.jpg"]},
        {"cat": 5},
        None,
        17,
        "text",
    ]

    for source in bad:
        metrics = classifier.evaluation(on=source)
        assert not metrics.is_valid
        assert metrics.error


def test_checklist_144_145_labels_and_probabilities_in_order(pictures: Path) -> None:
    """For one file, for many in their order, with all probabilities or the first few."""
    classifier = trained(pictures)
    paths = [pictures / label / "003.jpg" for label in ("dog", "cat", "emu", "dog")]

    assert classifier.prediction(from_=paths[0]) == "dog"
    assert classifier.prediction(from_=str(paths[1])) == "cat"
    assert classifier.predictions(from_=paths) == ["dog", "cat", "emu", "dog"]
    whole = classifier.probabilities(from_=paths)
    assert [next(iter(row)) for row in whole] == ["dog", "cat", "emu", "dog"]
    for row in whole:
        assert set(row) == set(LABELS)
        assert sum(row.values()) == pytest.approx(1.0)
        assert list(row.values()) == sorted(row.values(), reverse=True)
    assert classifier.probabilities(from_=paths[:1], top=2) == [dict(list(whole[0].items())[:2])]


def test_checklist_144_a_file_that_cannot_be_read_is_named(pictures: Path) -> None:
    """One of the errors of Create ML."""
    classifier = trained(pictures)
    bad = write_picture(pictures / "bad.jpg", "bad", 1)

    with pytest.raises(MLCreateError, match=r"bad\.jpg: not a picture") as caught:
        classifier.prediction(from_=bad)
    assert caught.value.code is MLCreateErrorCode.IO


def test_checklist_143_a_classifier_describes_itself(pictures: Path) -> None:
    """Labels, parameters and metrics are in its text; the short form is one line."""
    classifier = trained(pictures, validation=HELD)

    text = str(classifier)
    for part in ("cat, dog, emu", "Max iterations: 25", "Training:", "Validation:", "logistic"):
        assert part in text
    assert repr(classifier) == "<MLImageClassifier of 3 labels>"


def test_checklist_149_model_and_parameters_are_there(pictures: Path) -> None:
    """The head is a model of ours, with the extractor's fingerprint; the parameters are those given."""
    parameters = ModelParameters(max_iterations=7)
    classifier = MLImageClassifier(
        DataSource.labeled_directories(at=pictures), parameters, open_source=NumberSource()
    )

    assert classifier.model_parameters == parameters
    assert classifier.head_model.classes == LABELS
    assert classifier.head_model.n_features == D
    assert classifier.head_model.extractor_fingerprint == "numbers"


@pytest.mark.parametrize(
    "classifier",
    [
        ClassifierType.logistic_regressor(),
        ClassifierType.multilayer_perceptron([5]),
        ClassifierType.discriminant(),
        ClassifierType.automatic(),
    ],
    ids=lambda one: one.fit,
)
def test_checklist_151_what_was_trained_is_updated_without_conversion(
    pictures: Path, classifier: ClassifierType
) -> None:
    """An update task takes the model as it is, and a new label is known afterwards."""
    trained_one = trained(pictures, algorithm=ModelAlgorithmType.transfer_learning(classifier=classifier))
    source = NumberSource()
    X = np.stack([source.row(f"fox {number}", None) for number in range(12)])
    before = [source.row(f"cat {number}", None) for number in range(12)]
    batch = MatrixBatchProvider(np.concatenate([X, np.stack(before)]), ["fox"] * 12 + ["cat"] * 12)

    task = MLUpdateTask(trained_one.head_model, batch)
    task.resume()
    assert task.wait(WAIT)

    assert task.state is MLTaskState.COMPLETED, task.error
    assert task.model is not None
    assert task.model.is_updatable
    assert set(task.model.classes) == {*LABELS, "fox"}
    assert task.model.head.name == trained_one.head_model.head.name


def test_checklist_147_metadata_has_create_mls_defaults() -> None:
    """The author is the current user, the version 1, the licence nobody's; each can be given."""
    given = created_metadata()
    assert given.author == getpass.getuser()
    assert given.version_string == "1"
    assert given.license == ""
    assert given.description

    own = created_metadata("Ada", "Cats", "MIT", "3", {"board": "zero"})
    assert (own.author, own.description, own.license, own.version_string) == ("Ada", "Cats", "MIT", "3")
    assert own.creator_defined == {"board": "zero"}


# ---------------------------------------------------------------------- with the real extractor


@pytest.fixture(name="real", scope="module")
def _real(tmp_path_factory: pytest.TempPathFactory) -> tuple[MLImageClassifier, Path]:
    """A classifier of drawn pictures, through the built-in extractor."""
    from edge_agent.cli.pictures import write_pictures

    folder = tmp_path_factory.mktemp("drawn")
    write_pictures(folder, 6, seed=5, labels=["leaf", "mug"])
    return MLImageClassifier(DataSource.labeled_directories(at=folder)), folder


def test_checklist_146_150_one_preprocessing_and_kilobytes_on_disk(
    real: tuple[MLImageClassifier, Path], tmp_path: Path
) -> None:
    """What is written answers with the same label as the classifier, and weighs no extractor."""
    classifier, folder = real
    paths = sorted(folder.rglob("*.jpg"))
    assert classifier.evaluation(on=DataSource.labeled_directories(at=folder)).accuracy == 1.0

    classifier.write(to=tmp_path / "linked")
    classifier.write(to=str(tmp_path / "whole"), linked=False)

    sizes = {
        name: sum(file.stat().st_size for file in (tmp_path / name).iterdir()) for name in ("linked", "whole")
    }
    assert sizes["linked"] < 100_000
    assert sizes["whole"] > 3_000_000
    model = MLModel.load(tmp_path / "linked")
    from edge_agent.ml.features import MLDictionaryFeatureProvider
    from edge_agent.vision.image_values import image_value_at

    constraint = model.model_description.input_descriptions_by_name["image"].image_constraint
    labels = classifier.predictions(from_=paths)
    for path, label in zip(paths, labels, strict=True):
        value = MLDictionaryFeatureProvider({"image": image_value_at(path, constraint=constraint)})
        assert model.prediction(value)["label"].string_value == label


def test_checklist_144_pixels_in_memory_are_predicted(real: tuple[MLImageClassifier, Path]) -> None:
    """They go through the same decoding and scaling as a file of them."""
    from edge_agent.config import PicturesConfig
    from edge_agent.vision.images import decode_upright

    classifier, folder = real
    path = sorted(folder.rglob("*.jpg"))[0]
    pixels = decode_upright(path.read_bytes(), limits=PicturesConfig())

    assert classifier.predictions(from_=[pixels, path]) == ["leaf", "leaf"]


def test_checklist_147_148_metadata_is_written_and_read_back(
    real: tuple[MLImageClassifier, Path], tmp_path: Path
) -> None:
    """To a path or a text; the defaults where nothing is given."""
    classifier, _ = real

    classifier.write(to=tmp_path / "a", metadata=created_metadata("Ada", "Leaves", additional={"k": "v"}))
    classifier.write(to=str(tmp_path / "b"))

    first, second = MLModel.load(tmp_path / "a").metadata, MLModel.load(tmp_path / "b").metadata
    assert (first.author, first.description, first.creator_defined) == ("Ada", "Leaves", {"k": "v"})
    assert (second.author, second.version_string) == (getpass.getuser(), "1")
    assert (second.description, second.license) == (DESCRIPTION, "")
    classifier.write(to_file=str(tmp_path / "c"))
    assert MLModel.load(tmp_path / "c").metadata == second
    for wrong in ({}, {"to": tmp_path / "d", "to_file": "e"}):
        with pytest.raises(TypeError):
            classifier.write(**wrong)


def test_checklist_149_the_whole_is_an_updatable_pipeline(real: tuple[MLImageClassifier, Path]) -> None:
    """A picture in; label and probabilities out."""
    model = real[0].model

    assert model.is_updatable
    assert set(model.model_description.input_descriptions_by_name) == {"image"}
    assert set(model.model_description.output_descriptions_by_name) == {"label", "label_probabilities"}
