"""This is where a question to the agent is matched with what answers it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from edge_agent.agent.answers import Answers
from edge_agent.errors import EdgeAgentError, UserError

log = logging.getLogger(__name__)

UPDATE = "update"
"""The one request that is not answered on the spot: its answer is the outcome of an update."""

QUESTIONS = ("predict", "versions", "rollback", "samples", "relabel", "forget", "status", UPDATE)


@dataclass
class Request:
    """One thing asked of the agent; `reply` gets the answer or the error, `fds` are closed in any case."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)
    reply: Future[Any] = field(default_factory=Future)

    def fail(self, error: Exception) -> None:
        """Answer with an error, and let go of the files."""
        self.close_files()
        self.reply.set_exception(error)

    def close_files(self) -> None:
        """Close the descriptors that nobody took over."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def answer(request: Request, answers: Answers, status: Callable[[], dict[str, Any]]) -> None:
    """Answer a request now; whatever goes wrong becomes its error, and the agent goes on."""
    try:
        found = _look_up(request, answers, status)
    except EdgeAgentError as error:
        request.fail(error)
    except (KeyError, TypeError, ValueError) as error:
        log.warning("%s was asked with arguments that do not fit: %r", request.name, error)
        request.fail(UserError(f"{request.name}: the arguments do not fit: {error!r}"))
    else:
        request.close_files()
        request.reply.set_result(found)


def _look_up(request: Request, answers: Answers, status: Callable[[], dict[str, Any]]) -> Any:
    given = request.arguments
    match request.name:
        case "predict":
            fds, request.fds = request.fds, []
            return answers.predict(given["names"], fds, top=given.get("top"), version=given.get("version"))
        case "versions":
            return answers.versions()
        case "rollback":
            return answers.roll_back(given.get("to"))
        case "samples":
            return answers.samples(given.get("label"), given.get("limit"), given.get("offset", 0))
        case "relabel":
            return answers.relabel(given["digest"], given["label"])
        case "forget":
            return answers.forget(digest=given.get("digest"), label=given.get("label"))
        case "status":
            return status()
    raise UserError(f"the agent knows no question {request.name!r}; it answers {', '.join(QUESTIONS)}")
