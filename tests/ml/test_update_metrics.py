"""Checklist 31: what a context says beyond Apple's loss: accuracy, validation, counts and times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from edge_agent.errors import MLModelError
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.progress import MLMetricKey
from edge_agent.ml.update import MLUpdateProgressEvent, MLUpdateProgressHandlers, MLUpdateTask

BEGIN, EPOCH, BATCH = MLUpdateProgressEvent(1), MLUpdateProgressEvent(2), MLUpdateProgressEvent(4)
VALIDATION = {MLMetricKey.VALIDATION_LOSS, MLMetricKey.VALIDATION_ACCURACY}


def run(model, batch, events=BEGIN | EPOCH | BATCH, handler=None, **given):
    """Run an update; its contexts, the last of them that of the completion."""
    contexts = []

    def progress(context):
        contexts.append(context)
        if handler:
            handler(context)

    task = MLUpdateTask(
        model, batch, progress_handlers=MLUpdateProgressHandlers(events, progress, contexts.append), **given
    )
    task.resume()
    assert task.wait(60)
    assert task.error is None
    return contexts


def model_of(kind, **parameters):
    """An empty model; the trained kinds take two epochs of three mini-batches for 25 samples."""
    trained = {"epochs": 2, "mini_batch_size": 10} if kind in ("softmax", "network") else {}
    given = {Key(name): value for name, value in {**trained, **parameters}.items()}
    return MLModel.factory(kind, 12, parameters=given)


@pytest.mark.parametrize("kind", ["softmax", "network", "lda"])
def test_checklist_31_validation_is_scikit_learns(clouds, kind):
    """At each epoch's end, of the model of that moment; the completion has those of the last."""
    batch = MatrixBatchProvider(*clouds(25, noise=1.5))
    X, labels = clouds(700, noise=2.5, seed=5)
    contexts = run(model_of(kind), batch, validation_data=MatrixBatchProvider(X, labels))
    epochs = [context for context in contexts if context.event == EPOCH]

    assert len(epochs) == (1 if kind == "lda" else 2)
    for context in [*epochs, contexts[-1]]:
        P, classes = context.model.predict_proba(X), np.array(context.model.classes)
        assert context.metrics[MLMetricKey.VALIDATION_LOSS] == pytest.approx(
            log_loss(labels, P, labels=list(classes))
        )
        accuracy = accuracy_score(labels, classes[P.argmax(axis=1)])
        assert context.metrics[MLMetricKey.VALIDATION_ACCURACY] == pytest.approx(accuracy)
        assert 0.3 < accuracy < 1.0
        assert 0.0 <= context.metrics[MLMetricKey.ACCURACY] <= 1.0
    assert all(not VALIDATION & context.metrics.keys() for context in contexts if context.event == BATCH)
    assert contexts[0].metrics == {}


def test_checklist_31_neighbours_have_no_loss(clouds):
    """Neither in training nor in validation; the accuracy of validation is there."""
    X, labels = clouds(30)
    metrics = run(
        model_of("knn"), MatrixBatchProvider(X, labels), validation_data=MatrixBatchProvider(X, labels)
    )[-1].metrics

    assert metrics[MLMetricKey.VALIDATION_ACCURACY] > 0.9
    assert not {MLMetricKey.LOSS_VALUE, MLMetricKey.VALIDATION_LOSS} & metrics.keys()


def test_checklist_31_labels_the_model_does_not_know(clouds):
    """They are answered wrong, and the loss is of the others; where none is known there is no loss."""
    X, labels = clouds(40)
    odd = [label if at % 4 else "stranger" for at, label in enumerate(labels)]
    known = [at for at, label in enumerate(odd) if label != "stranger"]
    contexts = run(
        model_of("softmax", epochs=30),
        MatrixBatchProvider(X, labels),
        validation_data=MatrixBatchProvider(X, odd),
    )
    metrics, P = contexts[-1].metrics, contexts[-1].model.predict_proba(X)

    assert metrics[MLMetricKey.VALIDATION_ACCURACY] == pytest.approx(0.75)
    assert metrics[MLMetricKey.VALIDATION_LOSS] == pytest.approx(
        log_loss([odd[at] for at in known], P[known], labels=list(contexts[-1].model.classes))
    )
    strangers = MatrixBatchProvider(X, ["stranger"] * 40)
    metrics = run(model_of("softmax"), MatrixBatchProvider(X, labels), validation_data=strangers)[-1].metrics
    assert metrics[MLMetricKey.VALIDATION_ACCURACY] == 0.0
    assert MLMetricKey.VALIDATION_LOSS not in metrics


class Counted(MatrixBatchProvider):
    """A batch that counts how often its block is read."""

    reads = 0

    def arrays(self, indices):
        self.reads += 1
        return super().arrays(indices)


