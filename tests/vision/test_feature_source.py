"""Pictures of all kinds become features, in one and the same way for whoever asks; what is none is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError, NotFoundError
from edge_agent.ml.augmentation import (
    AugmentationSettings,
    ImageAugmentationOptions,
    PicturePart,
    Variant,
    variants,
    views,
)
from edge_agent.ml.feature_extractors import CustomFeatureExtractor, FeatureExtractorType
from edge_agent.ml.feature_source import FeatureSource, unreadable
from edge_agent.vision import images
from edge_agent.vision.augmentation import augmented
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.extractor_stage import ExtractorStage
from edge_agent.vision.feature_source import (
    BUILT_IN,
    EngineFeatureSource,
    card_for,
    open_feature_source,
    stage_for,
)
from edge_agent.vision.image_values import image_value_at
from edge_agent.vision.preprocessing import ExtractorCard

EVERY = variants(~ImageAugmentationOptions(0))


@pytest.fixture(name="source")
def _source(card: ExtractorCard) -> Iterator[EngineFeatureSource]:
    with closing(EngineFeatureSource(card)) as source:
        yield source


@pytest.fixture(name="here")
def _here(card: ExtractorCard) -> FeatureExtractor:
    """The same extractor in this process."""
    return FeatureExtractor(card)


@pytest.fixture(name="save")
def _save(tmp_path: Path, pictures: Callable[..., Image.Image], encode: Callable[..., bytes]):
    """A picture's file of a name, a kind and a size."""

    def save(name: str, kind: str, width: int, height: int, mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.write_bytes(encode(pictures(width, height).convert(mode), kind))
        return path

    return save


@pytest.fixture(name="textured")
def _textured(tmp_path: Path) -> Path:
    """A picture that a blur changes: fine stripes, 200 wide, 100 high."""
    y, x = np.mgrid[0:100, 0:200]
    stripes = np.stack([x * 23 % 256, y * 31 % 256, (x + 3 * y) * 11 % 256], axis=2)
    path = tmp_path / "textured.png"
    Image.fromarray(stripes.astype(np.uint8)).save(path)
    return path


@pytest.fixture(name="own")
def _own(card: ExtractorCard, tmp_path: Path) -> Path:
    """An extractor of one's own: a .tflite and its card beside it."""
    path = tmp_path / "own.tflite"
    shutil.copyfile(card.path, path)
    described = {"width": 128, "height": 128, "mean": 127.5, "std": 127.5}
    data = {"name": "own", "file": path.name, "sha256": card.sha256, "n_features": 256, "input": described}
    path.with_suffix(".json").write_text(json.dumps(data))
    return path


def rewrite(card: Path, **changes: object) -> None:
    """Change a card; None takes a key out."""
    data = json.loads(card.read_text()) | changes
    card.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def test_checklist_108_formats_and_sizes_mix(source, save, here, card):
    """JPEG, PNG, WebP, BMP and GIF, tall, wide, tiny, large, grey and transparent: each has its features."""
    paths = [
        save("a.jpg", "JPEG", 900, 700),
        save("b.png", "PNG", 31, 400),
        save("c.webp", "WEBP", 128, 128),
        save("d.bmp", "BMP", 400, 31),
        save("e.gif", "GIF", 60, 60, "P"),
        save("f.jpeg", "JPEG", 50, 60, "L"),
        save("g.png", "PNG", 70, 50, "RGBA"),
        save("h.txt", "PNG", 1, 1),
    ]

    found = list(source.extract((path, None) for path in paths))

    assert [one.path for one in found] == paths
    assert [one.error for one in found] == [None] * 8
    sizes = [(900, 700), (31, 400), (128, 128), (400, 31), (60, 60), (50, 60), (70, 50), (1, 1)]
    assert [(one.width, one.height) for one in found] == sizes
    for one in found:
        data = one.path.read_bytes()
        pixels = images.decode(data, limits=PicturesConfig(), target=card.size).pixels
        np.testing.assert_array_equal(one.features, here.extract(pixels))
        assert one.digest == hashlib.sha256(data).hexdigest()


def test_checklist_108_what_cannot_be_read_is_named(source, save, tmp_path):
    """Text, half a picture, a folder, a pipe and a file that is gone are answers, in their places."""
    good = save("good.png", "PNG", 40, 40)
    text = tmp_path / "notes.jpg"
    text.write_text("not a picture")
    half = tmp_path / "half.jpg"
    half.write_bytes(save("whole.jpg", "JPEG", 300, 300).read_bytes()[:2000])
    folder = tmp_path / "folder.png"
    folder.mkdir()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    gone = tmp_path / "gone.png"
    paths = [gone, good, text, gone, half, folder, pipe, good, gone]

    found = list(source.extract((path, None) for path in paths))

    assert [one.path for one in found] == paths
    assert [one.error is None for one in found] == [path is good for path in paths]
    assert all((one.features is None) is (one.error is not None) for one in found)
    complaints = unreadable(found)
    assert [line.partition(":")[0] for line in complaints] == [
        str(p) for p in (gone, text, half, folder, pipe)
    ]
    for line, words in zip(
        complaints,
        ["No such file", "not a picture", "cut off", "not a regular", "not a regular"],
        strict=True,
    ):
        assert words in line


def test_checklist_115_a_built_in_extractor_goes_by_its_revision():
    """None is the latest; a revision there is not is refused with those there are."""
    latest = card_for(FeatureExtractorType.built_in())

    assert latest == card_for(FeatureExtractorType.built_in(max(BUILT_IN)))
    assert latest == card_for(FeatureExtractorType.scene_print())
    assert card_for(FeatureExtractorType.built_in(1)).name == "efficientnet-lite0-int8"
    with pytest.raises(NotFoundError, match="no built-in extractor of revision 99; there is 1"):
        open_feature_source(FeatureExtractorType.built_in(99))


def test_checklist_115_the_built_in_extractor_gives_features(save):
    """Opened without a word about it, it looks at pictures at once."""
    with closing(open_feature_source()) as source:
        (one,) = source.extract([(save("a.jpg", "JPEG", 300, 300), None)])

        assert isinstance(source, FeatureSource)
        assert (source.size, source.n_features) == ((224, 224), 1280)
        assert one.features is not None
        assert one.features.shape == (1280,)


def test_checklist_115_ones_own_extractor_is_a_tflite_with_its_card(own, save, here):
    """It gives what its model gives, with or without the name of its only output in the card."""
    path = save("a.png", "PNG", 128, 128)
    with closing(open_feature_source(FeatureExtractorType.custom(own))) as source:
        (one,) = source.extract([(path, None)])
        plain = source.fingerprint
    np.testing.assert_array_equal(one.features, here.extract(np.asarray(Image.open(path))))

    name = output_name(own)
    rewrite(own.with_suffix(".json"), output=name)
    named = FeatureExtractorType.custom(CustomFeatureExtractor(own, name))
    with closing(open_feature_source(named)) as source:
        (again,) = source.extract([(path, None)])
        assert source.fingerprint.startswith(":".join(plain.split(":")[:2]))
        assert source.fingerprint.endswith(f":{name}")
        assert source.fingerprint.split(":")[2] != plain.split(":")[2]
    np.testing.assert_array_equal(again.features, one.features)


def output_name(model: Path) -> str:
    """What a model calls its output, in the words of the refusal of another name."""
    rewrite(model.with_suffix(".json"), output="no-such-output")
    with pytest.raises(ExtractorError, match=r"has no output 'no-such-output'; it has '.*'") as refusal:
        open_feature_source(FeatureExtractorType.custom(model))
    return str(refusal.value).rpartition("it has '")[2].rstrip("'")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": {"width": 96, "height": 96, "mean": 0, "std": 1}}, "input has shape"),
        ({"n_features": 128}, "gives 256 features, not 128"),
        ({"sha256": "0" * 64}, "damaged or not the file its card describes"),
        ({"file": "other.tflite"}, "describes other.tflite, not own.tflite"),
        ({"input": None}, "input"),
        ({"file": None}, "`file` must name"),
    ],
)
def test_checklist_115_what_is_no_extractor_is_refused_at_once(own, changes, words):
    """A card that does not fit is refused when it is opened, with the file's name, and no process is left."""
    rewrite(own.with_suffix(".json"), **changes)

    with pytest.raises(ExtractorError, match=words) as refusal:
        open_feature_source(FeatureExtractorType.custom(own))

    assert "own." in str(refusal.value)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("odd/coral_split_concat_3in4out.tflite", "an extractor has one input; this model has 3"),
        ("odd/aeq_conv_fc_mnist_1ch.tflite", "input has shape"),
        ("odd/made_text.tflite", "refused the extractor"),
    ],
)
def test_checklist_115_a_model_that_takes_no_picture_is_refused(own, testdata, file, words):
    """Several inputs, one channel, no model at all: the refusal says what is there instead."""
    shutil.copyfile(testdata / "models" / file, own)
    rewrite(own.with_suffix(".json"), sha256=hashlib.sha256(own.read_bytes()).hexdigest())

    with pytest.raises(ExtractorError, match=words):
        open_feature_source(FeatureExtractorType.custom(own))


