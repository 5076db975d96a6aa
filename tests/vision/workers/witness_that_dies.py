"""A witness that a native library takes with it."""

import os
import signal

os.kill(os.getpid(), signal.SIGKILL)
