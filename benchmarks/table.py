"""This is where figures become rows: each beside its limit or its peer, with the ratio and what it should be."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

COLUMNS = ("name", "figure", "spread", "beside it", "ratio", "target", "reached", "note")
LEFT = (0, 3, 7)


@dataclass(frozen=True)
class Row:
    """Figures of one thing, and those of its peer measured in turns with them, or one limit.

    The ratio is the median over turns of figure / peer: what else the machine does meanwhile hits both of a turn.
    """

    name: str
    unit: str
    figures: Sequence[float] = ()
    beside: str = ""
    """What the peer or the limit is."""
    peers: Sequence[float] = ()
    """One for each figure, or a single one that holds for all."""
    target: float | None = None
    """What the ratio should be at most, or at least; None where nothing was promised."""
    at_least: bool = False
    tolerance: float = 0.0
    """Beside a limit of 0 there is no ratio; figures up to this are taken for nothing."""
    note: str = ""
    missing: str = ""
    """Why there are no figures."""

    def __post_init__(self) -> None:
        if len(self.peers) not in (0, 1, len(self.figures)):
            raise ValueError(f"{self.name}: {len(self.figures)} figures beside {len(self.peers)}")

    @property
    def ratios(self) -> list[float]:
        """Figure / peer of each turn; empty where there is nothing to divide by."""
        if not self.peers or 0.0 in self.peers:
            return []
        peers = self.peers if len(self.peers) == len(self.figures) else [self.peers[0]] * len(self.figures)
        return [figure / peer for figure, peer in zip(self.figures, peers, strict=True)]

    @property
    def ratio(self) -> float | None:
        """Their median."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None where there is none, or no figure."""
        if not self.figures:
            return None
        if list(self.peers) == [0.0]:
            return statistics.median(self.figures) <= self.tolerance
        if self.target is None or self.ratio is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "figure": statistics.median(self.figures) if self.figures else None,
            "figures": list(self.figures),
            "beside": self.beside,
            "peer": statistics.median(self.peers) if self.peers else None,
            "peers": list(self.peers),
            "ratio": self.ratio,
            "ratios": self.ratios,
            "target": self.target,
            "direction": "at least" if self.at_least else "at most",
            "reached": self.reached,
            "note": self.note,
            "missing": self.missing,
        }

    def cells(self) -> tuple[str, ...]:
        """As the printed table has it."""
        if self.missing:
            return (self.name, "-", "", f"not measured: {self.missing}", "", "", "", "")
        spread = f"{short(min(self.figures))}..{short(max(self.figures))}" if len(self.figures) > 1 else ""
        peer = f"{short(statistics.median(self.peers))} " if self.peers else ""
        if list(self.peers) == [0.0]:
            target = "0"
        else:
            target = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"
        answer = {None: "", True: "yes", False: "NO"}[self.reached]
        return (
            self.name,
            f"{short(statistics.median(self.figures))} {self.unit}",
            spread,
            f"{peer}{self.beside}",
            ""
            if self.ratio is None
            else f"{self.ratio:.2f}"
            if self.ratio >= 0.1 and not 0.99 < self.ratio < 1
            else short(self.ratio),
            target,
            answer,
            self.note,
        )


def short(value: float) -> str:
    """Three digits that count, without powers of ten."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    if 0.99 < abs(value) < 1:
        return f"{value:.5f}"  # a cosine
    return f"{value:.3g}" if abs(value) >= 0.0001 else f"{value:.1g}"


def in_markdown(rows: Iterable[Row]) -> str:
    """The table for a document."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def printed(rows: Iterable[Row]) -> str:
    """The table as text."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in LEFT else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
