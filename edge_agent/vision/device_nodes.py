"""This is where the devices of the board are looked for, and who holds them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.vision.delegate_spec import DeviceNode

_MOST_PROCESSES = 4096


@dataclass(frozen=True)
class Holder:
    """A process that has a device open."""

    pid: int
    program: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.program})"


@dataclass(frozen=True)
class Board:
    """Where the files of the system are; tests bring a folder with some of their own."""

    root: Path = Path("/")
    program: Path = Path(sys.executable)
    """What will load a library; its architecture is the right one."""

    def place(self, path: str) -> Path:
        """A path of the system, below `root`."""
        return self.root / path.lstrip("/")

    def nodes(self, device: DeviceNode) -> list[Path]:
        """The files by which a device is reached; empty where it is not there."""
        if device.pattern:
            found = [Path(one) for one in sorted(glob.glob(str(self.place(device.pattern))))]  # noqa: PTH207
            return [node for node in found if not device.drivers or self._driver(node) in device.drivers]
        return sorted(self._usb(device.usb))

    def _driver(self, node: Path) -> str:
        """The name of the driver behind a file in `/dev`, by the class of devices that it belongs to."""
        for folder in self.place("/sys/class").glob("*"):
            with suppress(OSError):
                return (folder / node.name / "device" / "driver").readlink().name
        return ""

    def _usb(self, names: Sequence[str]) -> list[Path]:
        found = []
        for folder in self.place("/sys/bus/usb/devices").glob("*"):
            name = f"{_text(folder / 'idVendor')}:{_text(folder / 'idProduct')}"
            bus, number = _text(folder / "busnum"), _text(folder / "devnum")
            if name in names and bus.isdigit() and number.isdigit():
                found.append(self.place(f"/dev/bus/usb/{int(bus):03}/{int(number):03}"))
        return [path for path in found if path.exists()]

    def may_use(self, node: Path) -> bool:
        """Whether this user may read and write a device."""
        return os.access(node, os.R_OK | os.W_OK)

    def holders(self, nodes: Sequence[Path]) -> list[Holder]:
        """Other processes that have one of these files open, as far as this user may see."""
        wanted = {str(node) for node in nodes}
        found = []
        for folder in list(self.place("/proc").glob("[0-9]*"))[:_MOST_PROCESSES]:
            pid = int(folder.name)
            if pid == os.getpid():
                continue
            try:
                links = {str(entry.readlink()) for entry in (folder / "fd").iterdir()}
            except OSError:
                continue  # it ended, or belongs to somebody else
            if links & wanted:
                found.append(Holder(pid, program_of(pid, self)))
        return sorted(found, key=lambda holder: holder.pid)


def program_of(pid: int, board: Board) -> str:
    """The name of a process's program, as far as it is told."""
    return _text(board.place(f"/proc/{pid}/comm")) or "unknown"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
