"""The extractor of the current version is damaged or gone: an older version answers until it is back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.agent.extractors import keep_extractor
from edge_agent.agent.home import Home
from edge_agent.config import Config, UpdateConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.errors import EngineError
from edge_agent.testing import drop_texts
from tests.agent.test_sight import OwnEyes, answered

if TYPE_CHECKING:
    from tests.agent.conftest import Bench


@pytest.fixture(name="learned")
def _learned(bench: Bench) -> Bench:
    """Version 1 of the built-in extractor, versions 2 and 3 of two that were added; 3 answers."""
    bench.engine_class = OwnEyes
    home = Home(bench.home)
    home.make()
    for name in ("mirror", "moody"):
        data = json.loads(CARD_PATH.read_bytes()) | {"name": name, "file": f"{name}.tflite"}

        def fill(folder: Path, name: str = name, data: dict[str, Any] = data) -> None:
            (folder / f"{name}.json").write_text(json.dumps(data))
            (folder / f"{name}.tflite").write_bytes(b"")

        keep_extractor(home, name, fill)
    bench.open()
    for word in ("cat", "dog"):
        drop_texts(bench.drop, word, [f"{word} {i}" for i in range(8)])
    bench.settle()
    for name in ("mirror", "moody"):
        bench.ask("extractor", extractor=name)
        bench.settle()
    assert bench.ask("status")["version"] == 3
    return bench


def file_of(bench: Bench, name: str) -> Path:
    """The model of an extractor that was added."""
    return Home(bench.home).extractors_folder / name / f"{name}.tflite"


def restart(bench: Bench) -> None:
    """As the daemon is started again by the service manager."""
    bench.open()
    assert bench.agent is not None
    bench.agent.start()


def test_an_older_version_answers_until_the_file_is_whole_again(learned: Bench, tmp_path: Path) -> None:
    """Nobody need roll back: the newest version that can look answers, the status says so, and it ends by itself."""
    file_of(learned, "moody").rename(tmp_path / "away")

    restart(learned)

    assert answered(learned, tmp_path) == ("cat", 2)
    status = learned.ask("status")
    assert (status["state"], status["version"]) == ("degraded", 3)
    assert "version 2 answers in place of version 3" in status["trouble"]
    assert "moody.tflite: cannot be read" in status["trouble"]
    assert "`edge-agent rollback 2`" in status["trouble"]

    (tmp_path / "away").rename(file_of(learned, "moody"))
    learned.live(60)

    status = learned.ask("status")
    assert (status["state"], status["trouble"]) == ("ok", "")
    assert answered(learned, tmp_path) == ("cat", 3)


def test_a_broken_extractor_is_not_started_for_every_question(learned: Bench, tmp_path: Path) -> None:
    """It is tried again after a rest; the one that stands in is started once."""
    file_of(learned, "moody").unlink()
    restart(learned)
    answered(learned, tmp_path)
    engines = len(learned.engines)
    tries = OwnEyes.tries

    for _ in range(20):
        assert answered(learned, tmp_path) == ("cat", 2)

    assert len(learned.engines) == engines
    assert OwnEyes.tries == tries


def test_the_next_one_stands_in_where_that_is_lost_too(learned: Bench, tmp_path: Path) -> None:
    """Down to the first version; where none can look, the reason is told and the daemon does not start."""
    file_of(learned, "moody").unlink()
    restart(learned)
    assert answered(learned, tmp_path) == ("cat", 2)
    file_of(learned, "mirror").unlink()

    assert answered(learned, tmp_path) == ("cat", 1)

    learned.ask("rollback", to=1)
    assert "in place of" not in learned.ask("status")["trouble"]
    OwnEyes.all_broken = True
    try:
        with pytest.raises(EngineError, match="moody"):
            restart(learned)
    finally:
        OwnEyes.all_broken = False


def test_a_version_that_learned_what_was_forgotten_does_not_stand_in(learned: Bench, tmp_path: Path) -> None:
    """Its owner has taken that picture back."""
    digest = learned.ask("samples", label="cat", limit=1, offset=0)[0]["digest"]
    learned.ask("forget", digest=digest)
    learned.settle()
    newest = learned.ask("status")["version"]
    assert newest is not None
    file_of(learned, "moody").unlink()
    learned.open()

    with pytest.raises(EngineError, match=r"moody\.tflite: cannot be read"):
        answered(learned, tmp_path)


def test_one_that_was_rolled_back_does_not_stand_in(learned: Bench, tmp_path: Path) -> None:
    """Its owner went back from it for a reason: an older one answers."""
    learned.ask("rollback")
    assert learned.ask("status")["version"] == 2
    file_of(learned, "mirror").unlink()
    learned.open()

    assert answered(learned, tmp_path) == ("cat", 1)


def test_a_version_that_its_owner_names_is_not_exchanged(learned: Bench, tmp_path: Path) -> None:
    """Who asks for a version by number wants that one or the reason."""
    file_of(learned, "moody").unlink()
    learned.open(Config(update=UpdateConfig()))

    with pytest.raises(EngineError, match=r"moody\.tflite: cannot be read"):
        answered(learned, tmp_path, version=3)
    assert answered(learned, tmp_path, version=1) == ("cat", 1)
