"""This is where it is measured how many predictions a running daemon answers while its accelerator fails.

    python benchmarks/delegates.py [--predictions 150] [--json FILE]

For each way to fail a daemon is started on a model it has learned, with an accelerator made of
`tests/native/delegate.c`, and is asked about one picture after the other. Where the fault comes late the accelerator
passes its trial and answers for a while first. `vanishes` is unplugged in the middle and plugged in again. gcc is
needed. The limit: in each case 99.9 % of all predictions are answered, each with the label that the CPU gives; an
accelerator that turns wrong in service may answer up to fifty wrongly before it is found out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.agent.asking import Ask, session
from edge_agent.agent.calling import is_running
from edge_agent.agent.status import read_status
from edge_agent.cli.pictures import write_pictures
from edge_agent.errors import EdgeAgentError

SOURCE = Path(__file__).resolve().parents[1] / "tests" / "native" / "delegate.c"
LIMIT = 0.999
PATIENCE_SECONDS = 120.0
PICTURE_SECONDS = 6.0
LATE = "60"
"""Beyond the pictures of a trial: an accelerator that fails here was found fit."""

PLUGIN = """
import msgspec
from edge_agent import DelegateSpec, hookimpl

class StickSettings(msgspec.Struct):
    library: str
    options: dict[str, str] = {}

class Stick:
    Settings = StickSettings

    def __init__(self, settings):
        self._settings = settings

    @hookimpl
    def register_delegates(self, register):
        register(DelegateSpec("stick", (self._settings.library,), self._settings.options))
"""

CASES: dict[str, dict[str, str]] = {
    "no accelerator": {"delegate": "cpu"},
    "works": {},
    "library missing": {"library": "/nowhere/libstick.so"},
    "wrong architecture": {"library": "foreign"},
    "symbol missing": {"macro": "WITHOUT_CREATE"},
    "refuses, says why": {"fault": "refuse"},
    "refuses silently": {"fault": "refuse-silently"},
    "crashes at load": {"macro": "CRASH_AT_LOAD"},
    "crashes at creation": {"fault": "crash-at-create"},
    "crashes at the 3rd run": {"fault": "crash-at-run", "at": "3"},
    "crashes in service": {"fault": "crash-at-run", "at": LATE},
    "hangs at creation": {"fault": "hang-at-create", "nap": "600"},
    "hangs in service": {"fault": "hang-at-run", "at": LATE, "nap": "600"},
    "exits at creation": {"fault": "exit-at-create"},
    "exits in service": {"fault": "exit-at-run", "at": LATE},
    "fails in service": {"fault": "fail-at-run", "at": LATE},
    "leaks 8 MB a picture": {"fault": "leak"},
    "leaks in service": {"fault": "leak", "at": LATE},
    "prints 10 MB a picture": {"fault": "flood-at-run"},
    "holds the GIL for 10 s": {"fault": "hang-at-create", "nap": "10"},
    "wrong numbers": {"fault": "wrong-numbers"},
    "turns wrong in service": {"fault": "wrong-numbers", "at": LATE},
    "takes nothing": {"fault": "takes-nothing"},
    "vanishes, comes back": {"file": "device"},
}


def build(folder: Path, case: dict[str, str]) -> str:
    """The library of a case; returns its path."""
    library = case.get("library", "")
    if library.startswith("/"):
        return library
    macro = case.get("macro", "")
    path = folder / f"libstick{macro}.so"
    if not path.exists():
        flags = [f"-D{macro}"] if macro else []
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", *flags, "-o", str(path), str(SOURCE)], check=True)
    if library == "foreign":
        data = bytearray(path.read_bytes())
        data[18] = 62 if data[18] == 183 else 183
        path = folder / "libforeign.so"
        path.write_bytes(data)
    return str(path)


def install(folder: Path) -> dict[str, str]:
    """A plugin in a folder as pip would have installed it; returns the environment that finds it."""
    site = folder / "site"
    info = site / "edge_agent_stick-0.1.dist-info"
    info.mkdir(parents=True)
    (site / "edge_agent_stick.py").write_text(PLUGIN, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-agent-stick\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[edge_agent]\nstick = edge_agent_stick:Stick\n")
    places = [str(site), *(str(Path(place).resolve()) for place in sys.path if place)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def configure(home: Path, library: str, case: dict[str, str]) -> None:
    """The configuration of a case."""
    options = {name: case[name] for name in ("fault", "at", "nap", "file") if name in case}
    lines = [f'{name} = "{value}"' for name, value in options.items()]
    (home / "edge-agent.toml").write_text(
        f'[extractor]\ndelegate = "{case.get("delegate", "stick")}"\ntimeout_seconds = {PICTURE_SECONDS}\n'
        f'[plugins.stick]\nlibrary = "{library}"\n[plugins.stick.options]\n' + "\n".join(lines) + "\n",
        encoding="utf-8",
    )


@contextmanager
def daemon(home: Path, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that answers; it is ended afterwards."""
    command = [sys.executable, "-m", "edge_agent.cli", "--home", str(home), "run"]
    with log.open("wb") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=environment
        )
    try:
        until(lambda: is_running(home) or process.poll() is not None)
        if process.poll() is not None:
            sys.exit(f"the daemon ended with {process.returncode}: {log.read_text(errors='replace')[-1000:]}")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def until(holds: Callable[[], bool], patience_seconds: float = PATIENCE_SECONDS) -> bool:
    """Look again and again until something holds; False when it does not."""
    begin = time.monotonic()
    while not holds():
        if time.monotonic() - begin > patience_seconds:
            return False
        time.sleep(0.02)
    return True


