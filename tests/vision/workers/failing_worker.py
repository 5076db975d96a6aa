"""This is where an engine process fails before it is ready."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.write(2, b"libaccelerator.so: no such device\n")
    sys.exit(3)
