"""This is where it is said which pictures a classifier is validated by while it is trained."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.data_source import DataSource, LabeledPaths

log = logging.getLogger(__name__)

FEW = 50
"""With fewer pictures than this nothing is set aside automatically."""
MANY = 200
"""From so many pictures on the smaller share is enough."""
SHARE_OF_FEW = 0.10
SHARE_OF_MANY = 0.05


@dataclass(frozen=True)
class MLSplitStrategy:
    """How large a share of the training pictures is set aside. Made by the class methods."""

    ratio: float | None = None
    """The share, 0 to 1; None: it follows from the number of pictures."""
    seed: int | None = None
    """Which pictures are drawn; None: by chance, others each time."""

    def __post_init__(self) -> None:
        """Raise `MLCreateError` TYPE for a ratio or a seed that is none."""
        ratio, seed = self.ratio, self.seed
        if ratio is not None and not (
            isinstance(ratio, Real)
            and not isinstance(ratio, bool)
            and math.isfinite(ratio)
            and 0 <= ratio <= 1
        ):
            raise _wrong(f"ratio is a number from 0 to 1, not {ratio!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0):
            raise _wrong(f"seed is a whole number, 0 or above, or None, not {seed!r}")

    @classmethod
    def automatic(cls) -> MLSplitStrategy:
        """Nothing of fewer than 50 pictures, a tenth of 50 to 199, a twentieth of 200 and more."""
        return cls()

    @classmethod
    def fixed(cls, ratio: float, seed: int | None = None) -> MLSplitStrategy:
        """This share, 0 to 1; the same pictures with the same seed, others each time without one."""
        if ratio is None:
            raise _wrong("ratio is a number from 0 to 1, not None")
        return cls(ratio, seed)

    def resolve(self, count: int) -> float:
        """The share of `count` pictures that is set aside, 0 to 1; says in the log when it is nothing.

        Raises `MLCreateError` TYPE for a count that is none.
        """
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 0:
            raise _wrong(f"count is a whole number, 0 or above, not {count!r}")
        if self.ratio is not None:
            return float(self.ratio)
        if count < FEW:
            log.info(
                "No pictures are set aside for validation: %d are fewer than the %d it takes", count, FEW
            )
            return 0.0
        return SHARE_OF_FEW if count < MANY else SHARE_OF_MANY

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept and compared."""
        return {
            "ratio": None if self.ratio is None else float(self.ratio),
            "seed": None if self.seed is None else int(self.seed),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MLSplitStrategy:
        """The strategy these came from; raises `MLCreateError` TYPE or KeyError for what is none."""
        return cls(values["ratio"], values["seed"])

    def __str__(self) -> str:
        if self.ratio is None:
            return "a share that follows from the number of pictures"
        return f"{100 * self.ratio:g} % of the pictures" + (
            "" if self.seed is None else f", seed {self.seed}"
        )


@dataclass(frozen=True)
class ValidationData:
    """What a classifier is validated by: a share of the training pictures, others, or nothing.

    Made by the class methods; at most one of the two is there.
    """

    strategy: MLSplitStrategy | None = None
    source: DataSource | None = None

    def __post_init__(self) -> None:
        """Raise `MLCreateError` TYPE for another kind of value, and for both at once."""
        if not isinstance(self.strategy, MLSplitStrategy | None):
            raise _wrong(f"strategy is a MLSplitStrategy, not {self.strategy!r}")
        if not isinstance(self.source, DataSource | None):
            raise _wrong(f"pictures to validate by are a DataSource, not {self.source!r}")
        if self.strategy is not None and self.source is not None:
            raise _wrong("validation is by a share of the training pictures or by others, not by both")

    @classmethod
    def automatic(cls) -> ValidationData:
        """A share that follows from the number of pictures."""
        return cls.split(MLSplitStrategy.automatic())

    @classmethod
    def split(cls, strategy: MLSplitStrategy) -> ValidationData:
        """A share of the pictures of each label, which is then not learned from."""
        if strategy is None:
            raise _wrong("strategy is a MLSplitStrategy, not None")
        return cls(strategy=strategy)

    @classmethod
    def data_source(cls, source: DataSource) -> ValidationData:
        """Pictures of their own."""
        if source is None:
            raise _wrong("pictures to validate by are a DataSource, not None")
        return cls(source=source)

    @classmethod
    def dictionary(cls, files: LabeledPaths) -> ValidationData:
        """Pictures of their own, by label."""
        return cls(source=DataSource.files_by_label(files))

    @classmethod
    def none(cls) -> ValidationData:
        """No validation: every picture is learned from."""
        return cls()

    def to_json(self) -> dict[str, Any]:
        """Plain values, to be kept and compared."""
        return {
            "strategy": None if self.strategy is None else self.strategy.to_json(),
            "source": None if self.source is None else self.source.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ValidationData:
        """What these came from; raises `MLCreateError` TYPE or KeyError for what is none."""
        strategy, source = values["strategy"], values["source"]
        return cls(
            None if strategy is None else MLSplitStrategy.from_json(strategy),
            None if source is None else DataSource.from_json(source),
        )

    def __str__(self) -> str:
        if self.strategy is not None:
            return str(self.strategy)
        return "none" if self.source is None else str(self.source)


def _wrong(message: str) -> MLCreateError:
    return MLCreateError(MLCreateErrorCode.TYPE, message)
