"""This is where an engine process never gets ready."""

from __future__ import annotations

import threading

if __name__ == "__main__":
    threading.Event().wait()
