"""This is where an engine process runs below a service's own filter, which refuses `REFUSED_CALLS`."""

from __future__ import annotations

import os
import sys

from edge_agent.vision import seccomp, worker
from edge_agent.vision.kernel import call_kernel
from edge_agent.vision.syscalls import processor

PR_SET_NO_NEW_PRIVS = 38

if __name__ == "__main__":
    own = processor()
    assert own is not None
    call_kernel(own.numbers["prctl"], PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    refused = dict.fromkeys(os.environ["REFUSED_CALLS"].split(), seccomp.REFUSE)
    filter_program = seccomp.program(own, refused, otherwise=seccomp.ALLOW, unknown=seccomp.ALLOW)
    seccomp.install(own, call_kernel, filter_program, alone=False)
    sys.exit(worker.main())
