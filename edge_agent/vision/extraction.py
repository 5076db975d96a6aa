"""This is where it is said what is asked of the engine for a picture, and what comes back."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from edge_agent.ml.augmentation import Variant
from edge_agent.vision import wire
from edge_agent.vision.confinement import Confinement

Job = tuple[object, int] | tuple[object, int, Variant | None]
"""Whatever the caller wants to know it by, an open file descriptor, and which changed copy is looked at."""


@dataclass(frozen=True)
class EngineFacts:
    """What the running engine said of itself."""

    name: str
    fingerprint: str
    n_features: int
    runtime: str
    delegate: str
    pid: int
    notice: str = ""
    """What the owner should know of it, in one line; mostly empty."""
    sandbox: Confinement = field(default_factory=Confinement)
    """What keeps it from doing more than it should."""

    @classmethod
    def of(cls, ready: wire.Ready) -> Self:
        """What a process said when it was ready."""
        return cls(
            ready.name,
            ready.fingerprint,
            ready.n_features,
            ready.runtime,
            ready.delegate,
            ready.pid,
            ready.notice,
            ready.sandbox,
        )


@dataclass(frozen=True, eq=False)
class Extraction:
    """What became of one picture."""

    key: object
    """What the caller gave with it."""
    digest: str
    """sha256 of the file's bytes, in hex; empty when they were not read (no regular file, too long) or not wanted."""
    features: npt.NDArray[np.float32] | None
    """Of shape [n_features]; None when `error` says why."""
    width: int
    """Of the original picture, upright, in pixels; 0 when it was refused."""
    height: int
    error: str | None
    permanent: bool
    """Whether the same picture would fail again; False is the engine's or the disk's trouble."""
    seconds: float
    """Spent on it in the engine."""
    private: bool = True
    """Whether the file may say more than its pixels; False: it was looked through, and does not."""


@dataclass(eq=False)
class PendingJob:
    """One picture on its way; its file is closed once it has a result."""

    key: object
    fd: int
    number: int
    variant: Variant | None = None
    check: bool = False
    """Whether what an accelerator gave until then is compared with the CPU's."""
    digest: bool = True
    """Whether its digest is wanted."""
    alone: bool = False
    lost: int = 0
    accuses: bool = False
    """Whether an accelerator was lost with it, which may be the picture's fault."""
    result: Extraction | None = None
    wanted: bool = True

    def is_answered(self, answer: wire.Answer, payload: bytes, facts: EngineFacts | None) -> bool:
        """Whether this is an answer to it: with its number, and with features unless it was refused."""
        n_features = facts.n_features if facts is not None else 0
        length = 0 if answer.error is not None else 4 * n_features
        return answer.number == self.number and len(payload) == length

    def finish(self, result: Extraction | None) -> None:
        """Keep the result and let go of the file, once."""
        self.result = result
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def extraction(job: PendingJob, answer: wire.Answer, payload: bytes) -> Extraction:
    """What the engine answered."""
    return Extraction(
        key=job.key,
        digest=answer.digest,
        features=None if answer.error is not None else np.frombuffer(payload, dtype=np.float32),
        width=answer.width,
        height=answer.height,
        error=answer.error,
        permanent=answer.permanent,
        seconds=answer.seconds,
        private=answer.private,
    )


def refused(job: PendingJob, reason: str) -> Extraction:
    """What is said of a picture that no engine survives."""
    return Extraction(
        key=job.key,
        digest=_digest(job.fd),
        features=None,
        width=0,
        height=0,
        error=reason,
        permanent=True,
        seconds=0.0,
    )


def _digest(fd: int) -> str:
    """sha256 of an open file: safe for bytes that no decoder survives; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        offset = 0
        while part := os.pread(fd, 1 << 18, offset):
            digest.update(part)
            offset += len(part)
    except OSError:
        return ""
    return digest.hexdigest()
