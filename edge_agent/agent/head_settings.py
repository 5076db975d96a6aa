"""This is where what is configured of a head is held against what the head knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.config import LearningConfig
from edge_agent.errors import MLModelError
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.parameters import MLParameterKey, resolve


def head_problems(config: LearningConfig, heads: Mapping[str, type[Head]]) -> list[str]:
    """What is wrong with `[learning]`, each with the key it is about."""
    if config.head not in heads:
        return [f"learning.head: no method is named {config.head!r}; known are {', '.join(sorted(heads))}"]
    known = {one.key.name: one.key for one in heads[config.head].parameter_descriptions}
    problems = [
        f"learning.parameters.{name}: the head {config.head!r} has no such parameter;"
        f" it has {', '.join(sorted(known)) or 'none'}"
        for name in sorted(set(config.parameters) - set(known))
    ]
    for name in sorted(set(config.parameters) & set(known)):
        try:
            resolve(heads[config.head].parameter_descriptions, {known[name]: config.parameters[name]})
        except MLModelError as error:
            problems.append(f"learning.parameters.{name}: {error}")
    return problems


def head_parameters(head: type[Head], config: LearningConfig) -> dict[MLParameterKey, Any]:
    """The configured parameters by their keys, and the seed."""
    known = {one.key.name: one.key for one in head.parameter_descriptions}
    given = dict(config.parameters)
    if "seed" in known:
        given.setdefault("seed", config.random_state)
    return {known[name]: value for name, value in given.items()}
