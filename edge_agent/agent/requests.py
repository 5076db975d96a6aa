"""This is where a question to the agent is matched with what answers it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edge_agent.agent.answers import Answers
from edge_agent.agent.excerpt import excerpt
from edge_agent.errors import UserError

_T = TypeVar("_T")

UPDATE = "update"
"""The one request that is not answered on the spot: its answer is the outcome of an update."""

FORGET = "forget"
"""Answered when the versions that learned from it are gone, or why they are not."""

CHANGES = ("rollback", "import", "relabel", FORGET, "extractor")
"""What changes something at once, and is refused once the disk has failed."""

LOOKS = ("predict", "look", "versions", "samples", "traces", "status", "checkup")
"""What changes nothing that is kept."""

WITH_FILES = ("predict", "look")
"""What comes with open files."""

QUESTIONS = (
    "predict",
    "versions",
    "rollback",
    "import",
    "samples",
    "relabel",
    "traces",
    FORGET,
    "status",
    "checkup",
    "look",
    "extractor",
    UPDATE,
)


@dataclass
class Request:
    """One thing asked of the agent; `reply` gets the answer or the error, `fds` are closed in any case.

    A `guest` is a member of the agent's group: nothing changes because of the question, and the answer names no file.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)
    reply: Future[Any] = field(default_factory=Future)
    guest: bool = False
    fleeting: bool = False
    """Whether the agent ends with the answer, and with it all that it would note in memory."""

    def begin(self) -> bool:
        """Whether it is still to be answered; the thread that answers, before it touches the files."""
        return self.reply.set_running_or_notify_cancel()

    def withdraw(self) -> None:
        """Nobody waits for the answer any more; what nothing changes by is not answered if that has not begun."""
        if self.name in LOOKS and self.reply.cancel():
            self.close_files()
            self.arguments = {}  # it lies in the inbox for as long as the agent does not look there

    def fail(self, error: Exception) -> None:
        """Answer with an error, and let go of the files, unless it was withdrawn."""
        if self.reply.running() or self.begin():
            self.close_files()
            self.reply.set_exception(error)

    def close_files(self) -> None:
        """Close the descriptors that nobody took over."""
        for fd in self.fds:
            with suppress(OSError):  # of the last write of somebody; it is closed all the same
                os.close(fd)
        self.fds = []


def answer(request: Request, answers: Answers, status: Callable[[], dict[str, Any]]) -> Any:
    """What a request asks for, as plain data; raises `UserError` for a question or arguments nobody can answer."""
    given = _Arguments(request)
    match request.name:
        case "predict":
            names = given.texts("names", len(request.fds))
            top, version = given.number("top"), given.number("version")
            if not request.fleeting:
                # Whoever asked has added a callback before: this one is called when the answer is on its way.
                request.reply.add_done_callback(lambda _: answers.note_asked())
            return answers.predict(names, request.fds, top=top, version=version, counts=not request.guest)
        case "versions":
            return answers.versions()
        case "rollback":
            return answers.roll_back(given.number("to"))
        case "import":
            return answers.import_session(given.text("folder") or "")
        case "samples":
            return answers.samples(given.text("label"), given.number("limit"), given.number("offset") or 0)
        case "relabel":
            return answers.relabel(given.text("digest") or "", given.text("label") or "")
        case "traces":
            return answers.traces(digest=given.text("digest"), label=given.text("label"))
        case "forget":
            return answers.forget(digest=given.text("digest"), label=given.text("label"))
        case "status":
            return excerpt(status()) if request.guest else status()
        case "look":
            return answers.look(given.texts("names", len(request.fds)), request.fds)
        case "extractor":
            return answers.use_extractor(given.text("extractor") or "")
        case "checkup":
            return answers.checkup()
    raise UserError(f"the agent knows no question {request.name!r}; it answers {', '.join(QUESTIONS)}")


class _Arguments:
    """What came with a request, checked when it is used."""

    def __init__(self, request: Request) -> None:
        self._name = request.name
        self._given = request.arguments

    def text(self, key: str) -> str | None:
        """A text, or None when it was not given."""
        return self._of(key, str)

    def number(self, key: str) -> int | None:
        """A whole number, or None when it was not given."""
        return self._of(key, int)

    def texts(self, key: str, count: int) -> list[str]:
        """A list of `count` texts."""
        values = self._of(key, list)
        if values is None or len(values) != count or not all(isinstance(value, str) for value in values):
            raise UserError(f"{self._name}: {key} must be {count} texts, one for each file")
        return values

    def _of(self, key: str, kind: type[_T]) -> _T | None:
        value = self._given.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise UserError(f"{self._name}: {key} must be of type {kind.__name__}, not {value!r}")
        return value
