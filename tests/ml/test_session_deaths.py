"""Training sessions whose process is killed, with real pictures and the real engine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli.pictures import write_pictures

PROGRAM = """
import hashlib, sys
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.training_session import MLTrainingSessionParameters

data, folder, kind = sys.argv[1:]
classifier = {
    "logistic": ClassifierType.logistic_regressor(), "perceptron": ClassifierType.multilayer_perceptron([16])
}[kind]
session = MLImageClassifier.make_training_session(
    DataSource.labeled_directories(at=data),
    ModelParameters(algorithm=ModelAlgorithmType.transfer_learning(classifier=classifier)),
    MLTrainingSessionParameters(session_directory=folder, checkpoint_interval=3),
)
job = MLImageClassifier.prepared(session)
job.checkpoints.sink(lambda one: print(one.phase, one.iteration, flush=True))
head = job.start().result().head_model.head
sums = [hashlib.sha256(array.tobytes()).hexdigest() for _, array in sorted(head.arrays().items())]
print("learned", hashlib.sha256("".join(sums).encode()).hexdigest(), flush=True)
"""


def lines(data: Path, session: Path, kind: str, *, stop_after: int | None = None) -> list[str]:
    """What a training prints; it is killed after so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data), str(session), kind], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        seen = []
        for line in child.stdout:
            seen.append(line.strip())
            if len(seen) == stop_after:
                child.kill()
                break
        child.wait()
        assert child.returncode == (-signal.SIGKILL if stop_after else 0), seen
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["logistic", "perceptron"])
def test_checklist_134_136_a_killed_training_comes_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    """Killed with signal 9 in extraction and in training, twice each; nothing kept is done twice."""
    data = tmp_path / "data"
    write_pictures(data, 5, seed=3, labels=["leaf", "mug"])
    whole = lines(data, tmp_path / "whole", kind)
    assert whole[0] == "extracting_features 3"

    runs = [lines(data, tmp_path / "session", kind, stop_after=count) for count in (1, 2, 3, 1)]
    rest = lines(data, tmp_path / "session", kind)

    told = [line for run in [*runs, rest] for line in run]
    assert len(set(told)) == len(told)
    assert any(line.startswith("extracting") for line in runs[1])
    assert runs[3][0].startswith("training")
    assert rest[-1] == whole[-1]
    assert rest[-1].startswith("learned ")
