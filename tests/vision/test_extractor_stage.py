"""An extractor as the first stage of a pipeline: its pictures, its file, its errors, and that it can be shared."""

from __future__ import annotations

import hashlib
import json
import threading

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.front import FrozenStage
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.values import MLFeatureType, MLFeatureValue
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.extractor_stage import REMEMBERED, ExtractorStage, open_card, open_stage
from edge_agent.vision.preprocessing import ExtractorCard, card_from


@pytest.fixture(name="stage")
def _stage(card: ExtractorCard) -> ExtractorStage:
    """A stage around the small extractor."""
    return ExtractorStage(card)


def picture(seed: int, side: int = 128) -> MLFeatureValue:
    """Noise, the same for the same seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(side, side, 3), dtype=np.uint8)
    return MLFeatureValue(pixel_buffer=PixelBuffer(pixels))


def test_it_takes_pictures_of_its_card(stage, card):
    """An RGB picture of the card's size, under the name `image`; as many features as the card says."""
    assert isinstance(stage, FrozenStage)
    assert (stage.input.name, stage.input.type) == ("image", MLFeatureType.IMAGE)
    constraint = stage.input.image_constraint
    assert (constraint.pixels_wide, constraint.pixels_high) == card.size
    assert constraint.pixel_format is MLPixelFormat.RGB
    assert stage.input.problem(picture(0)) is None
    assert stage.input.problem(picture(0, side=64))
    assert stage.n_features == 256


def test_it_gives_what_the_extractor_gives(stage, card):
    """The same bits, read-only, as nobody may change what others are given."""
    value = picture(1)
    row = stage.features(value)

    assert np.array_equal(row, FeatureExtractor(card).extract(value.image_buffer_value.pixels))
    with pytest.raises(ValueError, match="read-only"):
        row[0] = 1.0


def test_a_picture_is_looked_at_once(stage):
    """Equal pixels, also in another buffer, are not extracted again; others are."""
    first = stage.features(picture(1))

    assert stage.features(picture(1)) is first
    assert stage.extractions == 1
    stage.features(picture(2))
    assert stage.extractions == 2


def test_only_the_last_pictures_are_remembered(stage):
    """The oldest is forgotten for the newest, and one that is asked for again counts as new."""
    for seed in range(REMEMBERED):
        stage.features(picture(seed))
    stage.features(picture(0))
    stage.features(picture(REMEMBERED))

    assert len(stage._recent) == REMEMBERED
    assert stage.extractions == REMEMBERED + 1
    stage.features(picture(0))
    assert stage.extractions == REMEMBERED + 1
    stage.features(picture(1))
    assert stage.extractions == REMEMBERED + 2


def test_nothing_is_loaded_before_the_first_picture(card, tmp_path):
    """A stage costs a look at the file's name; a file that is damaged is told when it is needed, not loaded."""
    path = tmp_path / "net.tflite"
    path.write_bytes(b"not what the card says")
    described = {
        "name": card.name,
        "sha256": card.sha256,
        "n_features": 256,
        "input": {"width": 128, "height": 128, "mean": 127.5, "std": 127.5},
    }
    stage = ExtractorStage(card_from(described, path=path, source="test"))
    for _ in range(2):
        with pytest.raises(MLModelError, match=str(path)) as caught:
            stage.features(picture(0))
        assert caught.value.code is MLModelErrorCode.CUSTOM_MODEL
    with pytest.raises(MLModelError, match="damaged") as caught:
        stage.files()
    assert caught.value.code is MLModelErrorCode.IO


def test_two_threads_get_the_same_as_one(stage, card):
    """The interpreter serves one caller at a time: threads at once get what each would get alone, once extracted."""
    values = [picture(seed) for seed in range(12)]
    alone = ExtractorStage(card)
    expected = [alone.features(value) for value in values]
    given: dict[int, list[np.ndarray]] = {}
    start = threading.Barrier(2)

    def ask(at: int) -> None:
        start.wait(10)
        given[at] = [stage.features(value) for value in (values if at else values[::-1])]

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert all(np.array_equal(a, b) for a, b in zip(given[1], expected, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given[0][::-1], expected, strict=True))
    assert stage.extractions == len(values)


def test_it_is_opened_again_from_what_it_says(stage, card, tmp_path):
    """Description and file are all it takes, whatever the file is called where it lies; again as often as wanted."""
    opened = stage
    for at in range(3):
        described = json.loads(json.dumps(opened.describe()))
        [(name, data)] = opened.files().items()
        path = tmp_path / f"stage-{at}-{name}"
        path.write_bytes(data)
        opened = open_stage(described, {name: path}, folder=tmp_path, parameters={})

        assert opened.describe() == stage.describe()
        assert opened.fingerprint == stage.fingerprint
        assert hashlib.sha256(data).hexdigest() == card.sha256
    assert np.array_equal(opened.features(picture(3)), stage.features(picture(3)))


def test_an_extractor_has_no_parameters(stage, card, tmp_path):
    """Whatever is set on it is refused by name."""
    assert stage.parameter_descriptions == ()
    with pytest.raises(MLModelError, match="parameter epochs is unknown") as caught:
        open_stage(
            stage.describe(),
            dict.fromkeys(stage.files(), card.path),
            folder=tmp_path,
            parameters={MLParameterKey.EPOCHS: 1},
        )
    assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize(
    ("card_text", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "`file` must name"),
        ('{"file": "../net.tflite"}', "`file` must name"),
        ('{"file": "none.tflite", "name": "x"}', "card.json"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_card_is_an_io_error(tmp_path, card_text, says):
    """The error names the card and what is wrong with it."""
    path = tmp_path / "card.json"
    if card_text is not None:
        path.write_text(card_text)
    with pytest.raises(MLModelError, match=says) as caught:
        open_card(path)

    assert caught.value.code is MLModelErrorCode.IO
    assert str(path) in str(caught.value)


def test_a_card_without_its_file_is_an_io_error(stage, card, tmp_path):
    """The file is missed when the stage is made, and when it was removed since, when it is written."""
    described = stage.describe() | {"file": "gone.tflite"}
    (tmp_path / "card.json").write_text(json.dumps(described))
    with pytest.raises(MLModelError, match=r"gone\.tflite: cannot be read") as caught:
        open_card(tmp_path / "card.json")
    assert caught.value.code is MLModelErrorCode.IO

    (tmp_path / "gone.tflite").write_bytes(card.path.read_bytes())
    opened = open_card(tmp_path / "card.json")
    (tmp_path / "gone.tflite").unlink()
    with pytest.raises(MLModelError, match=r"gone\.tflite: cannot be read"):
        opened.files()
