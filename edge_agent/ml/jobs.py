"""This is where a training session runs in the background, tells how far it is, and can be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from edge_agent.errors import EdgeAgentError, MLCreateError, MLCreateErrorCode
from edge_agent.ml.checkpoints import MLCheckpoint
from edge_agent.ml.streams import Stream
from edge_agent.ml.training_progress import Metrics, MLPhase, MLProgress

Result = TypeVar("Result")


class MLJob(Generic[Result]):
    """Work on a thread of its own that ends with one result or one error.

    `work` is called with the job, tells it what happens, and asks `check` between two steps.
    """

    start_date: float
    """Seconds since 1970."""
    phase: Stream[MLPhase]
    """Each phase as it begins."""
    checkpoints: Stream[MLCheckpoint]
    """Each checkpoint as it is written."""
    reports: Stream[MLProgress]
    """A report after every interval of the session's parameters."""

    def __init__(
        self,
        work: Callable[[MLJob[Result]], Result],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.start_date = clock()
        self.phase = Stream()
        self.checkpoints = Stream()
        self.reports = Stream()
        self._monotonic = monotonic
        self._began = monotonic()
        self._starting = threading.Lock()
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(work,), name="edge-agent-training", daemon=True
        )

    def start(self) -> MLJob[Result]:
        """Begin, unless it has begun; answers itself."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        return self

    @property
    def progress(self) -> MLProgress:
        """The latest report."""
        reports = self.reports.values
        return reports[-1] if reports else MLProgress()

    @property
    def is_canceled(self) -> bool:
        """Whether `cancel` was called before the end."""
        return self._cancelled.is_set()

    @property
    def is_finished(self) -> bool:
        """Whether there is a result or an error."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Stop after the file or the iteration at hand; the session can be resumed. Later calls do nothing."""
        if not self._over.is_set():
            self._cancelled.set()

    def result(self, timeout: float | None = None) -> Result:
        """Wait, at most `timeout` seconds, and give the result.

        Raises `MLCreateError` CANCELLED after `cancel()`, what made the job fail otherwise, and `TimeoutError`
        when it is still running.
        """
        if not self._over.wait(timeout):
            raise TimeoutError("the job is still running")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    # ------------------------------------------------------------------ for the work

    def check(self) -> None:
        """Raises `MLCreateError` CANCELLED when somebody wants the job to stop."""
        if self._cancelled.is_set():
            raise MLCreateError(
                MLCreateErrorCode.CANCELLED, "training was cancelled; resume the session to go on"
            )

    def report(
        self, phase: MLPhase, item_count: int, total: int | None, metrics: Metrics | None = None
    ) -> None:
        """Tell how far a phase is."""
        elapsed = self._monotonic() - self._began
        self.reports.send(MLProgress(phase, item_count, total, elapsed, metrics or {}))

    def _run(self, work: Callable[[MLJob[Result]], Result]) -> None:
        try:
            self.check()
            self._result = work(self)
        except EdgeAgentError as error:
            self._error = error
        except BaseException as error:  # noqa: BLE001
            # The bottom of a thread: listeners are foreign code, and a job without an end would be waited for
            # for ever.
            self._error = MLCreateError(
                MLCreateErrorCode.GENERIC, f"training failed: {type(error).__name__}: {error}"
            )
            self._error.__cause__ = error
        finally:
            for stream in (self.phase, self.checkpoints, self.reports):
                stream.close()
            self._over.set()
