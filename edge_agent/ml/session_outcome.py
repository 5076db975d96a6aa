"""This is where what a finished training session has learned is taken from its folder, by whoever uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import MLCreateError, MLModelError, UserError
from edge_agent.ml.checkpoints import MODEL, MLCheckpoint
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.model import MLModel
from edge_agent.ml.session_folder import TRAINING, DataFile
from edge_agent.ml.training_progress import MLPhase
from edge_agent.ml.training_session import MLTrainingSession, MLTrainingSessionParameters, restored_session


@dataclass(frozen=True)
class SessionOutcome:
    """A session whose training is over, and the model that came out of it, which takes features."""

    session: MLTrainingSession
    checkpoint: MLCheckpoint
    """The last one."""
    model: MLModel
    converged: bool

    @property
    def learned(self) -> list[DataFile]:
        """The files it learned from; those that could not be read are not among them."""
        return self._usable(training=True)

    @property
    def held_out(self) -> list[DataFile]:
        """The files it was validated by."""
        return self._usable(training=False)

    def _usable(self, *, training: bool) -> list[DataFile]:
        cache = self.session.cache
        return [
            one
            for one in self.session.facts.files
            if (one.role == TRAINING) is training and one.key in cache and cache.entry(one.key).error is None
        ]


def session_outcome(folder: Path, heads: Mapping[str, type[Head]] | None = None) -> SessionOutcome:
    """What the session in a folder came to; `heads` are those that are known, the built-in ones unless given.

    Raises `UserError` where there is no session, where its training is not over, or what it kept cannot be
    read.
    """
    try:
        session = restored_session(MLTrainingSessionParameters(session_directory=folder))
        last = session.kept.latest(MLPhase.TRAINING)
        if last is None:
            raise UserError(f"{folder}: nothing has been learned yet; {_go_on(folder)}")
        converged = bool(session.kept.state(last).description.get("converged"))
        if not converged and last.iteration < session.limit:
            raise UserError(
                f"{folder}: training stopped after {last.iteration} of at most {session.limit} iterations;"
                f" {_go_on(folder)}"
            )
        loaded = MLModel.load(last.url / MODEL, heads=heads)
        return SessionOutcome(session, last, loaded.with_head(loaded.head, is_writable=True), converged)
    except (MLCreateError, MLModelError) as error:
        raise UserError(str(error)) from error


def _go_on(folder: Path) -> str:
    return f"go on with `edge-agent train --session {folder} --resume`"
