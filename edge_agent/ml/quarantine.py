"""This is where bad samples of a batch are set aside, so that the good ones can be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import (
    FEATURES,
    LABEL,
    ArrayProvider,
    MLBatchProvider,
    Rows,
    TrainingRows,
)
from edge_agent.ml.features import MLFeatureProvider, MLFeatureType

SHOWN = 3
"""How many reasons an error tells; all are in `skipped`."""


@runtime_checkable
class SkippingProvider(Protocol):
    """A batch provider that left samples out."""

    @property
    def skipped(self) -> Mapping[int, str]:
        """Why each sample that was left out was, by its index."""


class QuarantiningBatchProvider:
    """The good samples of a batch; the bad ones are left out and `skipped` says why.

    A sample is bad when it cannot be learned from (a feature missing, of another type, shape or length than
    `n_features`, not finite, a label of another type than `label_type` or the first good one) or when its
    provider raises for it. Every sample is read once here, a block at a time, and again when it is learned.
    An update task with `max_bad_share` makes one with the names and types of its model.

    Raises `MLModelError` UPDATE when more than `max_bad_share` (0 to 1) of the samples are bad or none is
    good, with how many and the first reasons.
    """

    def __init__(
        self,
        provider: MLBatchProvider,
        *,
        max_bad_share: float = 0.01,
        n_features: int | None = None,
        label_type: MLFeatureType | None = None,
        feature_name: str = FEATURES,
        label_name: str = LABEL,
        rows: int = 256,
    ) -> None:
        number = isinstance(max_bad_share, Real) and not isinstance(max_bad_share, bool)
        if not number or not 0.0 <= max_bad_share <= 1.0:
            raise MLModelError(
                MLModelErrorCode.GENERIC, f"max_bad_share is from 0 to 1, not {max_bad_share!r}"
            )
        self._provider = provider
        self._names = (feature_name, label_name)
        checked = TrainingRows(
            provider,
            n_features=n_features,
            label_type=label_type,
            feature_name=feature_name,
            label_name=label_name,
            look_at_first=False,
        )
        skipped: dict[int, str] = {}
        for start in range(0, checked.count, rows):
            self._sift(checked, range(start, min(start + rows, checked.count)), skipped)
        self._good = [at for at in range(checked.count) if at not in skipped]
        self._skipped = skipped
        if len(skipped) > float(max_bad_share) * checked.count or not self._good:
            first = "; ".join(list(skipped.values())[:SHOWN])
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"{len(skipped)} of {checked.count} samples are bad, allowed are {float(max_bad_share):.1%}: {first}",
            )

    @staticmethod
    def _sift(checked: TrainingRows, block: range, skipped: dict[int, str]) -> None:
        """Look at a block at once, and one by one only where something in it is bad."""
        try:
            checked.arrays(slice(block.start, block.stop))
        except Exception as error:  # noqa: BLE001 - a provider is foreign code, and its trouble with a sample is one
            if len(block) == 1:
                ours = isinstance(error, MLModelError)
                told = str(error) if ours else f"sample {block.start}: {type(error).__name__}: {error}"
                skipped[block.start] = told
                return
            middle = (block.start + block.stop) // 2
            for part in (range(block.start, middle), range(middle, block.stop)):
                QuarantiningBatchProvider._sift(checked, part, skipped)

    @property
    def count(self) -> int:
        """How many good samples there are."""
        return len(self._good)

    @property
    def skipped(self) -> Mapping[int, str]:
        """Why each bad sample was left out, by its index in the whole batch."""
        return MappingProxyType(self._skipped)

    def features(self, at: int) -> MLFeatureProvider:
        """The good sample at an index."""
        return self._provider.features(self._good[at])

    def arrays(self, indices: Rows) -> tuple[NDArray[Any], Sequence[str | int | float]]:
        """Features [n, D] and labels of good samples."""
        wanted = self._good[indices] if isinstance(indices, slice) else [self._good[at] for at in indices]
        if isinstance(self._provider, ArrayProvider):
            return self._provider.arrays(wanted)
        feature, label = self._names
        rows = TrainingRows(self._provider, feature_name=feature, label_name=label, look_at_first=False)
        return rows.arrays(wanted)
