"""What a file holds is said without running it, and what can be no extractor is refused with the reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.vision.inspection import inspect_model

ODD_THAT_ARE_WHOLE = {
    "made_flatbuffer_fuzz.tflite",
    "made_weights_bitflip.tflite",
    "mcunetv2_large_224_deadfeatures.tflite",
}
"""Only running these tells more; see test_adoption.py."""

REASONS = {
    "aeq_conv_fc_mnist_1ch.tflite": "one channel",
    "coral_keras_lstm_mnist_ptq.tflite": "which is no picture",
    "coral_mobilenet_v1_0.25_128_quant_edgetpu.tflite": "edge-agent-edgetpu bring what was compiled",
    "coral_model_invoking_error.tflite": "fake-op-double",
    "coral_split_concat_3in4out.tflite": "it has 3 inputs",
    "coral_split_concat_edgetpu.tflite": "compiled for a Coral Edge TPU",
    "flutter_bad_model.tflite": "not a TFLite model",
    "lfs_pointer_mobilenet_v2.tflite": "git lfs pull",
    "litert_0_subgraphs.tflite": "it holds no graph",
    "litert_custom_sinh.tflite": "not built into TFLite: Sinh",
    "litert_double_flex.tflite": "full TensorFlow",
    "litert_multi_add_flex.tflite": "full TensorFlow",
    "litert_qualcomm_precompiled.tflite": "DISPATCH_OP",
    "litert_simple_add_op_sm8750.tflite": "DISPATCH_OP",
    "litert_sparse_tensor.tflite": "FakeOp",
    "litert_string_input_model.tflite": "texts, not pictures",
    "litert_test_model_broken.tflite": "not a TFLite model",
    "made_bad_root_offset.tflite": "damaged or not whole",
    "made_header64.tflite": "damaged or not whole",
    "made_png_named.tflite": "PNG picture",
    "made_text.tflite": "not a TFLite model",
    "made_truncated_half.tflite": "damaged or not whole",
    "made_wrong_identifier.tflite": "not a TFLite model",
    "made_zero_bytes.tflite": "it is empty",
    "tflm_person_detect.tflite": "one channel",
    "tflm_person_detect_vela.tflite": "compiled for an Ethos-U",
    "tfs_dilated_conv_dynamic_hw.tflite": "left open",
}
"""What is named where the reason matters most."""


def test_every_odd_file_is_refused_with_its_reason(testdata: Path) -> None:
    """All files of the list: what no runtime takes, and what is no extractor, is refused before native code sees it."""
    odd = testdata / "models" / "odd"
    with (odd / "EXPECTED.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]

    reasons = {name: inspect_model((odd / name).read_bytes()).refusal for name in names}

    assert len(names) == 59
    assert {name for name, reason in reasons.items() if not reason} == ODD_THAT_ARE_WHOLE
    assert {name: reasons[name] for name, words in REASONS.items() if words not in reasons[name]} == {}


def test_what_was_found_is_plain_json(testdata: Path) -> None:
    """Inputs, outputs, quantisation, features and candidates can be printed, for good files and for refused ones."""
    good = testdata / "models" / "tm_mobilenet_v2_0.35_224_quant_cls4.tflite"
    facts = json.loads(json.dumps(inspect_model(good.read_bytes()).to_json(), allow_nan=False))

    assert facts["usable"]
    assert facts["picture"] == {"width": 224, "height": 224, "layout": "NHWC"}
    assert facts["features"]["n_features"] == 1280
    assert facts["inputs"][0]["range"] == pytest.approx([-0.996, 1.004], abs=0.001)
    assert [one["name"] for one in facts["scaling"]["candidates"]] == ["-1 to 1", "0 to 1"]
    assert json.loads(json.dumps(inspect_model(b"").to_json()))["reason"] == "it is empty"


@pytest.mark.parametrize(
    "file",
    ["coral_mobilenet_v1_0.25_128_quant.tflite", "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite"],
)
def test_damaged_copies_are_looked_through_or_refused(
    testdata: Path, mutations: Callable[[bytes, int], Iterator[bytes]], file: str
) -> None:
    """Whatever bytes are changed or missing, there is an answer, and it can be printed."""
    whole = (testdata / "models" / file).read_bytes()

    answers = [inspect_model(damaged) for damaged in mutations(whole, 120)]

    for found in answers:
        json.dumps(found.to_json())
    assert any(found.refusal for found in answers)
