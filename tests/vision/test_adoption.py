"""Any file becomes an extractor that tells pictures apart, or is refused in words; nothing is run in this process."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.cli.pictures import write_pictures
from edge_agent.errors import ExtractorError
from edge_agent.ml.separation import Separation
from edge_agent.vision.adoption import Adoption, Tried, adopt, chosen
from edge_agent.vision.audition import AuditionAnswer, AuditionQuestion, CutCheck, Performance, hear
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.inspection import inspect_model
from edge_agent.vision.preprocessing import load_card
from edge_agent.vision.scaling import USUAL

GOOD = {
    "coral_mobilenet_v1_0.25_128_quant.tflite": (256, 127.5, 127.5),
    "coral_mobilenet_v1_1.0_224_quant_embedding_extractor.tflite": (1024, 127.5, 127.5),
    "coral_mobilenet_v2_1.0_224_quant.tflite": (1280, 127.5, 127.5),
    "coral_tf2_mobilenet_v2_1.0_224_ptq.tflite": (1280, 127.5, 127.5),
    "mlptiny_resnet8_cifar10_float.tflite": (64, 0.0, 1.0),
    "mlptiny_resnet8_cifar10_int8.tflite": (64, 0.0, 1.0),
    "pinto_mobilenet_v2_0.5_96_int8_floatio_features.tflite": (1280, 0.0, 255.0),
    "pinto_mobilenet_v2_0.5_96_int8_u8io_features.tflite": (1280, 0.0, 255.0),
    "pinto_mobilenet_v2_0.5_96_weightquant_floatio_features.tflite": (1280, 127.5, 127.5),
    "sslythrrr_mobilenet_v3_small_224_quant_cls45.tflite": (576, 0.0, 1.0),
    "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite": (1280, 0.0, 255.0),
    "tfs_automl_flowers5_mobilenet_v2_0.35_224_quant.tflite": (1280, 127.5, 127.5),
    "tfs_mobilenet_v1_0.25_224_float_metadata.tflite": (256, 127.5, 127.5),
    "tm_mobilenet_v2_0.35_224_float_cls2.tflite": (1280, 127.5, 127.5),
    "tm_mobilenet_v2_0.35_224_quant_cls4.tflite": (1280, 127.5, 127.5),
}
"""Features, mean and std that are found with real photographs; each tells ten labels apart, 60 % and more."""

COMPILED = {
    "coral_mobilenet_v1_0.25_128_quant_edgetpu.tflite",
    "pinto_mobilenet_v2_0.5_96_int8_features_edgetpu.tflite",
}
"""Refused unseen: one step, which only a Coral Edge TPU can run."""

USELESS = {"mlptiny_vww_96_float.tflite", "mlptiny_vww_96_int8.tflite"}
"""Trained to see whether a person is there: nine of ten features never change."""

QUICK = "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite"

Pictures = list[tuple[Path, str]]


@pytest.fixture(name="photographs", scope="module")
def _photographs(testdata: Path) -> Pictures:
    """Eight of each of ten labels."""
    folders = sorted(path for path in (testdata / "data" / "grocery10").iterdir() if path.is_dir())
    return [(path, one.name) for one in folders for path in sorted(one.glob("train_*"))[:8]]


@pytest.fixture(name="drawn", scope="module")
def _drawn(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Five of each of five labels."""
    drawn = write_pictures(tmp_path_factory.mktemp("drawn"), per_label=5, seed=3)
    return [(path, label) for label, paths in drawn.items() for path in paths]


def adopted(path: Path, folder: Path, pictures: Pictures) -> Adoption:
    """The extractor that a file becomes."""
    return adopt(inspect_model(path.read_bytes()), folder / "it.tflite", "it", pictures, source=path.name)


def test_every_model_has_its_kind_written_down(testdata: Path) -> None:
    """A file that is added to the models is good, compiled or useless."""
    names = {path.name for path in (testdata / "models").glob("*.tflite")}

    assert names == set(GOOD) | COMPILED | USELESS


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", sorted(GOOD))
def test_good_models_become_good_extractors(
    testdata: Path, tmp_path: Path, photographs: Pictures, file: str
) -> None:
    """Cut, the same as the whole in both ways, scaled as it was trained, and able to tell photographs apart."""
    made = adopted(testdata / "models" / file, tmp_path, photographs)

    n_features, mean, std = GOOD[file]
    card = made.document
    assert (card["n_features"], card["input"]["mean"], card["input"]["std"]) == (n_features, mean, std)
    assert card["input"]["color"] == "RGB"
    assert not made.problems
    assert card["checked"]["cosine_to_whole"] > 0.999
    assert card["checked"]["cosine_through_rest"] is None or card["checked"]["cosine_through_rest"] > 0.999
    assert card["figures"]["leave_one_out"] >= 0.6
    assert hashlib.sha256((tmp_path / "it.tflite").read_bytes()).hexdigest() == card["sha256"]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("file", sorted(USELESS))
def test_models_with_useless_features_are_told(
    testdata: Path, tmp_path: Path, photographs: Pictures, file: str
) -> None:
    """Features that never change are a problem, not a silent poor classifier."""
    assert "never change" in adopted(testdata / "models" / file, tmp_path, photographs).problems[0]


