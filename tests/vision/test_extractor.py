"""An extractor gives the same features for the same pixels, or says why it cannot."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import edge_agent
from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError
from edge_agent.vision import images
from edge_agent.vision.extractor import FeatureExtractor, read_model
from edge_agent.vision.preprocessing import ExtractorCard, load_card
from edge_agent.vision.runtime import load_interpreter

EMBEDDED = Path(edge_agent.__file__).parent / "extractors" / "efficientnet_lite0_int8.json"

DERIVED = [
    ("tm_mobilenet_v2_0.35_224_float_features.tflite", 1280, 224),
    ("tm_mobilenet_v2_0.35_224_int8_features.tflite", 1280, 224),
    ("coral_mobilenet_v1_0.25_128_quant_features.tflite", 256, 128),
]


def cosine(left: np.ndarray, right: np.ndarray) -> float:  # type: ignore[type-arg]
    """How alike two feature vectors are."""
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def seen(path: Path, card: ExtractorCard) -> images.DecodedImage:
    """A picture as the extractor looks at it."""
    return images.decode(path.read_bytes(), limits=PicturesConfig(), target=card.size)


@pytest.mark.parametrize(("file", "n_features", "side"), DERIVED)
def test_features_tell_pictures_apart(
    file: str, n_features: int, side: int, make_card: Callable[..., ExtractorCard], testdata: Path
) -> None:
    """Float, int8 and uint8 models give float32 features: equal for one picture, apart for two."""
    card = make_card(file, n_features, side)
    extractor = FeatureExtractor(card)
    hot_dog, owl = (seen(testdata / "golden" / name, card) for name in ("hot_dog.jpg", "owl.jpg"))

    first, again, other = (extractor.extract(image.pixels) for image in (hot_dog, hot_dog, owl))

    assert first.shape == (n_features,)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert cosine(first, other) < 0.9


def test_quantised_features_are_given_their_meaning(
    make_card: Callable[..., ExtractorCard], testdata: Path
) -> None:
    """Features of an integer model are whole steps of its output's scale, counted from its zero point."""
    card = make_card(*DERIVED[2])
    output = load_interpreter(card.path.read_bytes()).output

    features = FeatureExtractor(card).extract(seen(testdata / "golden" / "owl.jpg", card).pixels)

    assert output.dtype == np.uint8
    steps = features / output.scale
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert features.min() == 0
    assert features.max() > 0.5


def test_the_embedded_extractor_is_whole(testdata: Path) -> None:
    """The shipped model is the one its card describes, and its features separate ten kinds of groceries."""
    card = load_card(EMBEDDED)
    extractor = FeatureExtractor(card)
    folders = sorted(path for path in (testdata / "data" / "grocery10").iterdir() if path.is_dir())

    features = {
        folder.name: [
            extractor.extract(seen(path, card).pixels) for path in sorted(folder.glob("train_*"))[:4]
        ]
        for folder in folders
    }

    right = total = 0
    for name, rows in features.items():
        others = {other: np.mean(list(map(unit, many[1:])), axis=0) for other, many in features.items()}
        nearest = max(others, key=lambda other, row=rows[0]: cosine(row, others[other]))  # type: ignore[misc]
        right, total = right + (nearest == name), total + 1
    assert total == 10
    assert right >= 7


