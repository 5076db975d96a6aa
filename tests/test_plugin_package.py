"""A new plugin's package: right after it is installed it passes its own tests and comes to the agent."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from edge_agent.cli import run_command
from edge_agent.errors import UserError
from edge_agent.plugin_package import KINDS, TEMPLATES, plugin_names, render_plugin, write_plugin

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_own_tests_and_comes_to_the_agent(place, kind: str):
    """Rendered, installed, tested and listed by the commands that `plugins new` prints."""
    told = place.run("edge-agent", "plugins", "new", f"my-{kind}", "made", "--kind", kind)
    lines = told.splitlines()
    install, test = (next(line for line in lines if line.startswith(word)) for word in ("install", "test"))
    package = place.folder / "made" / f"edge-agent-my-{kind}"

    place.run(*install.partition(": ")[2].split())
    passed = place.run(*test.partition(": ")[2].split(), "-q", "-W", "error")
    plugins = {row["name"]: row for row in json.loads(place.run("edge-agent", "plugins", "--json"))}

    assert re.search(r"^\d+ passed", passed.splitlines()[-1])
    assert "skipped" not in passed
    assert plugins[f"my-{kind}"]["version"] == "0.1.0"
    assert plugins[f"my-{kind}"]["module"].partition(":")[0] == f"edge_agent_my_{kind}"
    assert "no problems" in place.run("edge-agent", "config", "check")
    assert f"wrote {package.relative_to(place.folder)}/README.md" in told


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_a_package_agree(kind: str):
    """One name in four places; whatever a template leaves open is filled in."""
    files = render_plugin("edge-agent-night-light", kind)
    project = tomllib.loads(files["pyproject.toml"])["project"]

    assert project["name"] == "edge-agent-night-light"
    (entry,) = project["entry-points"]["edge_agent"].items()
    assert (entry[0], entry[1].partition(":")[0]) == ("night-light", "edge_agent_night_light")
    assert {"README.md", "edge_agent_night_light/__init__.py", "tests/test_edge_agent_night_light.py"} <= set(
        files
    )
    for path, text in files.items():
        assert not re.search(r"\$|module_|\btmpl\b", path + text), path
        assert path.endswith(".md") or max(map(len, text.splitlines()), default=0) <= 120, path


@pytest.mark.parametrize("kind", KINDS)
def test_code_of_a_package_says_what_it_does(kind: str):
    """Its modules and tests compile, and every test has a docstring."""
    for path, text in render_plugin("x", kind).items():
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert len(re.findall(r"def test_", text)) == len(re.findall(r'def test_.*:\n    """', text))


def test_all_kinds_have_templates():
    """And no template is of a kind that cannot be asked for."""
    assert {path.name for path in TEMPLATES.iterdir()} == {"every", *KINDS}


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("Night", "policy", "'Night' cannot be a plugin's name; expected small letters"),
        ("night_light", "policy", "cannot be a plugin's name"),
        ("../x", "policy", "cannot be a plugin's name"),
        ("edge-agent-", "policy", "cannot be a plugin's name"),
        ("default-gate", "policy", "edge-agent uses it itself"),
        ("disabled", "policy", "edge-agent uses it itself"),
        ("x", "lamp", "'lamp' is no kind of plugin; these are: delegate, head, "),
    ],
)
def test_bad_names_are_refused(name: str, kind: str, complaint: str):
    """With what is expected."""
    with pytest.raises(UserError, match=re.escape(complaint).replace(r"\ ", " ")):
        plugin_names(name, kind)


def test_nothing_is_overwritten(tmp_path: Path):
    """A folder with something in it stays as it is; an empty one is filled."""
    (tmp_path / "edge-agent-x").mkdir()
    paths = write_plugin(tmp_path, "x", "policy")
    assert all(path.is_file() for path in paths)
    paths[0].write_text("mine")

    with pytest.raises(UserError, match="there is something already; nothing was written"):
        write_plugin(tmp_path, "x", "observer")
    assert paths[0].read_text() == "mine"


def test_the_command_writes_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """For programs as JSON; an unknown kind and a bad name are the user's mistakes."""
    assert run_command(["plugins", "new", "x", str(tmp_path), "--kind", "head", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(tmp_path / "edge-agent-x")
    assert all((tmp_path / "edge-agent-x" / file).is_file() for file in facts["files"])

    assert run_command(["plugins", "new", "y", str(tmp_path), "--kind", "lamp"]) == 2
    assert run_command(["plugins", "new", "Y!", str(tmp_path), "--kind", "head"]) == 2
    assert "cannot be a plugin's name" in capsys.readouterr().err


def test_templates_are_part_of_the_package():
    """They are installed with it."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "templates/**/*.tmpl" in data["edge_agent"]
