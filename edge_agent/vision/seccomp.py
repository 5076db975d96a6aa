"""This is where the kernel is told which calls a process may make, with seccomp; see `seccomp(2)`.

A filter is a small program for the kernel's own machine (classic BPF). It sees the call's number and its arguments,
never what an argument points to.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.vision.kernel import Call
from edge_agent.vision.syscalls import NEWEST, Processor

ALLOW = 0x7FFF0000
KILL = 0x80000000
"""The whole process: so a decoder that was taken over is found out."""
_ERRNO = 0x00050000
REFUSE = _ERRNO | errno.EPERM
ABSENT = _ERRNO | errno.ENOSYS
"""As an older kernel would answer: libraries then take another way."""

_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Where the kernel puts what it is asked, in bytes; each argument has eight."""

_TSYNC, _SPEC_ALLOW = 1, 4
_PR_SET_SECCOMP, _MODE_FILTER, _SET_FILTER = 22, 2, 1


@dataclass(frozen=True)
class Check:
    """What becomes of a call by one of its arguments: `hit` where its bits in `mask` are one of `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]
    hit: int = ALLOW
    miss: int = REFUSE


Rules = Mapping[str, int | Check]
"""What becomes of each call, by name."""


def program(processor: Processor, rules: Rules, otherwise: int, unknown: int) -> bytes:
    """The filter: `rules`, and `otherwise` for other calls, and `unknown` for those newer than the tables here.

    A program of another kind of processor (the kernel may run both) is ended: its numbers mean other calls.
    """
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, processor.audit, 1, 0),
        _step(_RETURN, KILL),
        _step(_LOAD, _NUMBER),
    ]
    for name, rule in rules.items():
        number = processor.numbers.get(name)
        if number is None:
            continue
        body = [_step(_RETURN, rule)] if isinstance(rule, int) else _checked(rule)
        code += [_step(_EQUAL, number, 0, len(body)), *body]
    code += [_step(_GREATER, NEWEST, 0, 1), _step(_RETURN, unknown), _step(_RETURN, otherwise)]
    return b"".join(code)


def install(processor: Processor, call: Call, filter_program: bytes, *, alone: bool) -> None:
    """Hold this process to a filter, with all threads it has, for good. It must have set `no_new_privs`.

    `alone` says that this thread is its only one: then an older call does where the newer one is refused.
    Raises `OSError` where the kernel refuses.
    """
    steps = ctypes.create_string_buffer(filter_program, len(filter_program))
    packed = struct.pack(
        "HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", len(filter_program) // 8, ctypes.addressof(steps)
    )
    head = ctypes.create_string_buffer(packed, len(packed))
    # Without the second flag older kernels slow every computation down, against leaks between the programs of one
    # process; there is one here.
    for flags in (_TSYNC | _SPEC_ALLOW, _TSYNC):
        try:
            stuck = call(processor.numbers["seccomp"], _SET_FILTER, flags, head)
        except OSError as error:
            trouble = error
            continue
        if stuck:
            raise OSError(errno.ESRCH, f"thread {stuck} cannot be held to it")
        return
    if not alone:
        raise trouble
    # A service's own filter may forbid the newer call and let this one pass, which knows of one thread only.
    call(processor.numbers["prctl"], _PR_SET_SECCOMP, _MODE_FILTER, head, 0, 0)


def _checked(check: Check) -> list[bytes]:
    values = [_step(_EQUAL, value, len(check.values) - at, 0) for at, value in enumerate(check.values)]
    return [
        # The lower half: all that is asked about here are flags and numbers that the kernel reads as 32 bits.
        _step(_LOAD, _ARGUMENTS + 8 * check.argument),
        _step(_AND, check.mask),
        *values,
        _step(_RETURN, check.miss),
        _step(_RETURN, check.hit),
    ]


def _step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
