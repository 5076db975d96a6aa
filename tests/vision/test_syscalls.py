"""The numbers of the kernel's calls are those of the kernel's own headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.vision.syscalls import processor

HEADERS = [
    ("x86_64", 8, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    ("i686", 4, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
    ("armv7l", 4, "/usr/arm-linux-gnueabihf/include/asm/unistd-eabi.h"),
    ("aarch64", 8, "/usr/include/asm-generic/unistd.h"),
]


@pytest.mark.parametrize(("machine", "pointer_bytes", "header"), HEADERS, ids=[one[0] for one in HEADERS])
def test_numbers_are_those_of_the_headers(machine: str, pointer_bytes: int, header: str) -> None:
    """Each call of the table that the header names has the header's number."""
    if not Path(header).exists():
        pytest.skip(f"{header} is not there; it comes with linux-libc-dev or its -armhf-cross")
    text = Path(header).read_text(encoding="ascii")
    lines = re.findall(r"#define __NR_(\w+)\s+(?:\(__NR_SYSCALL_BASE ?\+ ?)?(\d+)", text)
    known = {name: int(number) for name, number in lines}
    own = processor(machine, pointer_bytes)
    assert own is not None

    wrong = {name: number for name, number in own.numbers.items() if known.get(name, number) != number}

    assert wrong == {}
    assert len(own.numbers.keys() & known.keys()) > 100


def test_the_kind_of_program_counts_not_the_kernel() -> None:
    """A 32-bit system on a 64-bit kernel calls as 32 bits do; what is unknown is said to be."""
    names = [
        getattr(processor(*pair), "name", None)
        for pair in (
            ("aarch64", 4),
            ("aarch64", 8),
            ("armv6l", 4),
            ("x86_64", 4),
            ("i686", 4),
            ("riscv64", 8),
        )
    ]

    assert names == ["arm", "aarch64", "arm", "i386", "i386", None]


def test_no_number_stands_for_two_calls() -> None:
    """Each processor's numbers are all different."""
    for pair in (("x86_64", 8), ("x86_64", 4), ("armv7l", 4), ("aarch64", 8)):
        own = processor(*pair)
        assert own is not None
        assert len(set(own.numbers.values())) == len(own.numbers)
