"""This is where it is said which changed copies of a picture are learned from, and how strong the changes are.

Only the description is here; `edge_agent.vision.augmentation` changes pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import STRICT, IntFlag, StrEnum
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from edge_agent.errors import UserError

Kind = Literal["crop", "rotation", "blur", "exposure", "noise", "flip"]


class ImageAugmentationOptions(IntFlag, boundary=STRICT):
    """The kinds of copies; a set, with Python's operators and with the words of Apple's sets of options.

    `ImageAugmentationOptions(0)` is empty. A raw value with a bit that means nothing is a `ValueError`.
    """

    CROP = 1
    ROTATION = 2
    BLUR = 4
    EXPOSURE = 8
    NOISE = 16
    FLIP = 32

    @classmethod
    def named(cls, names: Iterable[str]) -> Self:
        """The set of the kinds with these names, in any case; raises `UserError` for a name there is not."""
        found = cls(0)
        for name in names:
            one = cls.__members__.get(name.strip().upper())
            if one is None:
                known = ", ".join(member.lower() for member in cls.__members__)
                raise UserError(f"there is no augmentation {name.strip()!r}; there are {known}")
            found |= one
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the kinds in the set, small letters, always in the same order."""
        return tuple(str(one.name).lower() for one in type(self) if one in self)

    @property
    def copies(self) -> int:
        """How many copies are added to each picture: those of each kind, added up."""
        return sum(COPIES[one] for one in COPIES if one in self)

    @property
    def raw_value(self) -> int:
        """The set as a whole number."""
        return int(self)

    @property
    def is_empty(self) -> bool:
        """Whether there is no kind in it."""
        return not self

    def contains(self, other: int) -> bool:
        """Whether all of `other` is in it."""
        return type(self)(other) in self

    def is_subset(self, of: int) -> bool:
        """Whether all of it is in `of`."""
        return self in type(self)(of)

    def is_superset(self, of: int) -> bool:
        """Whether all of `of` is in it."""
        return self.contains(of)

    def is_disjoint(self, with_: int) -> bool:
        """Whether the two have no kind in common."""
        return not self & type(self)(with_)

    def union(self, other: int) -> Self:
        """What is in either."""
        return self | type(self)(other)

    def intersection(self, other: int) -> Self:
        """What is in both."""
        return self & type(self)(other)

    def subtracting(self, other: int) -> Self:
        """What is in this one only."""
        return self & ~type(self)(other)

    def symmetric_difference(self, other: int) -> Self:
        """What is in one of the two."""
        return self ^ type(self)(other)

    def __str__(self) -> str:
        return ", ".join(self.names) or "none"


COPIES: Mapping[ImageAugmentationOptions, int] = MappingProxyType(
    {one: 3 if one is ImageAugmentationOptions.FLIP else 4 for one in ImageAugmentationOptions}
)
"""Copies that each kind adds to a picture, which is kept as it is besides; Apple's numbers."""


class Variant(Struct, frozen=True, order=True):
    """One changed copy of a picture, by its kind and its number among those of the kind."""

    kind: Kind
    index: Annotated[int, Meta(ge=0, lt=4)]

    def __str__(self) -> str:
        return f"{self.kind}-{self.index}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept."""
        return {"kind": self.kind, "index": self.index}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Variant:
        """The variant these came from; raises `UserError` for what is none."""
        try:
            return msgspec.convert(dict(values), cls)
        except msgspec.ValidationError as error:
            raise UserError(f"not a variant of a picture: {error}") from None


def variants(options: ImageAugmentationOptions) -> list[Variant]:
    """The copies of one picture, in an order that never changes; the picture itself is not among them."""
    return [
        Variant(name, index)  # type: ignore[arg-type]  # the names of the options are the kinds
        for name in ImageAugmentationOptions(options).names
        for index in range(COPIES[ImageAugmentationOptions[name.upper()]])
    ]


class PicturePart(StrEnum):
    """What a picture is for."""

    TRAINING = "training"
    VALIDATION = "validation"
    TESTING = "testing"


def views(
    paths: Iterable[Path], part: PicturePart | str, options: ImageAugmentationOptions
) -> Iterator[tuple[Path, Variant | None]]:
    """What is looked at: each picture as it is (None), and right after it the copies, if it is to be learned.

    Pictures that a model is judged by are judged as they are.
    """
    copies = variants(options) if PicturePart(part) is PicturePart.TRAINING else []
    for path in paths:
        yield path, None
        for variant in copies:
            yield path, variant


class AugmentationSettings(Struct, frozen=True, kw_only=True):
    """How strong the changes are and where chance begins: the same settings give the same copies.

    Apple's classifier has neither. Raises `UserError`, naming the value, for one that is out of its range.
    """

    seed: int = 0
    """A whole number, 0 or above. It does not matter in which order pictures are looked at."""
    crop_area: float = 0.7
    """Of the picture's area, at least so much is left; above 0 up to 1."""
    rotation_degrees: float = 15.0
    """A picture is turned by at most so much to either side; 0 to 180."""
    blur_radius: float = 0.01
    """The largest standard deviation of the blur, as a share of what the extractor sees; 0 to 0.1."""
    exposure_stops: float = 1.0
    """Light is at most doubled (or halved) so many times; 0 to 4."""
    noise_deviation: float = 16.0
    """The largest standard deviation of the noise, in steps of pixel values (0 to 255); 0 to 128."""

    def __post_init__(self) -> None:
        """Hold every value against its range."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"augmentation.seed is a whole number, 0 or above, not {self.seed!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            if not good or not low <= value <= high:
                raise UserError(f"augmentation.{name} is a number from {low:g} to {high:g}, not {value!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain values by name, to be kept and compared."""
        return {"seed": self.seed} | {name: float(getattr(self, name)) for name in _RANGES}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The settings these came from; raises `UserError` for a name or value that is none."""
        unknown = sorted(set(values) - {"seed", *_RANGES})
        if unknown:
            raise UserError(f"augmentation has no {unknown[0]!r}; it has {', '.join(['seed', *_RANGES])}")
        return cls(**values)


_RANGES = {
    "crop_area": (0.01, 1.0),
    "rotation_degrees": (0.0, 180.0),
    "blur_radius": (0.0, 0.1),
    "exposure_stops": (0.0, 4.0),
    "noise_deviation": (0.0, 128.0),
}
