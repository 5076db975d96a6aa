"""This is where a program on the board talks to the agent that runs there: `edge_agent.connect()`."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge_agent.agent.calling import ask_socket
from edge_agent.agent.connection_pool import ConnectionPool
from edge_agent.agent.home import Home, default_home
from edge_agent.errors import ImageError, NotAnsweredError, UserError

Picture = Path | str | bytes
"""A file's path, or what is in it."""

FILES_A_QUESTION = 32
"""Open files that travel with one question; small enough that other questions get their turn in between."""

_TRY_SECONDS = 0.05


@dataclass(frozen=True)
class Prediction:
    """What the agent says of one picture."""

    label: str | None
    """The most likely label; None where `error` says why there is none."""
    probability: float | None
    """Of that label, 0 to 1."""
    probabilities: Mapping[str, float]
    """Of each label, the most likely first."""
    unknown: bool
    """Like nothing that was learned, or one of the labels for nothing."""
    version: int | None
    """The version that answered."""
    error: str | None = None
    """Why the picture could not be read."""


def connect(home: Path | str | None = None, *, patience_seconds: float = 10.0) -> Client:
    """The agent that runs on the state directory `home`; by default, as for commands, that of `EDGE_AGENT_HOME`.

    `patience_seconds` is how long a question waits for an agent that is just being started again. Raises
    `NotAnsweredError` when none answers within it.
    """
    chosen = home or os.environ.get("EDGE_AGENT_HOME")
    client = Client(Path(chosen).expanduser() if chosen else default_home(), patience_seconds)
    client.status()
    return client


class Client:
    """Asks a running agent; any thread may, also several at once.

    A connection stays open between questions, for 10 seconds or until the agent needs its place; `close`, or the end of
    a `with` block, gives it back at once. A process that is forked off opens its own.

    Versions change behind it without a failed question: each answer names the version that gave it. Methods raise
    what the agent would raise in this process, and `NotAnsweredError` when none answers for `patience_seconds`.
    """

    def __init__(self, home: Path, patience_seconds: float) -> None:
        self._home = Home(home.absolute())
        self._patience_seconds = patience_seconds
        self._pool = ConnectionPool()
        weakref.finalize(self, self._pool.close)

    def __reduce__(self) -> tuple[type[Client], tuple[Path, float]]:
        """What another process needs to ask the same agent, over connections of its own."""
        return type(self), (self._home.path, self._patience_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep no connection from now on; questions may still be asked."""
        self._pool.close()

    def predict(self, picture: Picture, *, top: int | None = None, version: int | None = None) -> Prediction:
        """What a picture shows, by the current version or by `version`, with all labels or the `top` ones.

        Raises `ImageError` when the picture cannot be read, `NoModelError` when nothing has been learned yet.
        """
        (answer,) = self.predict_all([picture], top=top, version=version)
        if answer.error:
            raise ImageError(answer.error)
        return answer

    def predict_all(
        self, pictures: Sequence[Picture], *, top: int | None = None, version: int | None = None
    ) -> list[Prediction]:
        """As `predict` for several, in their order; a picture that cannot be read is answered with its `error`."""
        answers: list[Prediction] = []
        for start in range(0, len(pictures), FILES_A_QUESTION):
            group = pictures[start : start + FILES_A_QUESTION]
            opened: list[int | str] = []
            try:
                opened += map(_opened, group)  # what is open already is closed when one raises
                fds = [one for one in opened if isinstance(one, int)]
                arguments = {"names": [""] * len(fds), "top": top, "version": version}
                found = iter(self._ask("predict", arguments, fds) if fds else ())
            finally:
                for one in opened:
                    if isinstance(one, int):
                        os.close(one)
            answers += [_prediction(next(found)) if isinstance(one, int) else _unread(one) for one in opened]
        return answers

    def status(self) -> dict[str, Any]:
        """What `edge-agent status --json` says; members of the agent's group are told no sentence and no path."""
        return dict(self._ask("status", {}))

    def versions(self) -> list[dict[str, Any]]:
        """What `edge-agent versions --json` says, the newest first."""
        return list(self._ask("versions", {}))

    def update(self, *, force: bool = False) -> dict[str, Any]:
        """Learn now from what is new, and come back when that is done; as `edge-agent update`."""
        return dict(self._ask("update", {"force": force}, twice=False))

    def _ask(
        self, name: str, arguments: dict[str, Any], fds: Sequence[int] = (), *, twice: bool = True
    ) -> Any:
        """Ask, and again while the agent is being started; each time with descriptors of its own.

        Over a connection that is kept it may come to the agent `twice`, where that changes nothing.
        """
        pool = self._pool if twice else None
        end = time.monotonic() + self._patience_seconds
        while True:
            try:
                return ask_socket(self._home, name, arguments, [os.dup(fd) for fd in fds], pool)
            except NotAnsweredError as error:
                if time.monotonic() >= end:
                    raise NotAnsweredError(
                        f"{self._home.path}: {error}; is `edge-agent run` running?"
                    ) from None
                threading.Event().wait(_TRY_SECONDS)


def _opened(picture: Picture) -> int | str:
    """A descriptor that the agent can read, or why there is none."""
    if isinstance(picture, bytes):
        fd = os.memfd_create("picture", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(picture)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    if not isinstance(picture, str | Path):
        raise UserError(f"a picture is a path or bytes, not {type(picture).__name__}")
    try:
        return os.open(picture, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"{os.fspath(picture)}: {error.strerror}"
    except ValueError:  # a zero byte
        return f"{os.fspath(picture)!r}: no file can have this path"


def _prediction(answer: Mapping[str, Any]) -> Prediction:
    return Prediction(**{name: answer[name] for name in Prediction.__dataclass_fields__})


def _unread(reason: str) -> Prediction:
    return Prediction(None, None, {}, unknown=False, version=None, error=reason)
