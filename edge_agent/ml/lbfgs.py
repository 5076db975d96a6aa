"""This is where a smooth function of many variables finds its minimum by a limited memory of its curvature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.arrays import stored_array

Vector = NDArray[np.float64]

MEMORY = 10
"""How many of the last steps are remembered."""
DECREASE, CURVATURE = 1e-4, 0.9
"""Of the weak Wolfe conditions: shares of the slope that the value must fall by, and that may remain."""
TRIALS = 40
"""Step lengths tried before a direction is given up."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A function at one place."""

    value: float
    gradient: Vector
    noticed: Mapping[str, float] = field(default_factory=dict)
    """What else was seen on the way; not used here, kept with the place."""


Objective = Callable[[Vector], Evaluation]


class LBFGS:
    """L-BFGS with a bisecting line search for the weak Wolfe conditions.

    Two-loop recursion with the scaling s'y / y'y (Nocedal and Wright, Numerical Optimization, 2nd ed.,
    algorithms 7.4 and 7.5; line search: Lewis and Overton, Mathematical Programming 2013). Nothing here is
    random and arrays are never changed in place: `arrays` and `describe` after any step continue to the same
    bits.
    """

    def __init__(self, position: Vector, at: Evaluation) -> None:
        self.position = position
        """Where it is [n]."""
        self.at = at
        """The function there."""
        self.stalled = False
        """No step along any direction makes the value smaller: as good as float64 gets."""
        self._pairs: list[tuple[Vector, Vector]] = []

    @classmethod
    def begin(cls, objective: Objective, start: Vector) -> Self:
        """At the start, evaluated once. Raises `MLModelError` UPDATE where the function is not finite."""
        at = objective(start)
        if not _is_finite(at):
            raise MLModelError(MLModelErrorCode.UPDATE, "the loss is not finite where training would begin")
        return cls(start, at)

    @property
    def steepness(self) -> float:
        """The greatest absolute value in the gradient."""
        return float(np.abs(self.at.gradient).max(initial=0.0))

    def step(self, objective: Objective) -> None:
        """Go once along a direction, mostly by one evaluation; where nothing gets better, be stalled."""
        if self.stalled:
            return
        found = self._searched(objective, self._direction())
        if found is None and self._pairs:
            self._pairs = []
            found = self._searched(objective, self._direction())
        if found is None:
            self.stalled = True
            return
        position, at = found
        step, change = position - self.position, at.gradient - self.at.gradient
        if float(step @ change) > np.finfo(np.float64).eps * float(change @ change):
            self._pairs = [*self._pairs[-(MEMORY - 1) :], (step, change)]
        self.position, self.at = position, at

    def _direction(self) -> Vector:
        """Minus the inverse curvature times the gradient; a unit step downhill while nothing is known of it."""
        q = -self.at.gradient
        if not self._pairs:
            return q / max(float(np.linalg.norm(q)), np.finfo(np.float64).tiny)
        shares: list[float] = []
        for step, change in reversed(self._pairs):
            shares.append(float(step @ q) / float(step @ change))
            q = q - shares[-1] * change
        step, change = self._pairs[-1]
        q = q * (float(step @ change) / float(change @ change))
        for (step, change), share in zip(self._pairs, reversed(shares), strict=True):
            q = q + (share - float(change @ q) / float(step @ change)) * step
        return q

    def _searched(self, objective: Objective, direction: Vector) -> tuple[Vector, Evaluation] | None:
        """A place along the direction that meets both conditions, or the last that met the first, or None."""
        slope = float(self.at.gradient @ direction)
        if not slope < 0.0:
            return None
        low, high, t = 0.0, np.inf, 1.0
        lower: tuple[Vector, Evaluation] | None = None
        for _ in range(TRIALS):
            position = self.position + t * direction
            at = objective(position)
            # What is not finite compares as false, and is too far.
            if not (_is_finite(at) and at.value < self.at.value + DECREASE * t * slope):
                high = t
            elif float(at.gradient @ direction) < CURVATURE * slope:
                low, lower = t, (position, at)
            else:
                return position, at
            t = 2.0 * low if high == np.inf else 0.5 * (low + high)
        return lower

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Position and gradient [n], remembered steps and changes of gradient [k, n], oldest first."""
        none = np.zeros((0, len(self.position)))
        return {
            "position": self.position.copy(),
            "gradient": self.at.gradient.copy(),
            "steps": np.stack([step for step, _ in self._pairs]) if self._pairs else none,
            "changes": np.stack([change for _, change in self._pairs]) if self._pairs else none.copy(),
        }

    def describe(self) -> dict[str, Any]:
        """The value, what was noticed, and whether it is stalled."""
        return {"value": self.at.value, "noticed": dict(self.at.noticed), "stalled": self.stalled}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], description: Mapping[str, Any], size: int) -> Self:
        """The search these came from, over `size` variables; raises `MLModelError` IO when they do not fit."""
        steps = stored_array(arrays, "steps", (None, size))
        changes = stored_array(arrays, "changes", (len(steps), size))
        at = Evaluation(
            float(description["value"]), stored_array(arrays, "gradient", (size,)), description["noticed"]
        )
        search = cls(stored_array(arrays, "position", (size,)), at)
        search.stalled = bool(description["stalled"])
        search._pairs = [(step.copy(), change.copy()) for step, change in zip(steps, changes, strict=True)]
        return search


def _is_finite(at: Evaluation) -> bool:
    return bool(np.isfinite(at.value) and np.isfinite(at.gradient).all())
