"""This is where the C library is told to give memory back to the system as soon as nobody needs it.

glibc by itself keeps what large arrays leave behind, up to 64 MB of it, for arrays to come; after each update a board
would have that much less. The engine is told the same by its environment, because it does not run our code first.
"""

from __future__ import annotations

import ctypes

# Numbers of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

LARGE_BYTES = 128 << 10
"""What is larger is mapped, and unmapped when it is freed; so much at the end of the heap is given back. Once it is
said, glibc does not raise it any more by what was freed."""

ARENAS = 2
"""So many heaps for all threads."""


def give_memory_back() -> bool:
    """Settle it for this process; False where the C library is another one and keeps its own ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    chosen = ((_M_TRIM_THRESHOLD, LARGE_BYTES), (_M_MMAP_THRESHOLD, LARGE_BYTES), (_M_ARENA_MAX, ARENAS))
    return [mallopt(name, value) for name, value in chosen] == [1, 1, 1]
