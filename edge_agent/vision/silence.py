"""This is where warnings are kept quiet while pictures are decoded."""

from __future__ import annotations

import threading
import warnings


class Silence:
    """Pillow warns about large or odd pictures; nobody would read it, and the limits here are stricter.

    The filters are those of the whole process: the first thread that decodes changes them, the last one that is done
    changes them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)
