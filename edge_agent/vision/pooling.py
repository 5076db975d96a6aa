"""This is where the features of any model are found in its graph, and what it wants to be shown."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.errors import DamagedError
from edge_agent.vision.anatomy import Anatomy, Part
from edge_agent.vision.cutting import map_axes
from edge_agent.vision.tflite_schema import Operator

FEWEST, MOST = 8, 16384
"""A vector of fewer numbers says too little of a picture, one of more does not fit into an answer."""
SMALLEST_SIDE, LARGEST_SIDE = 8, 2048
"""In pixels."""
POOLS = (Operator.MEAN, Operator.AVERAGE_POOL_2D)
ENDS = (Operator.SOFTMAX, Operator.LOGISTIC)
SAME_NUMBERS = (Operator.RESHAPE, Operator.SQUEEZE, Operator.QUANTIZE, Operator.DEQUANTIZE)
"""Steps that lay the same numbers out in another way."""
COMPILERS = {
    "edgetpu-custom-op": "it was compiled for a Coral Edge TPU",
    "ethos-u": "it was compiled for an Ethos-U",
    "NeutronGraph": "it was converted for NXP's Neutron",
    "DISPATCH_OP": "it was compiled for a Qualcomm, MediaTek or Google accelerator",
}
"""What files hold that only one accelerator can run."""
BROUGHT_BY = {
    "edgetpu-custom-op": ", or have the plugin edge-agent-edgetpu bring what was compiled of an extractor: its README"
    " says how",
}
"""Who can use such files all the same."""


@dataclass(frozen=True)
class Picture:
    """What the input takes."""

    part: Part
    width: int
    height: int
    layout: str
    """`NHWC` or `NCHW`."""


@dataclass(frozen=True)
class Features:
    """Where the features are."""

    part: Part
    kind: str
    """`pooled`, `output`, `penultimate` or `map`."""
    why: str
    averaged: bool = False
    """A map, which is still to be averaged over its places."""

    @property
    def count(self) -> int:
        """How many features a picture has."""
        if not self.averaged:
            return self.part.size
        height, width = map_axes(self.part.shape)
        return self.part.size // (self.part.shape[height] * self.part.shape[width])


def picture_input(anatomy: Anatomy) -> Picture:
    """The one RGB picture a model takes; raises `DamagedError` that says what it takes instead."""
    if len(anatomy.inputs) != 1:
        raise DamagedError(f"it has {len(anatomy.inputs)} inputs; an extractor has one, the picture")
    part = anatomy.inputs[0]
    if part.type_name == "text":
        raise DamagedError("it takes texts, not pictures")
    if part.type_name not in ("float32", "uint8", "int8", "int16"):
        raise DamagedError(f"its input holds {part.type_name}, neither float32 nor quantised integers")
    if part.type_name != "float32" and not part.scale:
        raise DamagedError(f"its input holds {part.type_name} without a scale of quantisation")
    shape = part.shape
    if len(shape) != 4:
        raise DamagedError(f"it takes {list(shape)}, which is no picture: that is [1, height, width, 3]")
    if shape[0] != 1:
        raise DamagedError(f"it takes {shape[0]} pictures at a time; export it for one")
    if shape[3] == 3:
        height, width, layout, sides = shape[1], shape[2], "NHWC", (1, 2)
    elif shape[1] == 3:
        height, width, layout, sides = shape[2], shape[3], "NCHW", (2, 3)
    elif 1 in (shape[1], shape[3]):
        raise DamagedError(f"it takes {list(shape)}: one channel, and pictures here have three, RGB")
    else:
        raise DamagedError(f"it takes {list(shape)}, which is no picture of three channels, RGB")
    if set(part.free) & set(sides):
        raise DamagedError("the size of the picture it takes is left open; export it for one size")
    if min(height, width) < SMALLEST_SIDE or max(height, width) > LARGEST_SIDE:
        raise DamagedError(
            f"it takes pictures of {width} x {height} pixels; {SMALLEST_SIDE} to {LARGEST_SIDE} a side are usual"
        )
    return Picture(part, width, height, layout)


def find_features(anatomy: Anatomy) -> Features:
    """Where a classifier, an embedder or a backbone has its features; raises `DamagedError` where nowhere."""
    if not anatomy.outputs:
        raise DamagedError("it gives nothing")
    pooled = _pooled(anatomy)
    if pooled is not None:
        return pooled
    output = anatomy.outputs[0]
    if len(anatomy.outputs) == 1 and output.is_vector:
        return _of_vector(anatomy, output)
    maps = [part for part in anatomy.outputs if _is_map(part)]
    if not maps and len(anatomy.outputs) > 1:
        maps = _inner_maps(anatomy)
    if not maps:
        what = ", ".join(f"{part.type_name} {list(part.shape)}" for part in anatomy.outputs[:4])
        raise DamagedError(f"no features were found in it: it pools nothing, and gives {what}")
    deepest = min(maps, key=lambda part: (part.shape[1] * part.shape[2] * part.shape[3]) / _channels(part))
    return _checked(
        Features(
            deepest,
            "map",
            f"the mean over the places of the deepest map, {list(deepest.shape)}: a backbone without pooling",
            averaged=True,
        )
    )


def unusable_steps(anatomy: Anatomy) -> str:
    """What is said of steps that are not built into TFLite; empty where there are none."""
    names = sorted({step.custom for step in anatomy.steps if step.custom})
    if not names:
        return ""
    for name, why in COMPILERS.items():
        if name in names:
            plugin = BROUGHT_BY.get(name, "")
            return (
                f"{why} ({name}) and holds no steps to look into; add the model as it was before that{plugin}"
            )
    if any(name.startswith("Flex") for name in names):
        return f"it holds steps of full TensorFlow, which are not built into TFLite: {', '.join(names[:4])}"
    return f"it holds steps that are not built into TFLite: {', '.join(names[:4])}"


def _pooled(anatomy: Anatomy) -> Features | None:
    for step in reversed(anatomy.steps):
        if step.operator not in POOLS or len(step.outputs) != 1:
            continue
        part = anatomy.tensors[step.outputs[0]]
        if not part.is_vector or part.size < FEWEST or not anatomy.is_bottleneck(part.index):
            continue
        last = anatomy.outputs[0]
        if (
            len(anatomy.outputs) == 1
            and last.is_vector
            and last.size == part.size
            and _same(anatomy, part, last)
        ):
            return _checked(Features(part, "pooled", "what it gives, the mean over all places: an embedder"))
        if _normalised(anatomy):
            return _checked(Features(last, "output", "what it gives, a vector of length 1: an embedder"))
        name = "MEAN" if step.operator == Operator.MEAN else "AVERAGE_POOL_2D"
        return _checked(Features(part, "pooled", f"the last {name}, the mean over all places"))
    return None


def _same(anatomy: Anatomy, part: Part, last: Part) -> bool:
    """Whether one tensor is another, only laid out differently."""
    index = last.index
    while index != part.index:
        number = anatomy.makers.get(index)
        if number is None or anatomy.steps[number].operator not in SAME_NUMBERS:
            return False
        index = anatomy.steps[number].inputs[0]
    return True


def _normalised(anatomy: Anatomy) -> bool:
    """Whether the one thing it gives was brought to length 1, as embedders do."""
    if len(anatomy.outputs) != 1 or not anatomy.outputs[0].is_vector or anatomy.outputs[0].size < FEWEST:
        return False
    end = _last_step(anatomy, anatomy.outputs[0], SAME_NUMBERS)
    return end is not None and anatomy.steps[end].operator == Operator.L2_NORMALIZATION


def _last_step(anatomy: Anatomy, part: Part, passed: tuple[Operator, ...]) -> int | None:
    """The step that made what a tensor holds, before it went through some kinds of steps."""
    number = anatomy.makers.get(part.index)
    while number is not None and anatomy.steps[number].operator in passed:
        number = anatomy.makers.get(anatomy.steps[number].inputs[0])
    return number


def _of_vector(anatomy: Anatomy, output: Part) -> Features:
    """Of a model without pooling that gives a vector."""
    number = _last_step(anatomy, output, SAME_NUMBERS)
    if number is not None and anatomy.steps[number].operator in ENDS:
        end = anatomy.tensors[anatomy.steps[number].inputs[0]]
        number = _last_step(anatomy, end, SAME_NUMBERS)
        if number is not None and anatomy.steps[number].operator == Operator.FULLY_CONNECTED:
            before = anatomy.tensors[anatomy.steps[number].inputs[0]]
            if before.is_vector and before.size >= FEWEST and anatomy.is_bottleneck(before.index):
                return _checked(
                    Features(before, "penultimate", "what the last layer before the answer reads")
                )
        raise DamagedError("it gives probabilities, and the features they come from were not found")
    if output.size < FEWEST:
        raise DamagedError(f"it gives {output.size} numbers, which say too little of a picture")
    if not anatomy.is_bottleneck(output.index):
        raise DamagedError("what it gives does not depend on what it takes")
    return _checked(Features(output, "output", "what it gives: an embedder"))


def _is_map(part: Part) -> bool:
    return len(part.shape) == 4 and part.shape[0] == 1 and min(part.shape) > 0 and _channels(part) >= FEWEST


def _channels(part: Part) -> int:
    height, width = map_axes(part.shape)
    return part.size // (part.shape[height] * part.shape[width])


def _inner_maps(anatomy: Anatomy) -> list[Part]:
    """What all of several outputs follow from: the end of the backbone of a detector."""
    return [
        part
        for step in anatomy.steps
        for part in (anatomy.tensors[index] for index in step.outputs)
        if _is_map(part) and anatomy.is_bottleneck(part.index)
    ]


def _checked(features: Features) -> Features:
    part = features.part
    if part.type_name not in ("float32", "uint8", "int8", "int16"):
        raise DamagedError(f"its features are {part.type_name}, neither float32 nor quantised integers")
    if part.type_name != "float32" and not part.scale:
        raise DamagedError(f"its features hold {part.type_name} without one scale of quantisation")
    if features.count > MOST:
        raise DamagedError(f"it gives {features.count} features; at most {MOST} can be used")
    return features