def unit(row: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A vector of length one."""
    return row / np.linalg.norm(row)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["owl.jpg", "hot_dog.jpg", "parrot.jpg"])
def test_scaling_while_decoding_keeps_the_features(
    name: str, testdata: Path, encode: Callable[..., bytes], make_card: Callable[..., ExtractorCard]
) -> None:
    """A 12 megapixel JPEG decoded at a quarter of its size has the features of the full picture.

    In float32 the cosine is at least 0.999. The embedded extractor rounds to 8 bits and answers one changed
    level in a tenth of the pixel values with 0.998; it is held to that.
    """
    with Image.open(testdata / "golden" / name) as image:
        large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        full = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))

    drafted = images.decode(data, limits=PicturesConfig(), target=(224, 224)).pixels

    exact, embedded = FeatureExtractor(make_card(*DERIVED[0])), FeatureExtractor(load_card(EMBEDDED))
    assert cosine(exact.extract(drafted), exact.extract(full)) >= 0.999
    assert cosine(embedded.extract(drafted), embedded.extract(full)) >= 0.995


def test_the_fingerprint_names_all_that_features_depend_on(card: ExtractorCard) -> None:
    """Name, file, how it is fed and read, runtime release and delegate are in it."""
    extractor = FeatureExtractor(card)

    name, digest, preprocessing, runtime, delegate = extractor.fingerprint.split(":")
    assert (name, digest, preprocessing, delegate) == (card.name, card.sha256[:16], preprocessing, "cpu")
    assert preprocessing.startswith("pre1-")
    assert runtime == f"{extractor.runtime.name}-{'.'.join(extractor.runtime.version.split('.')[:2])}"


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_damaged_file_is_not_loaded(position: int, card: ExtractorCard, tmp_path: Path) -> None:
    """C4: One flipped bit anywhere is noticed before native code sees the file."""
    model = bytearray(card.path.read_bytes())
    model[position] ^= 1
    path = tmp_path / "damaged.tflite"
    path.write_bytes(model)

    with pytest.raises(ExtractorError, match=r"damaged\.tflite: damaged .* not loaded"):
        FeatureExtractor(msgspec.structs.replace(card, path=path))


def test_a_thousand_mutations_are_all_refused(
    card: ExtractorCard, mutations: Callable[[bytes, int], Iterator[bytes]], tmp_path: Path
) -> None:
    """C4: Cut off or with 1, 4 or 64 bytes changed, none is opened: its hash is compared first, in this process."""
    original = card.path.read_bytes()
    damaged = msgspec.structs.replace(card, path=tmp_path / "damaged.tflite")
    refused = 0

    for model in mutations(original, 1000):
        damaged.path.write_bytes(model)
        if model == original:  # a byte may be changed into itself
            read_model(damaged)
            continue
        with pytest.raises(ExtractorError, match="it was not loaded"):
            read_model(damaged)
        refused += 1

    assert refused > 950


def test_a_missing_file_is_named(card: ExtractorCard, tmp_path: Path) -> None:
    """The error says which file."""
    with pytest.raises(ExtractorError, match=r"absent\.tflite: cannot be read"):
        FeatureExtractor(msgspec.structs.replace(card, path=tmp_path / "absent.tflite"))


def test_a_card_that_describes_another_model_is_refused(make_card: Callable[..., ExtractorCard]) -> None:
    """Wrong sizes are found when the extractor is opened, not with the first picture."""
    with pytest.raises(ExtractorError, match="256 features, not 255"):
        FeatureExtractor(make_card(DERIVED[2][0], 255, 128))
    with pytest.raises(ExtractorError, match=r"input has shape \(1, 128, 128, 3\)"):
        FeatureExtractor(make_card(DERIVED[2][0], 256, 96))


@pytest.mark.parametrize(
    "name", ["litert_empty_model", "litert_invalid_model", "made_text", "litert_custom_sinh",
    "litert_string_input_model",
     "coral_split_concat_3in4out", "coral_mobilenet_v1_0.25_128_quant_edgetpu"],
)  # fmt: skip
def test_a_model_no_runtime_can_run_is_refused_with_a_reason(name: str, testdata: Path) -> None:
    """Whatever the runtime raises becomes an ExtractorError that says something."""
    model = (testdata / "models" / "odd" / f"{name}.tflite").read_bytes()

    with pytest.raises(ExtractorError, match=r"[a-z]{3}"):
        load_interpreter(model)


def test_a_runtime_that_is_not_installed_is_named(card: ExtractorCard) -> None:
    """Asking for the other runtime says what to install."""
    installed = FeatureExtractor(card).runtime.name
    other, package = {
        "litert": ("tflite-runtime", "tflite-runtime"),
        "tflite-runtime": ("litert", "ai-edge-litert"),
    }[installed]

    with pytest.raises(ExtractorError, match=f"install {package}"):
        FeatureExtractor(card, runtime=other)


def test_wrong_pixels_are_refused(card: ExtractorCard) -> None:
    """A picture of another size never reaches the runtime."""
    with pytest.raises(ExtractorError, match="uint8 pixels of shape"):
        FeatureExtractor(card).extract(np.zeros((224, 224, 3), np.uint8))
