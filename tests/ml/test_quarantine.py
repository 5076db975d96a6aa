"""Checklist 56: bad samples of a batch are set aside and told."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.model import MLModel
from edge_agent.ml.progress import MLMetricKey
from edge_agent.ml.quarantine import QuarantiningBatchProvider
from edge_agent.ml.update import MLTaskState, MLUpdateTask

D = 6


def sample(at):
    """A good sample."""
    row = np.random.default_rng(at).random(D).astype(np.float32)
    row[at % 3] += 3
    return {"features": row, "label": f"class {at % 3}"}


BAD = {
    "no label": ({"features": np.zeros(D)}, "no feature named 'label'"),
    "too short": ({"features": np.zeros(D - 1), "label": "a"}, "shape"),
    "not finite": ({"features": np.full(D, np.inf), "label": "a"}, "finite"),
    "wrong type": ({"features": 3.0, "label": "a"}, "DOUBLE"),
    "other labels": ({"features": np.zeros(D), "label": 3}, "INT64"),
    "unreadable": (MLModelError(MLModelErrorCode.IO, "the file is gone"), "the file is gone"),
}


class Shelf:
    """Lazily made samples, some of which are bad; one that is an error is raised."""

    def __init__(self, count, bad):
        self.count = count
        self.bad = bad

    def features(self, at):
        found = self.bad.get(at) or sample(at)
        if isinstance(found, MLModelError):
            raise found
        return MLDictionaryFeatureProvider(found)


@pytest.mark.parametrize("why", BAD)
@pytest.mark.parametrize("head", ["lda", "softmax", "logistic", "knn"])
def test_checklist_56_one_bad_sample_in_a_thousand(why, head):
    """The task completes, learned from the other 999 exactly, and says which one is missing and why."""
    bad, says = BAD[why]
    good = [sample(at) for at in range(1000) if at != 613]
    others = MatrixBatchProvider(np.stack([one["features"] for one in good]), [one["label"] for one in good])
    contexts, models = [], []
    for batch in (QuarantiningBatchProvider(Shelf(1000, {613: bad}), n_features=D), others):
        task = MLUpdateTask(
            MLModel.factory(head, D, parameters={}), batch, completion_handler=contexts.append
        )
        task.resume()
        assert task.wait(60)
        assert task.state is MLTaskState.COMPLETED
        models.append(task.model)
    X = np.random.default_rng(1).random((20, D))

    assert list(contexts[0].task.skipped_samples) == [613]
    assert says in contexts[0].task.skipped_samples[613]
    assert contexts[0].metrics[MLMetricKey.SKIPPED_SAMPLES] == 1
    assert contexts[1].task.skipped_samples == {}
    assert contexts[1].metrics[MLMetricKey.SKIPPED_SAMPLES] == 0
    assert np.array_equal(models[0].predict_proba(X), models[1].predict_proba(X))


def named(values):
    """A sample as a model with names of its own wants it."""
    if isinstance(values, MLModelError):
        return values
    return {{"features": "picture", "label": "kind"}[name]: value for name, value in values.items()}


class NamedShelf(Shelf):
    """The same samples under other names."""

    def features(self, at):
        return MLDictionaryFeatureProvider(named({**super().features(at).dictionary}))


@pytest.mark.parametrize("why", BAD)
def test_checklist_56_a_task_sets_bad_samples_aside_itself(why, caplog):
    """With `max_bad_share`, by the names and types of its model: the metric, the task and the log say which."""
    bad, says = BAD[why]
    says = says.replace("label", "kind")
    model = MLModel(LDAHead(D), input_name="picture", output_name="kind", is_writable=True)
    contexts = []
    task = MLUpdateTask(
        model, NamedShelf(1000, {613: bad}), completion_handler=contexts.append, max_bad_share=0.001
    )
    task.resume()
    assert task.wait(60)

    assert task.state is MLTaskState.COMPLETED
    assert sum(task.model.head.learned.counts) == 999
    assert list(task.skipped_samples) == [613]
    assert says in task.skipped_samples[613]
    assert contexts[0].metrics[MLMetricKey.SKIPPED_SAMPLES] == 1
    [line] = [record for record in caplog.records if record.name == "edge_agent.ml.admission"]
    assert line.levelname == "WARNING"
    assert line.getMessage() == f"update: 1 of 1000 samples are left out: {task.skipped_samples[613]}"


def test_checklist_56_a_task_fails_only_above_the_threshold():
    """Two of a thousand are too many where one is allowed; a share that is none is refused."""
    shelf = Shelf(1000, dict.fromkeys((3, 7), BAD["no label"][0]))
    with pytest.raises(MLModelError, match=r"2 of 1000 samples are bad, allowed are 0\.1%: sample 3"):
        MLUpdateTask(MLModel.factory("lda", D), shelf, max_bad_share=0.001)
    MLUpdateTask(MLModel.factory("lda", D), shelf, max_bad_share=0.002)
    with pytest.raises(MLModelError, match="max_bad_share is from 0 to 1"):
        MLUpdateTask(MLModel.factory("lda", D), shelf, max_bad_share=2)


def test_checklist_56_labels_of_another_type_than_the_models_are_bad():
    """Also where the first sample has it."""
    model = MLModel.factory("lda", D, label_type=MLFeatureType.STRING)
    task = MLUpdateTask(model, Shelf(20, {0: {"features": np.zeros(D), "label": 3}}), max_bad_share=0.1)

    assert list(task.skipped_samples) == [0]


class Crumbling(Shelf):
    """A provider whose author's code breaks at some samples."""

    def features(self, at):
        if at in self.bad:
            raise self.bad[at]
        return super().features(at)


