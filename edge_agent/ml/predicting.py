"""This is where predictions are made in the background and can be cancelled."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from edge_agent.errors import MLModelError, MLModelErrorCode

Part = TypeVar("Part")
Result = TypeVar("Result")

Completion = Callable[[Result | None, BaseException | None], None]
"""What is called with the result, or with what was raised; the other one is None."""


class MLRequest(Generic[Result]):
    """Something that a daemon thread of its own does, from the moment this is made.

    The completion handler, if there is one, is called once, on that thread. What it raises itself is reported
    as for every thread of Python and changes nothing.
    """

    def __init__(
        self,
        work: Callable[[], Result],
        *,
        completion_handler: Completion[Result] | None = None,
        name: str = "request",
    ) -> None:
        self._work = work
        self._completion = completion_handler
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=f"edge-agent-{name}", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether `result()` answers or raises at once; may be read from any thread at any time."""
        return self._over.is_set()

    def result(self, timeout: float | None = None) -> Result:
        """Wait, at most `timeout` seconds, for the result.

        Raises what was raised in the background, and `TimeoutError` when there is nothing yet; one can ask
        again then.
        """
        if not self._over.wait(timeout):
            raise TimeoutError(f"nothing after {timeout} seconds; it goes on in the background")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None only where that is the result

    def _run(self) -> None:
        result, failure = None, None
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001
            # Heads, batches and stages are foreign code; what they raise is for whoever asks for the result.
            failure = error
        self._settle(result, failure)
        if self._completion is not None:
            self._completion(self._result, self._error)

    def _settle(self, result: Result | None, error: BaseException | None) -> None:
        """The first outcome counts."""
        with self._lock:
            if not self._over.is_set():
                self._result, self._error = result, error
                self._over.set()


class MLPredictionRequest(MLRequest[Result]):
    """A prediction that is being made, a part at a time; `MLModel.begin_prediction` makes one."""

    def __init__(
        self,
        parts: Callable[[], Iterable[Part]],
        joined: Callable[[list[Part]], Result],
        *,
        completion_handler: Completion[Result] | None = None,
    ) -> None:
        def work() -> Result:
            # Who cancels is done at once; what he does not wait for any more ends with the part it is at.
            made = list(itertools.takewhile(lambda _: not self.done, parts()))
            return joined(made)

        super().__init__(work, completion_handler=completion_handler, name="prediction")

    def cancel(self) -> None:
        """From now on `result()` raises `MLModelError` PREDICTION_CANCELLED; from any thread, any time.

        It does not wait: the thread ends before the next block of a batch. What is done already stays so.
        """
        text = "the prediction was cancelled before it was finished"
        self._settle(None, MLModelError(MLModelErrorCode.PREDICTION_CANCELLED, text))
