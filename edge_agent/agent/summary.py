"""This is where what is going on is put into the words of `status --json`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import msgspec

from edge_agent.agent.stages import Stages
from edge_agent.agent.status import AgentState
from edge_agent.errors import StoreError
from edge_agent.plugins import PluginHost
from edge_agent.vision.preprocessing import TFLITE


def summarise(stages: Stages, plugins: PluginHost, troubles: list[str]) -> dict[str, Any]:
    """The facts of a status document, with what work failed with; other programs rely on the names."""
    stands_in = stages.stand_in.trouble
    troubles = [*troubles, stages.serving.trouble, stages.rebuild.trouble, stages.engine.trouble, stands_in]
    try:
        labels, last = stages.learning.labels(), stages.learning.last_update()
    except StoreError as error:  # what else there is to say is the more wanted
        labels, last = {}, None
        troubles.append(str(error))
    trouble = "; ".join(filter(None, troubles))
    state = AgentState.DEGRADED if trouble or stages.engine.is_missed else AgentState.OK
    facts = stages.engine.facts
    version = stages.serving.version
    return {
        "state": state.value,
        "trouble": trouble,
        "pid": os.getpid(),
        "version": version.number if version else None,
        "accuracy": version.accuracy if version else None,
        "held_out": version.metrics.get("count") if version else None,
        "samples": sum(labels.values()),
        "labels": labels,
        "pending": stages.intake.pending,
        "rejected": stages.intake.rejected,
        "ignored": stages.intake.ignored[:20],
        "unusable": stages.refresh.lost,
        "watching": stages.folder.watching,
        "drop_folder": str(stages.folder.path),
        "updating": stages.learning.task is not None,
        "extractor": {
            "name": stages.engine.card.name,
            "fingerprint": facts.fingerprint if facts else None,
            "n_features": stages.engine.card.n_features,
        },
        "engine": {
            "pid": facts.pid if facts else None,
            "restarts": stages.engine.restarts,
            "sandbox": _sandbox(stages),
        },
        "delegate": _delegate(stages),
        "drift": _drift(stages),
        "last_update": last,
        "refused": stages.learning.refusals.last,
        "probation": stages.probation.facts,
        "taken_back": asdict(stages.probation.taken_back) if stages.probation.taken_back else None,
        "plugins": [
            {
                "name": report.name,
                "version": report.version,
                "errors": report.errors,
                "last_error": report.last_error,
                "dropped": report.dropped,
            }
            for report in plugins.reports()
        ],
    }


def _delegate(stages: Stages) -> dict[str, Any]:
    """What pictures are looked at by, what the configuration asks for, and why it is not that."""
    facts, accelerator = stages.engine.facts, stages.engine.accelerator
    own = "cpu" if stages.engine.card.backend == TFLITE else "auto"
    return {
        "name": facts.delegate if facts else None,
        "requested": accelerator.requested if accelerator else own,
        "fallback_reason": stages.engine.fallback_reason,
    }


def _sandbox(stages: Stages) -> dict[str, Any] | None:
    """What keeps the engine from doing more than it should, in words and one by one."""
    facts = stages.engine.facts
    return {"text": str(facts.sandbox), **msgspec.to_builtins(facts.sandbox)} if facts else None


def _drift(stages: Stages) -> dict[str, Any]:
    """Only what changes seldom: a figure that moves with every picture would have the status written as often."""
    seen = stages.incoming.drift()
    return {"changed": seen["changed"], "finding": seen["finding"]}
