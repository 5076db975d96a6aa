"""Sessions that reports are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.ml.classifier_parameters import ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.session_run import SessionResult
from edge_agent.ml.training_session import MLTrainingSession, MLTrainingSessionParameters
from tests.ml.session_kit import NumberSource

WAIT = 60.0

Trained = tuple[MLTrainingSession, SessionResult]


@pytest.fixture(name="trained")
def _trained(tmp_path: Path) -> Callable[..., Trained]:
    """Trains on a folder of pictures that are numbers; answers the session and its result."""

    def train(
        data: Path, parameters: ModelParameters | None = None, source: NumberSource | None = None
    ) -> Trained:
        session = MLImageClassifier.make_training_session(
            DataSource.labeled_directories(at=data),
            parameters,
            MLTrainingSessionParameters(session_directory=tmp_path / "session"),
        )
        result = MLImageClassifier.resume(session, open_source=source or NumberSource()).result(WAIT).result
        assert result is not None
        return session, result

    return train
