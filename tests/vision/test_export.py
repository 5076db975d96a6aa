"""Extractor and head become one file that answers as the model does, or no file at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.config import PicturesConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import ExtractorError, StoreError, UserError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.description import MLModelMetadata
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.heads.softmax import SoftmaxHead
from edge_agent.vision.comparison import compare
from edge_agent.vision.export import ExportReport, export_tflite
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import decode
from edge_agent.vision.model_metadata import read_model_card
from edge_agent.vision.preprocessing import ExtractorCard, card_from, load_card
from edge_agent.vision.runtime import load_interpreter

MakeCard = Callable[..., ExtractorCard]
WORKERS = Path(__file__).parent / "workers"
LABELS = ["apple", "banana", "kiwi"]
ABOUT = MLModelMetadata(
    description="Tells fruit apart.",
    version_string="3",
    author="Ada",
    license="MIT",
    creator_defined={"a": "b"},
)

OTHERS = [
    ("pinto_mobilenet_v2_0.5_96_int8_u8io_features.tflite", 1280, 96, {"mean": 0, "std": 1}),
    ("pinto_mobilenet_v2_0.5_96_int8_floatio_features.tflite", 1280, 96, {"mean": 0, "std": 1}),
    ("tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite", 1280, 96, {"mean": 0, "std": 255}),
    ("coral_mobilenet_v1_1.0_224_quant_embedding_extractor.tflite", 1024, 224, {"mean": 128, "std": 128}),
    ("derived/coral_mobilenet_v1_0.25_128_quant_features.tflite", 256, 128, {}),
    ("derived/tm_mobilenet_v2_0.35_224_int8_features.tflite", 1280, 224, {}),
    ("derived/tm_mobilenet_v2_0.35_224_float_features.tflite", 1280, 224, {"color": "BGR"}),
]


def card_of(path: Path, n_features: int, side: int, **more: Any) -> ExtractorCard:
    """The card of an extractor of the shared models."""
    wanted = {"width": side, "height": side, "mean": 127.5, "std": 127.5} | more
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = {"name": "other", "sha256": digest, "n_features": n_features, "input": wanted}
    return card_from(data, path=path, source=path.name)


def trained(name: str, n_features: int, labels: list[str] = LABELS) -> Head:
    """A head that learned classes that overlap, so that its probabilities are neither 0 nor 1."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, len(labels), 60)
    X = rng.gamma(1.0, 1.0, (60, n_features)) + 0.3 * np.eye(len(labels), n_features)[y]
    head = BUILT_IN_HEADS[name](n_features)
    for _ in head.train(MatrixBatchProvider(X.astype(np.float32), [labels[k] for k in y]), {}):
        pass
    return head


def pictures(card: ExtractorCard, n: int = 4) -> list[NDArray[np.uint8]]:
    """Smooth ones, as photographs are, with some noise."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (n, 4, 4, 3))
    big = coarse.repeat(card.height // 4, axis=1).repeat(card.width // 4, axis=2)
    return list(np.clip(big + rng.normal(0, 12, big.shape), 0, 255).astype(np.uint8))


def exported(card: ExtractorCard, head: Head, to: Path, **more: Any) -> ExportReport:
    """Export with the labels and the description of these tests."""
    return export_tflite(card, head, to, **{"labels": list(head.classes_), "metadata": ABOUT} | more)


def apart(card: ExtractorCard, head: Head, path: Path) -> float:
    """The largest difference between probabilities of the file and those of extractor and head."""
    extractor, fused = FeatureExtractor(card), load_interpreter(path.read_bytes())
    return max(
        float(np.abs(fused.run(one[None]) - head.predict_proba(extractor.extract(one)[None])).max())
        for one in pictures(card)
    )


@pytest.mark.parametrize("name", sorted(set(BUILT_IN_HEADS) - {"knn"}))
def test_the_embedded_extractor_with_every_head(name: str, tmp_path: Path) -> None:
    """The file takes uint8 pixels and gives the same probabilities; its body is the extractor's, to the byte."""
    card, path = load_card(CARD_PATH), tmp_path / "fruit.tflite"
    head = trained(name, card.n_features)
    report = exported(card, head, path)

    assert apart(card, head, path) < 1e-4
    assert card.path.read_bytes() in path.read_bytes()
    assert report.path == path
    assert report.bytes == path.stat().st_size < report.extractor_bytes + 400_000
    assert report.input_shape == (1, 224, 224, 3)
    assert report.compared == 4
    assert report.largest_difference < 1e-4
    assert report.labels == head.classes_
    assert [one.name for one in tmp_path.iterdir()] == ["fruit.tflite"]


