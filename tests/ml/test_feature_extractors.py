"""An extractor is described by its revision or by its file, and the description can be kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.errors import UserError
from edge_agent.ml.feature_extractors import CustomFeatureExtractor, FeatureExtractorType


def test_checklist_115_built_in_extractors_go_by_revision():
    """A number names a revision, None the latest; Apple's spelling means the same."""
    assert FeatureExtractorType.built_in() == FeatureExtractorType.built_in(None)
    assert FeatureExtractorType.built_in().revision is None
    assert FeatureExtractorType.scene_print(1) == FeatureExtractorType.built_in(1)
    assert FeatureExtractorType.built_in(1) != FeatureExtractorType.built_in()
    assert not FeatureExtractorType.built_in(1).is_custom
    for bad in (0, -1, True, "1", 1.0):
        with pytest.raises(UserError, match="revision is a whole number"):
            FeatureExtractorType.built_in(bad)


def test_checklist_115_ones_own_extractor_goes_by_its_file():
    """A path with or without the name of an output."""
    own = FeatureExtractorType.custom(CustomFeatureExtractor("my.tflite", output_name="embedding"))

    assert own.is_custom
    assert own.extractor == CustomFeatureExtractor(Path("my.tflite"), "embedding")
    assert FeatureExtractorType.custom("my.tflite").extractor == CustomFeatureExtractor(Path("my.tflite"))
    with pytest.raises(UserError, match="CustomFeatureExtractor is expected"):
        FeatureExtractorType.custom(3)
    with pytest.raises(UserError, match="model_path is a path"):
        CustomFeatureExtractor(None)
    with pytest.raises(UserError, match="output_name is the name"):
        CustomFeatureExtractor("my.tflite", output_name="")
    with pytest.raises(UserError, match="no revision"):
        FeatureExtractorType(1, CustomFeatureExtractor("my.tflite"))


@pytest.mark.parametrize(
    ("extractor", "words"),
    [
        (FeatureExtractorType.built_in(), "the latest built-in extractor"),
        (FeatureExtractorType.built_in(2), "built-in extractor 2"),
        (FeatureExtractorType.custom("a/my.tflite"), "a/my.tflite"),
        (
            FeatureExtractorType.custom(CustomFeatureExtractor("my.tflite", "vector")),
            "my.tflite (output 'vector')",
        ),
    ],
)
def test_an_extractor_can_be_kept_and_said(extractor, words):
    """It survives JSON, and a person can read which one it is."""
    assert FeatureExtractorType.from_json(json.loads(json.dumps(extractor.to_json()))) == extractor
    assert str(extractor) == words


def test_what_is_no_extractor_is_refused():
    """Values that name neither a revision nor a file."""
    with pytest.raises(UserError, match="not an extractor"):
        FeatureExtractorType.from_json({"name": "x"})
