"""The state directory: where its places are, and what keeps it from being used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edge_agent.agent.home import Home, default_home
from edge_agent.errors import HomeError


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """The directory appears with its parents and mode 0700; making it again is fine."""
    home = Home(tmp_path / "a" / "b")
    home.make()
    home.make()

    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


@pytest.mark.parametrize("place", ["file", "file/below", "dangling"])
def test_what_is_no_directory_is_refused(tmp_path: Path, place: str) -> None:
    """A file, a place below a file and a dangling link are named, with what to do."""
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing" / "there")
    with pytest.raises(HomeError, match=f"{place}.*--home"):
        Home(tmp_path / place).make()
    with pytest.raises(HomeError, match="is a file, not a directory"):
        Home(tmp_path / "file").make()


def test_a_path_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Half of the agent could live there, and the other half could not say so: nothing is made."""
    path = tmp_path / os.fsdecode(b"caf\xe9")

    with pytest.raises(HomeError, match=r"caf\ufffd: its path is not UTF-8.*--home"):
        Home(path).make()
    assert not path.exists()


def test_a_directory_that_cannot_be_made_is_refused() -> None:
    """Where nobody may create anything the system's reason is given."""
    with pytest.raises(HomeError, match=r"cannot be created.*--home"):
        Home(Path("/proc/edge-agent")).make()


def test_the_drop_folder_is_the_configured_one_or_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a configured folder it is `drop` in the state directory; `~` is the user's directory."""
    monkeypatch.setenv("HOME", "/somewhere")
    home = Home(tmp_path)
    assert home.drop_folder("") == tmp_path / "drop"
    assert home.drop_folder("/mnt/card") == Path("/mnt/card")
    assert home.drop_folder("~/pictures") == Path("/somewhere/pictures")


def test_the_default_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME wins; without it the state lies below ~/.local/state."""
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_home() == Path("/state/edge-agent")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_home() == Path("/somewhere/.local/state/edge-agent")


def test_no_two_places_are_the_same(tmp_path: Path) -> None:
    """Every place lies directly in the state directory, under its own name."""
    home = Home(tmp_path)
    places = [
        home.database_path,
        home.models_folder,
        home.archive_folder,
        home.rejected_folder,
        home.status_path,
        home.socket_path,
        home.lock_path,
        home.drop_folder(""),
    ]
    assert {path.parent for path in places} == {tmp_path}
    assert len(set(places)) == len(places)
