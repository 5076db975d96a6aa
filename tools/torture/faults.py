"""This is where a system call of a command is made to fail, or to be the command's last."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from homes import edge_agent

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "unlinkat", "mkdir", "ftruncate")
"""What changes something on a disk."""

KINDS = {"SIGKILL": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
LASTING = "+"
"""Behind a kind: this call and all that follow."""

PATIENCE_SECONDS = 300.0

_HIT = re.compile(r"\(INJECTED\)|\+\+\+ killed by SIGKILL")
_CALL = re.compile(r"^(\d+) +(\w+)\(")


@dataclass(frozen=True, order=True)
class Point:
    """One fault: in this operation, the `number`-th such call of a thread."""

    operation: str
    call: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.operation}:{self.call}:{self.kind}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The reverse of `str`; raises `ValueError`."""
        operation, call, kind, number = text.split(":")
        if call not in CALLS or kind.removesuffix(LASTING) not in KINDS:
            raise ValueError(text)
        return cls(operation, call, kind, int(number))


def _strace(log: Path, *expressions: str) -> tuple[str, ...]:
    more = [part for expression in expressions for part in ("-e", expression)]
    # Without --seccomp-bpf, with which strace 6.1 passes over signals that it is to inject.
    return ("strace", "-f", "-qq", "-o", str(log), *more)


def count_calls(home: Path, arguments: tuple[str, ...]) -> dict[str, int]:
    """How often the busiest thread of a command makes each of `CALLS`; raises `RuntimeError` when it fails."""
    log = home.parent / "strace.log"
    edge_agent(home.with_name("rehearsal"), *arguments, compile_more=True)
    done = edge_agent(home, *arguments, before=_strace(log, f"trace={','.join(CALLS)}"))
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    found = Counter(
        (match[1], match[2]) for line in log.read_text().splitlines() if (match := _CALL.match(line))
    )
    counts: dict[str, int] = {}
    for (_, call), number in found.items():
        counts[call] = max(number, counts.get(call, 0))
    return counts


def strike(
    home: Path, arguments: tuple[str, ...], point: Point
) -> tuple[bool, subprocess.CompletedProcess[str]]:
    """Run a command with one fault; whether it was met, and how the command ended.

    Raises `subprocess.TimeoutExpired` for a command that hangs.
    """
    log = home.parent / "strace.log"
    kind, lasting = point.kind.removesuffix(LASTING), point.kind.endswith(LASTING)
    when = f"{point.number}{LASTING if lasting else ''}"
    done = edge_agent(
        home,
        *arguments,
        before=_strace(log, f"trace={point.call}", f"inject={point.call}:{KINDS[kind]}:when={when}"),
        timeout=PATIENCE_SECONDS,
    )
    return bool(_HIT.search(log.read_text(errors="replace"))), done
