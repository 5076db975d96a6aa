"""Pictures asked about, as numbers: what is told, what is kept, and when it begins anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.agent import incoming
from edge_agent.agent.requests import Request
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


def taught(bench: Bench) -> None:
    """Forty cats and forty dogs."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(40)])
    bench.settle()


def ask(bench: Bench, tmp: Path, texts: list[str], **more: Any) -> None:
    """Ask about text pictures."""
    fds = []
    for number, text in enumerate(texts):
        path = tmp / f"q{number}.jpg"
        path.write_text(text)
        fds.append(os.open(path, os.O_RDONLY))
    bench.ask("predict", names=[f"q{number}" for number in range(len(texts))], fds=fds, **more)


def drift(bench: Bench) -> dict[str, Any]:
    """What is told."""
    return dict(bench.ask("checkup")["drift"])


def test_the_same_kind_of_pictures_is_no_drift(bench: Bench, tmp_path: Path) -> None:
    """Before there are thirty nothing is said; then that nothing has changed, and numbers are all that is kept."""
    taught(bench)
    assert drift(bench)["pictures"] == 0
    ask(bench, tmp_path, [f"{word} new {i}" for word in ("cat", "dog") for i in range(10)])
    assert (drift(bench)["pictures"], drift(bench)["changed"]) == (20, None)
    ask(bench, tmp_path, [f"{word} newer {i}" for word in ("cat", "dog") for i in range(10)])
    told = drift(bench)
    assert (told["pictures"], told["changed"], told["finding"]) == (40, False, "")
    stages = bench.agent._open_stages  # type: ignore[union-attr]
    assert all(type(rank) is float and 0 <= rank <= 1 for rank in stages.incoming._ranks)


def test_other_pictures_are_drift(bench: Bench, tmp_path: Path) -> None:
    """Thirty pictures of something else: the doctor and the status say so; a version of its own begins anew."""
    taught(bench)
    agent = bench.agent
    assert agent is not None
    stages = agent._open_stages
    ask(bench, tmp_path, ["bad"])
    ask(bench, tmp_path, [f"fog{i} {i}" for i in range(30)])
    told = drift(bench)
    assert (told["pictures"], told["changed"]) == (30, True)
    assert told["z"] > 2.58
    assert "have changed" in told["finding"]
    assert bench.ask("status")["drift"] == {"changed": True, "finding": told["finding"]}
    assert len(stages.incoming._ranks) == 30

    drop_texts(bench.drop, "owl", [f"owl {i}" for i in range(5)])
    bench.settle()
    assert (drift(bench)["pictures"], drift(bench)["changed"]) == (0, None)
    assert stages.incoming._reference is None


def test_when_no_version_is_left_nothing_of_its_pictures_is_kept(bench: Bench) -> None:
    """All forgotten, the next question clears features and ranks, also where nobody asked for the drift meanwhile."""
    taught(bench)
    stages = bench.agent._open_stages  # type: ignore[union-attr]
    watched = incoming.Incoming(stages.store, stages.serving)
    row = stages.store.snapshot("fake:1").provider().arrays([0])[0][0]
    watched.note([row])
    assert (len(watched._reference or ()), len(watched._ranks)) == (72, 1)
    for word in ("cat", "dog"):
        bench.ask("forget", label=word)
    bench.settle()
    assert stages.serving.version is None
    watched.note([row])

    assert (watched._reference, list(watched._ranks)) == (None, [])


def test_learned_pictures_are_nearer_than_others(bench: Bench, tmp_path: Path) -> None:
    """Asking about what was learned is told as such, not as a dirty lens."""
    taught(bench)
    ask(bench, tmp_path, [f"{word} {i}" for word in ("cat", "dog") for i in range(30)])

    assert drift(bench)["z"] < -2.58
    assert "more like those learned from" in drift(bench)["finding"]


def test_only_the_newest_count_and_only_of_the_current_version(bench: Bench, tmp_path: Path) -> None:
    """Two hundred at most; questions to a named version do not count."""
    taught(bench)
    for start in range(0, 240, 60):
        ask(bench, tmp_path, [f"cat {start + i}" for i in range(60)])
    assert drift(bench)["pictures"] == incoming.REMEMBERED
    before = list(bench.agent._open_stages.incoming._ranks)  # type: ignore[union-attr]
    ask(bench, tmp_path, ["fog 1"], version=1)
    assert list(bench.agent._open_stages.incoming._ranks) == before  # type: ignore[union-attr]


def test_with_few_pictures_learned_nothing_is_said(bench: Bench, tmp_path: Path) -> None:
    """Eight pictures are no measure of anything."""
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(4)])
    bench.settle()
    ask(bench, tmp_path, [f"fog{i} {i}" for i in range(40)])

    assert drift(bench)["changed"] is None


def test_nobody_waits_for_what_is_noted(bench: Bench, tmp_path: Path) -> None:
    """Whoever asked has the answer before its pictures are compared; one who asks of a fleeting agent has none kept."""
    taught(bench)
    agent = bench.agent
    assert agent is not None
    noted: list[int] = []

    def asked(*, fleeting: bool) -> None:
        path = tmp_path / "question.jpg"
        path.write_text("cat 99")
        request = Request("predict", {"names": ["a"]}, [os.open(path, os.O_RDONLY)], fleeting=fleeting)
        request.reply.add_done_callback(lambda _: noted.append(drift(bench)["pictures"]))
        agent.answer(request)
        noted.append(drift(bench)["pictures"])

    asked(fleeting=False)
    asked(fleeting=True)

    assert noted == [0, 1, 1, 1]
