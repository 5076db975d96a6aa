"""This is where hooks get facts to be tried with: one likely example of each kind."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from edge_agent.agent.board import BoardReading
from edge_agent.agent.evaluation import Evaluation, compare
from edge_agent.agent.policy import UpdateSituation
from edge_agent.hookspecs import HOOK_NAMES, Decision, Hooks
from edge_agent.ml.selection import ReviewPool
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.sections import suggest
from edge_agent.store.registry import Version
from edge_agent.store.samples import Rejection, Sample
from edge_agent.vision.delegate_spec import DelegateChange

NOON = 1795176000.25
"""2026-11-20 12:00:00.250 UTC, when all examples happen."""

_SAMPLE = Sample(
    digest="ab" * 32,
    label="cat",
    sequence=7,
    added_at=NOON,
    source_name="p1.jpg",
    stored_path="archive/cat/p1.jpg",
    size_bytes=1000,
    width=640,
    height=480,
)
_VERSION = Version(
    number=3,
    parent=2,
    created=NOON,
    labels=("cat", "dog"),
    n_samples=40,
    accuracy=0.9,
    head="lda",
    extractor_fingerprint="fake:1",
    path=Path("models/versions/000003"),
    current=True,
    n_features=4,
    extractor_name="fake",
    parameters={},
    metrics={},
    agent_version="0",
)
_SITUATION = UpdateSituation(
    new_samples=5,
    seconds_since_last_change=9.0,
    unknown_labels={},
    current_version=3,
    labels={"cat": 20, "dog": 20},
    forced=False,
    pending_files=0,
    board=BoardReading(celsius=48.7, load=0.3, free_memory_mb=210.0, free_disk_mb=9_000.0, minute=615),
)
_POOL = ReviewPool(
    candidates=("p8.jpg", "p9.jpg"),
    features=np.array([[1, 0, 2, 0], [0, 2, 0, 1]], dtype=np.float32),
    labels=("cat", "dog"),
    probabilities=np.array([[0.9, 0.1], [0.5, 0.5]]),
    labelled=np.array([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=np.float32),
    counts={"cat": 20, "dog": 20},
    wanted=1,
)


def _evaluation() -> Evaluation:
    """On 30 held-out cats, all of which both versions know."""
    sure = np.array([[0.9, 0.1]] * 30)
    return compare(
        candidate_proba=sure,
        candidate_classes=["cat", "dog"],
        current_proba=sure,
        current_classes=["cat", "dog"],
        y_true=["cat"] * 30,
    )


_BY_NAME: Mapping[str, Any] = MappingProxyType(
    {
        "decision": Decision(answer=True, reason="as good as the current version"),
        "evaluation": _evaluation(),
        "extractor": "fake",
        "folder_label": "cat",
        "home": "home",
        "path": "drop/cat/p1.jpg",
        "pool": _POOL,
        "previous": 4,
        "reason": "asked",
        "rejection": Rejection("drop/cat/p2.jpg", "cat", "this is not a picture", "rejected/cat/p2.jpg"),
        "sample": _SAMPLE,
        "situation": _SITUATION,
    }
)


def example_facts(hook: str) -> dict[str, Any]:
    """What the agent might give with a question or an observation, by the names of its arguments.

    A situation in which there is something new, a sample, a rejection, a comparison of equals, version 3 of `cat` and
    `dog`. Raises `ValueError` for a hook that there is not, or that registers.
    """
    if hook not in HOOK_NAMES:
        raise ValueError(f"there is no hook {hook}{suggest(hook, HOOK_NAMES)}")
    if hook.startswith("register_"):
        raise ValueError(f"{hook} is given a function to register with, and no facts")
    names = list(inspect.signature(getattr(Hooks, hook)).parameters)[1:]
    return {name: _example(hook, name) for name in names}


def _example(hook: str, name: str) -> Any:
    """A few arguments are of another kind with another hook."""
    if name == "event":
        state = "completed" if hook == "training_end" else "running"
        return TrainingEvent("task-1", hook, state, {"loss_value": 0.5}, {"shrinkage": 0.3})
    if name == "version":
        return 3 if hook == "agent_started" else _VERSION
    if hook == "delegate_changed":
        return DelegateChange("turbo", "cpu", "turbo: refused: it was unplugged", "auto")
    if name == "change":
        return TaskStateChange("task-1", "running", "suspended")
    return _BY_NAME[name]
