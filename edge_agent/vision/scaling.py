"""This is where the ways in which a model may want pixel values scaled are listed, the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError
from edge_agent.vision.anatomy import Anatomy, Part
from edge_agent.vision.model_metadata import read_model_card
from edge_agent.vision.tflite_schema import Operator

Three = tuple[float, float, float]

FITS = 0.06
"""Of the width of a range: by so much the ends of two that count as the same may differ."""
MOST_CLIPPED = 0.03
"""Of the 256 levels of a pixel, so many may lie outside of what the input can hold."""
PASSED = (Operator.QUANTIZE, Operator.DEQUANTIZE, Operator.RESHAPE, Operator.PAD, Operator.CAST)
AFFINE = (Operator.ADD, Operator.SUB, Operator.MUL, Operator.DIV)


@dataclass(frozen=True)
class Scaling:
    """What becomes of a pixel value of 0 to 255: (value - mean) / std, of each channel."""

    name: str
    mean: Three
    std: Three
    color: str = "RGB"

    @property
    def formula(self) -> str:
        """What is computed, as text."""
        return f"{self.color} (v - {list(self.mean)}) / {list(self.std)}"

    def levels(self) -> NDArray[np.float64]:
        """What becomes of each level [256, 3]."""
        return np.asarray((np.arange(256.0)[:, None] - np.array(self.mean)) / np.array(self.std))

    def blue_first(self) -> Scaling:
        """The same with the channels the other way round."""
        return replace(self, name=f"{self.name}, blue first", color="BGR")


def alike(name: str, mean: float, std: float, color: str = "RGB") -> Scaling:
    """The same scaling of each channel."""
    return Scaling(name, (mean,) * 3, (std,) * 3, color)


USUAL = (
    alike("-1 to 1", 127.5, 127.5),
    alike("0 to 1", 0.0, 255.0),
    Scaling("ImageNet's mean and deviation", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    alike("0 to 255", 0.0, 1.0),
)
"""How models are usually trained, the most usual first."""


@dataclass(frozen=True)
class Scalings:
    """What the file says: one scaling that is sure, or some to be tried, the likeliest first."""

    tried: tuple[Scaling, ...]
    decided: bool
    why: str
    said: str = ""
    """What became of its metadata."""
    evidence: str = ""
    """What speaks for the first one that is tried: `range` of the quantised input, `graph`, or nothing."""


@dataclass(frozen=True)
class Opening:
    """What a graph does to pixel values before its first layer: `factor` times a value plus `offset`."""

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]
    range: tuple[float, float] | None
    """What the first quantised tensor can hold, in the input's own unit; None where nothing is quantised."""

    @property
    def rescales(self) -> bool:
        """Whether it does anything."""
        return bool(np.abs(self.factor - 1.0).max() > 1e-6 or np.abs(self.offset).max() > 1e-6)

    def leads_to_unit(self, scaling: Scaling) -> bool:
        """Whether a scaling becomes -1 to 1, or 0 to 1, in it."""
        ends = scaling.levels()[[0, 255]] * self.factor + self.offset
        return any(_same_range(ends, low, 1.0) for low in (-1.0, 0.0))


def scalings(anatomy: Anatomy, part: Part) -> Scalings:
    """How the input `part` may want pixel values; nothing is run."""
    opening = find_opening(anatomy, part)
    said, told = _told(anatomy)
    if said is not None:
        against = _contradiction(said, opening)
        if not against:
            why = f"the metadata of the file ({told}), which the graph agrees with"
            return Scalings((said,), decided=True, why=why)
        told = f"the metadata says {told}; it is not believed: {against}"
    tried = _tried(part, opening)
    evidence = "range" if opening.range is not None else ""
    if not evidence and opening.rescales and opening.leads_to_unit(tried[0]):
        evidence = "graph"
    why = _evidence(tried[0], opening)
    return Scalings(tried, decided=False, why=why, said=told, evidence=evidence)


