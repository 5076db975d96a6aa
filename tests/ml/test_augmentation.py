"""Which copies are made of which pictures is said exactly, can be kept, and is a set with Apple's algebra."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import UserError
from edge_agent.ml.augmentation import (
    COPIES,
    AugmentationSettings,
    ImageAugmentationOptions,
    PicturePart,
    Variant,
    variants,
    views,
)

Options = ImageAugmentationOptions
ALL = Options.CROP | Options.ROTATION | Options.BLUR | Options.EXPOSURE | Options.NOISE | Options.FLIP


def test_checklist_116_each_kind_adds_its_copies():
    """Crop, rotation, blur, exposure and noise add four copies each, flip three; kinds add up."""
    assert {one.name: len(variants(one)) for one in Options} == {
        "CROP": 4,
        "ROTATION": 4,
        "BLUR": 4,
        "EXPOSURE": 4,
        "NOISE": 4,
        "FLIP": 3,
    }
    assert [Options(raw).copies for raw in range(64)] == [len(variants(Options(raw))) for raw in range(64)]
    assert len(variants(ALL)) == ALL.copies == sum(COPIES.values()) == 23
    assert len(set(variants(ALL))) == 23
    assert variants(Options(0)) == []


def test_checklist_116_the_set_has_apples_algebra():
    """Apple's words for sets do what Python's operators do."""
    one, other = Options.CROP | Options.FLIP, Options.FLIP | Options.NOISE

    assert one.union(other) == one | other == Options.CROP | Options.FLIP | Options.NOISE
    assert one.intersection(other) == one & other == Options.FLIP
    assert one.subtracting(other) == Options.CROP
    assert one.symmetric_difference(other) == one ^ other == Options.CROP | Options.NOISE
    assert one.contains(Options.CROP)
    assert not one.contains(other)
    assert Options.CROP.is_subset(one)
    assert one.is_superset(Options.CROP)
    assert Options.BLUR.is_disjoint(one)
    assert not one.is_disjoint(other)
    assert Options(0).is_empty
    assert not one.is_empty
    assert Options(one.raw_value) == one
    assert ~one == ALL.subtracting(one)


def test_checklist_116_the_picture_itself_is_looked_at_too():
    """A training picture is wanted as it is first, and its copies come right after it."""
    first, second = Path("a.jpg"), Path("b.jpg")

    found = list(views([first, second], PicturePart.TRAINING, Options.FLIP))

    copies = [Variant("flip", 0), Variant("flip", 1), Variant("flip", 2)]
    assert found == [(path, variant) for path in (first, second) for variant in (None, *copies)]


@pytest.mark.parametrize("part", [PicturePart.VALIDATION, PicturePart.TESTING])
def test_checklist_117_pictures_that_judge_are_looked_at_as_they_are(part):
    """Neither a validation nor a test picture has copies, whatever the options."""
    paths = [Path("a.jpg"), Path("b.jpg")]

    assert list(views(paths, part, ALL)) == [(path, None) for path in paths]


def test_checklist_118_settings_are_checked_and_can_be_kept():
    """Seed and strengths survive JSON, and a value out of its range is named."""
    settings = AugmentationSettings(seed=7, crop_area=0.5, rotation_degrees=40, noise_deviation=3)

    assert AugmentationSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert AugmentationSettings.from_json({}) == AugmentationSettings()
    for name, bad in [
        ("seed", -1),
        ("seed", 1.5),
        ("seed", True),
        ("crop_area", 0.0),
        ("crop_area", 1.01),
        ("rotation_degrees", float("nan")),
        ("blur_radius", "much"),
        ("exposure_stops", -0.1),
        ("noise_deviation", None),
    ]:
        with pytest.raises(UserError, match=f"augmentation.{name} is "):
            AugmentationSettings(**{name: bad})
    with pytest.raises(UserError, match="has no 'strength'"):
        AugmentationSettings.from_json({"strength": 1})


def test_settings_hold_what_they_check():
    """Every value of the settings but the seed is kept as JSON, so none can be forgotten there."""
    names = {field.name for field in msgspec.structs.fields(AugmentationSettings)}

    assert set(AugmentationSettings().to_json()) == names


def test_variants_can_be_kept():
    """Each survives JSON, and what is none is refused."""
    for variant in variants(ALL):
        assert Variant.from_json(json.loads(json.dumps(variant.to_json()))) == variant
    assert str(Variant("crop", 2)) == "crop-2"
    for bad in ({}, {"kind": "melt", "index": 0}, {"kind": "crop", "index": 4}):
        with pytest.raises(UserError, match="not a variant"):
            Variant.from_json(bad)


def test_kinds_can_be_named():
    """As a person types them; a wrong name is answered with the right ones."""
    assert Options.named(["Flip", " crop"]) == Options.CROP | Options.FLIP
    assert (Options.CROP | Options.FLIP).names == ("crop", "flip")
    assert (str(Options.CROP | Options.FLIP), str(Options(0))) == ("crop, flip", "none")
    with pytest.raises(UserError, match=r"no augmentation 'melt'; there are crop, rotation, blur"):
        Options.named(["melt"])
    with pytest.raises(ValueError, match="invalid value"):
        Options(64)
