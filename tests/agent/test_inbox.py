"""What waits until the agent's thread listens, and what is done because of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.agent.agent import AFTERWARDS_SECONDS
from edge_agent.agent.inbox import Bell, Inbox
from edge_agent.agent.requests import CHANGES, LOOKS, QUESTIONS, UPDATE, Request

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def test_what_comes_meanwhile_waits() -> None:
    """Only what was there when it began is handled, so that those who ask again and again do not stop the work."""
    handled: list[object] = []

    def handle(message: object) -> bool:
        handled.append(message)
        inbox.ring()
        return True

    inbox = Inbox(handle)
    assert inbox.drain() is False
    inbox.put(Request("status"))
    inbox.put(Request("versions"))

    assert inbox.drain() is True
    assert len(handled) == 2 + 1  # the bell of the first had come by then
    assert [type(message) for message in inbox.left()] == [Bell, Bell]
    assert inbox.empty()


def test_one_that_changes_something_counts_for_all() -> None:
    """Whether it was the first or the last of those that came together."""
    inbox = Inbox(lambda message: isinstance(message, Request) and message.name == "status")
    for names in (("rollback", "status"), ("status", "rollback")):
        for name in names:
            inbox.put(Request(name))
        assert inbox.drain() is False
    inbox.put(Request("status"))
    assert inbox.drain() is True


def test_each_question_changes_something_or_not() -> None:
    """A new one has to say which: what changes something is followed by a step, and refused on a failed disk."""
    assert sorted([*LOOKS, *CHANGES, UPDATE]) == sorted(QUESTIONS)


def test_a_question_is_only_answered(bench: Bench, tmp_path: Path) -> None:
    """Nobody looks into the drop folder or judges whether to learn for each question; a second later it is done."""
    agent = bench.open()
    bench.show("cat", *(f"cat {i}" for i in range(4)))
    bench.settle()
    steps: list[float] = []
    step = agent.step

    def counted(patience_seconds: float = 0.0) -> None:
        steps.append(bench.clock.now)
        step(patience_seconds)

    agent.step = counted  # type: ignore[method-assign]
    (tmp_path / "p").write_text("cat 9")
    for _ in range(10):
        question = Request("predict", {"names": ["p"]}, [os.open(tmp_path / "p", os.O_RDONLY)])
        agent.ask(question)
        agent.step_when_due()
        assert question.reply.result(0)[0]["label"] == "cat"
    assert steps == []

    bench.clock.advance(AFTERWARDS_SECONDS)
    agent.ask(Request("status"))
    agent.step_when_due()
    assert len(steps) == 1

    agent.ask(Request("rollback"))
    agent.step_when_due()
    assert len(steps) == 2
