"""How long the pictures will take, said once it is known."""

from __future__ import annotations

from pathlib import Path

from edge_agent.cli.training_time import timed
from edge_agent.ml.augmentation import AugmentationSettings, ImageAugmentationOptions
from edge_agent.ml.classifier_parameters import ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_session import MLTrainingSessionParameters
from edge_agent.testing import FakeClock
from tests.ml.session_kit import NumberSource, picture_folder


def said(folder: Path, augmentation: ImageAugmentationOptions, per_label: int = 16) -> list[str]:
    """What a training says; each look takes half a second."""
    clock = FakeClock()

    class Slow(NumberSource):
        def extract(self, wanted):  # type: ignore[no-untyped-def]
            for answer in super().extract(wanted):
                clock.advance(0.5)
                yield answer

    split = ValidationData.split(MLSplitStrategy.fixed(0.25))
    session = MLImageClassifier.make_training_session(
        DataSource.labeled_directories(at=picture_folder(folder / "data", per_label)),
        ModelParameters(augmentation=augmentation, validation=split),
        MLTrainingSessionParameters(session_directory=folder / "s"),
    )
    lines: list[str] = []
    source = Slow()
    MLImageClassifier.resume(
        session, open_source=timed(session, source, lines.append, monotonic=clock)
    ).result(60)
    assert source.closed == 1
    return lines


def test_each_kind_of_copy_multiplies_the_time(tmp_path: Path) -> None:
    """48 pictures, 36 of them with three copies: 156 looks of half a second; said once."""
    assert said(tmp_path / "plain", ImageAugmentationOptions(0)) == [
        "looking at 48 pictures: about 24 seconds"
    ]
    flipped = (
        "looking at 48 pictures: about 78 seconds (156 looks, because each of the 36 training pictures is looked"
        " at 4 times; without augmentation about 24 seconds)"
    )
    assert said(tmp_path / "flipped", ImageAugmentationOptions.FLIP) == [flipped]


def test_what_is_over_before_it_can_be_known_is_not_announced(tmp_path: Path) -> None:
    """Six pictures are looked at sooner than a time is measured."""
    assert said(tmp_path, ImageAugmentationOptions(0), per_label=2) == []


def test_everything_else_is_the_other_sources() -> None:
    """Size, fingerprint, features and settings are passed on."""
    source = NumberSource()
    settings = AugmentationSettings(seed=7)
    opened = timed(None, source, lambda _text: None)(FeatureExtractorType.built_in(), settings)  # type: ignore[arg-type]

    assert (opened.n_features, opened.fingerprint, opened.size) == (8, "numbers", (32, 32))
    assert source.settings == settings
    assert list(opened.extract_pictures([])) == []
