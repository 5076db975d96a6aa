"""This is where the kernel is called for what Python has no words for."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

Call = Callable[..., int]
"""Makes the call of a number with up to six arguments and gives what the kernel gives; raises `OSError`."""


def call_kernel(number: int, *arguments: Any) -> int:
    """Make one call; an argument is an int, an address, or None. Raises `OSError` with the kernel's reason."""
    # Each as wide as a register: the function takes any number of arguments, so nothing widens them.
    words = [
        ctypes.c_long(one) if isinstance(one, int) else ctypes.cast(one, ctypes.c_void_p) for one in arguments
    ]
    result = _libc().syscall(ctypes.c_long(number), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def _libc() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
