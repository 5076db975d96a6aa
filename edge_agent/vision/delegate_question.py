"""This is where the words are spelled that the agent and the process that tries a delegate say to each other."""

from __future__ import annotations

from msgspec import Struct

from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.preprocessing import ExtractorCard


class Question(Struct, frozen=True, kw_only=True):
    """What is to be tried."""

    card: ExtractorCard
    use: DelegateUse | None
    """None: only the CPU is timed."""
    runtime: str
    threads: int
    pictures: tuple[str, ...] = ()
    """Files besides the pictures that are made up; one that is refused is passed over."""
    repeats: int = 5
    compare: bool = True
    """Whether the CPU can run the model at all."""
    memory_bytes: int = 2 << 30
    """More than this the process may not have."""
    seconds: int = 300
    """After so many the system ends the process, in case nobody is left who would."""


class Stage(Struct, frozen=True, tag="stage"):
    """This begins now: `cpu`, `load`, `create`, `prepare` or `run`."""

    name: str


class Refused(Struct, frozen=True, tag="refused"):
    """The runtime or the library said no, in good order."""

    stage: str
    words: str


class Found(Struct, frozen=True, kw_only=True, tag="found"):
    """It ran. Seconds are those of one picture, the median."""

    cpu_seconds: float | None
    seconds: float | None = None
    load_seconds: float | None = None
    cosine: float | None = None
    taken: tuple[int, int] | None = None
    memory_bytes: int = 0
    grown_bytes: int = 0
    """How much it grew from the first picture to the last."""


Message = Stage | Refused | Found
