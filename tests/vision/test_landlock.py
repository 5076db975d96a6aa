"""What a process asks of Landlock, held against a kernel of each version that only remembers it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.vision.landlock import restrict
from edge_agent.vision.syscalls import processor

OWN = processor("x86_64", 8)
assert OWN is not None
NAMES = {number: name for name, number in OWN.numbers.items()}


class Kernel:
    """Landlock of one version, which keeps what it is told."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.size = 0
        self.handled = (0, 0, 0)
        self.rules: list[int] = []

    def __call__(self, number: int, *arguments: object) -> int:
        name = NAMES[number]
        if name == "landlock_create_ruleset" and arguments[0] is None:
            return self.version
        if name == "landlock_create_ruleset":
            told, self.size = arguments[0]._obj, arguments[1]
            self.handled = (told.handled_access_fs, told.handled_access_net, told.scoped)
            return os.open("/dev/null", os.O_RDONLY)
        if name == "landlock_add_rule":
            self.rules.append(arguments[2]._obj.allowed_access)
        return 0


@pytest.mark.parametrize(
    ("version", "size", "files", "network", "scopes"),
    [
        (1, 8, 13, 0, 0),
        (2, 8, 14, 0, 0),
        (3, 8, 15, 0, 0),
        (4, 16, 15, 3, 0),
        (5, 16, 16, 3, 0),
        (6, 24, 16, 3, 3),
        (9, 24, 16, 3, 3),
    ],
)
def test_all_that_a_version_knows_is_taken_away(version, size, files, network, scopes):
    """C2: Every right about files, TCP and others' signals that this version knows, and never one that it does not."""
    kernel = Kernel(version)

    assert restrict(OWN, kernel) == version
    assert (kernel.size, kernel.handled) == (size, ((1 << files) - 1, network, scopes))
    assert kernel.rules == []


def test_what_is_left_is_for_reading_or_a_device(tmp_path: Path):
    """C2: A folder may be read and run, a file not listed, a device written to; what is not there is passed over."""
    kernel = Kernel(5)
    (tmp_path / "library.so").touch()

    restrict(
        OWN,
        kernel,
        readable=[tmp_path, tmp_path / "library.so", tmp_path / "nowhere"],
        devices=[Path("/dev/null")],
    )

    run, write, read, folder, ask = (1 << bit for bit in (0, 1, 2, 3, 15))
    assert kernel.rules == [run | read | folder, run | read, run | write | read | ask]
