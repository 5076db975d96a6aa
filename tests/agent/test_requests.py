"""Bad questions get an error, their files are closed, and the agent goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_agent.agent.requests import QUESTIONS, Request
from edge_agent.config import Config, LearningConfig, UpdateConfig
from edge_agent.errors import EdgeAgentError, NotAnsweredError, UserError
from edge_agent.hookspecs import hookimpl
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


TRUSTED = UpdateConfig(probation_predictions=0)
"""A version that fails is not taken back."""


class MoodyHead(LDAHead):
    """Learns like its parent and predicts only as long as it likes to."""

    name = "moody"
    moody = False

    def predict_proba(self, X: Any) -> np.ndarray:
        """Refuse when in the mood."""
        if MoodyHead.moody:
            raise RuntimeError("not in the mood")
        return super().predict_proba(X)


class Heads:
    """A plugin that offers the moody head."""

    @hookimpl
    def register_heads(self, register: Callable[[type], None]) -> None:
        register(MoodyHead)


@pytest.fixture(autouse=True)
def _good_mood() -> Iterator[None]:
    """However a test ends, the next one finds the head in a good mood."""
    yield
    MoodyHead.moody = False


def still_open(folder: Path) -> list[str]:
    """The pictures of `folder` that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(link.readlink()))
    return [path for path in found if path.startswith(str(folder)) and path.endswith(".jpg")]


def opened(folder: Path, *texts: str) -> list[int]:
    """Descriptors of text pictures."""
    fds = []
    for i, text in enumerate(texts):
        (folder / f"{i}.jpg").write_text(text)
        fds.append(os.open(folder / f"{i}.jpg", os.O_RDONLY))
    return fds


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("forget", {}, "either a sample or a label"),
        ("forget", {"digest": "ab", "label": "cat"}, "either a sample or a label"),
        ("forget", {"label": ["cat"]}, "label must be of type str"),
        ("relabel", {"digest": 5, "label": "cat"}, "digest must be of type str, not 5"),
        ("relabel", {"label": "cat"}, "sample"),
        ("relabel", {"digest": "ab"}, "label"),
        ("samples", {"limit": "all"}, "limit must be of type int"),
        ("samples", {"offset": True}, "offset must be of type int"),
        ("rollback", {"to": "1"}, "to must be of type int"),
        ("predict", {}, "names must be 2 texts"),
        ("predict", {"names": ["one.jpg"]}, "names must be 2 texts"),
        ("predict", {"names": ["a", "b", "c"]}, "names must be 2 texts"),
        ("predict", {"names": "ab"}, "names must be of type list"),
        ("predict", {"names": [1, 2]}, "names must be 2 texts"),
        ("predict", {"names": ["a", "b"], "top": "all"}, "top must be of type int"),
        ("predict", {"names": ["a", "b"], "version": 99}, "99"),
        ("sing", {}, "predict, versions"),
        ("", {}, "knows no question"),
    ],
)
def test_a_bad_question_is_answered_with_an_error(
    bench: Bench, tmp_path: Path, name: str, arguments: dict[str, Any], words: str
) -> None:
    """Missing, superfluous and wrong arguments are named; the files that came along are closed."""
    bench.open()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()
    with pytest.raises(UserError, match=words):
        bench.ask(name, fds=opened(tmp_path, "cat 3", "cat 4"), **arguments)

    assert still_open(tmp_path) == []
    assert bench.ask("status")["state"] == "ok"


def test_a_head_that_raises_is_an_error_of_that_question(bench: Bench, tmp_path: Path) -> None:
    """What a plugin's head throws comes back as one line; the files are closed and the agent goes on."""
    bench.open(Config(learning=LearningConfig(head="moody"), update=TRUSTED), extra=[("heads", Heads())])
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()
    MoodyHead.moody = True
    with pytest.raises(EdgeAgentError, match="predict failed: RuntimeError: not in the mood"):
        bench.ask("predict", names=["a", "b", "c"], fds=opened(tmp_path, "cat 3", "cat 4", "cat 5"))
    MoodyHead.moody = False

    assert still_open(tmp_path) == []
    assert bench.predict(tmp_path, "cat 9")["label"] == "cat"


def test_a_good_question_leaves_nothing_open(bench: Bench, tmp_path: Path) -> None:
    """Files of a prediction are closed, whether they are pictures or not."""
    bench.open()
    drop_texts(bench.drop, "cat", ["cat 1", "cat 2"])
    bench.settle()
    answers = bench.ask("predict", names=["a", "b"], fds=opened(tmp_path, "bad", "cat 4"))

    assert [answer["error"] for answer in answers] == ["this is not a picture", None]
    assert still_open(tmp_path) == []


def test_who_waits_when_the_agent_closes_hears_it(bench: Bench, tmp_path: Path) -> None:
    """A question that came too late is answered with an error, and its files are closed."""
    agent = bench.open()
    request = Request("predict", {"names": ["a"]}, opened(tmp_path, "cat 1"))
    agent.ask(request)
    agent.stop("test")
    agent._refuse_waiting()

    with pytest.raises(NotAnsweredError, match="stopped before"):
        request.reply.result(timeout=0)
    assert still_open(tmp_path) == []


@pytest.mark.parametrize("name", ["update", "status", "versions"])
def test_files_nobody_asked_for_are_let_go(bench: Bench, tmp_path: Path, name: str) -> None:
    """Descriptors sent along with a question that needs none are not kept."""
    bench.open()
    drop_texts(bench.drop, "cat", ["cat 1"])
    bench.ask(name, fds=opened(tmp_path, "cat 3"))

    assert still_open(tmp_path) == []


def test_every_question_is_listed() -> None:
    """The list in the error message has each question once."""
    assert len(set(QUESTIONS)) == len(QUESTIONS)


def test_what_was_withdrawn_is_passed_over(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a step nor the end of the agent answers it, and what came after it is answered."""
    agent = bench.open()
    requests = [Request("status") for _ in range(3)]
    for request in requests[:2]:
        agent.ask(request)
    requests[0].withdraw()
    agent.step()
    agent.ask(requests[2])
    requests[2].withdraw()
    bench.close()

    assert [request.reply.cancelled() for request in requests] == [True, False, True]
    assert requests[1].reply.result(timeout=0)["samples"] == 0
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
