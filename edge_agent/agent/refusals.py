"""This is where it is kept why the last candidate was refused, until another one is published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.agent.evaluation import Evaluation
from edge_agent.hookspecs import Decision
from edge_agent.store.atomic import make_folder, remove_tree, write_json

REFUSED_FOLDER = "refused"
"""Below the folder of versions; a refused candidate has no folder of its own among them."""
EVALUATION_FILE = "evaluation.json"


class Refusals:
    """The evaluation of the last refused candidate, in HOME/models/refused/evaluation.json.

    It names labels, digests and pictures, so it goes with whatever is forgotten. Methods that write raise
    `StoreError` when the disk refuses.
    """

    def __init__(self, models_folder: Path) -> None:
        self._folder = models_folder / REFUSED_FOLDER
        self._last = self._read()

    @property
    def path(self) -> Path:
        """The file, whether it is there or not."""
        return self._folder / EVALUATION_FILE

    @property
    def last(self) -> dict[str, Any] | None:
        """When it was, why, and where the evaluation is; None when nothing is refused."""
        return None if self._last is None else dict(self._last)

    @property
    def suspected(self) -> tuple[str, dict[str, str]]:
        """What the pictures look like whose labels the last candidate was refused for, and their labels by digest.

        As they were then; none of both when it was for something else, or nothing is refused.
        """
        try:
            found = json.loads(self.path.read_bytes())
            if found["decision"]["accepted"] or found["decision"]["basis"] != "labels":
                return "", {}
            named = {str(one["digest"]): str(one["label"]) for one in found["suspicion"]["samples"]}
            return str(found["suspicion"]["label"]), named
        except (OSError, ValueError, KeyError, TypeError):
            return "", {}

    def keep(self, evaluation: Evaluation, decision: Decision, when: float) -> None:
        """Write down why a candidate is refused, in place of the one before; `when` in unix seconds."""
        make_folder(self._folder)
        created = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
        verdict = {"accepted": decision.answer, "reason": decision.reason, "basis": decision.basis}
        write_json(self.path, {"created": created, "decision": verdict, **evaluation.to_json()})
        self._last = self._read()

    def remove_named(self, words: Iterable[str]) -> None:
        """Remove it when any of these (digests, labels, names of files) occurs in it, or when it cannot be read."""
        try:
            text = json.dumps(json.loads(self.path.read_bytes()), ensure_ascii=False)
        except (OSError, ValueError):
            text = None
        if text is None or any(json.dumps(word, ensure_ascii=False)[1:-1] in text for word in words):
            self.remove()

    def remove(self) -> None:
        """Nothing is refused any more, and nothing left of it."""
        self._last = None
        if self._folder.exists():
            remove_tree(self._folder)

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.path.read_bytes())
            return {
                "created": str(found["created"]),
                "reason": str(found["decision"]["reason"]),
                "basis": str(found["decision"]["basis"]),
                "file": str(self.path),
            }
        except (OSError, ValueError, KeyError, TypeError):
            return None  # it informs; without it nothing is lost that anybody needs
