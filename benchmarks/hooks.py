"""This is where it is measured what plugins cost that listen: with none, one and twenty of them.

    OPENBLAS_NUM_THREADS=1 python benchmarks/hooks.py [--quick] [--json FILE]

Per call: a host tells `sample_ingested` and asks `label_sample`; every guest hears the one on its own thread, and
passes the other on (None), so that the built-in answer comes last. "Agent" is the processor time of the thread that
tells, "all" that of the whole process until every guest has heard. Processor time, because other work on the machine
does not count in it.

Per picture: an agent takes in text pictures, whose features cost next to nothing: what is left is the agent itself,
its database and its hooks. Numbers of listeners take turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from edge_agent import hookimpl
from edge_agent.agent.agent import Agent
from edge_agent.config import Config, DropFolderConfig, UpdateConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.plugins import PluginHost, load_plugins
from edge_agent.testing import FakeEngine, drop_texts, example_facts

LISTENERS = (0, 1, 20)
PATIENCE_SECONDS = 60.0
BURST = 200
"""Fewer than wait for one plugin (256), so that nothing is dropped."""


class Guest:
    """Listens to every picture and never has an answer."""

    def __init__(self) -> None:
        self.heard = 0

    @hookimpl
    def label_sample(self, path: str) -> str | None:
        """Looks at the name and passes the question on."""
        return "never" if path == "" else None

    @hookimpl
    def sample_ingested(self, sample: Any) -> None:  # noqa: ARG002  # what is measured is given facts
        """Counts."""
        self.heard += 1


def host_of(listeners: int, config: Config) -> PluginHost:
    """The built-in plugins and so many guests, as if they were installed."""
    guests = [EntryPoint(f"guest-{at}", f"{__name__}:Guest", "edge_agent") for at in range(listeners)]
    return load_plugins(config.plugins, built_in=built_in_plugins(config), entry_points=guests)


def calls(listeners: int, rounds: int) -> dict[str, float]:
    """Microseconds of processor time for each call of an observation and of a question."""
    host = host_of(listeners, Config())
    told, asked = example_facts("sample_ingested"), example_facts("label_sample")
    agent = everything = 0.0
    for _ in range(rounds):
        begin, used = time.thread_time(), time.process_time()
        for _ in range(BURST):
            host.sample_ingested(**told)
        agent += time.thread_time() - begin
        if not host.flush(PATIENCE_SECONDS):
            raise RuntimeError("the guests do not come to an end")
        everything += time.process_time() - used
    begin = time.thread_time()
    for _ in range(rounds * BURST):
        host.label_sample(**asked)
    question = time.thread_time() - begin
    if any(report.errors or report.dropped for report in host.reports()):
        raise RuntimeError(f"guests failed or missed something: {host.reports()}")
    host.close()
    scale = 1e6 / (rounds * BURST)
    return {
        "tell_agent_us": agent * scale,
        "tell_all_us": everything * scale,
        "ask_us": question * scale,
    }


def picture(listeners: int, pictures: int) -> dict[str, float]:
    """Milliseconds of processor time for each picture that an agent takes in; nothing is learned."""
    config = Config(
        drop_folder=DropFolderConfig(settle_seconds=0.0),
        update=UpdateConfig(min_new_samples=10**6, quiet_seconds=3600.0),
    )
    with tempfile.TemporaryDirectory() as folder:
        home, drop = Path(folder, "home"), Path(folder, "drop")
        drop_texts(drop, "cat", [f"cat {at}" for at in range(pictures)])
        host = host_of(listeners, config)
        agent = Agent(home, config, host, drop_folder=drop, watch=False, make_engine=FakeEngine)
        agent.open()
        agent.start()
        used = time.process_time()
        taken = 0
        while taken < pictures:
            agent.step(patience_seconds=0.0)
            taken = (
                pictures - sum(1 for _ in (drop / "cat").iterdir()) if (drop / "cat").is_dir() else pictures
            )
        host.flush(PATIENCE_SECONDS)
        used = time.process_time() - used
        agent.close()
    return {"picture_ms": 1e3 * used / pictures}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    turns, rounds, pictures = (1, 2, 20) if options.quick else (9, 20, 400)
    found: dict[int, dict[str, list[float]]] = {listeners: {} for listeners in LISTENERS}
    for _ in range(turns):
        for listeners in LISTENERS:
            for name, value in {**calls(listeners, rounds), **picture(listeners, pictures)}.items():
                found[listeners].setdefault(name, []).append(value)
    rows = [
        {"listeners": listeners, **{name: statistics.median(values) for name, values in figures.items()}}
        for listeners, figures in found.items()
    ]
    if options.json:
        options.json.write_text(json.dumps({"turns": turns, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    names = list(rows[0])
    print("  ".join(name.rjust(14) for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:14.2f}" for name in names))


if __name__ == "__main__":
    main()
