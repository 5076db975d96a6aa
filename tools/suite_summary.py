"""This is where the results of a suite that ran in parts, for hours, become one table.

    python tools/suite_summary.py FOLDER [--failed]

FOLDER holds JUnit files of pytest, and `.died` files where pytest itself did not come to its end.
`--failed` prints only the files in which something did not pass, for whoever wants to run them again.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree  # the files are our own


@dataclass(frozen=True)
class Case:
    """What came of one test, or of a file of them whose process died."""

    seconds: float = 0.0
    wrong: str | None = None
    skipped: str | None = None


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
    parser.add_argument(
        "--failed", action="store_true", help="print only the files in which something did not pass"
    )
    given = parser.parse_args()
    if given.failed:
        print(*unsound(given.folder), sep="\n")
    else:
        print(summary(read(given.folder)))


def unsound(folder: Path) -> list[str]:
    """The files in which something did not pass."""
    return sorted({name.partition("::")[0] for name, case in cases(folder).items() if case.wrong is not None})


def cases(folder: Path) -> dict[str, Case]:
    """Every test by `file::name`; what was run again counts as it was the last time."""
    found: dict[str, Case] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
        if path.suffix == ".died":
            name, _, how = path.read_text().strip().partition(": ")
            found[name] = Case(wrong=how)
        elif path.suffix == ".xml":
            for case in ElementTree.parse(path).getroot().iter("testcase"):
                file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
                found.pop(file, None)
                wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
                skipped = case.find("skipped")
                # Two classes of a file may have tests of one name.
                group = (
                    case.get("classname", "")
                    .replace(".", "/")
                    .removeprefix(file.removesuffix(".py"))
                    .strip("/")
                )
                found["::".join(filter(None, [file, group, case.get("name", "")]))] = Case(
                    float(case.get("time", 0)),
                    None if wrong is None else first_line(wrong),
                    None if skipped is None else skipped.get("message", ""),
                )
    return found


def read(folder: Path) -> dict[str, Part]:
    """All results, by the folder the tests are in: `tests/ml`, `tests` for a file directly in it, `plugins/NAME`."""
    parts: dict[str, Part] = {}
    for name, case in cases(folder).items():
        part = parts.setdefault("/".join(name.partition("::")[0].split("/")[:-1][:2]), Part())
        part.seconds += case.seconds
        if case.wrong is not None:
            part.failed.append(f"{name}: {case.wrong}")
        elif case.skipped is not None:
            part.skipped[case.skipped] += 1
        else:
            part.passed += 1
    return parts


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
