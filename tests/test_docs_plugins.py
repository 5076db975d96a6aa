"""The plugin guide: its reference is what the hooks say, and its code runs."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edge_agent import testing
from edge_agent.agent.policy import UpdateSituation
from edge_agent.cli.pictures import write_pictures
from edge_agent.config import ExtractorConfig, PicturesConfig, PluginsConfig, parse_config
from edge_agent.errors import ConfigError
from edge_agent.hookspecs import HOOK_NAMES, hookimpl
from edge_agent.plugins import load_plugins
from edge_agent.testing import HEAD_CHECKS
from edge_agent.vision.engine import Engine

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "plugins.md"

BLOCKS = {
    name: code
    for language, name, code in re.findall(
        r"^```(python|toml)\n(# (?:\S+)\n)?(.*?)^```",
        GUIDE.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    for name in [name.strip("# \n")]
}
"""The code of the guide by the name in its first line."""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path with every module of the guide."""
    for name, code in BLOCKS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in BLOCKS:
        sys.modules.pop(name.removesuffix(".py"), None)


def load(entry: str, settings=None, built_in=()):
    """A host with one plugin of the guide."""
    name, _, value = entry.partition(" = ")
    return load_plugins(
        PluginsConfig(settings={name: settings} if settings else {}),
        built_in=built_in,
        entry_points=[EntryPoint(name, value, "edge_agent")],
    )


def situation(**changes):
    """Something new, which nobody forces."""
    facts = {
        "new_samples": 5,
        "seconds_since_last_change": 9.0,
        "unknown_labels": {},
        "current_version": 1,
        "labels": {"cat": 5},
        "forced": False,
        "pending_files": 0,
    }
    return UpdateSituation(**{**facts, **changes})


# ---------------------------------------------------------------------- the reference


