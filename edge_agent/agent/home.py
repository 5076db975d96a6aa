"""This is where the state directory and the places in it are named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import HomeError

SUMS_FILE = "sums.npz"
CONFIG_FILE = "edge-agent.toml"


@dataclass(frozen=True)
class Home:
    """The state directory of one agent; the layout is described in the operating guide."""

    path: Path

    @property
    def database_path(self) -> Path:
        """Samples, features and the journal of updates."""
        return self.path / "agent.db"

    @property
    def sums_path(self) -> Path:
        """Sums over the features, kept while no agent runs; made anew where it is missing."""
        return self.path / SUMS_FILE

    @property
    def models_folder(self) -> Path:
        """Versions and the pointer to the current one."""
        return self.path / "models"

    @property
    def extractors_folder(self) -> Path:
        """Extractors that were added, a folder for each."""
        return self.path / "extractors"

    @property
    def choice_path(self) -> Path:
        """The name of the extractor that was chosen by command."""
        return self.path / "extractor.json"

    @property
    def archive_folder(self) -> Path:
        """Pictures that were learned from, a folder for each label."""
        return self.path / "archive"

    @property
    def rejected_folder(self) -> Path:
        """Files that were refused, each with its reason beside it."""
        return self.path / "rejected"

    @property
    def status_path(self) -> Path:
        """What is going on, replaced as a whole."""
        return self.path / "status.json"

    @property
    def delegates_path(self) -> Path:
        """What came of trying accelerators."""
        return self.path / "delegates.json"

    @property
    def socket_path(self) -> Path:
        """Where the running agent is asked."""
        return self.path / "agent.sock"

    @property
    def lock_path(self) -> Path:
        """Held by the one process that may write here."""
        return self.path / "lock"

    def drop_folder(self, configured: str) -> Path:
        """The folder that is watched: the configured one, or `drop` in the state directory."""
        return Path(configured).expanduser() if configured else self.path / "drop"

    def make(self) -> None:
        """Create the directory for its owner only.

        Raises `HomeError` when it cannot be created or written to, or its path is no text, which other processes and
        JSON need.
        """
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(self.path).decode("utf-8", "replace")
            raise HomeError(f"{shown}: its path is not UTF-8; choose another with --home") from None
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except FileExistsError:
            raise HomeError(f"{self.path} is a file, not a directory; choose another with --home") from None
        except OSError as error:
            raise HomeError(
                f"{self.path}: cannot be created: {error.strerror}; choose another with --home"
            ) from None
        if not self.path.is_dir():
            raise HomeError(f"{self.path} is not a directory; choose another with --home")
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise HomeError(
                f"{self.path}: not writable by this user; mend its owner or choose another with --home"
            )


def default_home() -> Path:
    """The state directory when none is named: `XDG_STATE_HOME/edge-agent`, usually `~/.local/state/edge-agent`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edge-agent"
