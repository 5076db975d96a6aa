"""This is where an engine process prints without end, and never gets ready."""

from __future__ import annotations

import os
from contextlib import suppress

if __name__ == "__main__":
    while True:
        with suppress(BlockingIOError):
            os.write(1, b"loading firmware, please wait " * 1000)
