"""This is where a file that arrived is described, and what keeps it from becoming a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent.labels import clean_label, printable
from edge_agent.agent.listing import Signature
from edge_agent.agent.settling import Key
from edge_agent.errors import LabelError


@dataclass(frozen=True)
class Arrival:
    """A file that lay still: `label` is its folder's name as it is on disk, "" directly in the drop folder.

    `problem` says why it must be rejected, "" when it need not. `safe_folder` can name a folder of rejected
    files.
    """

    label: str
    name: str
    path: Path
    signature: Signature
    problem: str = ""

    @property
    def key(self) -> Key:
        """Folder and name."""
        return (self.label, self.name)

    @property
    def safe_folder(self) -> str:
        """A folder name for what is kept of this file when it is rejected."""
        try:
            return clean_label(self.label)
        except LabelError:
            return printable(self.label)[:64].strip(". ") or "unlabelled"


@dataclass(frozen=True)
class Oddity:
    """Something in the drop folder that is not read, and why."""

    path: Path
    reason: str


def arrival_at(root: Path, key: Key, signature: Signature, problem: str = "") -> Arrival:
    """The file `key` of the drop folder `root`; it has a problem if its folder cannot be a label, too."""
    folder, name = key
    if not folder:
        problem = "it lies directly in the drop folder; put it into a folder named after its label"
    elif not problem:
        try:
            clean_label(folder)
        except LabelError as error:
            problem = str(error)
    return Arrival(folder, name, root / folder / name, signature, problem)
