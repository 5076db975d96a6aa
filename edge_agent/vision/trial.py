"""This is where a model from outside is run in a process of its own first, which it may end.

Native code is no match for every damaged file: tflite-runtime reads where a wrong distance leads it and is
ended by the system. What was tried here is loaded by the caller with more confidence.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import numpy as np

from edge_agent.errors import ExtractorError
from edge_agent.vision.runtime import load_signatures

TRIAL_SECONDS = 120.0
"""Loading and one step take milliseconds; this is for a slow board that is busy."""

_LAST_WORDS = 200


def try_model(data: bytes, *, runtime: str = "auto", timeout_seconds: float = TRIAL_SECONDS) -> None:
    """Load a model in a child process and call each of its signatures once.

    Raises `ExtractorError` when the child does not survive that. What the runtime refuses in good order is no
    trouble here; the caller is told the same when it loads the model.
    """
    # The child imports what this process imports, from the same places.
    places = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", __name__, runtime],
            input=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": places},
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExtractorError(f"running the model once took more than {timeout_seconds:g} seconds") from None
    except OSError as error:
        raise ExtractorError(f"the model cannot be tried in a process of its own: {error}") from error
    if child.returncode < 0:
        raise ExtractorError(f"running the model once ended the process by signal {-child.returncode}")
    if child.returncode:
        words = " ".join(child.stderr.decode(errors="replace").split())[-_LAST_WORDS:]
        raise ExtractorError(f"running the model once failed with status {child.returncode}: {words}")


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
