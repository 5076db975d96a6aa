"""This is where the results of a suite that ran file by file, for hours, become one table.

    python tools/suite_summary.py FOLDER [--failed]

FOLDER holds pytest's JUnit file of each file of tests, and `<name>.died` where pytest itself did not come to its end.
`--failed` prints only the names of what did not pass, for whoever wants to run it again.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree  # the files are our own


@dataclass
class Part:
    """The tests of one folder of tests, or of one plugin."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def main() -> None:
    """Read everything, print the table, the failures and the reasons of what was skipped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--failed", action="store_true", help="print only the names of what did not pass")
    given = parser.parse_args()
    if given.failed:
        print(*unsound(given.folder), sep="\n")
    else:
        print(summary(read(given.folder)))


def unsound(folder: Path) -> list[str]:
    """The names, without suffix, of all results in which something failed or that are no result."""
    names = [path.stem for path in folder.glob("*.died")]
    for path in folder.glob("*.xml"):
        root = ElementTree.parse(path).getroot()
        if root.find(".//failure") is not None or root.find(".//error") is not None:
            names.append(path.stem)
    return sorted(names)


def read(folder: Path) -> dict[str, Part]:
    """Every result, by the folder the tests are in."""
    parts: dict[str, Part] = {}
    for path in sorted(folder.glob("*.xml")):
        part = parts.setdefault(part_of(path.stem), Part())
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            part.seconds += float(case.get("time", 0))
            name = f"{path.stem.replace(':', '/')}::{case.get('name')}"
            skipped = case.find("skipped")
            wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
            if wrong is not None:
                part.failed.append(f"{name}: {first_line(wrong)}")
            elif skipped is not None:
                part.skipped[skipped.get("message", "")] += 1
            else:
                part.passed += 1
    for path in sorted(folder.glob("*.died")):
        name = path.stem.replace(":", "/")
        parts.setdefault(part_of(path.stem), Part()).failed.append(f"{name}: {path.read_text().strip()}")
    return parts


def part_of(stem: str) -> str:
    """`tests/ml` for `tests:ml:fits:test_x.py`, `tests` for a file directly in it, `plugins/NAME` for a plugin's."""
    folders = stem.split(":")[:-1]
    return "/".join(folders[:2])


def first_line(wrong: ElementTree.Element) -> str:
    """What a failure says, on one line that is not too long."""
    return re.sub(r"\s+", " ", wrong.get("message", ""))[:200]


def summary(parts: dict[str, Part]) -> str:
    """The table in Markdown, then failures, then the reasons for skipping with how many tests each holds up."""
    lines = ["| tests | passed | failed | skipped | minutes |", "|---|---|---|---|---|"]
    reasons: Counter[str] = Counter()
    for name, part in sorted(parts.items()):
        reasons += part.skipped
        lines.append(row(name, part.passed, len(part.failed), part.skipped.total(), part.seconds))
    failed = sorted(line for part in parts.values() for line in part.failed)
    passed, seconds = (
        sum(part.passed for part in parts.values()),
        sum(part.seconds for part in parts.values()),
    )
    lines += [row("all", passed, len(failed), reasons.total(), seconds), ""]
    lines += [f"- failed: {line}" for line in failed]
    lines += [f"- skipped {count}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def row(name: str, passed: int, failed: int, skipped: int, seconds: float) -> str:
    """One line of the table."""
    return f"| {name} | {passed} | {failed} | {skipped} | {seconds / 60:.0f} |"


if __name__ == "__main__":
    main()
