"""This is where every delegate that plugins offer is put into one table, tried first if that is wished."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from edge_agent.agent.accelerating import delegate_problems, open_bench
from edge_agent.agent.extractors import choice_problems, chosen_name, known_extractors
from edge_agent.agent.home import Home
from edge_agent.agent.shipped_plugins import Gap, gaps
from edge_agent.agent.status import read_status
from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.plugins import PluginHost
from edge_agent.vision.accelerator import Accelerator
from edge_agent.vision.delegate_bench import DelegateBench, DelegateRound
from edge_agent.vision.delegate_spec import CPU, DelegateSpec
from edge_agent.vision.delegate_verdict import Verdict
from edge_agent.vision.device_nodes import Board
from edge_agent.vision.preprocessing import TFLITE


@dataclass(frozen=True)
class DelegateRow:
    """One delegate, as `edge-agent delegates --json` prints it; figures are None where it was not run."""

    name: str
    plugin: str
    available: bool
    """Whether it was run and is fit to be used."""
    code: str
    reason: str
    """Why it is not used; empty where all is well."""
    advice: str
    library: str
    ms_per_image: float | None
    cpu_ms_per_image: float | None
    cosine_to_cpu: float | None
    nodes: int | None
    of_nodes: int | None
    memory_bytes: int | None
    chosen: bool
    urgent: bool = False
    """Whether a device is here that nothing uses because its plugin is not installed."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def inspect_delegates(
    home: Home, config: Config, plugins: PluginHost, *, probe: bool, running: bool
) -> list[DelegateRow]:
    """A row for each delegate, by name, the CPU first; then one for each shipped plugin that brings none, and why.

    `probe` tries each one now, also those that were given up; without it only files and devices are looked at, and
    figures are those that are remembered. `running`: a running agent says which one is chosen.

    Raises `ConfigError` for an extractor or a delegate that nobody offers.
    """
    specs = plugins.register_delegates()
    offered = plugins.register_extractors()
    extractors = known_extractors(home, offered)
    if problems := delegate_problems(config.extractor, specs) + choice_problems(home, config, extractors):
        raise ConfigError(problems)
    bench = open_bench(home, extractors[chosen_name(home, config)], config.extractor, time.monotonic)
    try:
        tflite = bench.card.backend == TFLITE
        found = _tried(bench, specs) if probe and tflite else {one: bench.told(specs[one]) for one in specs}
    finally:
        bench.release()
    chosen = _chosen(home, bench, specs, running=running)
    if running and (held := found.get(chosen)) is not None and held.code == "device-busy":
        # The running agent itself has the device: it is in use, and could not be tried beside that.
        found[chosen] = msgspec.structs.replace(held, code="ok", detail="")
    rows = [
        _row(
            specs[name],
            plugins.offered_by("register_delegates", name),
            found[name],
            bench.board,
            name == chosen,
        )
        for name in sorted(specs, key=lambda name: (name != CPU, name))
    ]
    installed = {report.name for report in plugins.reports()}
    offering = {row.plugin for row in rows}
    offering |= {plugins.offered_by("register_extractors", one) for one in offered}
    return rows + [_empty_row(gap) for gap in gaps(installed, offering, bench.board)]


def _tried(bench: DelegateBench, specs: dict[str, DelegateSpec]) -> dict[str, Verdict]:
    for spec in specs.values():
        if spec.name != CPU:
            bench.forgive(spec, bench.look(spec))
    work = DelegateRound(bench, specs.values(), afresh=frozenset(specs))
    try:
        work.advance(wait=True)
    finally:
        work.end()
    return work.found


def _chosen(home: Home, bench: DelegateBench, specs: dict[str, DelegateSpec], *, running: bool) -> str:
    """What the running agent uses, or what one would use that is started now, as far as it is known."""
    status = (read_status(home.status_path) or {}) if running else {}
    if name := (status.get("delegate") or {}).get("name"):
        return str(name)
    if bench.config.delegate == CPU or bench.card.backend != TFLITE:
        return CPU
    accelerator = Accelerator(bench, specs.values())
    try:
        accelerator.look()
        return accelerator.use.name if accelerator.use else CPU
    finally:
        accelerator.close()


def _row(spec: DelegateSpec, plugin: str, verdict: Verdict, board: Board, chosen: bool) -> DelegateRow:  # noqa: FBT001
    name = spec.name
    reason, advice = verdict.reason, verdict.advice
    if verdict.code == "library-missing":
        reason, advice = _without_library(spec, verdict, board)
    usable = verdict.code in ("ok", "not-faster") or (name == CPU and verdict.code == "untried")
    cpu = verdict.code == "untried" and name == CPU
    return DelegateRow(
        name=name,
        plugin=plugin,
        available=usable,
        code="ok" if cpu else verdict.code,
        reason="" if cpu else reason,
        advice="" if cpu else advice,
        library=verdict.library,
        ms_per_image=verdict.ms_per_image,
        cpu_ms_per_image=verdict.cpu_ms_per_image,
        cosine_to_cpu=1.0 if name == CPU and verdict.ms_per_image is not None else verdict.cosine,
        nodes=verdict.nodes,
        of_nodes=verdict.of_nodes,
        memory_bytes=verdict.memory_bytes,
        chosen=chosen,
    )


def _without_library(spec: DelegateSpec, verdict: Verdict, board: Board) -> tuple[str, str]:
    """The reason and the advice where there is no library, with what else is missing or there."""
    reason = verdict.reason
    if spec.advice:
        reason = reason.removesuffix(f"; {spec.advice}")
    if spec.devices:
        nodes = [str(node) for device in spec.devices for node in board.nodes(device)]
        wanted = " or ".join(map(str, spec.devices))
        reason += f"; {', '.join(nodes[:3])} is here" if nodes else f"; and no device: no {wanted}"
    return reason, spec.advice or verdict.advice


def _empty_row(gap: Gap) -> DelegateRow:
    return DelegateRow(
        name=gap.plugin.name,
        plugin=gap.plugin.name,
        available=False,
        code=gap.code,
        reason=gap.reason,
        advice=gap.advice,
        library="",
        ms_per_image=None,
        cpu_ms_per_image=None,
        cosine_to_cpu=None,
        nodes=None,
        of_nodes=None,
        memory_bytes=None,
        chosen=False,
        urgent=gap.code == "plugin-missing" and gap.plugin.name != "gpu" and bool(gap.seen),
    )
