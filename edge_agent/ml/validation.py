"""This is where what was learned is judged by samples it was not learned from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_agent.ml.batches import TrainingRows, feature_blocks
from edge_agent.ml.estimates import log_loss
from edge_agent.ml.heads.protocol import Head, ValueHead
from edge_agent.ml.progress import MLMetricKey


def validation_metrics(
    head: Head, rows: TrainingRows, *, has_loss: bool, stop: Callable[[], bool]
) -> dict[MLMetricKey, float]:
    """Accuracy, and where the head `has_loss` the mean cross-entropy of its probabilities, block by block.

    The class of the highest probability is the answer. A label the head does not know counts as answered
    wrong, and is left out of the loss, which would be infinite; where none is known there is no loss. Nothing
    is said once `stop` says so. Of a regression there is only the loss, the mean squared error of its answers.

    Raises `MLModelError` with the index of the first unusable sample.
    """
    if isinstance(head, ValueHead) and head.n_values is not None:
        return _regression_metrics(head, rows, stop=stop)
    column = {label: index for index, label in enumerate(head.classes_)}
    right, known, loss = 0, 0, 0.0
    for X, labels in feature_blocks(rows):
        if stop():
            return {}
        y = np.array([column.get(label, -1) for label in labels], dtype=np.intp)
        at = np.flatnonzero(y >= 0)
        if not len(at):
            continue
        P = head.predict_proba(X[at])
        right += int((P.argmax(axis=1) == y[at]).sum())
        known += len(at)
        if has_loss:
            loss += log_loss(P, y[at]) * len(at)
    found: dict[MLMetricKey, float] = {MLMetricKey.VALIDATION_ACCURACY: right / rows.count}
    if has_loss and known:
        found[MLMetricKey.VALIDATION_LOSS] = loss / known
    return found


def _regression_metrics(
    head: ValueHead, rows: TrainingRows, *, stop: Callable[[], bool]
) -> dict[MLMetricKey, float]:
    loss = 0.0
    for X, labels in feature_blocks(rows):
        if stop():
            return {}
        error = head.values(X) - np.array(labels, dtype=np.float64)[:, None]
        loss += float(np.mean(error**2)) * len(labels)
    return {MLMetricKey.VALIDATION_LOSS: loss / rows.count}