@pytest.mark.parametrize(("events", "times"), [(BEGIN, 1), (BATCH, 1), (EPOCH, 5), (BATCH | EPOCH, 5)])
def test_checklist_31_nobody_pays_for_validation_that_is_not_heard(clouds, events, times):
    """Once an epoch where its end is told, once at the end otherwise, never without a completion handler."""
    X, labels = clouds(25)
    held_out = Counted(X, labels)
    contexts = run(
        model_of("softmax", epochs=5), MatrixBatchProvider(X, labels), events, validation_data=held_out
    )

    assert held_out.reads == 1 + times  # the first look at construction
    assert contexts[-1].metrics.keys() >= VALIDATION
    silent = Counted(X, labels)
    task = MLUpdateTask(model_of("softmax"), MatrixBatchProvider(X, labels), validation_data=silent)
    task.resume()
    assert task.wait(60)
    assert silent.reads == 1


def test_checklist_31_validation_data_is_checked_as_training_data_is(clouds):
    """At construction, with the index; labels of the other type too."""
    X, labels = clouds(25)
    batch = MatrixBatchProvider(X, labels)
    spoiled = X.copy()
    spoiled[13, 2] = np.nan
    for wrong, says in (
        (MatrixBatchProvider(spoiled, labels), "sample 13"),
        (MatrixBatchProvider(X[:, :5], labels), "sample 0: 5 features, the model has 12"),
        (MatrixBatchProvider(X, list(range(25))), "sample 0: the label 0 is INT64, the others are STRING"),
        (MLArrayBatchProvider([]), "empty"),
        (MLArrayBatchProvider([MLDictionaryFeatureProvider({"features": X[0]})]), "no feature named 'label'"),
        ("text", "batch provider"),
    ):
        with pytest.raises(MLModelError, match=says):
            MLUpdateTask(model_of("softmax"), batch, validation_data=wrong)


@pytest.mark.parametrize("kind", ["softmax", "network"])
def test_checklist_31_counts_and_times(clouds, kind):
    """How much there is and how long it takes, by a clock that goes a second at each mini-batch."""
    now = [10.0]
    seen = []

    def handler(context):
        if context.event == BATCH:
            now[0] += 1.0
        seen.append(context.metrics)

    run(model_of(kind), MatrixBatchProvider(*clouds(25)), BATCH | EPOCH, handler, clock=lambda: now[0])

    assert all(one[MLMetricKey.EPOCH_COUNT] == 2 and one[MLMetricKey.MINI_BATCH_COUNT] == 3 for one in seen)
    assert [one[MLMetricKey.ELAPSED_SECONDS] for one in seen] == [0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0]
    # Done so far are 1, 2, 3, 3, 4, 5, 6, 6 of 6.
    assert [one[MLMetricKey.REMAINING_SECONDS] for one in seen] == pytest.approx(
        [0.0, 1 / 2 * 4, 2 / 3 * 3, 3 / 3 * 3, 3 / 4 * 2, 4 / 5 * 1, 0.0, 0.0]
    )


def test_checklist_31_counts_follow_the_epochs_in_force(clouds):
    """More epochs on the way: a greater count and a longer time from then on."""
    now = itertools.count()
    metrics = []

    def handler(context):
        metrics.append(context.metrics)
        if len(metrics) == 1:
            context.task.resume(with_parameters={Key.EPOCHS: 4})

    run(model_of("softmax"), MatrixBatchProvider(*clouds(25)), EPOCH, handler, clock=lambda: float(next(now)))
    assert [one[MLMetricKey.EPOCH_COUNT] for one in metrics] == [2, 4, 4, 4]
    assert metrics[-1][MLMetricKey.REMAINING_SECONDS] == 0.0
    assert metrics[1][MLMetricKey.REMAINING_SECONDS] > metrics[0][MLMetricKey.REMAINING_SECONDS] > 0.0


@pytest.mark.parametrize("kind", ["lda", "knn"])
def test_checklist_31_what_is_not_known_yet_is_absent(clouds, kind):
    """Heads that cut their batches themselves know how many there were at the end of the epoch."""
    X, labels = clouds(1100)
    contexts = run(model_of(kind), MatrixBatchProvider(X, labels))
    unknown = {MLMetricKey.MINI_BATCH_COUNT, MLMetricKey.REMAINING_SECONDS}

    assert [context.event for context in contexts] == [BEGIN, BATCH, BATCH, BATCH, EPOCH, 0]
    assert all(not unknown & context.metrics.keys() for context in contexts[1:4])
    assert all(context.metrics[MLMetricKey.EPOCH_COUNT] == 1 for context in contexts[1:])
    for context in contexts[4:]:
        assert (
            context.metrics[MLMetricKey.MINI_BATCH_COUNT],
            context.metrics[MLMetricKey.REMAINING_SECONDS],
        ) == (3, 0.0)


def test_checklist_31_cancelling_ends_a_validation(clouds):
    """At the next block, and nothing is said of it."""
    X, labels = clouds(1200)

    class Cancelling(MatrixBatchProvider):
        reads = 0

        def arrays(self, indices):
            self.reads += 1
            if self.reads == 2:
                task.cancel()
            return super().arrays(indices)

    held_out, contexts = Cancelling(X, labels), []
    task = MLUpdateTask(
        model_of("softmax"),
        MatrixBatchProvider(X[:25], labels[:25]),
        completion_handler=contexts.append,
        validation_data=held_out,
    )
    task.resume()
    assert task.wait(60)

    assert task.state.name == "CANCELLED"
    assert held_out.reads == 2  # the first look, and one block of three
    assert not VALIDATION & contexts[0].metrics.keys()
