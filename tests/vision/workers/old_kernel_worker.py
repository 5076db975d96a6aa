"""This is where an engine process runs on a kernel that has neither Landlock nor seccomp, or hides them."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from edge_agent.vision import worker
from edge_agent.vision.kernel import call_kernel
from edge_agent.vision.syscalls import processor

PR_SET_SECCOMP = 22


def call(number: int, *arguments: Any) -> int:
    """As an emulator answers, or a kernel that was built without."""
    own = processor()
    assert own is not None
    hidden = {own.numbers["seccomp"], own.numbers["landlock_create_ruleset"]}
    if number in hidden:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if (number, arguments[:1]) == (own.numbers["prctl"], (PR_SET_SECCOMP,)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return call_kernel(number, *arguments)


if __name__ == "__main__":
    sys.exit(worker.main(call=call))
