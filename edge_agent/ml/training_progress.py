"""This is where it is written down how far the training of an image classifier is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MLPhase(StrEnum):
    """What a training session is doing."""

    INITIALIZED = "initialized"
    EXTRACTING_FEATURES = "extracting_features"
    TRAINING = "training"
    EVALUATING = "evaluating"
    INFERENCING = "inferencing"


class MLProgressMetric(StrEnum):
    """Apple's `MLProgress.Metric`: the names of all metrics, those of other kinds of training among them."""

    ACCURACY = "accuracy"
    LOSS = "loss"
    VALIDATION_ACCURACY = "validation_accuracy"
    VALIDATION_LOSS = "validation_loss"
    MAXIMUM_ERROR = "maximum_error"
    ROOT_MEAN_SQUARED_ERROR = "root_mean_squared_error"
    VALIDATION_MAXIMUM_ERROR = "validation_maximum_error"
    VALIDATION_ROOT_MEAN_SQUARED_ERROR = "validation_root_mean_squared_error"
    CONTENT_LOSS = "content_loss"
    STYLE_LOSS = "style_loss"
    STYLIZED_IMAGE_URL = "stylized_image_url"


Metrics = Mapping[MLProgressMetric, float]


@dataclass(frozen=True)
class MLProgress:
    """A report of a running session: files during extraction, iterations during training."""

    Metric = MLProgressMetric

    phase: MLPhase = MLPhase.INITIALIZED
    item_count: int = 0
    """Files that were looked at, or iterations that are done."""
    total_item_count: int | None = None
    elapsed_time: float = 0.0
    """Seconds since the job began."""
    metrics: Metrics = field(default_factory=dict)

    @property
    def fraction_completed(self) -> float:
        """How much of the phase is done, 0 to 1; 0 where the whole is not known."""
        if not self.total_item_count:
            return 0.0
        return min(self.item_count / self.total_item_count, 1.0)