def test_checklist_115_a_missing_model_or_card_is_named(own, tmp_path):
    """So is an output that the card knows nothing of."""
    with pytest.raises(ExtractorError, match=r"gone.tflite: cannot be read: there is no such file"):
        open_feature_source(FeatureExtractorType.custom(tmp_path / "gone.tflite"))
    with pytest.raises(ExtractorError, match="name it there as `output`"):
        open_feature_source(FeatureExtractorType.custom(CustomFeatureExtractor(own, "embedding")))
    own.with_suffix(".json").unlink()
    with pytest.raises(ExtractorError, match=r"own.tflite: a feature extractor is a .tflite with its card"):
        open_feature_source(FeatureExtractorType.custom(own))


def test_checklist_116_117_copies_are_looked_at_beside_the_picture(source, textured, save, here, card):
    """A training picture has its features and those of its 23 copies, a picture that judges only its own."""
    training, held_out = textured, save("v.png", "PNG", 90, 90)
    every = ~ImageAugmentationOptions(0)
    wanted = [
        *views([training], PicturePart.TRAINING, every),
        *views([held_out], PicturePart.VALIDATION, every),
    ]

    found = list(source.extract(wanted))

    assert [(one.path, one.variant) for one in found] == wanted
    assert len(found) == 1 + 23 + 1
    digest = hashlib.sha256(training.read_bytes()).hexdigest()
    pixels = images.decode(training.read_bytes(), limits=PicturesConfig(), target=card.size).pixels
    for one in found[1:-1]:
        copy = augmented(pixels, one.variant, AugmentationSettings(), digest, proportion=2.0)
        np.testing.assert_array_equal(one.features, here.extract(copy))
        assert (one.width, one.height, one.digest) == (200, 100, digest)
    assert all(not np.array_equal(one.features, found[0].features) for one in found[1:])


