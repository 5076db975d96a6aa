"""This is where `python -m benchmarks` begins: one table of ratios, each beside its limit or its peer.

    python -m benchmarks [--quick] [--json FILE] [--only NAME...]

Run it in a copy of the project. With scikit-learn installed there are its rows, too. On a busy machine the ratios
say more than the figures, and their spread says how much.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from compileall import compile_dir
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy; the agent's own processes have it, too
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
# An installed package has its bytecode beside it; without any, every start would compile two hundred modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
ROOT = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

from benchmarks import (  # noqa: E402
    answering,
    at_rest,
    commands,
    folder,
    growth,
    learners,
    swap,
    taking_in,
    threads,
)
from benchmarks.living import Daemon  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from benchmarks.setting import QUICK, WHOLE, Setting, Sizes  # noqa: E402
from benchmarks.table import Row, in_markdown, printed  # noqa: E402
from edge_agent.cli.pictures import write_pictures  # noqa: E402
from edge_agent.errors import EdgeAgentError  # noqa: E402

Rows = Iterator[Row]
LEARNED_PER_LABEL = 10


def running(setting: Setting, facts: dict[str, Any]) -> Rows:
    """Rows of one daemon that has learned a little; what it says of its engine is written down."""
    home = setting.place("running")
    write_pictures(home / "drop", LEARNED_PER_LABEL, seed=9)
    with Daemon(setting, home) as daemon:
        daemon.until(lambda: daemon.pointer() != "" and growth.at_rest(daemon), "publish")
        status = daemon.client().status()
        facts["engine"] = {name: status.get(name) for name in ("extractor", "delegate", "runtime", "sandbox")}
        yield from answering.answering(setting, daemon)
        yield from at_rest.at_rest(setting, daemon)
    yield from commands.commands(setting, home)


def groups(facts: dict[str, Any]) -> dict[str, Callable[[Setting], Rows]]:
    """What can be asked for by name, in the order in which it is measured."""
    return {
        "intake": taking_in.intake,
        "threads": threads.threads,
        "running": lambda setting: running(setting, facts),
        "swap": swap.swap,
        "folder": folder.folder,
        "learners": learners.learners,
        "hooks": learners.hooks,
        "growth": growth.growth,
    }


def measured(name: str, group: Callable[[Setting], Rows], setting: Setting) -> Rows:
    """The rows of a group; where it cannot go on, a row that says why."""
    try:
        yield from group(setting)
    except (RuntimeError, OSError, ValueError, EdgeAgentError) as error:
        yield Row(name, "", missing=str(error))


def sizes_of(given: argparse.Namespace) -> Sizes:
    """The sizes that were asked for, one by one, over those of the whole or the quick run."""
    base = QUICK if given.quick else WHOLE
    asked = {one.name: getattr(given, one.name) for one in fields(Sizes) if one.name != "large"}
    asked["large"] = tuple(given.large) if given.large else None
    return replace(
        base,
        **{name: tuple(v) if isinstance(v, list) else v for name, v in asked.items() if v is not None},
    )


def arguments() -> argparse.ArgumentParser:
    """The options; every size is one, so that a test can be short."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one minute instead of five")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--markdown", action="store_true", help="print a table for a document")
    parser.add_argument(
        "--only", nargs="+", choices=list(groups({})), metavar="NAME", help="only these groups"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="work below here (default: as TMPDIR says)")
    for name, kind in {"turns": int, "pictures": int, "large_pictures": int, "questions": int}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N")
    parser.add_argument("--large", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"))
    for name in ("folder", "starts", "commands", "predictions", "publishes"):
        parser.add_argument(f"--{name}", type=int, metavar="N")
    for name in ("samples", "retrained"):
        parser.add_argument(f"--{name}", type=int, nargs="+", metavar="N")
    parser.add_argument("--idle-seconds", type=float, metavar="S")
    return parser


def main() -> int:
    """Measure, print, write; 0 however many targets are reached, 1 when a group could not be measured."""
    given = arguments().parse_args()
    sizes = sizes_of(given)
    begin = time.monotonic()
    facts: dict[str, Any] = {
        "machine": machine(),
        "sizes": {one.name: getattr(sizes, one.name) for one in fields(sizes)},
    }
    rows: list[Row] = []
    facts["machine"]["bytecode"] = compile_dir(ROOT / "edge_agent", quiet=2)
    with tempfile.TemporaryDirectory(prefix="edge-agent-", dir=given.work) as temporary:
        setting = Setting(Path(temporary), sizes)
        for name, group in groups(facts).items():
            if given.only and name not in given.only:
                continue
            start = time.monotonic()
            for row in measured(name, group, setting):
                rows.append(row)
                if sys.stderr.isatty():
                    print(f"  {row.name}: {row.cells()[1]}", file=sys.stderr)
            facts.setdefault("seconds", {})[name] = time.monotonic() - start
    facts["machine"]["load_1_minute_after"] = os.getloadavg()[0]
    facts["seconds"]["all"] = time.monotonic() - begin
    print(headline(facts))
    print((in_markdown if given.markdown else printed)(rows))
    reached = [row.reached for row in rows if row.reached is not None]
    print(f"{sum(reached)} of {len(reached)} targets reached, in {facts['seconds']['all']:.0f} s")
    if given.json:
        document = {**facts, "rows": [row.facts() for row in rows]}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if any(row.name in groups({}) for row in rows) else 0


def headline(facts: dict[str, Any]) -> str:
    """What it ran on, in two lines."""
    found = facts["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    delegate = (facts.get("engine", {}).get("delegate") or {}).get("name") or "not asked"
    return (
        f"{found['board']}, {found['cores']} cores, Python {found['python']}, {packages}\n"
        f"delegate {delegate}, engine threads up to {found['engine_threads']}, BLAS threads {found['blas_threads']},"
        f" load {found['load_1_minute']:.1f} before and {found['load_1_minute_after']:.1f} after"
    )


if __name__ == "__main__":
    sys.exit(main())
