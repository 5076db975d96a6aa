"""This is where update tasks are measured: what events nobody asked for cost, and whether memory stays flat.

    OPENBLAS_NUM_THREADS=1 python benchmarks/updates.py [--quick] [--json FILE]

Events: the same softmax update of many small mini-batches without handlers, with handlers for epochs only and
with mini-batches subscribed, in turns in one process. The comparison is of each turn with the one beside it,
so that what else the machine does hits all alike.

Memory: one child process for each head and number of samples reports by how much its own highest mark (VmHWM)
grew over an update whose samples are made when they are asked for. k-nearest neighbours remember every sample
by design, and are not in this table: 100,000 samples of 1280 features are 512 MB of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import MLUpdateProgressEvent, MLUpdateProgressHandlers, MLUpdateTask

N_FEATURES = 1280
CLASSES = 10
LIMIT_MB = 16
"""By how much ten times as many samples may raise the highest mark: a few bytes a sample, no samples."""
PATIENCE_SECONDS = 3600
EVENTS = {
    "no handlers": None,
    "epoch_end": MLUpdateProgressEvent.EPOCH_END,
    "mini_batch_end": MLUpdateProgressEvent.MINI_BATCH_END,
}


class Drawn:
    """Samples by index, made when they are asked for and then forgotten."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._means = np.abs(np.random.default_rng(1).normal(size=(CLASSES, N_FEATURES))).astype(np.float32)
        self._noise = np.random.default_rng(2).random((97, N_FEATURES), dtype=np.float32)

    def features(self, at: int) -> MLDictionaryFeatureProvider:
        """The sample at an index."""
        row = self._means[at % CLASSES] + self._noise[at % 97] * np.float32(1 + at % 7)
        return MLDictionaryFeatureProvider({"features": row, "label": f"class {at % CLASSES}"})


def seconds_of(task: MLUpdateTask) -> float:
    """How long an update takes, in processor time of this process."""
    begin = time.process_time()
    task.resume()
    task.wait(PATIENCE_SECONDS)
    if task.error is not None:
        raise task.error
    return time.process_time() - begin


def events(turns: int, samples: int) -> dict[str, float]:
    """Median seconds of each subscription, and the median of what each costs against its neighbour without."""
    drawn = Drawn(samples)
    X = np.stack([drawn.features(at)["features"].multi_array_value for at in range(samples)])
    batch = MatrixBatchProvider(X, [f"class {at % CLASSES}" for at in range(samples)])
    model = MLModel.factory("softmax", N_FEATURES, parameters={Key.EPOCHS: 3, Key.MINI_BATCH_SIZE: 2})

    def nothing(context: object) -> None:
        pass

    def once(wanted: MLUpdateProgressEvent | None) -> float:
        handlers = None if wanted is None else MLUpdateProgressHandlers(wanted, nothing, nothing)
        return seconds_of(MLUpdateTask(model, batch, progress_handlers=handlers))

    once(None)
    taken: dict[str, list[float]] = {name: [] for name in EVENTS}
    for turn in range(turns):
        order = list(EVENTS.items())
        for name, wanted in order if turn % 2 else order[::-1]:
            taken[name].append(once(wanted))
    bare = taken["no handlers"]
    return {
        **{f"{name} s": statistics.median(seconds) for name, seconds in taken.items()},
        **{
            f"{name} / no handlers": statistics.median(a / b for a, b in zip(taken[name], bare, strict=True))
            for name in EVENTS
        },
    }


def high_mark_kb() -> int:
    """The highest mark of this process so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def child(head: str, samples: int) -> None:
    """Update once and print the growth of the highest mark in KB, and the seconds."""
    parameters = {} if head == "lda" else {Key.EPOCHS: 1, Key.MINI_BATCH_SIZE: 32}
    model = MLModel.factory(head, N_FEATURES, parameters=parameters)
    before = high_mark_kb()
    seconds = seconds_of(MLUpdateTask(model, Drawn(samples)))
    print(high_mark_kb() - before, seconds)


def growth(head: str, samples: int) -> tuple[float, float]:
    """MB by which the highest mark of a fresh process grew, and the seconds the update took."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", head, str(samples)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    kilobytes, seconds = done.stdout.split()
    return int(kilobytes) / 1024, float(seconds)


def main() -> int:
    """Measure, print both tables, and say by the exit status whether memory stayed flat."""
    parser = argparse.ArgumentParser(description="What an update task costs beside its learning.")
    parser.add_argument("--quick", action="store_true", help="fewer turns and fewer samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--child", nargs=2, metavar=("HEAD", "SAMPLES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], int(arguments.child[1]))
        return 0

    told = events(5 if arguments.quick else 21, 200 if arguments.quick else 600)
    print(f"{'subscribed':<16}{'median s':>10}{'/ none':>9}")
    for name in EVENTS:
        print(f"{name:<16}{told[f'{name} s']:>10.3f}{told[f'{name} / no handlers']:>9.3f}")

    sizes = (4_000, 20_000) if arguments.quick else (10_000, 100_000)
    print(f"\n{'MB more':<10}" + "".join(f"{size:>12,}" for size in sizes) + f"{'difference':>12}{'s':>8}")
    memory = {}
    for head in ("lda", "softmax", "network"):
        found = [growth(head, size) for size in sizes]
        megabytes = [mark for mark, _ in found]
        memory[head] = {str(size): mark for size, mark in zip(sizes, megabytes, strict=True)}
        cells = "".join(f"{mark:>12.1f}" for mark in megabytes)
        print(f"{head:<10}{cells}{megabytes[1] - megabytes[0]:>12.1f}{found[1][1]:>8.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"events": told, "memory_mb": memory}, indent=2) + "\n")
    flat = all(marks[str(sizes[1])] - marks[str(sizes[0])] <= LIMIT_MB for marks in memory.values())
    print("memory stays flat" if flat else f"MEMORY GROWS by more than {LIMIT_MB} MB")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