@pytest.mark.parametrize("file", sorted(COMPILED))
def test_compiled_models_are_refused_unseen(testdata: Path, tmp_path: Path, file: str) -> None:
    """The reason names the accelerator and what to add instead."""
    with pytest.raises(ExtractorError, match="compiled for a Coral Edge TPU"):
        adopted(testdata / "models" / file, tmp_path, [])


def test_odd_models_that_load_are_judged_by_their_features(
    testdata: Path, tmp_path: Path, drawn: Pictures
) -> None:
    """Dead features and changed bytes are found by looking at pictures; what still works is taken."""
    odd = testdata / "models" / "odd"

    assert (
        "the same whatever it sees"
        in adopted(odd / "mcunetv2_large_224_deadfeatures.tflite", tmp_path, drawn).problems[0]
    )
    assert not adopted(odd / "made_weights_bitflip.tflite", tmp_path, drawn).problems
    try:
        made = adopted(odd / "made_flatbuffer_fuzz.tflite", tmp_path, drawn)
    except ExtractorError as error:
        assert "refused the extractor" in str(error)  # noqa: PT017 - one runtime refuses, the other gives nothing
    else:
        assert made.problems


def test_the_card_can_be_read_and_says_why(testdata: Path, tmp_path: Path, drawn: Pictures) -> None:
    """Written beside its file, the document is a card that the extractor loads; people find every decision in it."""
    made = adopted(testdata / "models" / QUICK, tmp_path, drawn)
    (tmp_path / "it.json").write_text(json.dumps(made.document, allow_nan=False))

    card = load_card(tmp_path / "it.json")

    assert card == made.card
    assert FeatureExtractor(card).card.n_features == 1280
    assert made.document["decided"]["features"].endswith("an embedder")
    assert "it is not believed" in made.document["decided"]["metadata"]
    assert made.document["decided"]["tried"][0]["scaling"] == "0 to 1"
    assert made.document["source"]["file"] == QUICK
    assert len(made.seen) == len(drawn)


def tried(place: int, losses: list[float], share: float) -> Tried:
    """One usual scaling and what came of it."""
    mean = sum(losses) / len(losses)
    return Tried(USUAL[place], Separation(len(losses), 3, share, None, mean, tuple(losses)))


def test_what_the_file_speaks_for_gives_way_only_to_what_is_clearly_better() -> None:
    """With evidence a little better is not enough; without, the best is taken, and close decisions are told."""
    noisy = [0.1, 0.9, 0.2, 0.8] * 5
    first, little = tried(0, noisy, 0.7), tried(1, [loss - 0.001 for loss in noisy], 0.75)
    much = tried(2, [0.05] * 20, 1.0)

    assert chosen([first, little], evidence="range")[0] is first
    assert chosen([first, little], evidence="")[0] is little
    best, warnings = chosen([first, much], evidence="range")
    assert best is much
    assert "quantised with the wrong pictures" in warnings[0]
    assert chosen([first, much], evidence="") == (much, [])
    assert "close decision" in chosen([first, little], evidence="range")[1][0]


@pytest.mark.parametrize("first", ["RGB", "BGR"])
def test_blue_comes_first_where_pictures_are_told_apart_so(
    testdata: Path, tmp_path: Path, drawn: Pictures, first: str
) -> None:
    """It is tried after the scalings, written into the card when it is clearly better, and warned of."""
    labels = sorted({label for _, label in drawn})
    rng = np.random.default_rng(0)

    def wanting(question: AuditionQuestion) -> AuditionAnswer:
        performances = []
        for card in question.cards:
            X = rng.normal(size=(len(drawn), card.n_features)).astype(np.float32)
            for row, (_, label) in zip(X, drawn, strict=True):
                row[labels.index(label)] += 30.0 * (card.input.color == first)
            performances.append(Performance(features=X.tobytes(), milliseconds=1.0))
        return AuditionAnswer(seen=tuple(range(len(drawn))), performances=tuple(performances))

    found = inspect_model((testdata / "models" / QUICK).read_bytes())
    made = adopt(found, tmp_path / "it.tflite", "it", drawn, source=QUICK, hear=wanting)

    assert made.card.input.color == first
    assert any("blue comes first" in text for text in made.warnings) is (first == "BGR")
    assert any(one["color"] == "BGR" for one in made.document["decided"]["tried"])


@pytest.mark.parametrize(
    ("check", "where"),
    [(CutCheck(inner=0.4, through=1.0), "inside of the whole"), (CutCheck(through=0.9), "through the rest")],
)
def test_a_cut_that_gives_other_features_is_not_used(
    testdata: Path, tmp_path: Path, drawn: Pictures, check: CutCheck, where: str
) -> None:
    """When one of the two comparisons with the whole says so, the extractor is refused."""

    def disagreeing(question: AuditionQuestion) -> AuditionAnswer:
        return msgspec.structs.replace(hear(question), check=check)

    found = inspect_model((testdata / "models" / QUICK).read_bytes())
    with pytest.raises(ExtractorError, match=where):
        adopt(found, tmp_path / "it.tflite", "it", drawn, source=QUICK, hear=disagreeing)
