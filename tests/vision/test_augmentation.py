"""Changed copies of a picture show the same thing in another way, and always the same way for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_agent.ml.augmentation import AugmentationSettings, ImageAugmentationOptions, Variant, variants
from edge_agent.vision.augmentation import augmented

SETTINGS = AugmentationSettings()
EVERY = variants(~ImageAugmentationOptions(0))
NOTHING = AugmentationSettings(
    crop_area=1.0, rotation_degrees=0.0, blur_radius=0.0, exposure_stops=0.0, noise_deviation=0.0
)


@pytest.fixture(name="scene")
def _scene() -> NDArray[np.uint8]:
    """Waves of colour, fine enough to be blurred, without symmetry: 144 wide, 128 high."""
    y, x = np.mgrid[0:128, 0:144]
    waves = [100 + 60 * np.sin(x / 4 + k) + 30 * np.cos(y / (3 + k) + x / 40) for k in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much pixels differ on the average, in steps of 256."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_checklist_116_each_copy_is_another_picture(scene, variant):
    """Of the same shape, different from the picture and from all other copies, which stays what it was."""
    before = scene.copy()
    copy = augmented(scene, variant, SETTINGS, "key")

    assert (copy.shape, copy.dtype) == (scene.shape, np.uint8)
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(scene, before)
    others = [augmented(scene, one, SETTINGS, "key") for one in EVERY if one != variant]
    assert all(distance(copy, other) > 0.1 for other in [scene, *others])


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_checklist_118_a_seed_makes_the_same_copy_again(scene, variant):
    """The same seed and picture give the same bits; another seed or another picture another copy."""
    copy = augmented(scene, variant, SETTINGS, "key")

    np.testing.assert_array_equal(augmented(scene, variant, AugmentationSettings(seed=0), "key"), copy)
    other_seed = augmented(scene, variant, AugmentationSettings(seed=1), "key")
    other_key = augmented(scene, variant, SETTINGS, "other")
    changes = variant.kind != "flip"
    assert (distance(copy, other_seed) > 0) is changes
    assert (distance(copy, other_key) > 0) is changes


@pytest.mark.parametrize("variant", [one for one in EVERY if one.kind != "flip"], ids=str)
def test_checklist_118_strength_is_how_much_changes(scene, variant):
    """Without strength the copy is the picture itself, to a rounding; with more of it, it is farther away."""
    if variant.kind in {"crop", "rotation"}:
        # What is moved differs more the farther it is moved only where colours grow steadily.
        y, x = np.mgrid[0:128, 0:144]
        scene = np.stack([x, y, x], axis=2).astype(np.uint8)
    more = AugmentationSettings(
        crop_area=0.5, rotation_degrees=20, blur_radius=0.02, exposure_stops=2, noise_deviation=32
    )
    amounts = [distance(scene, augmented(scene, variant, one, "key")) for one in (NOTHING, SETTINGS, more)]

    assert amounts[0] < 0.01
    assert amounts[0] < amounts[1] < amounts[2]


@pytest.mark.parametrize("degrees", [15, 90, 180])
@pytest.mark.parametrize("proportion", [None, 3.0, 0.1])
def test_checklist_116_nothing_black_comes_in_with_a_turn(degrees, proportion):
    """Corners are filled with the mirror image of what is there: a white picture stays white."""
    white = np.full((50, 70, 3), 255, np.uint8)
    settings = AugmentationSettings(rotation_degrees=degrees)

    for index in range(4):
        copy = augmented(white, Variant("rotation", index), settings, "key", proportion=proportion)
        assert copy.min() == 255


def test_a_turn_is_one_of_the_scene(scene):
    """What was squeezed into a square is turned as the wide original would have been, not as the square."""
    wide = Image.fromarray(scene).resize((384, 192), Image.Resampling.BILINEAR)
    small = np.asarray(wide.resize((192, 192), Image.Resampling.BILINEAR))
    settings = AugmentationSettings(rotation_degrees=30)
    variant = Variant("rotation", 3)

    turned = augmented(np.asarray(wide), variant, settings, "key")
    expected = np.asarray(Image.fromarray(turned).resize((192, 192), Image.Resampling.BILINEAR))
    found = augmented(small, variant, settings, "key", proportion=2.0)

    assert distance(found[40:-40, 40:-40], expected[40:-40, 40:-40]) < 1.0
    assert distance(augmented(small, variant, settings, "key")[40:-40, 40:-40], expected[40:-40, 40:-40]) > 5


def test_turns_go_to_both_sides():
    """Two of the four copies are turned to the right, two to the left."""
    picture = Image.new("RGB", (101, 101))
    ImageDraw.Draw(picture).ellipse((44, 4, 56, 16), fill="white")

    columns = []
    for index in range(4):
        copy = augmented(np.asarray(picture), Variant("rotation", index), SETTINGS, "key")
        columns.append(np.average(np.arange(101), weights=copy[:40, :, 0].sum(axis=0)) - 50)

    # The point is 40 pixels above the middle; sin(15 degrees) * 40 is 10.4.
    assert all(-10.6 < column < 10.6 for column in columns)
    assert [column > 0 for column in columns].count(True) == 2
    assert min(abs(column) for column in (columns[0], columns[3])) > 5


@pytest.mark.parametrize("index", range(4))
def test_a_crop_is_a_part_of_the_picture(index):
    """Between 70 and 100 % of the area, not distorted, from within the picture."""
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    ramps = np.stack([x, y, x], axis=2).astype(np.uint8)

    copy = augmented(ramps, Variant("crop", index), SETTINGS, "key").astype(int)

    wide, high = np.ptp(copy[:, :, 0]) + 1, np.ptp(copy[:, :, 1]) + 1
    assert 0.69 <= wide * high / 200**2 <= 1.01
    assert wide == pytest.approx(high, abs=2)
    assert (np.diff(copy[0, :, 0]) >= 0).all()


def test_exposure_is_light():
    """Two copies are darker, two lighter, at most by the factor of two of a stop; black and white stay."""
    grey = np.full((8, 8, 3), 128, np.uint8)
    levels = [int(augmented(grey, Variant("exposure", i), SETTINGS, "key")[0, 0, 0]) for i in range(4)]

    # 92 and 176 are what sRGB makes of half and twice the light of 128.
    assert 92 <= levels[0] < levels[1] <= 128 <= levels[2] < levels[3] <= 176
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert augmented(ends, Variant("exposure", 3), SETTINGS, "key").tolist() == ends.tolist()


def test_noise_has_the_deviation_it_says():
    """Standard deviations are between 0.4 of the strongest and the strongest; the mean stays."""
    grey = np.full((100, 100, 3), 128, np.uint8)
    found = [augmented(grey, Variant("noise", index), SETTINGS, "key").astype(int) for index in range(4)]

    deviations = [float(copy.std()) for copy in found]
    assert deviations == sorted(deviations)
    assert deviations[0] > 6.3
    assert deviations[-1] < 16.3
    assert all(abs(copy.mean() - 128) < 0.5 for copy in found)


def test_flips_are_exact(scene):
    """Horizontal, vertical, both."""
    first, second, third = (augmented(scene, Variant("flip", index), SETTINGS, "key") for index in range(3))

    np.testing.assert_array_equal(first, scene[:, ::-1])
    np.testing.assert_array_equal(second, scene[::-1])
    np.testing.assert_array_equal(third, scene[::-1, ::-1])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (9, 1, 3)])
def test_tiny_pictures_have_copies_too(shape):
    """An extractor that sees a single row is odd, but no reason to fail."""
    pixels = np.full(shape, 100, np.uint8)

    assert all(augmented(pixels, variant, SETTINGS, "key").shape == shape for variant in EVERY)
