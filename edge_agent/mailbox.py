"""This is where one plugin's observers are told what happened, on a thread of their own and in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Mailbox:
    """A bounded queue of calls and the one thread that makes them.

    The thread starts with the first call and is a daemon, so an observer that hangs can hold up neither the
    agent nor its exit. Calls are expected to guard themselves. Every method may be used from any thread.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closed = False
        self.dropped = 0
        """How many calls were never made, for want of room or because of the end."""

    def post(self, call: Callable[[], None], *, minor: bool = False) -> bool:
        """Queue `call`, or count it as dropped and return False when there is no room for it.

        A `minor` call finds room in the first half only, so that a flood of them crowds out nothing else.
        """
        with self._changed:
            room = self._size // 2 if minor else self._size
            if self._closed or len(self._calls) >= room:
                self.dropped += 1
                return False
            self._calls.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"plugin {self._name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return True

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until every queued call was made; False when that did not happen."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls and not self._busy, timeout)

    def shut(self) -> None:
        """Take no more calls; those that are queued are still made."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Shut, wait up to `timeout` seconds for the queued calls, drop the rest; False if some were left."""
        self.shut()
        done = self.flush(timeout)
        with self._changed:
            self.dropped += len(self._calls)
            self._calls.clear()
            thread = self._thread
        if done and thread is not None and thread is not threading.current_thread():
            thread.join()
        return done

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._calls) or self._closed)
                if not self._calls:
                    return
                call = self._calls.popleft()
                self._busy = True
            try:
                call()
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
