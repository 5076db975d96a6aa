"""`init` and `config`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.cli.settings import CONFIG_NAME

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


class TestInit:
    def test_it_makes_what_is_needed_and_overwrites_nothing(self, shell: Shell) -> None:
        """Home, configuration and drop folder appear; a second time what is there stays."""
        assert shell.run("init").status == 0
        assert shell.drop.is_dir()
        config = shell.home / CONFIG_NAME
        config.write_text("[update]\nquiet_seconds = 3\n")
        done = shell.run("init")

        assert (done.status, "stays as it is" in done.out) == (0, True)
        assert config.read_text() == "[update]\nquiet_seconds = 3\n"
        assert shell.ask("config", "check") == {"file": str(config), "problems": []}

    def test_another_directory_may_be_named(self, shell: Shell, tmp_path: Path) -> None:
        """`init DIR` wins over `--home`, and the last line says how to start."""
        done = shell.run("init", tmp_path / "elsewhere")
        assert (tmp_path / "elsewhere" / "drop").is_dir()
        assert f"--home {tmp_path / 'elsewhere'} run" in done.out
        assert not shell.home.exists()

    def test_a_file_in_the_way_is_named(self, shell: Shell) -> None:
        """A home that is a file, and a drop folder that cannot be made, are one line."""
        shell.home.write_text("")
        done = shell.run("init")
        assert (done.status, str(shell.home) in done.err) == (2, True)
        shell.home.unlink()
        shell.home.mkdir()
        (shell.home / "drop").write_text("")
        done = shell.run("init")
        assert (done.status, "drop folder cannot be made" in done.err) == (2, True)


class TestCheck:
    def test_every_problem_is_reported_together(self, shell: Shell, tmp_path: Path) -> None:
        """Head, parameters, extractor and drop folder are each a line, with their keys."""
        shell.home.mkdir()
        file = tmp_path / "bad.toml"
        file.write_text(
            '[extractor]\nname = "retina"\n[learning.parameters]\nshrink = 1\nshrinkage = "much"\n'
            f'[drop_folder]\npath = "{shell.home}"\n'
        )
        done = shell.run("config", "check", file)

        assert (done.status, done.out) == (2, "")
        lines = done.err.splitlines()
        keys = (
            "extractor.name",
            "learning.parameters.shrink:",
            "learning.parameters.shrinkage:",
            "drop_folder.path",
        )
        assert len(lines) == len(keys)
        assert all(key in line for key, line in zip(keys, lines, strict=True))

    @pytest.mark.parametrize("place", ["", "/..", "/archive", "/rejected/cat", "/models"])
    def test_a_drop_folder_in_the_agents_own_places_is_a_problem(
        self, shell: Shell, tmp_path: Path, place: str
    ) -> None:
        """What an agent would refuse at start is found by the check already."""
        file = tmp_path / "bad.toml"
        file.write_text(f'[drop_folder]\npath = "{shell.home}{place}"\n')
        done = shell.run("config", "check", file, "--json")

        problems = json.loads(done.out)["problems"]
        assert (done.status, len(problems)) == (2, 1)
        assert problems[0].startswith("drop_folder.path")

    def test_an_unknown_head_names_those_there_are(self, shell: Shell, tmp_path: Path) -> None:
        """The line helps to write it right."""
        file = tmp_path / "bad.toml"
        file.write_text('[learning]\nhead = "magic"\n')
        assert "lda" in shell.run("config", "check", file).err

    def test_what_cannot_be_parsed_is_reported_too(self, shell: Shell, tmp_path: Path) -> None:
        """Unknown keys and wrong values of several sections come together; a missing file is named."""
        file = tmp_path / "bad.toml"
        file.write_text('[update]\nquiet = 1\n[pictures]\nmax_megapixels = "big"\n')
        problems = json.loads(shell.run("config", "check", file, "--json").out)["problems"]
        assert len(problems) == 2
        done = shell.run("config", "check", tmp_path / "none.toml")
        assert (done.status, "no such file" in done.err) == (2, True)

    def test_settings_of_plugins_are_checked_with_the_rest(self, shell: Shell, tmp_path: Path) -> None:
        """A wrong key of the agent's and one of a plugin's are told by one check, each with its path."""
        file = tmp_path / "bad.toml"
        file.write_text("[update]\nquiet = 1\n[plugins.no-such-plugin]\nkey = 1\n")
        one, other = shell.run("config", "check", file).err.splitlines()
        assert "update.quiet: unknown key" in one
        assert "plugins.no-such-plugin: no plugin of this name is installed" in other

    def test_wrong_settings_of_plugins_hide_nothing_else(self, shell: Shell, tmp_path: Path) -> None:
        """What only the loaded plugins tell, such as which heads and delegates there are, is told with them."""
        file = tmp_path / "bad.toml"
        file.write_text(
            '[plugins.no-such-plugin]\nkey = 1\n[learning]\nhead = "magic"\n[extractor]\nname = "x"\ndelegate = "y"\n'
        )
        lines = shell.run("config", "check", file).err.splitlines()
        keys = ("plugins.no-such-plugin", "extractor.name", "learning.head", "extractor.delegate")
        assert len(lines) == 4
        assert all(key in line for key, line in zip(keys, lines, strict=True))

    def test_it_checks_the_defaults_without_a_home(self, shell: Shell) -> None:
        """Nothing is needed and nothing is made."""
        assert "no problems" in shell.run("config", "check").out
        assert not shell.home.exists()


def test_the_example_is_a_valid_configuration(shell: Shell, tmp_path: Path) -> None:
    """What `config example` prints passes the check, commented and uncommented."""
    text = shell.run("config", "example").out
    file = tmp_path / "example.toml"
    file.write_text(text)
    assert shell.run("config", "check", file).status == 0
    file.write_text(re.sub("(?m)^# ([a-z_]+ = )", r"\1", text.split("[plugins]")[0]))
    assert shell.run("config", "check", file).status == 0