@pytest.mark.parametrize("error", [OSError("the card was pulled out"), KeyError("x"), ZeroDivisionError()])
def test_checklist_56_whatever_a_provider_raises_is_a_bad_sample(error):
    """It is named with its index; when all do, the batch is refused."""
    batch = QuarantiningBatchProvider(Crumbling(1000, {613: error}), n_features=D)

    assert batch.skipped == {613: f"sample 613: {type(error).__name__}: {error}"}
    with pytest.raises(MLModelError, match="20 of 20 samples are bad"):
        QuarantiningBatchProvider(Crumbling(20, dict.fromkeys(range(20), error)), max_bad_share=1.0)


def test_checklist_56_without_it_a_bad_sample_fails_the_task():
    """As everywhere else: the failure names the sample."""
    task = MLUpdateTask(MLModel.factory("lda", D), Shelf(20, {13: BAD["not finite"][0]}))
    task.resume()

    assert task.wait(30)
    assert task.state is MLTaskState.FAILED
    assert "sample 13" in str(task.error)


def test_checklist_56_too_many_bad_ones_are_refused():
    """Exactly above the share allowed, with how many and the first reasons; so is a batch without a good one."""
    shelf = Shelf(20, dict.fromkeys((3, 7, 11, 15), BAD["no label"][0]))

    assert len(QuarantiningBatchProvider(shelf, max_bad_share=0.2).skipped) == 4
    with pytest.raises(
        MLModelError, match=r"4 of 20 samples are bad, allowed are 19\.0%: sample 3"
    ) as caught:
        QuarantiningBatchProvider(shelf, max_bad_share=0.19)
    assert caught.value.code is MLModelErrorCode.UPDATE
    with pytest.raises(MLModelError, match="2 of 2 samples"):
        QuarantiningBatchProvider(Shelf(2, {0: BAD["no label"][0], 1: BAD["no label"][0]}), max_bad_share=1.0)
    for share in (-0.1, 1.1, float("nan"), "1%", None, True):
        with pytest.raises(MLModelError, match="max_bad_share"):
            QuarantiningBatchProvider(shelf, max_bad_share=share)


@pytest.mark.parametrize("rows", [1, 4, 7, 64])
def test_checklist_56_all_bad_ones_are_found_whatever_the_block(rows):
    """Neighbours, both ends and the first sample; the rest keep their order."""
    bad = dict.fromkeys((0, 5, 6, 7, 19), BAD["not finite"][0])
    matrix = np.stack([bad.get(at, sample(at))["features"] for at in range(20)])
    for provider in (Shelf(20, bad), MatrixBatchProvider(matrix, ["a"] * 20)):
        batch = QuarantiningBatchProvider(provider, max_bad_share=0.5, rows=rows, n_features=D)
        assert set(batch.skipped) == set(bad)
        assert batch.count == 15
        X, labels = batch.arrays([0, 1, 14])
        assert np.array_equal(X, np.stack([sample(at)["features"] for at in (1, 2, 18)]))
        assert len(batch.arrays(slice(None))[1]) == 15
        assert batch.features(1).feature_value("features").multi_array_value.tolist() == X[1].tolist()
        assert len(labels) == 3


def test_checklist_56_memory_stays_that_of_a_block():
    """Sifting many samples keeps none of them."""
    shelf = Shelf(20_000, {7: BAD["no label"][0]})
    QuarantiningBatchProvider(Shelf(10, {}), n_features=D)
    tracemalloc.start()
    try:
        batch = QuarantiningBatchProvider(shelf, n_features=D)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert batch.count == 19_999
    assert held < 20_000 * 48  # the list of good indices; the samples alone are 24 bytes each and 20 objects
