"""This is where a model from outside is run in a process of its own first, which it may end.

Native code is no match for every damaged file: tflite-runtime reads where a wrong distance leads it and is
ended by the system. What was tried here is loaded by the caller with more confidence.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np

from edge_agent.errors import ExtractorError
from edge_agent.vision.runtime import load_signatures
from edge_agent.vision.throwaway import done_apart

TRIAL_SECONDS = 120.0
"""Loading and one step take milliseconds; this is for a slow board that is busy."""


def try_model(data: bytes, *, runtime: str = "auto", timeout_seconds: float = TRIAL_SECONDS) -> None:
    """Load a model in a child process and call each of its signatures once.

    Raises `ExtractorError` when the child does not survive that. What the runtime refuses in good order is no
    trouble here; the caller is told the same when it loads the model.
    """
    done_apart(
        (__name__, runtime),
        data,
        doing="running the model once",
        timeout_seconds=timeout_seconds,
        answers=False,
    )


def run_once(data: bytes, runtime: str) -> None:
    """Load a model and call each signature with zeros, as it will be called later."""
    with suppress(ExtractorError):
        model = load_signatures(data, runtime=runtime)
        for name, ports in model.inputs.items():
            if any(port.dtype.kind not in "iufb" for port in ports.values()):
                continue  # a path to write to is nothing to try with
            zeros = {
                port: np.zeros([1 if side is None else side for side in facts.shape], facts.dtype)
                for port, facts in ports.items()
            }
            with suppress(ExtractorError):
                model.call(name, **zeros)


if __name__ == "__main__":
    run_once(sys.stdin.buffer.read(), sys.argv[1])
