"""This is where an agent looks whether everything it needs is there and works."""

from __future__ import annotations

import os
import shutil
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.agent.home import Home
from edge_agent.agent.serving import Serving
from edge_agent.agent.sight import Sight
from edge_agent.errors import EdgeAgentError
from edge_agent.store.registry import VersionRegistry

LITTLE_BYTES = 200_000_000
"""Free room below this is warned of: versions and pictures are written in addition."""
NO_BYTES = 20_000_000
"""With less nothing is taken in for long."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`, `warning` or `problem`."""
    message: str
    """What was seen and, unless it is in order, what to do."""


class Checkup:
    """Looks at the agent's own surroundings, with its own rights; takes milliseconds once the engine runs."""

    def __init__(
        self,
        home: Home,
        drop_folder: Path,
        registry: VersionRegistry,
        serving: Serving,
        sight: Sight,
    ) -> None:
        self._home = home
        self._drop = drop_folder
        self._registry = registry
        self._serving = serving
        self._sight = self._engine = sight

    def look(self) -> dict[str, Any]:
        """`checks`, and `extractor` {name, size, fingerprint, runtime, delegate}."""
        extractor = self._extractor()
        facts = self._engine.facts if extractor.state != "problem" else None
        checks = [self._state(), self._drop_folder(), self._room(), extractor, self._version()]
        return {
            "checks": [asdict(check) for check in checks],
            "extractor": {
                "name": self._sight.card.name,
                "size": list(self._sight.card.size),
                "fingerprint": facts.fingerprint if facts else None,
                "runtime": facts.runtime if facts else None,
                "delegate": facts.delegate if facts else None,
            },
        }

    def _state(self) -> Check:
        path = self._home.path
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return Check(
                "state directory",
                "problem",
                f"{path} cannot be written to by this user. Mend its owner, or name another with --home.",
            )
        return Check("state directory", "ok", str(path))

    def _drop_folder(self) -> Check:
        path, name = self._drop, "drop folder"
        if not path.is_dir():
            return Check(
                name, "problem", f"{path} is not there. Make it, or name another in [drop_folder] path."
            )
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            return Check(
                name,
                "problem",
                f"{path} cannot be read and written to by the agent, so nothing dropped there is taken in."
                " Give this user the right to.",
            )
        closed = [
            entry.name
            for entry in sorted(path.iterdir())
            if entry.is_dir()
            and not entry.name.startswith(".")
            and not os.access(entry, os.R_OK | os.W_OK | os.X_OK)
        ]
        if closed:
            return Check(
                name,
                "problem",
                f"{path}: the folder {closed[0]!r} cannot be read and written to by the agent"
                f"{f', and {len(closed) - 1} more' if len(closed) > 1 else ''}. Give this user the right to.",
            )
        return Check(name, "ok", str(path))

    def _room(self) -> Check:
        free = shutil.disk_usage(self._home.path).free
        text = f"{free / 1e9:.1f} GB free" if free >= 1e9 else f"{free / 1e6:.0f} MB free"
        if free < LITTLE_BYTES:
            return Check(
                "disk",
                "problem" if free < NO_BYTES else "warning",
                f"only {text} where {self._home.path} lies. Make room, or keep no pictures:"
                ' [drop_folder] after_intake = "delete".',
            )
        return Check("disk", "ok", text)

    def _extractor(self) -> Check:
        """It is started unless it runs, and looks at a small picture."""
        name = "extractor"
        try:
            facts = self._engine.start()
            [seen] = self._engine.extract([("checkup", _picture())])
        except EdgeAgentError as error:
            return Check(name, "problem", f"pictures cannot be looked at: {error}")
        except OSError as error:
            return Check(name, "warning", f"no picture could be made to try it: {error.strerror}")
        if seen.features is None and not seen.permanent:
            return Check(name, "problem", f"it starts and cannot look at a picture: {seen.error}")
        accelerator = self._engine.accelerator
        if accelerator is not None and accelerator.is_missed:
            return Check(
                name,
                "warning",
                f"the CPU looks at pictures, which is slower: {accelerator.fallback_reason}."
                " `edge-agent delegates` says what to do.",
            )
        again = self._engine.restarts
        lost = f"; it had to be started again {again} times, mostly for damaged pictures" if again else ""
        what = f"{facts.name} on {facts.runtime}, delegate {facts.delegate}{lost}"
        return Check(name, "warning", f"{what}: {facts.notice}") if facts.notice else Check(name, "ok", what)

    def _version(self) -> Check:
        name, version = "version", self._serving.version
        if version is None:
            why = (
                self._serving.trouble
                or "nothing was learned yet. Put pictures of two labels into the drop folder"
            )
            return Check(name, "warning", f"none answers: {why}.")
        try:
            self._registry.verify(version.number)
        except EdgeAgentError as error:
            return Check(
                name,
                "problem",
                f"version {version.number} is damaged on the disk ({error}); it still answers from memory."
                " `edge-agent update --force` makes a new one.",
            )
        facts = self._engine.facts
        if facts is not None and facts.fingerprint != version.extractor_fingerprint:
            return Check(
                name,
                "warning",
                f"version {version.number} was made with another extractor, runtime or delegate than the present one."
                " A running agent makes a new version by itself.",
            )
        return Check(name, "ok", f"version {version.number} answers")


def _picture() -> int:
    """An open file with a grey BMP picture of 8 x 8 pixels; it is nowhere on the disk."""
    pixels = bytes(range(40, 232))
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    fd = os.memfd_create("checkup")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(head + pixels)
    return fd