@pytest.fixture(scope="module")
def tool():
    """The tool that writes the reference."""
    spec = importlib.util.spec_from_file_location("hook_reference", ROOT / "tools" / "hook_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_is_up_to_date(tool):
    """The guide ends in what the hooks say of themselves; `python -m tools.hook_reference` makes it so."""
    guide = GUIDE.read_text(encoding="utf-8")

    assert guide == tool.with_reference(guide), "run `python -m tools.hook_reference`"


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_has_a_heading_with_its_signature(hook):
    """The heading is what a plugin writes, and below it stands what the hook is for."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()

    (at,) = [number for number, line in enumerate(lines) if line.startswith(f"### {hook}(")]
    assert re.fullmatch(rf"### {hook}\(\w+: .*\) -> \S.*", lines[at])
    assert "self" not in lines[at]
    assert len(lines[at + 2]) > 20


def test_reference_explains_the_facts(tool):
    """Every record that a hook is given, and what it is made of, is listed with its fields."""
    reference = tool.hook_reference()

    for fact, field in [
        ("Sample", "label: str"),
        ("Rejection", "reason: str"),
        ("TrainingEvent", "metrics: dict[str, float]"),
        ("Version", "number: int"),
        ("Evaluation", "candidate: Scores"),
        ("Scores", "accuracy: float | None"),
        ("Decision", "answer: bool"),
    ]:
        section = reference.partition(f"\n## {fact}\n")[2].partition("\n## ")[0]
        assert f"- `{field}`" in section


def test_guide_without_its_mark_is_not_overwritten(tool):
    """The tool does not guess where the reference begins."""
    with pytest.raises(ValueError, match="mark"):
        tool.with_reference("# My own guide\n")


# ---------------------------------------------------------------------- the code


def test_all_code_has_a_name():
    """Every block says in its first line which file it is, so that it can be run here."""
    assert set(BLOCKS) == {
        "edge_agent_lamp.py",
        "edge-agent-colours/edge_agent_colours/backend.py",
        "board.toml",
        "pyproject.toml",
        "edge-agent.toml",
        "edge_agent_night.py",
        "edge_agent_hello.py",
        "edge_agent_centres.py",
        "edge_agent_tiles.py",
        "edge_agent_tiles_backend.py",
        "edge_agent_turbo.py",
        "test_edge_agent_centres.py",
        "test_edge_agent_lamp.py",
        "test_edge_agent_night.py",
    }


def follow(place, chapter: str) -> list[str]:
    """Do what a chapter of the guide says, one command and file after the other; what each command said."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    write_pictures(place.folder / "pictures", per_label=4, seed=2, labels=["mug", "key"])
    said = []
    for language, code in re.findall(r"^```(sh|c|python|toml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "sh":
            said += [place.run("sh", "-ec", line) for line in code.splitlines()]
            continue
        name = code.split()[1].rstrip(":")  # behind the sign of a remark
        assert (place.folder / name).exists() == (language == "python"), name
        (place.folder / name).write_text(code, encoding="utf-8")
    return said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_works_as_it_stands(own_place):
    """Its commands and files, one after the other, in an environment of their own: from nothing to predictions."""
    said = follow(own_place, "From nothing to a working plugin in ten minutes")

    assert "colours" in said[3]
    assert "passed" in said[2]
    assert "passed" in said[4]
    assert re.search(r"^extractor +colours$", said[-1], re.MULTILINE)
    assert said[-2].count("mug") >= 4


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_of_a_delegate_works_as_it_stands(own_place):
    """From C to a delegate that is chosen, runs a step of the model, agrees with the CPU, and answers."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so no delegate can be built")

    said = follow(own_place, "From nothing to a working delegate in ten minutes")

    assert "passed" in said[4]
    assert "library missing" in said[5]
    for table in (said[7], said[-1]):
        assert re.search(
            r"^mychip +mychip +(?:ok|not faster) +[\d.]+ +1\.0000 +1 of 60 +yes$", table, re.MULTILINE
        )
    assert said[-2].count("mug") >= 4
    assert json.loads((own_place.folder / "chip" / "status.json").read_text())["delegate"]["name"] == "mychip"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_mistake_of_the_tutorial_is_explained(place):
    """As the text promises: the failing tests name the extractor, its backend and what was expected."""
    place.run("edge-agent", "plugins", "new", "colours", "mistaken", "--kind", "extractor")
    package = place.folder / "mistaken" / "edge-agent-colours"
    backend = BLOCKS["edge-agent-colours/edge_agent_colours/backend.py"]
    assert "range(3)" in backend
    (package / "edge_agent_colours" / "backend.py").write_text(backend.replace("range(3)", "range(2)"))

    done = place.finished("pytest", "-q", ".", cwd=package, PYTHONPATH=str(package))

    assert done.returncode == 1
    assert (
        "extractor 'colours': its backend 'edge_agent_colours.backend:ColoursBackend' gave float32 (64,)"
        in done.stdout
    )
    assert "expected features float32 (96,)" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tests_of_the_guide_pass_as_they_stand(site, place):
    """Those with fixtures are run by pytest, beside the modules they test."""
    done = place.run("pytest", "-q", "test_edge_agent_night.py", "test_edge_agent_lamp.py", cwd=site)

    assert done.splitlines()[-1].startswith("4 passed")


def test_the_whole_kit_is_explained():
    """Every public name of it and every fixture is in the guide."""
    guide = GUIDE.read_text(encoding="utf-8")
    fixtures = re.findall(
        r"@pytest.fixture\ndef (\w+)", (Path(testing.__file__).parent / "fixtures.py").read_text()
    )

    assert len(fixtures) == 6
    for name in [*testing.__all__, *fixtures]:
        assert re.search(rf"`[^`]*\b{name}\b|import .*\b{name}\b", guide), name


def test_names_of_the_first_plugin_agree(site):
    """The distribution, the module, the entry point and the settings have one name."""
    project = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    entry_points = project["entry-points"]["edge_agent"]
    settings = parse_config(tomllib.loads(BLOCKS["edge-agent.toml"])).plugins.settings

    assert project["name"] == "edge-agent-lamp"
    assert entry_points == {"lamp": "edge_agent_lamp:Lamp"}
    assert settings.keys() == {"lamp"}
    load(f"lamp = {entry_points['lamp']}", settings["lamp"])


def test_test_of_the_guide_passes(site, tmp_path):
    """The test that the guide shows runs as it stands."""
    module = importlib.import_module("test_edge_agent_lamp")

    module.test_lamp_is_lit_while_learning(tmp_path)


@pytest.mark.parametrize("check", HEAD_CHECKS, ids=lambda check: check.__name__)
def test_the_learning_method_of_the_guide_keeps_all_promises(site, check):
    """As its test in the guide says, which runs over the same checks."""
    module = importlib.import_module("test_edge_agent_centres")

    assert module.HEAD_CHECKS is HEAD_CHECKS
    module.test_centres(check)


def test_the_learning_method_of_the_guide_is_registered(site):
    """The plugin offers it by its name."""
    assert set(load("centres = edge_agent_centres").register_heads()) == {"centres"}


def test_the_accelerator_of_the_guide_is_offered(site):
    """As the guide writes it, with its device and its options from the settings."""
    host = load("turbo = edge_agent_turbo:Turbo", {"clock": "low"}, built_in=[])

    [spec] = host.register_delegates().values()
    assert (spec.name, spec.options) == ("turbo", {"clock": "low"})
    assert [str(device) for device in spec.devices] == ["/dev/turbo*", "USB 1d50:60aa"]


def test_lamp_stays_on_after_a_failure(site, tmp_path):
    """As the text promises."""
    from edge_agent.ml.update import TrainingEvent

    host = load("lamp = edge_agent_lamp:Lamp", {"path": str(tmp_path / "lamp")})
    host.training(TrainingEvent("t", "training_begin", "running", {}, {}))
    host.training(TrainingEvent("t", "training_end", "failed", {}, {}))

    assert host.close(timeout=10)
    assert (tmp_path / "lamp").read_text() == "1"
    assert host.reports()[0].errors == 0


class Eager:
    """The answer behind all plugins: yes."""

    @hookimpl
    def ready_to_update(self):
        from edge_agent import Decision

        return Decision(answer=True, reason="always")


@pytest.mark.parametrize(
    ("settings", "hour", "answer"),
    [
        ({}, 12, False),
        ({}, 21, False),
        ({}, 22, True),
        ({}, 3, True),
        ({}, 6, False),
        ({"begins": 1, "ends": 5}, 3, True),
        ({"begins": 1, "ends": 5}, 23, False),
    ],
)
def test_night_says_no_by_day(site, settings, hour, answer):
    """By night the built-in answer counts, also over midnight; by day it is no, with the hour to wait for."""
    host = load("night = edge_agent_night:Night", settings, built_in=[("eager", Eager())])
    plugin = sys.modules["edge_agent_night"].Night
    night = plugin(
        plugin.Settings(**settings), now=lambda: time.struct_time((2026, 1, 1, hour, 0, 0, 0, 0, 0))
    )

    decision = night.ready_to_update(situation())

    assert (decision is None) == answer
    if decision is not None:
        assert f"it is {hour} o'clock" in decision.reason
    assert night.ready_to_update(situation(forced=True)) is None
    assert host.ready_to_update(situation(forced=True)).reason == "always"


def test_night_refuses_hours_that_are_none(site):
    """The rule of the settings is a problem of the configuration."""
    with pytest.raises(ConfigError, match=r"plugins.night: begins and ends are hours from 0 to 23"):
        load("night = edge_agent_night:Night", {"begins": 24})


def test_hello_adds_a_command(site):
    """A plain module brings a command that works."""
    host = load("hello = edge_agent_hello")
    (command,) = host.register_commands()

    done = CliRunner().invoke(command, ["Anna"])

    assert (command.name, done.output) == ("hello", "Hello, Anna.\n")


def test_the_backend_of_the_guide_looks_at_pictures(site, tmp_path):
    """The plugin offers a card, the engine imports the class, and the features are what the matrix makes."""
    side, n_features = 4, 5
    matrix = np.random.default_rng(0).normal(size=(side * side * 3, n_features)).astype(np.float32)
    np.save(tmp_path / "tiles.npy", matrix)
    card = {
        "name": "tiles",
        "file": "tiles.npy",
        "sha256": hashlib.sha256((tmp_path / "tiles.npy").read_bytes()).hexdigest(),
        "n_features": n_features,
        "input": {"width": side, "height": side, "mean": 127.5, "std": 127.5},
    }
    (tmp_path / "tiles.json").write_text(json.dumps(card))
    Image.new("RGB", (side, side), (255, 0, 255)).save(tmp_path / "pink.png")

    host = load("tiles = edge_agent_tiles:Tiles", {"card": str(tmp_path / "tiles.json"), "gain": 2.0})
    engine = Engine(host.register_extractors()["tiles"], PicturesConfig(), ExtractorConfig())
    try:
        (seen,) = engine.extract([(None, os.open(tmp_path / "pink.png", os.O_RDONLY))])
    finally:
        engine.close()

    assert seen.error is None
    pink = np.tile([1.0, -1.0, 1.0], side * side)
    np.testing.assert_allclose(seen.features, 2 * pink @ matrix, rtol=1e-5)
    assert engine.facts.fingerprint.startswith(f"tiles:{card['sha256'][:16]}:pre1-")
    assert engine.facts.fingerprint.endswith(":tiles-1.0:gain2.0")
    assert "edge_agent_tiles_backend" not in sys.modules
