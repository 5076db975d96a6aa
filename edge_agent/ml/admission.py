"""This is where a batch is looked at before a model learns from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MLBatchProvider, TrainingRows, feature_blocks
from edge_agent.ml.extraction import ExtractedBatchProvider
from edge_agent.ml.features import MLFeatureType
from edge_agent.ml.providers import is_in_memory
from edge_agent.ml.quarantine import SHOWN, QuarantiningBatchProvider, SkippingProvider

log = logging.getLogger(__name__)


def admitted(
    provider: MLBatchProvider,
    learnable: Callable[[MLBatchProvider], MLBatchProvider],
    *,
    n_features: int,
    label_type: MLFeatureType | None,
    feature_name: str,
    label_name: str,
    max_bad_share: float | None,
    who: str,
    before_reading: Callable[[], None],
) -> tuple[TrainingRows, Mapping[int, str]]:
    """The samples as a model wants them, and why those left out were, by their index; the log says so too.

    `learnable` makes what a head learns from of what its model is given. `before_reading` is called before
    something is read, then and later; what it raises is how a reader is stopped.

    All samples of a batch in memory are looked at (behind a pipeline without being extracted), and of any batch
    with a `max_bad_share`; else the first, as reading the others may be dear. Raises as `TrainingRows` and
    `QuarantiningBatchProvider`, and `MLModelError` UPDATE for whatever else the provider raises.
    """
    try:
        data = learnable(provider)
        if isinstance(data, ExtractedBatchProvider):
            data.before_reading = before_reading  # of each sample: extracting a block of them takes long
        if max_bad_share is not None:
            data = QuarantiningBatchProvider(
                data,
                max_bad_share=max_bad_share,
                n_features=n_features,
                label_type=label_type,
                feature_name=feature_name,
                label_name=label_name,
            )
        rows = TrainingRows(
            data,
            n_features=n_features,
            label_type=label_type,
            feature_name=feature_name,
            label_name=label_name,
            before_reading=before_reading,
        )
        if isinstance(data, ExtractedBatchProvider) and is_in_memory(provider):
            data.check()
        if is_in_memory(data):
            for _ in feature_blocks(rows):
                pass
        source = provider if max_bad_share is None else data
        skipped = dict(source.skipped) if isinstance(source, SkippingProvider) else {}
    except MLModelError:
        raise
    except Exception as error:
        raise MLModelError(
            MLModelErrorCode.UPDATE, f"the batch failed: {type(error).__name__}: {error}"
        ) from error
    if skipped:
        reasons = "; ".join(list(skipped.values())[:SHOWN])
        log.warning(
            "%s: %d of %d samples are left out: %s", who, len(skipped), rows.count + len(skipped), reasons
        )
    return rows, skipped
