"""This is where what a training session learned becomes a version of the agent, because its owner says so."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np

from edge_agent import __version__
from edge_agent.agent.learned import SAMPLES_FILE, Learned, as_bytes
from edge_agent.agent.publishing import CHECKED_ROWS, EVALUATION_FILE
from edge_agent.agent.serving import MODEL_FOLDER
from edge_agent.errors import DamagedError, UserError
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel
from edge_agent.ml.session_outcome import SessionOutcome, session_outcome
from edge_agent.ml.training_progress import MLProgressMetric
from edge_agent.store.atomic import write_file, write_json
from edge_agent.store.registry import Version, VersionFacts, VersionRegistry
from edge_agent.vision.engine import EngineFacts


def publish_session(
    registry: VersionRegistry,
    folder: Path,
    heads: Mapping[str, type[Head]],
    facts: EngineFacts,
    *,
    stored: AbstractSet[str],
    parent: int | None,
) -> Version:
    """Publish the classifier of the session in `folder`; no other version is asked whether it is better.

    `stored` are the digests of the agent's samples. Those of them that the session learned from are written
    down as what the version learned from: they never judge it, and it counts as forgotten with them. The
    others are no samples of the agent; `evaluation.json` names them.

    Raises `UserError` where there is nothing to import or the session's extractor is not the agent's,
    `DamagedError` when the version does not predict as the session does, `StoreError` when the disk refuses.
    """
    outcome = session_outcome(folder, heads)
    theirs = outcome.session.facts.fingerprint
    if theirs != facts.fingerprint:
        raise UserError(
            f"{folder}: was trained on what {theirs!r} sees; this agent's pictures are looked at by"
            f" {facts.fingerprint!r}, and the two are never mixed: train it with the agent's extractor and runtime"
        )
    cache = outcome.session.cache
    learned = {cache.entry(one.key).digest: one.label for one in outcome.learned}
    X, _ = cache.rows([one.key for one in outcome.learned[:CHECKED_ROWS]])
    expected = outcome.model.predict_proba(X)

    def write(to: Path) -> None:
        outcome.model.write(to / MODEL_FOLDER)
        own = {digest: label for digest, label in learned.items() if digest in stored}
        write_file(to / SAMPLES_FILE, as_bytes(Learned.by(own)))
        write_json(to / EVALUATION_FILE, _evaluation(folder, outcome, learned))

    def verify(at: Path) -> None:
        reloaded = MLModel.load(at / MODEL_FOLDER, heads=heads)
        if not np.array_equal(reloaded.predict_proba(X), expected):
            raise DamagedError(f"{at}: the saved version does not predict as the session does")

    version = VersionFacts(
        parent=parent,
        labels=tuple(outcome.model.classes),
        n_features=facts.n_features,
        n_samples=len(outcome.learned),
        extractor_fingerprint=facts.fingerprint,
        extractor_name=facts.name,
        head=outcome.model.head.name,
        parameters=outcome.model.head.describe(),
        metrics=_metrics(outcome),
        agent_version=__version__,
    )
    return registry.publish(write, version, verify)


def _metrics(outcome: SessionOutcome) -> dict[str, object]:
    """How it did on the session's own validation pictures; no accuracy where it had none."""
    return {
        "accuracy": outcome.checkpoint.metrics.get(MLProgressMetric.VALIDATION_ACCURACY),
        "count": len(outcome.held_out),
    }


def _evaluation(folder: Path, outcome: SessionOutcome, learned: Mapping[str, str]) -> dict[str, object]:
    reason = f"imported by its owner from the training session in {folder}"
    return {
        "decision": {"accepted": True, "reason": reason},
        "candidate": _metrics(outcome),
        "imported": {
            "session": str(folder),
            "trained": outcome.checkpoint.date,
            "classifier": str(outcome.session.model_parameters.algorithm.classifier),
            "iterations": outcome.checkpoint.iteration,
            "samples": dict(learned),
        },
    }
