"""This is where it is written down what a benchmark ran on: board, system, runtime, delegate, threads, load."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_agent.config import ExtractorConfig
from edge_agent.vision.abreast import most_abreast

PACKAGES = ("numpy", "pillow", "ai-edge-litert", "tflite-runtime", "scikit-learn")


def first_of(path: str, name: str = "") -> str:
    """A file's text up to its first NUL or line, or what follows `name:` in it; empty where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if not name:
        return text.split("\0")[0].split("\n")[0].strip()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(name)), "")


def board() -> str:
    """What the board calls itself, by the device tree, or else the processor's name."""
    return (
        first_of("/proc/device-tree/model")
        or first_of("/proc/cpuinfo", "model name")
        or first_of("/proc/cpuinfo", "Hardware")
        or platform.machine()
    )


def versions() -> dict[str, str]:
    """Of the packages that matter and are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What can be known before anything is started; the running agent adds its engine's part."""
    governor = first_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "board": board(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int(first_of("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "governor": governor,
        "load_1_minute": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": versions(),
        "engine_threads": most_abreast(ExtractorConfig()),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", ""),
    }
