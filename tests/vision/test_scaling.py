"""What a file says of its scaling is believed where the graph agrees; else candidates are listed, likeliest first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.vision.anatomy import Anatomy
from edge_agent.vision.pooling import picture_input
from edge_agent.vision.scaling import USUAL, Scalings, alike, find_opening, scalings


@pytest.fixture(name="told")
def _told(testdata: Path):
    def read(file: str) -> Scalings:
        anatomy = Anatomy((testdata / "models" / file).read_bytes())
        return scalings(anatomy, picture_input(anatomy).part)

    return read


def test_metadata_that_fits_the_quantised_input_decides(told) -> None:
    """Mean and std 127.5 give -1 to 1, which the input was quantised for."""
    found = told("coral_mobilenet_v2_1.0_224_quant.tflite")

    assert found.decided
    assert (found.tried[0].mean, found.tried[0].std) == ((127.5,) * 3, (127.5,) * 3)


def test_metadata_is_not_believed_when_the_graph_scales_already(told) -> None:
    """An embedder that computes x * 2 - 1 wants 0 to 1, whatever its metadata says."""
    found = told("tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite")

    assert not found.decided
    assert "127.5" in found.said
    assert "2 x -1" in found.said
    assert found.tried[0].name == "0 to 1"
    assert found.evidence == "graph"


def test_metadata_is_not_believed_when_the_input_holds_other_numbers(told) -> None:
    """Mean 0 and std 1 would give 0 to 255, and the input holds -1 to 1: what clips is not even tried."""
    found = told("tfs_automl_flowers5_mobilenet_v2_0.35_224_quant.tflite")

    assert not found.decided
    assert "quantised for -1.01 to 1" in found.said
    assert [one.name for one in found.tried] == ["-1 to 1", "0 to 1"]
    assert found.evidence == "range"


def test_a_graph_that_divides_pixels_wants_them_as_they_are(told, testdata: Path) -> None:
    """A MobileNetV3 with its own scaling gets 0 to 255."""
    found = told("sslythrrr_mobilenet_v3_small_224_quant_cls45.tflite")
    anatomy = Anatomy(
        (testdata / "models" / "sslythrrr_mobilenet_v3_small_224_quant_cls45.tflite").read_bytes()
    )
    opening = find_opening(anatomy, anatomy.inputs[0])

    assert found.tried[0].name == "0 to 255"
    assert opening.leads_to_unit(found.tried[0])
    np.testing.assert_allclose(opening.factor, 1 / 127.5, rtol=0.01)


def test_without_any_word_all_usual_ones_are_tried(told) -> None:
    """A float model without metadata or scaling of its own says nothing."""
    found = told("tm_mobilenet_v2_0.35_224_float_cls2.tflite")

    assert found.tried == USUAL
    assert not found.evidence


def test_levels_are_what_becomes_of_pixels() -> None:
    """0 and 255 become the ends of the range that names a scaling."""
    np.testing.assert_allclose(USUAL[0].levels()[[0, 255]], [[-1] * 3, [1] * 3])
    np.testing.assert_allclose(USUAL[1].levels()[[0, 255]], [[0] * 3, [1] * 3])
    assert alike("x", 1.0, 2.0).blue_first().color == "BGR"
