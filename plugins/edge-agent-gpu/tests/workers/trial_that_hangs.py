"""This is where a driver never answers."""

import threading

threading.Event().wait()