@pytest.mark.parametrize(("file", "n_features", "side", "told"), OTHERS)
def test_extractors_of_every_make(
    file: str, n_features: int, side: int, told: dict[str, Any], testdata: Path, tmp_path: Path
) -> None:
    """Float and quantised bodies of other converters, some with a description of their own that is replaced."""
    card = card_of(testdata / "models" / file, n_features, side, **told)
    head = trained("lda", n_features)
    exported(card, head, tmp_path / "other.tflite")

    assert apart(card, head, tmp_path / "other.tflite") < 1e-4
    told_of = read_model_card((tmp_path / "other.tflite").read_bytes())
    assert told_of is not None
    assert (told_of.labels, told_of.version) == (head.classes_, "3")


def test_the_file_says_what_it_is(card: ExtractorCard, tmp_path: Path) -> None:
    """Labels, author and what to feed, read by our reader and by Python's zipfile; the same bytes each time."""
    head = trained("softmax", card.n_features)
    exported(card, head, tmp_path / "a.tflite")
    exported(card, head, tmp_path / "b.tflite")
    data = (tmp_path / "a.tflite").read_bytes()
    told = read_model_card(data)

    assert data == (tmp_path / "b.tflite").read_bytes()
    assert told is not None
    assert (told.labels, told.author, told.license) == (tuple(LABELS), "Ada", "MIT")
    assert "uint8 [1, 128, 128, 3]" in told.input_description
    assert told.notes == {"a": "b"}
    with zipfile.ZipFile(tmp_path / "a.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == LABELS


def test_pictures_that_were_learned_from_are_looked_at_too(
    card: ExtractorCard, testdata: Path, tmp_path: Path
) -> None:
    """Files beside the made-up pictures; one that is no picture is passed over."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    files = [testdata / "golden" / "owl.jpg", bad, tmp_path / "absent.jpg"]
    head = trained("lda", card.n_features)

    assert exported(card, head, tmp_path / "x.tflite", pictures=files).compared == 5


class Liar(SoftmaxHead):
    """Answers otherwise than its weights say."""

    name = "liar"

    def predict_proba(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Everything is the last class."""
        return np.eye(len(self.classes_))[np.full(len(X), -1)]


def test_a_file_that_answers_otherwise_is_not_written(card: ExtractorCard, tmp_path: Path) -> None:
    """The export is held against the model; what was there before stays as it was."""
    honest, path = trained("softmax", card.n_features), tmp_path / "x.tflite"
    liar = Liar.restore(honest.arrays(), honest.describe())
    path.write_bytes(b"before")
    with pytest.raises(ExtractorError, match="answers otherwise"):
        exported(card, liar, path)
    assert path.read_bytes() == b"before"

    broken = SoftmaxHead.restore(honest.arrays(), honest.describe())
    broken.coef[0, 0] = np.nan
    with pytest.raises(ExtractorError, match="answers otherwise"):
        exported(card, broken, path)
    assert [one.name for one in tmp_path.iterdir()] == ["x.tflite"]


def test_what_cannot_be_exported_says_why(card: ExtractorCard, testdata: Path, tmp_path: Path) -> None:
    """Neighbours, labels that do not fit, damaged and foreign extractors, a folder that is none: one sentence."""
    head, path = trained("lda", card.n_features), tmp_path / "x.tflite"
    with pytest.raises(UserError, match="'knn' cannot become one TFLite file"):
        exported(card, trained("knn", card.n_features), path)
    with pytest.raises(UserError, match="2 labels for a model of 3 classes"):
        exported(card, head, path, labels=LABELS[:2])
    with pytest.raises(UserError, match="not text on one line"):
        exported(card, head, path, labels=["a\nb", "c", "d"])

    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(card.path.read_bytes()[:-1])
    with pytest.raises(ExtractorError, match="not the file its card describes"):
        exported(card_from(_told(card), path=damaged, source="x"), head, path)
    half = tmp_path / "half.tflite"
    half.write_bytes(card.path.read_bytes()[:-5000])
    with pytest.raises(ExtractorError, match="cannot be exported"):
        exported(card_of(half, 256, 128), head, path)
    foreign = testdata / "models" / "pinto_mobilenet_v2_0.5_96_int8_features_edgetpu.tflite"
    with pytest.raises(ExtractorError, match="other programs lack: edgetpu-custom-op"):
        exported(card_of(foreign, 256, 96), head, path)
    with pytest.raises(ExtractorError, match="gives 256 features, the head takes 3"):
        exported(card, trained("lda", 3), path)
    assert not path.exists()

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file"):
        exported(card, head, tmp_path / "file" / "x.tflite")


def test_what_a_plugin_runs_is_not_exported(card: ExtractorCard, tmp_path: Path) -> None:
    """A file for a TFLite runtime cannot hold a model of another one; nothing is written."""
    foreign = msgspec.structs.replace(card, backend="other:Runtime")

    with pytest.raises(
        ExtractorError, match="is run by other:Runtime; only a TFLite extractor can be exported"
    ):
        exported(foreign, trained("lda", card.n_features), tmp_path / "fruit.tflite")

    assert list(tmp_path.iterdir()) == []


def _told(card: ExtractorCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "sha256": card.sha256,
        "n_features": card.n_features,
        "input": {"width": card.width, "height": card.height, "mean": 127.5, "std": 127.5},
    }


def test_what_native_code_prints_spoils_no_comparison(
    card: ExtractorCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output carries the answer and nothing else."""
    monkeypatch.syspath_prepend(str(WORKERS))
    exported(card, trained("lda", card.n_features), tmp_path / "x.tflite")
    answer = compare((tmp_path / "x.tflite").read_bytes(), card, module="witness_that_prints")
    assert [one.picture for one in answer.looks] == ["black", "grey", "ramp", "noise"]


def test_a_comparison_that_dies_or_takes_too_long_is_an_error(
    card: ExtractorCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exported model runs in a process of its own; what becomes of that is told."""
    monkeypatch.syspath_prepend(str(WORKERS))
    with pytest.raises(ExtractorError, match="ended the process by signal 9"):
        compare(b"", card, module="witness_that_dies")
    with pytest.raises(ExtractorError, match="failed with status 1"):
        compare(b"", card, module="no_such_module")
    with pytest.raises(ExtractorError, match="took more than"):
        compare(b"", card, timeout_seconds=0.001)
    with pytest.raises(ExtractorError, match="gave no answer"):
        compare(b"", card, module="this")
    with pytest.raises(ExtractorError, match="refused the extractor"):
        compare(b"no model at all", card)


PROGRAM = """
import sys, zipfile
import numpy as np
from PIL import Image
from {runtime}.interpreter import Interpreter

labels = zipfile.ZipFile(sys.argv[1]).read("labels.txt").decode().splitlines()
model = Interpreter(sys.argv[1])
model.allocate_tensors()
for path in sys.argv[2:]:
    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    model.set_tensor(model.get_input_details()[0]["index"], np.asarray(image)[None])
    model.invoke()
    answer = model.get_tensor(model.get_output_details()[0]["index"])[0]
    print(labels[answer.argmax()], *answer, sep=",")
assert "edge_agent" not in sys.modules
"""
"""What anybody would write; nothing of ours, no formula."""


def runtime_module(card: ExtractorCard) -> str:
    """The package of the runtime that is installed."""
    return "ai_edge_litert" if FeatureExtractor(card).runtime.name == "litert" else "tflite_runtime"


@pytest.mark.slow
def test_a_stranger_gets_the_same_answers_on_real_pictures(testdata: Path, tmp_path: Path) -> None:
    """Groceries: the file gives the label of the model on all, within 0.01, also to a program without us."""
    card = load_card(CARD_PATH)
    extractor = FeatureExtractor(card)
    # The integer kernels of tflite-runtime take 80 ms a picture on x86.
    every = 1 if extractor.runtime.name == "litert" else 6
    folders = sorted(path for path in (testdata / "data" / "grocery10").iterdir() if path.is_dir())
    train = [path for folder in folders for path in sorted(folder.glob("train_*"))[::every]]
    test = [path for folder in folders for path in sorted(folder.glob("test_*"))[::every]]

    def pixels(path: Path) -> NDArray[np.uint8]:
        return decode(path.read_bytes(), limits=PicturesConfig(), target=card.size).pixels

    X = np.stack([extractor.extract(pixels(path)) for path in train])
    head = BUILT_IN_HEADS["lda"](card.n_features)
    for _ in head.train(MatrixBatchProvider(X, [path.parent.name for path in train]), {}):
        pass
    report = exported(card, head, tmp_path / "groceries.tflite", pictures=train[:3])
    assert report.compared == 7
    fused = load_interpreter((tmp_path / "groceries.tflite").read_bytes())
    expected = head.predict_proba(np.stack([extractor.extract(pixels(path)) for path in test]))
    answered = np.concatenate([fused.run(pixels(path)[None]) for path in test])
    assert len(test) == (250 if every == 1 else 50)
    assert np.array_equal(answered.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(answered - expected).max() < 0.001

    program = PROGRAM.format(runtime=runtime_module(card))
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(report.path), *map(str, test)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [head.classes_[k] for k in expected.argmax(axis=1)]
    assert np.abs(np.array([line[1:] for line in lines], dtype=float) - expected).max() < 0.01
