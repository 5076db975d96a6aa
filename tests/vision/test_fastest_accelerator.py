"""The choice by what was really measured: native delegates on a model that one of them runs far faster than the CPU."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.vision.accelerator import Accelerator
from edge_agent.vision.delegate_bench import DelegateBench
from edge_agent.vision.delegate_spec import DelegateSpec
from edge_agent.vision.flatbuffer_writer import NewTable, Numbers, Scalar, Tables, Text, write_flatbuffer
from edge_agent.vision.preprocessing import card_from

SIDE = 160
STEPS = 3000
"""Changes of sign, an even number: the CPU does each of them, the delegate sees that nothing is left to do."""

NEG, MEAN = 59, 40


@pytest.fixture(name="zigzag", scope="module")
def _zigzag(tmp_path_factory):
    """A card of a model that changes the sign again and again, and then takes the mean of each colour."""

    def tensor(name: str, shape: tuple[int, ...], kind: int = 0, buffer: int = 0) -> NewTable:
        fields = {
            0: Numbers(np.array(shape, np.int32)),
            1: Scalar("b", kind),
            2: Scalar("I", buffer),
            3: Text(name),
        }
        return NewTable(fields)

    def step(code: int, inputs: list[int], output: int) -> NewTable:
        fields = {
            0: Scalar("I", code),
            1: Numbers(np.array(inputs, np.int32)),
            2: Numbers(np.array([output], np.int32)),
        }
        return NewTable(fields)

    steps = [step(0, [number], number + 1) for number in range(STEPS)]
    steps.append(step(1, [STEPS, STEPS + 1], STEPS + 2))
    tensors = [tensor(f"t{number}", (1, SIDE, SIDE, 3)) for number in range(STEPS + 1)]
    tensors += [tensor("axes", (2,), 2, 1), tensor("out", (1, 3))]
    graph = NewTable(
        {
            0: Tables(tensors),
            1: Numbers(np.array([0], np.int32)),
            2: Numbers(np.array([STEPS + 2], np.int32)),
            3: Tables(steps),
        }
    )
    codes = [
        NewTable({0: Scalar("b", code), 2: Scalar("i", 1), 3: Scalar("i", code)}) for code in (NEG, MEAN)
    ]
    axes = Numbers(np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8))
    root = {
        0: Scalar("I", 3),
        1: Tables(codes),
        2: Tables([graph]),
        4: Tables([NewTable({}), NewTable({0: axes})]),
    }
    path = tmp_path_factory.mktemp("zigzag") / "zigzag.tflite"
    path.write_bytes(write_flatbuffer(NewTable(root), b"TFL3"))
    look = {"width": SIDE, "height": SIDE, "mean": 0.0, "std": 255.0}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"name": "zigzag", "sha256": digest, "n_features": 3, "input": look}
    return card_from(card, path=path, source="zigzag")


@pytest.mark.slow
def test_the_fastest_that_agrees_is_taken_and_the_cpu_kept_where_none_is_faster(zigzag, library):
    """Two native delegates agree, one of them idles 5 ms a picture, a third is quickest and wrong."""
    every = {
        "snail": {"fault": "hang-at-run", "nap": "0.5"},
        "idler": {"fault": "hang-at-run", "nap": "0.005"},
        "quick": {},
        "liar": {"fault": "wrong-numbers"},
    }
    specs = [DelegateSpec(name, (str(library()),), options) for name, options in every.items()]
    bench = DelegateBench(zigzag, ExtractorConfig())

    def chosen(specs) -> tuple[str, dict[str, str]]:
        accelerator = Accelerator(bench, specs)
        accelerator.look()
        accelerator.tick()
        if accelerator._round is not None:
            accelerator._round.advance(wait=True)
            accelerator.tick()
        name = accelerator.use.name if accelerator.use else "cpu"
        return name, {name: verdict.code for name, verdict in accelerator.found.items()}

    name, codes = chosen(specs)
    times = {spec.name: bench.record(spec, bench.look(spec)) for spec in specs}

    assert name == "quick"
    assert codes == {"snail": "not-faster", "idler": "ok", "quick": "ok", "liar": "wrong-numbers"}, times
    assert chosen(specs[:2])[0] == "idler"
    assert chosen(specs[:1])[0] == "cpu"
