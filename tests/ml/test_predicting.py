"""Predictions in the background: what comes out of them, cancelling, errors, completion handlers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider, MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.pipeline import make_pipeline
from edge_agent.ml.predicting import MLRequest

PATIENCE = 10.0
ROWS_OF_A_BLOCK = 512


@pytest.fixture(name="model")
def _model(clouds):
    """A trained model."""
    model = MLModel.factory("knn", 12)
    list(model.head.train(MatrixBatchProvider(*clouds(30)), {}))
    return model


class SlowBatch:
    """A batch of many blocks that stops at an index until it is let go, and counts what is asked for."""

    def __init__(self, count: int, stops_at: int, sample: MLDictionaryFeatureProvider | None = None) -> None:
        self._sample = sample or MLDictionaryFeatureProvider({"features": np.zeros(12, np.float32)})
        self.count = count
        self.asked = 0
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self._stops_at = stops_at

    def features(self, at: int) -> MLDictionaryFeatureProvider:
        """The sample at an index."""
        self.asked += 1
        if at == self._stops_at:
            self.reached.set()
            assert self.go_on.wait(PATIENCE)
        return self._sample


def ended(request_thread: str) -> None:
    """Wait for the threads of a name to end."""
    for thread in threading.enumerate():
        if thread.name == request_thread:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_sample_is_predicted_in_the_background(model, clouds):
    """The result is the one of `predict`, on another thread, also when it is asked for twice."""
    sample = MLDictionaryFeatureProvider({"features": clouds(1)[0][0]})
    request = model.begin_prediction(from_=sample)

    assert request.result(PATIENCE).dictionary == model.predict(sample).dictionary
    assert request.result() is request.result()
    assert request.done


def test_a_batch_is_predicted_in_the_background(model, clouds):
    """The results are those of `predictions`, in their order, over several blocks."""
    batch = MatrixBatchProvider(*clouds(2 * ROWS_OF_A_BLOCK + 3))
    answers = model.begin_prediction(from_=batch).result(PATIENCE)

    expected = model.predictions(batch)
    assert answers.count == expected.count == 2 * ROWS_OF_A_BLOCK + 3
    assert [one.dictionary for one in answers.array] == [one.dictionary for one in expected.array]


def test_checklist_66_a_cancelled_prediction_has_its_own_code(model):
    """`result` raises PREDICTION_CANCELLED at once, and the thread reads no block after the one it is at."""
    batch = SlowBatch(5 * ROWS_OF_A_BLOCK, stops_at=ROWS_OF_A_BLOCK + 7)
    request = model.begin_prediction(from_=batch)
    assert batch.reached.wait(PATIENCE)
    assert not request.done
    with pytest.raises(TimeoutError):
        request.result(timeout=0.0)
    request.cancel()
    request.cancel()

    assert request.done
    with pytest.raises(MLModelError, match="cancelled") as caught:
        request.result(timeout=0.0)
    assert caught.value.code is MLModelErrorCode.PREDICTION_CANCELLED == 11
    batch.go_on.set()
    ended("edge-agent-prediction")
    assert batch.asked == 2 * ROWS_OF_A_BLOCK
    with pytest.raises(MLModelError, match="cancelled"):
        request.result(timeout=0.0)


def test_checklist_66_a_pipeline_is_given_up_within_a_few_pictures(eye, tiny):
    """Behind frozen stages blocks are small, as extracting takes long."""
    batch = SlowBatch(200, stops_at=20, sample=MLDictionaryFeatureProvider({"image": tiny()}))
    request = make_pipeline([eye(), MLModel.factory("knn", 3)]).begin_prediction(from_=batch)
    assert batch.reached.wait(PATIENCE)
    request.cancel()
    batch.go_on.set()
    ended("edge-agent-prediction")

    assert batch.asked == 32


def test_a_finished_prediction_cannot_be_cancelled(model, clouds):
    """What is done keeps its result."""
    request = model.begin_prediction(from_=MatrixBatchProvider(*clouds(3)))
    answers = request.result(PATIENCE)
    request.cancel()

    assert request.result() is answers


def test_errors_of_a_prediction_come_out_of_its_result(model):
    """The same error as `predict` and `predictions` raise, with the index in a batch."""
    wrong = MLDictionaryFeatureProvider({"features": "text"})
    right = MLDictionaryFeatureProvider({"features": np.zeros(12)})
    for from_, says in [(wrong, "features"), (MLArrayBatchProvider([right, wrong]), "sample 1"), (7, "int")]:
        with pytest.raises(MLModelError, match=says) as caught:
            model.begin_prediction(from_=from_).result(PATIENCE)
        assert caught.value.code is MLModelErrorCode.FEATURE_TYPE


def test_what_foreign_code_raises_comes_out_too(model):
    """A batch that raises something of its own ends no thread silently: the result raises it."""

    class Broken:
        count = 3

        def features(self, at):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        model.begin_prediction(from_=Broken()).result(PATIENCE)


def test_the_completion_handler_is_called_once(model, clouds):
    """With the result or with the error, on the request's own thread, also after a cancellation."""
    told, called = [], threading.Event()

    def handler(result, error):
        told.append((result, error, threading.current_thread().name))
        called.set()

    request = model.begin_prediction(from_=MatrixBatchProvider(*clouds(3)), completion_handler=handler)
    assert called.wait(PATIENCE)
    ended("edge-agent-prediction")
    assert told == [(request.result(), None, "edge-agent-prediction")]

    told.clear(), called.clear()
    batch = SlowBatch(3, stops_at=1)
    request = model.begin_prediction(from_=batch, completion_handler=handler)
    assert batch.reached.wait(PATIENCE)
    request.cancel()
    assert told == []
    batch.go_on.set()
    assert called.wait(PATIENCE)
    ended("edge-agent-prediction")
    [(result, error, _)] = told
    assert result is None
    assert error.code is MLModelErrorCode.PREDICTION_CANCELLED


def test_a_model_is_loaded_in_the_background(model, clouds, tmp_path):
    """The result is the model `load` gives; what `load` raises comes out of it, and goes to the handler."""
    model.write(tmp_path / "model")
    loaded = MLModel.load_in_background(tmp_path / "model").result(PATIENCE)
    X, _ = clouds(4)

    assert loaded.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()

    told, called = [], threading.Event()
    request = MLModel.load_in_background(
        tmp_path / "nowhere", completion_handler=lambda *outcome: (told.append(outcome), called.set())
    )
    with pytest.raises(MLModelError, match="nowhere") as caught:
        request.result(PATIENCE)
    assert caught.value.code is MLModelErrorCode.IO
    assert called.wait(PATIENCE)
    assert told == [(None, caught.value)]


def test_a_result_of_none_is_a_result():
    """None is not taken for 'nothing yet'."""
    assert MLRequest(lambda: None).result(PATIENCE) is None
