"""This is where an accepted candidate is written down as a version, with what it learned from and how it was judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.agent.evaluation import Evaluation
from edge_agent.agent.learned import SAMPLES_FILE, Learned, as_bytes
from edge_agent.agent.serving import MODEL_FOLDER
from edge_agent.errors import DamagedError
from edge_agent.hookspecs import Decision
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel
from edge_agent.store.atomic import write_file, write_json
from edge_agent.store.chosen import Chosen
from edge_agent.store.registry import Version, VersionFacts, VersionRegistry
from edge_agent.store.samples import TrainingSet
from edge_agent.vision.engine import EngineFacts

EVALUATION_FILE = "evaluation.json"

CHECKED_ROWS = 64
"""A version is reloaded from disk and must predict the same as in memory on this many samples."""


@dataclass(frozen=True)
class Candidate:
    """A trained model, with the digests it learned from."""

    model: MLModel
    samples: TrainingSet
    training: Chosen
    head: str


def publish(
    registry: VersionRegistry,
    candidate: Candidate,
    heads: Mapping[str, type[Head]],
    facts: EngineFacts,
    evaluation: Evaluation,
    decision: Decision,
    parent: int | None,
) -> Version:
    """Stage, rename, reload and compare a version; the pointer moves only when it predicts as it did in memory.

    Raises `DamagedError` when it does not, `DiskFullError` or `StoreError` when the disk refuses; the current
    version is untouched then.
    """
    checked = candidate.training[:CHECKED_ROWS]
    expected = probabilities(candidate.model, candidate.samples, checked)

    def write(folder: Path) -> None:
        candidate.model.write(to=folder / MODEL_FOLDER)
        learned = Learned.among(candidate.samples, candidate.training)
        write_file(folder / SAMPLES_FILE, as_bytes(learned))
        verdict = {"accepted": decision.answer, "reason": decision.reason, "basis": decision.basis}
        write_json(folder / EVALUATION_FILE, {"decision": verdict, **evaluation.to_json()})

    def verify(folder: Path) -> None:
        reloaded = MLModel.load(folder / MODEL_FOLDER, heads=heads)
        if not np.array_equal(probabilities(reloaded, candidate.samples, checked), expected):
            raise DamagedError(f"{folder}: the saved version does not predict as it did in memory")

    version_facts = VersionFacts(
        parent=parent,
        labels=tuple(candidate.model.classes),
        n_features=facts.n_features,
        n_samples=len(candidate.training),
        extractor_fingerprint=facts.fingerprint,
        extractor_name=facts.name,
        head=candidate.head,
        parameters=candidate.model.head.describe(),
        metrics={**evaluation.candidate.to_json(), "evidence": evaluation.short},
        agent_version=__version__,
    )
    return registry.publish(write, version_facts, verify)


def probabilities(
    model: MLModel,
    samples: TrainingSet,
    digests: Sequence[str],
    rows: int = 512,
    ask: Callable[[MLModel, NDArray[np.float32]], NDArray[np.float64]] = MLModel.predict_proba,
) -> NDArray[np.float64]:
    """Class probabilities, float64[n, n_classes], block by block so that memory does not grow with n."""
    provider = samples.provider(digests)
    blocks = [
        ask(model, provider.arrays(range(start, min(start + rows, len(digests))))[0])
        for start in range(0, len(digests), rows)
    ]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(model.classes)))