def test_checklist_118_seed_and_strength_reach_the_engine(source, card, save):
    """Another seed gives other copies of the same picture, the same seed the same; the picture itself stays."""
    wanted = [(save("t.png", "PNG", 200, 100), variant) for variant in (None, Variant("crop", 3))]

    def with_settings(**settings: float) -> list[np.ndarray]:
        with closing(EngineFeatureSource(card, augmentation=AugmentationSettings(**settings))) as other:
            assert other.fingerprint == source.fingerprint
            return [one.features for one in other.extract(wanted)]

    plain = [one.features for one in source.extract(wanted)]
    for settings, same in [({"seed": 0}, True), ({"seed": 5}, False), ({"crop_area": 0.3}, False)]:
        picture, copy = with_settings(**settings)
        np.testing.assert_array_equal(picture, plain[0])
        assert np.array_equal(copy, plain[1]) is same


@pytest.mark.parametrize(("name", "kind", "side"), [("a.png", "PNG", 700), ("b.jpg", "JPEG", 300)])
def test_checklist_146_everybody_sees_the_same(source, make_engine, drop, card, here, save, name, kind, side):
    """The source, the agent's engine, the extractor and its stage in this process: bit for bit the same."""
    path = save(name, kind, side, side - 40)
    data = path.read_bytes()

    (trained,) = source.extract([(path, None)])
    (predicted,) = source.extract_pictures([path])
    (agents,) = make_engine().extract([drop(data)])
    stage = ExtractorStage(card)
    value = image_value_at(path, constraint=stage.input.image_constraint)

    for features in (
        predicted.features,
        agents.features,
        here.extract(images.decode(data, limits=PicturesConfig(), target=card.size).pixels),
        stage.features(value),
    ):
        np.testing.assert_array_equal(features, trained.features)


