"""A TFLite file says what it takes and gives: ours to others, and others' to us."""

from __future__ import annotations

import contextlib
import importlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import DamagedError
from edge_agent.vision.graft import Graft
from edge_agent.vision.model_metadata import (
    IDENTIFIER,
    ModelCard,
    metadata_bytes,
    read_model_card,
    with_files,
)

CARD = ModelCard(
    name="kitchen",
    description="Tells 3 labels apart.",
    version="7",
    author="Ada",
    license="MIT",
    input_description="RGB",
    mean=(127.0, 126.0, 125.0),
    std=(128.0,),
    labels=("apple", "Äpfel und Birnen", "no fruit"),
    notes={"head": "lda", "ü": "ö"},
)


def model_with(card: ModelCard, make_body: Callable[..., bytes]) -> bytes:
    """A model that says this of itself."""
    graft = Graft(make_body((1, 4)))
    about = metadata_bytes(card, width=96, height=80)
    return with_files(graft.finish(("in", graft.input), ("out", graft.output), about), card)


@pytest.mark.parametrize("card", [CARD, replace(CARD, notes={}, labels=("one",), author="")])
def test_what_is_written_is_read_back(card: ModelCard, make_body: Callable[..., bytes]) -> None:
    """All of it, from the bytes alone; the same card gives the same bytes."""
    data = model_with(card, make_body)

    assert read_model_card(data) == card
    assert data == model_with(card, make_body)


def test_the_labels_are_an_ordinary_zip_member(make_body: Callable[..., bytes]) -> None:
    """Python's zipfile finds them behind the model, not compressed, one a line."""
    with zipfile.ZipFile(io.BytesIO(model_with(CARD, make_body))) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "apple\nÄpfel und Birnen\nno fruit\n"
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_models_of_others_are_read(testdata: Path) -> None:
    """Files that other tools described: normalisation, author and labels; some say nothing."""
    card = read_model_card(
        (testdata / "models" / "tfs_mobilenet_v1_0.25_224_float_metadata.tflite").read_bytes()
    )
    assert card is not None
    assert (card.mean, card.std) == ((127.5,), (127.5,))
    assert (len(card.labels), card.labels[0], card.labels[1]) == (1001, "background", "tench")
    assert (card.author, bool(card.name)) == ("TensorFlow", True)
    flowers = read_model_card(
        (testdata / "models" / "tfs_automl_flowers5_mobilenet_v2_0.35_224_quant.tflite").read_bytes()
    )
    assert flowers is not None
    assert "tulips" in flowers.labels
    assert read_model_card((testdata / "models" / "mlptiny_vww_96_int8.tflite").read_bytes()) is None


def test_the_same_fields_as_others_have(testdata: Path, make_body: Callable[..., bytes]) -> None:
    """Where the schema's own reader is at hand, the model's buffer is found by name and has its identifier."""
    data = model_with(CARD, make_body)
    try:
        schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError:
        pytest.skip("ai-edge-litert, which brings a reader of the schema, is not installed")
    for model in (
        data,
        (testdata / "models" / "tfs_mobilenet_v1_0.25_224_float_metadata.tflite").read_bytes(),
    ):
        root = schema.Model.GetRootAs(model, 0)
        named = {root.Metadata(i).Name(): root.Metadata(i).Buffer() for i in range(root.MetadataLength())}
        about = root.Buffers(named[b"TFLITE_METADATA"]).DataAsNumpy().tobytes()
        assert about[4:8] == IDENTIFIER


def test_damaged_descriptions_are_refused(make_body: Callable[..., bytes]) -> None:
    """Labels cut off, a buffer that is not there or another kind of description; no other error comes out."""
    data = model_with(CARD, make_body)
    with pytest.raises(DamagedError, match="files behind the model"):
        read_model_card(data[:-30])
    with pytest.raises(DamagedError, match="M001"):
        read_model_card(data.replace(b"M001", b"M009"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 6):
            broken[at] = rng.integers(256)
        with contextlib.suppress(DamagedError):
            read_model_card(bytes(broken))
