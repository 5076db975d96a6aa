"""What a finished session has learned, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import UserError
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.session_outcome import session_outcome
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_session import MLTrainingSessionParameters
from tests.ml.session_kit import NumberSource, picture_folder


def train(folder: Path, iterations: int, *, classifier: ClassifierType | None = None) -> MLImageClassifier:
    """A session in `folder` that ends after so many iterations at most."""
    data = picture_folder(folder / "data")
    (data / "cat" / "broken.jpg").write_text("bad")
    algorithm = ModelAlgorithmType.transfer_learning(classifier=classifier)
    split = ValidationData.split(MLSplitStrategy.fixed(0.25))
    job = MLImageClassifier.train(
        DataSource.labeled_directories(at=data),
        ModelParameters(max_iterations=iterations, algorithm=algorithm, validation=split),
        MLTrainingSessionParameters(session_directory=folder / "s"),
        open_source=NumberSource(),
    )
    return job.result(60)


def test_the_last_checkpoint_is_the_classifier(tmp_path: Path) -> None:
    """Same probabilities, and it can be written; the files are those that could be read."""
    classifier = train(tmp_path, 3)
    outcome = session_outcome(tmp_path / "s")

    X = np.abs(np.random.default_rng(0).normal(size=(5, 8))).astype(np.float32)
    assert np.array_equal(outcome.model.predict_proba(X), classifier.head_model.predict_proba(X))
    outcome.model.write(tmp_path / "copy")
    assert outcome.checkpoint.iteration == 3
    assert not outcome.converged
    assert (len(outcome.learned), len(outcome.held_out)) == (
        classifier.training_metrics.count,
        classifier.validation_metrics.count,
    )


def test_one_iteration_may_be_all_there_is(tmp_path: Path) -> None:
    """A fit that converged is over, however many iterations it was allowed."""
    train(tmp_path, 25, classifier=ClassifierType.discriminant())
    assert session_outcome(tmp_path / "s").converged


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "session.json").unlink(), "no training session"),
        (lambda folder: (folder / "session.json").write_text("{"), "damaged"),
        (lambda folder: next(folder.rglob("fit.npz")).write_bytes(b""), "cannot be read"),
        (lambda folder: next(folder.rglob("head.npz")).write_bytes(b""), "head.npz"),
        (lambda folder: [path.unlink() for path in folder.rglob("checkpoint.json")], "nothing has been learned"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(tmp_path: Path, spoil: object, words: str) -> None:
    """A person's error, with the place."""
    train(tmp_path, 3)
    assert callable(spoil)
    spoil(tmp_path / "s")
    with pytest.raises(UserError, match=words) as raised:
        session_outcome(tmp_path / "s")
    assert str(tmp_path / "s") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_training_that_is_not_over_has_no_outcome(tmp_path: Path) -> None:
    """More iterations were asked for than were done: the way to go on is named."""
    train(tmp_path, 3)
    facts = tmp_path / "s" / "session.json"
    facts.write_text(facts.read_text().replace('"max_iterations":3', '"max_iterations":9'))
    with pytest.raises(UserError, match="after 3 of at most 9 iterations; go on with `edge-agent train"):
        session_outcome(tmp_path / "s")
