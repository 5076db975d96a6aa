"""This is where the running agent is asked, or the work is done in this process, under the lock, when none runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.agent.calling import ask_socket, is_running
from edge_agent.agent.home import Home
from edge_agent.errors import HomeLockedError

# Where an agent runs, asking it takes a socket; all that is needed to be one is imported where none runs.
if TYPE_CHECKING:
    from edge_agent.agent.agent import Agent


class Ask(Protocol):
    """Put one question; `files` are descriptors that are closed whatever happens.  Raises what the agent raised."""

    def __call__(
        self, name: str, arguments: dict[str, Any] | None = None, *, files: Sequence[int] = ()
    ) -> Any:
        """Return the answer as plain data."""


@contextmanager
def session(home: Path, in_process: Callable[[], Agent]) -> Iterator[Ask]:
    """Yield a way to ask the agent of `home`; the answers are the same whether one runs or not.

    `in_process` makes an agent that is not open yet; it is called, opened and closed only when none runs.
    Raises `HomeLockedError` when an agent holds the state directory but does not listen (it is just starting).
    """
    place = Home(home)
    agent = None if is_running(home) else in_process()
    if agent is not None:
        from edge_agent.agent.opening import open_patiently

        try:
            open_patiently(agent, give_up=lambda: is_running(home))
        except HomeLockedError:
            if not is_running(home):
                raise
            agent = None
    if agent is None:
        yield lambda name, arguments=None, *, files=(): ask_socket(place, name, arguments or {}, files)
        return
    try:
        yield lambda name, arguments=None, *, files=(): _ask_here(agent, name, arguments or {}, files)
    finally:
        agent.close()


def _ask_here(agent: Agent, name: str, arguments: dict[str, Any], files: Sequence[int]) -> Any:
    from edge_agent.agent.requests import UPDATE, Request

    request = Request(name, arguments, list(files), fleeting=True)
    if name != UPDATE:
        agent.answer(request)  # a question must not take in, learn or publish on the way
        while not request.reply.done():  # except that what is forgotten must be unlearned
            agent.unlearn()
        return request.reply.result()
    agent.ask(request)
    while not request.reply.done():
        agent.step_when_due()
    return request.reply.result()
