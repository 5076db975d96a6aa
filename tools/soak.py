"""This is where a daemon lives a hard life, and where what it holds is compared with what it was told.

    scripts/soak --minutes 10 [--seed 1] [--keep DIR]

Pictures are dropped in all the ways people drop them, and rubbish among them; samples are relabelled and forgotten;
updates, rollbacks, backups and predictions are asked for; the daemon, its engine or both are killed at any moment,
also in the middle of a command. About once a minute everything comes to rest, and then:

- the samples are exactly those that were dropped and not forgotten, each once, under its label,
- each has its picture in the archive, with the digest it is known by, and nothing else is there,
- every file that is no picture lies in `rejected/` with its reason,
- `current` leads to a version whose hashes are right, the database says it is whole,
- no half-written file is left, and a prediction is answered.

Ends with a line of figures, and with 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.memory import family, kilobytes
from edge_agent.agent.home import Home
from edge_agent.cli.pictures import draw
from edge_agent.errors import EdgeAgentError
from edge_agent.store.registry import VersionRegistry

LABELS = ("mug", "key", "leaf")
EDGE_AGENT = (sys.executable, "-m", "edge_agent.cli")
PATIENCE_SECONDS = 180.0
ROUND_SECONDS = 45.0


class Life:
    """One daemon on one home, and what it should hold."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.drop = home / "drop"
        self.rng = random.Random(seed)
        self.expected: dict[str, str] = {}
        self.unsure: dict[str, set[str | None]] = {}
        """What a command was told about that was killed: the labels a sample may have, None for gone."""
        self.rubbish = 0
        self.done: Counter[str] = Counter()
        self.bad: list[str] = []
        self.peak_mb: list[float] = []
        self.asked = self.answered = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (home.parent / "daemon.log").open("ab")
        self._number = 0
        self._watched = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    # ------------------------------------------------------------------ the daemon

    def start(self) -> None:
        """Start the daemon unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [*EDGE_AGENT, "--home", str(self.home), "run"], stderr=self._log, stdout=self._log
        )
        self.until(lambda: self.status() is not None, "the daemon to answer")

    def kill(self, number: int) -> None:
        """End the daemon so, and wait for its end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)
        self._process = None

    def close(self) -> None:
        """End everything."""
        self.kill(signal.SIGTERM)
        self._watched.set()
        self._watcher.join()
        self._log.close()

    def command(self, *arguments: object, fine: tuple[int, ...] = (0,)) -> Any:
        """One command with its JSON answer; None when its exit status says that it could not be."""
        done = subprocess.run(
            [*EDGE_AGENT, "--home", str(self.home), *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode not in fine or "Traceback" in done.stderr:
            self.bad.append(
                f"`{' '.join(map(str, arguments))}` ended with {done.returncode}: {done.stderr.strip()}"
            )
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except ValueError:
            self.bad.append(f"`{arguments[0]}` printed no JSON: {done.stdout[:200]!r}")
            return None

    def status(self) -> dict[str, Any] | None:
        """What the running agent says, or None while none answers."""
        done = subprocess.run(
            [*EDGE_AGENT, "--home", str(self.home), "status", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        facts = json.loads(done.stdout) if done.returncode == 0 else None
        return facts if facts and facts["state"] != "stopped" else None

    def until(self, true: Any, what: str) -> None:
        """Wait for something; it is written down when it does not come."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not true():
            if time.monotonic() > end:
                self.bad.append(f"waited in vain for {what}")
                return
            threading.Event().wait(0.2)

    def _watch(self) -> None:
        while not self._watched.wait(0.5):
            process = self._process
            if process is not None:
                pss = [
                    kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss").get("Pss", 0)
                    for pid in family(process.pid)
                ]
                self.peak_mb.append(sum(pss) / 1000)

    # ------------------------------------------------------------------ what happens to it

    def picture(self, label: str) -> bytes:
        """A new picture; no two have the same bytes."""
        self._number += 1
        file = BytesIO()
        draw(label, random.Random(f"{self.rng.random()}/{self._number}")).save(file, "JPEG", quality=85)
        return file.getvalue()

    def drops(self) -> None:
        """Some pictures, each in one of the ways of arriving."""
        label = self.rng.choice(LABELS)
        folder = self.drop / label
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(self.rng.randint(1, 8)):
            data = self.picture(label)
            path = folder / f"{self._number:06}.jpg"
            way = self.rng.randrange(3)
            if way == 0:
                path.write_bytes(data)
            elif way == 1:
                (folder / f".{path.name}.part").write_bytes(data)
                (folder / f".{path.name}.part").rename(path)
            else:  # slowly, in its full size from the beginning
                with path.open("wb") as file:
                    file.truncate(len(data))
                    file.write(data[: len(data) // 2])
                    file.flush()
                    threading.Event().wait(0.2)
                    file.write(data[len(data) // 2 :])
            self.expected[hashlib.sha256(data).hexdigest()] = label

    def drops_again(self) -> None:
        """A picture that is known already, under its own label."""
        kept = list((self.home / "archive").glob("*/*.jpg"))
        if kept:
            source = self.rng.choice(sorted(kept))
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            label = self.expected.get(digest)
            if label is not None and digest not in self.unsure:
                shutil.copyfile(source, self.drop / label / f"again-{self.rng.randrange(10**9)}.jpg")

    def drops_rubbish(self) -> None:
        """Something that is no picture, or only half of one."""
        folder = self.drop / self.rng.choice(LABELS)
        folder.mkdir(parents=True, exist_ok=True)
        data = self.picture(LABELS[0])
        content = self.rng.choice([b"", b"no picture", data[: len(data) // 2], self.rng.randbytes(500)])
        path = folder / f"rubbish-{self.rubbish:04}.jpg"
        path.write_bytes(content)
        os.utime(path, (1_600_000_000, 1_600_000_000))  # old enough to be refused at once
        self.rubbish += 1

    def relabels(self) -> None:
        """Another label for a sample."""
        digest = self._known()
        if digest:
            label = self.rng.choice([one for one in LABELS if one != self.expected[digest]])
            self._change(digest, label, "samples", "relabel", digest, label)

    def forgets(self) -> None:
        """A sample is to be forgotten."""
        digest = self._known()
        if digest:
            self._change(digest, None, "forget", "--sample", digest)

    def _known(self) -> str | None:
        rows = self.command("samples", "list") or []
        known = [
            row["digest"]
            for row in rows
            if row["digest"] in self.expected and row["digest"] not in self.unsure
        ]
        return self.rng.choice(sorted(known)) if len(known) > 6 else None

    def _change(self, digest: str, label: str | None, *command: object) -> None:
        """Give a command; now and then everything is killed in the middle of it, and either may have come of it."""
        if self.rng.random() < 0.3:
            self.unsure[digest] = {self.expected[digest], label}
            with subprocess.Popen(
                [*EDGE_AGENT, "--home", str(self.home), *map(str, command)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=self.rng.uniform(0.2, 1.2))
                self.kill(signal.SIGKILL)
                process.kill()
            self.done["killed in the middle of a command"] += 1
            self.start()
        elif self.command(*command) is not None:
            if label is None:
                del self.expected[digest]
            else:
                self.expected[digest] = label

    def updates(self) -> None:
        """An update is asked for."""
        self.command("update", fine=(0, 1))

    def rolls_back(self) -> None:
        """The version before answers again, if there is one."""
        self.command("rollback", fine=(0, 2))

    def saves(self) -> None:
        """A copy of everything, which is thrown away."""
        copy = self.home.parent / "copy.tar"
        copy.unlink(missing_ok=True)
        self.command("backup", copy)

    def predicts(self) -> None:
        """A picture is asked about."""
        path = self.home.parent / "question.jpg"
        path.write_bytes(self.picture(self.rng.choice(LABELS)))
        self.asked += 1
        self.answered += self.command("predict", path, fine=(0, 2)) is not None

    def is_killed(self) -> None:
        """No warning at all."""
        self.kill(signal.SIGKILL)
        self.start()

    def is_restarted(self) -> None:
        """As a service manager does it."""
        self.kill(signal.SIGTERM)
        self.start()

    def loses_its_engine(self) -> None:
        """What decodes is killed."""
        facts = self.status()
        if facts and facts["engine"]["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(facts["engine"]["pid"], signal.SIGKILL)

    CHANCES = (
        (drops, 10),
        (drops_again, 2),
        (drops_rubbish, 2),
        (relabels, 3),
        (forgets, 3),
        (updates, 2),
        (rolls_back, 1),
        (saves, 1),
        (predicts, 6),
        (is_killed, 2),
        (is_restarted, 1),
        (loses_its_engine, 1),
    )

    def act(self) -> None:
        """One thing happens."""
        what = self.rng.choices([one for one, _ in self.CHANCES], [weight for _, weight in self.CHANCES])[0]
        self.done[what.__name__.replace("_", " ")] += 1
        what(self)

    # ------------------------------------------------------------------ what should be

    def comes_to_rest(self) -> None:
        """Wait until all is taken in and learned."""

        def rests() -> bool:
            facts = self.status()
            return facts is not None and not facts["pending"] and not facts["updating"]

        self.start()
        self.until(rests, "the drop folder to be empty")
        self.until(rests, "the update to end")

    def check(self) -> None:
        """Compare everything, and write down what is not as it should be."""
        rows = self.command("samples", "list") or []
        held = {row["digest"]: row["label"] for row in rows}
        if len(held) != len(rows):
            self.bad.append(f"{len(rows) - len(held)} samples are there twice")
        for digest, possible in self.unsure.items():
            if held.get(digest) not in possible:
                self.bad.append(f"{digest[:12]} is {held.get(digest)} and should be one of {possible}")
            self.expected.pop(digest, None)
            if digest in held:
                self.expected[digest] = held[digest]
        self.unsure.clear()
        wrong = {key for key in held.keys() | self.expected.keys() if held.get(key) != self.expected.get(key)}
        self.bad += [f"{key[:12]} is {held.get(key)} and should be {self.expected.get(key)}" for key in wrong]
        kept = [path for path in (self.home / "archive").glob("*/*") if path.is_file()]
        digests = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in kept)
        if digests != Counter(list(held)):
            extra, missing = digests - Counter(list(held)), Counter(list(held)) - digests
            self.bad.append(f"the archive has {len(extra)} files too many and lacks {len(missing)}")
        refused = [
            path for path in (self.home / "rejected").glob("*/*") if not path.name.endswith(".reason.txt")
        ]
        if len(refused) != self.rubbish:
            self.bad.append(f"{len(refused)} files were refused of {self.rubbish} that are none")
        leftovers = [path for path in self.home.rglob(".edge-agent-*") if path.is_file()]
        self.bad += [f"{path} is left" for path in leftovers]
        with contextlib.closing(
            sqlite3.connect(f"file:{Home(self.home).database_path}?mode=ro", uri=True)
        ) as base:
            said = base.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            self.bad.append(f"the database says: {said}")
        registry = VersionRegistry(self.home / "models")
        try:
            current = registry.current()
            if current is not None:
                registry.verify(current.number)
        except EdgeAgentError as error:
            self.bad.append(f"the current version: {error}")
        if held:
            self.predicts()


def soak(folder: Path, minutes: float, seed: int) -> int:
    """Let a daemon live below `folder` for so long; prints what was held, returns the exit status."""
    life = Life(folder / "home", seed)
    begun = time.monotonic()
    rounds = 0
    try:
        life.drop.mkdir(parents=True)
        life.start()
        while time.monotonic() - begun < minutes * 60 and not life.bad:
            until = time.monotonic() + min(ROUND_SECONDS, minutes * 60)
            while time.monotonic() < until:
                life.act()
            life.comes_to_rest()
            life.check()
            rounds += 1
            print(
                f"{(time.monotonic() - begun) / 60:5.1f} min: {len(life.expected)} samples held", flush=True
            )
    finally:
        life.close()
    for one in life.bad:
        print(f"bad: {one}")
    happened = ", ".join(f"{what} {count}" for what, count in sorted(life.done.items()))
    peak = max(life.peak_mb, default=0.0)
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes, seed {seed}: {happened}")
    print(
        f"{len(life.expected)} samples held as told, {life.rubbish} files refused, {life.answered} of {life.asked}"
        f" questions answered, both processes at most {peak:.0f} MB; {rounds} looks, {len(life.bad)} bad"
    )
    return 1 if life.bad else 0


def main() -> int:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work in this folder, which must not exist, and leave it")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        return soak(options.keep, options.minutes, options.seed)
    with tempfile.TemporaryDirectory(prefix="edge-agent-soak-") as folder:
        return soak(Path(folder), options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
