"""What a training session learned, served by an agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge_agent.agent.learned import from_bytes
from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import UserError
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_session import MLTrainingSessionParameters
from edge_agent.testing import FAKE_FEATURES, FakeClock, FakeEngine, drop_texts
from edge_agent.vision.feature_source import EngineFeatureSource
from edge_agent.vision.preprocessing import load_card

if TYPE_CHECKING:
    from tests.agent.conftest import Bench

PERCEPTRON = ClassifierType.multilayer_perceptron([8])


def trained(
    folder: Path, *words: str, fingerprint: str = "fake:1", classifier: ClassifierType | None = None
) -> Path:
    """A session that learned text pictures of these words, twelve of each."""
    for word in words:
        drop_texts(folder / "data", word, [f"{word} {number}" for number in range(12)])
    card = msgspec.structs.replace(load_card(CARD_PATH), n_features=FAKE_FEATURES)
    engine = FakeEngine(
        card, PicturesConfig(), ExtractorConfig(), monotonic=FakeClock(), fingerprint=fingerprint
    )
    algorithm = ModelAlgorithmType.transfer_learning(classifier=classifier)
    split = ValidationData.split(MLSplitStrategy.fixed(0.25))
    MLImageClassifier.train(
        DataSource.labeled_directories(at=folder / "data"),
        ModelParameters(algorithm=algorithm, validation=split),
        MLTrainingSessionParameters(session_directory=folder / "s"),
        open_source=lambda *_: EngineFeatureSource(card, engine=engine),
    ).result(60)
    return folder / "s"


@pytest.mark.parametrize(
    "classifier", [ClassifierType.logistic_regressor(), ClassifierType.discriminant(), PERCEPTRON]
)
def test_a_fresh_agent_serves_what_was_trained(
    bench: Bench, tmp_path: Path, classifier: ClassifierType
) -> None:
    """It answers at once, now and after a restart; it is said where the version comes from."""
    session = trained(tmp_path, "cat", "dog", "fox", classifier=classifier)
    bench.open()
    told = bench.ask("import", folder=str(session))

    assert (told["version"], told["previous"], told["labels"]) == (1, None, ["cat", "dog", "fox"])
    assert (told["samples"], told["accuracy"]) == (27, 1.0)
    assert told["labels_without_samples"] == ["cat", "dog", "fox"]
    assert "version_published" in bench.recorder.names()
    for _ in range(2):
        assert bench.predict(tmp_path, "fox 99")["label"] == "fox"
        bench.settle()
        assert bench.ask("status")["version"] == 1
        bench.open()
    folder = bench.home / "models" / "versions" / "000001"
    said = json.loads((folder / "evaluation.json").read_text())
    assert said["decision"] == {
        "accepted": True, "reason": f"imported by its owner from the training session in {session}",
    }  # fmt: skip
    assert len(said["imported"]["samples"]) == 27
    assert len(from_bytes((folder / "samples.bin").read_bytes())) == 0


def test_the_next_update_learns_from_the_agents_own_samples(bench: Bench, tmp_path: Path) -> None:
    """It knows what the agent has pictures of; the imported version can be gone back to."""
    session = trained(tmp_path, "cat", "dog", "fox")
    bench.open()
    bench.ask("import", folder=str(session))
    for word in ("cat", "owl"):
        drop_texts(bench.drop, word, [f"{word} {number}" for number in range(100, 106)])
    bench.settle()

    rows = bench.ask("versions")
    assert [(row["version"], row["parent"], row["labels"]) for row in rows] == [
        (2, 1, ["cat", "owl"]),
        (1, None, ["cat", "dog", "fox"]),
    ]
    assert bench.ask("rollback")["version"] == 1
    assert bench.predict(tmp_path, "dog 99")["label"] == "dog"


def test_what_is_forgotten_is_forgotten_in_imported_versions_too(bench: Bench, tmp_path: Path) -> None:
    """A picture that agent and session both learned from: once it is forgotten the import is not served again."""
    session = trained(tmp_path, "cat", "dog")
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {number}" for number in range(6)])
    bench.settle()
    assert bench.ask("import", folder=str(session))["labels_without_samples"] == []
    samples = from_bytes((bench.home / "models" / "versions" / "000002" / "samples.bin").read_bytes())
    assert 0 < len(samples) <= 12
    bench.ask("forget", label="dog")
    bench.settle()

    # One without it in its place, and one more that has also learned what the session did not know.
    assert bench.ask("status")["version"] > 2
    with pytest.raises(UserError, match="forgotten"):
        bench.ask("rollback", to=2)


def test_what_does_not_suit_the_agent_is_refused(bench: Bench, tmp_path: Path) -> None:
    """No session, an unfinished one, another extractor or runtime: one line, and nothing changes."""
    other = trained(tmp_path, "cat", "dog", fingerprint="fake:2")
    bench.open()
    with pytest.raises(UserError, match="no training session"):
        bench.ask("import", folder=str(tmp_path / "none"))
    with pytest.raises(UserError, match="'fake:2' sees; this agent's pictures are looked at by 'fake:1'"):
        bench.ask("import", folder=str(other))
    assert bench.ask("versions") == []
    assert list((bench.home / "models").rglob("manifest.json")) == []