def find_opening(anatomy: Anatomy, part: Part) -> Opening:
    """Follow the input through steps that only rescale it."""
    factor, offset, limits = np.ones(3), np.zeros(3), part.range()
    index = part.index
    while True:
        readers = [step for step in anatomy.steps if index in step.reads]
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            break
        step, made = readers[0], anatomy.tensors[readers[0].outputs[0]]
        if step.operator in AFFINE:
            constant = _constant(anatomy, [one for one in step.inputs if one != index])
            if constant is None or step.inputs[0] != index:
                break
            match step.operator:
                case Operator.ADD:
                    offset = offset + constant
                case Operator.SUB:
                    offset = offset - constant
                case Operator.MUL:
                    factor, offset = factor * constant, offset * constant
                case _:
                    factor, offset = factor / constant, offset / constant
        elif step.operator in PASSED:
            if limits is None and step.operator == Operator.QUANTIZE and (found := made.range()):
                ends = (np.array(found) - offset.mean()) / factor.mean()
                limits = float(ends.min()), float(ends.max())
        else:
            break
        index = made.index
    return Opening(factor, offset, limits)


def _constant(anatomy: Anatomy, indices: Sequence[int]) -> NDArray[np.float64] | None:
    """One number, or one for each channel, none of them 0."""
    if len(indices) != 1:
        return None
    values = anatomy.constant(anatomy.tensors[indices[0]])
    if values is None or values.size not in (1, 3) or not np.all(np.isfinite(values)) or not np.all(values):
        return None
    return np.broadcast_to(values, (3,)).astype(np.float64)


def _told(anatomy: Anatomy) -> tuple[Scaling | None, str]:
    """What the metadata says."""
    try:
        said = read_model_card(anatomy.data)
    except DamagedError as error:
        return None, f"its metadata cannot be read: {error}"
    if said is None or not said.mean or len(said.mean) != len(said.std) or len(said.mean) not in (1, 3):
        return None, ""
    mean, std = (np.broadcast_to(np.array(one), (3,)) for one in (said.mean, said.std))
    if not np.all(np.isfinite([mean, std])) or not np.all(std):
        return None, "its metadata gives a mean and deviation that are no numbers"
    text = " and ".join(
        f"{name} {', '.join(f'{value:g}' for value in values)}"
        for name, values in (("mean", said.mean), ("std", said.std))
    )
    return Scaling("as the metadata says", tuple(map(float, mean)), tuple(map(float, std))), text  # type: ignore[arg-type]


def _contradiction(said: Scaling, opening: Opening) -> str:
    """What in the graph speaks against a scaling; empty for nothing."""
    levels = said.levels()
    if opening.range is not None:
        low, high = opening.range
        if not _same_range(levels[[0, 255]], low, high):
            return (
                f"that gives {levels.min():.3g} to {levels.max():.3g}, and the input was quantised for"
                f" {low:.3g} to {high:.3g}"
            )
    elif opening.rescales and not opening.leads_to_unit(said):
        return f"the graph itself computes {_formula(opening)} first"
    return ""


def _tried(part: Part, opening: Opening) -> tuple[Scaling, ...]:
    usual = list(USUAL)
    if opening.range is not None:
        low, high = opening.range
        usual = [one for one in usual if _clipped(one, low, high) <= MOST_CLIPPED]
        whole = alike(
            "the numbers of the input as they are", -low * 255.0 / (high - low), 255.0 / (high - low)
        )
        usual.sort(key=lambda one: float(np.abs(one.levels() - whole.levels()).max()))
        step = part.scale or (high - low) / 255.0
        if not usual or np.abs(usual[0].levels() - whole.levels()).max() > 1.5 * step:
            usual.insert(0, whole)
    elif opening.rescales:
        usual.sort(key=lambda one: not opening.leads_to_unit(one))
    return tuple(usual)


def _evidence(first: Scaling, opening: Opening) -> str:
    if opening.range is not None:
        return f"the input was quantised for {opening.range[0]:.3g} to {opening.range[1]:.3g}"
    if opening.rescales:
        fits = f", which suits {first.name}" if opening.leads_to_unit(first) else ""
        return f"the graph itself computes {_formula(opening)} first{fits}"
    return "nothing in the file says how pixel values are scaled"


def _formula(opening: Opening) -> str:
    return f"{opening.factor.mean():.4g} x {opening.offset.mean():+.4g}"


def _clipped(scaling: Scaling, low: float, high: float) -> float:
    """The share of levels that the input cannot hold."""
    levels, slack = scaling.levels(), 0.01 * (high - low)
    return float(((levels < low - slack) | (levels > high + slack)).mean())


def _same_range(ends: NDArray[np.float64], low: float, high: float) -> bool:
    """Whether ends [2, 3] are those of a range."""
    return bool(np.abs(ends - np.array([[low], [high]])).max() <= FITS * (high - low))