def test_checklist_146_a_large_jpeg_is_scaled_while_it_is_decoded(source, card, save):
    """Only there does a feature value, decoded whole, differ from what is trained on, and by very little."""
    path = save("large.jpg", "JPEG", 3000, 2000)
    stage = ExtractorStage(card)

    (trained,) = source.extract([(path, None)])
    whole = stage.features(image_value_at(path, constraint=stage.input.image_constraint))

    cosine = whole @ trained.features / np.linalg.norm(whole) / np.linalg.norm(trained.features)
    assert cosine > 0.999


def test_checklist_146_pixels_go_the_way_of_files(source, save):
    """A picture from memory has the features of a file with the same pixels, whatever its width."""
    paths = [save(f"{side}.png", "PNG", side, 150) for side in (301, 302, 303, 304, 1)]
    arrays = [np.asarray(Image.open(path)) for path in paths]

    for path, one in zip(paths, source.extract_pictures(arrays), strict=True):
        (expected,) = source.extract([(path, None)])
        np.testing.assert_array_equal(one.features, expected.features)
        assert (one.width, one.height) == (expected.width, expected.height)


def test_what_is_no_picture_in_memory_is_named(source):
    """By its place among the others."""
    good = np.zeros((4, 4, 3), np.uint8)
    bad = [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]

    found = list(source.extract_pictures([good, *bad, good]))

    assert [one.error is None for one in found] == [True, False, False, False, True]
    assert found[1].complaint is not None
    assert found[1].complaint.startswith(
        "picture 2 from memory: the file cannot be read: pixels are uint8 RGB"
    )


def test_copies_are_decoded_once(make_engine, card, save):
    """As long as they come one after the other and the file stays what it was."""
    source = EngineFeatureSource(
        card, engine=make_engine(worker_module="counting_worker", augmentation=AugmentationSettings())
    )
    first, second = save("a.jpg", "JPEG", 80, 80), save("b.jpg", "JPEG", 70, 70)
    wanted = [(path, variant) for path in (first, second, first) for variant in (None, *EVERY)]

    decodes = [one.width for one in source.extract(wanted)]

    assert decodes == [number for number in (1, 2, 3) for _ in range(24)]
    (alone,) = source.extract([(first, Variant("flip", 1))])
    assert alone.width == 3
    first.write_bytes(second.read_bytes())
    (changed,) = source.extract([(first, Variant("flip", 1))])
    assert changed.width == 4
    # Side by side, so nobody can say which is first.
    assert sorted(one.width for one in source.extract([(first, None)] * 2)) == [5, 6]


def test_a_picture_that_kills_the_engine_is_not_tried_for_each_copy(make_engine, card, tmp_path, save):
    """It is refused with all its copies after a few deaths, and the others have their features."""
    engine = make_engine(worker_module="fragile_worker", augmentation=AugmentationSettings())
    source = EngineFeatureSource(card, engine=engine)
    deadly = tmp_path / "deadly.jpg"
    deadly.write_bytes(b"ABORT\n")
    good = save("good.jpg", "JPEG", 80, 80)
    wanted = list(views([deadly, good], PicturePart.TRAINING, ~ImageAugmentationOptions(0)))

    found = list(source.extract(wanted))

    assert [(one.path, one.variant) for one in found] == wanted
    assert [one.error is None for one in found] == [one.path == good for one in found]
    assert engine.restarts <= 10
    assert len(unreadable(found)) == 1


def test_an_extractor_is_the_first_stage_of_a_pipeline(own):
    """Whole or linked; from a card that is not right, neither."""
    whole = stage_for(FeatureExtractorType.custom(own))
    linked = stage_for(FeatureExtractorType.custom(own), linked=True)

    assert linked.n_features == 256
    assert whole is not None
    with pytest.raises(ExtractorError, match="name it there"):
        stage_for(FeatureExtractorType.custom(CustomFeatureExtractor(own, "embedding")), linked=True)


def test_a_closed_source_says_so(card, save):
    """Closing twice is fine, looking afterwards is an error and no new process."""
    source = EngineFeatureSource(card)
    source.close()
    source.close()

    with pytest.raises(ExtractorError, match="closed"):
        list(source.extract([(save("a.png", "PNG", 4, 4), None)]))
