"""This is where the engine process keeps memory for the next picture while they come, and gives it back afterwards.

Memory that goes back to the system after each picture has to be cleared and mapped by the kernel for the next one,
which takes as long as a quarter of the decoding of a VGA photograph (measured: 860 pages, 1.9 of 9.1 ms).
"""

from __future__ import annotations

import ctypes
import sys

KEPT_BYTES = (8 << 20) if sys.maxsize > 1 << 32 else (512 << 10)
"""What is no larger comes from the heap, which keeps it; with addresses of 32 bits glibc allows no more."""

ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(4 * KEPT_BYTES),
}
"""How glibc is told, before the process runs; other C libraries have their own ways and do not mind."""

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Let the system have what is kept and not in use."""
    if _malloc_trim is not None:
        _malloc_trim(0)