def delegate(home: Path) -> dict[str, Any]:
    """What the status says of the delegate."""
    return dict((read_status(home / "status.json") or {}).get("delegate") or {})


def measure(
    home: Path, ask: Ask, pictures: list[Path], count: int, device: Path | None, *, serves: bool
) -> dict[str, Any]:
    """Ask so many times; where the accelerator is to serve first, wait until it does."""
    seconds, wrong, unanswered = [], 0, 0
    began = delegate(home).get("name")
    if serves:
        until(lambda: delegate(home).get("name") == "stick", 60.0)
        began = delegate(home).get("name")
    seen = {began}
    for number in range(count):
        if device is not None and number == count // 3:
            device.unlink()
        picture = pictures[number % len(pictures)]
        start = time.monotonic()
        try:
            [answer] = ask("predict", {"names": [str(picture)]}, files=[os.open(picture, os.O_RDONLY)])
        except EdgeAgentError:
            unanswered += 1
            continue
        seconds.append(time.monotonic() - start)
        unanswered += answer["error"] is not None
        wrong += answer["error"] is None and answer["label"] != picture.parent.name
        if number % 10 == 0:
            seen.add(delegate(home).get("name"))
    until(lambda: False, 1.2)  # the status is written once a second
    seen.add(delegate(home).get("name"))
    reason = delegate(home).get("fallback_reason")
    back = None
    if device is not None:
        device.touch()
        start = time.monotonic()
        if until(lambda: delegate(home).get("name") == "stick", 60.0):
            back = round(time.monotonic() - start, 1)
    return {
        "asked": count,
        "answered": count - unanswered,
        "wrong": wrong,
        "median_ms": round(1000 * statistics.median(seconds), 1),
        "longest_ms": round(1000 * max(seconds)),
        "began": began,
        "ended": delegate(home).get("name"),
        "seen": sorted(filter(None, seen)),
        "reason": reason,
        "back_seconds": back,
    }


def main() -> int:
    """Measure, print, and say by the exit status whether the limit held."""
    parser = argparse.ArgumentParser(description="Predictions answered while an accelerator fails.")
    parser.add_argument(
        "--predictions", type=int, default=150, metavar="N", help="for each fault (default 150)"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="only cases whose name holds this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="edge-agent-delegates-") as temporary:
        folder = Path(temporary)
        environment = install(folder)
        learned, known = folder / "learned", folder / "known"
        write_pictures(known, 8, seed=1)
        write_pictures(folder / "asked", 3, seed=2)
        pictures = sorted((folder / "asked").glob("*/*"))
        once = [
            sys.executable,
            "-m",
            "edge_agent.cli",
            "--home",
            str(learned),
            "run",
            "--once",
            "--drop",
            str(known),
        ]
        subprocess.run(once, check=True, stdout=subprocess.DEVNULL)
        for name, case in CASES.items():
            if arguments.only not in name:
                continue
            home = folder / "home"
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(learned, home)
            device = folder / "device" if "file" in case else None
            if device is not None:
                device.touch()
                case = {**case, "file": str(device)}
            configure(home, build(folder, case), case)
            with daemon(home, environment, folder / "log"), session(home, lambda: None) as ask:
                serves = case.get("at") == LATE or device is not None or name == "works"
                rows[name] = row = measure(home, ask, pictures, arguments.predictions, device, serves=serves)
            served = " then ".join([str(row["began"]), str(row["ended"])])
            print(
                f"{name:<24} {row['answered']:>4} of {row['asked']}  {row['median_ms']:>6} ms"
                f"  longest {row['longest_ms']:>5} ms  wrong {row['wrong']}  {served}"
                f"  {row['reason'] or ''}"[:200],
                flush=True,
            )
    asked, answered = (sum(row[key] for row in rows.values()) for key in ("asked", "answered"))
    least = min(row["answered"] / row["asked"] for row in rows.values())
    print(
        f"answered {answered} of {asked}, {answered / asked:.3%}; the worst case {least:.3%}; limit {LIMIT:.1%}"
    )
    print(f"wrong labels {sum(row['wrong'] for row in rows.values())}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0 if least >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
