"""This is where the runtime's own kernels are offered, which every board has."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.hookspecs import hookimpl
from edge_agent.vision.delegate_spec import CPU, DelegateSpec


@hookimpl
def register_delegates(register: Callable[[DelegateSpec], None]) -> None:
    """The CPU: XNNPACK where it takes the model, the runtime's plain kernels where it does not."""
    register(DelegateSpec(name=CPU))
