"""`delegates`: what people and programs read, tried or not, with what is missing and what to do."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_agent.agent import inspecting
from edge_agent.agent.accelerating import open_bench
from edge_agent.agent.extractors import BUILT_IN
from edge_agent.agent.home import Home
from edge_agent.agent.inspecting import inspect_delegates
from edge_agent.agent.shipped_plugins import SHIPPED, Gap
from edge_agent.cli.delegates import delegates
from edge_agent.cli.settings import Settings
from edge_agent.default_plugins import built_in_plugins
from edge_agent.hookspecs import hookimpl
from edge_agent.plugins import load_plugins
from edge_agent.store.device_lock import DeviceLock
from edge_agent.vision.delegate_spec import DelegateSpec, DeviceNode
from edge_agent.vision.delegate_verdict import Verdict

SHIPPED_NAMES = ("edgetpu", "external-delegate", "gpu", "onnx")
KEYS = {"name", "plugin", "available", "reason", "ms_per_image", "cosine_to_cpu", "chosen"}
"""What programs rely on; more stand beside them."""


class Offering(Settings):
    """Settings with a plugin that offers what it is given."""

    def __init__(self, home: Path, *specs: DelegateSpec) -> None:
        super().__init__(str(home))
        self._specs = specs

    def plugins(self, extra=()):
        """The built-in plugins and this one."""
        specs = self._specs

        class Offers:
            @hookimpl
            def register_delegates(self, register):
                for spec in specs:
                    register(spec)

        built_in = [*built_in_plugins(self.config), ("offers", Offers()), *extra]
        return load_plugins(self.config.plugins, built_in=built_in, entry_points=[])


@pytest.fixture(name="show")
def _show(tmp_path):
    def show(*specs: DelegateSpec, arguments=("--json",)):
        done = CliRunner().invoke(delegates, list(arguments), obj=Offering(tmp_path, *specs))
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return show


def test_a_board_without_accelerators(show):
    """There is the CPU, and it is chosen; the plugins that would bring an accelerator are named."""
    cpu, *others = show()

    assert set(cpu) >= KEYS
    assert (cpu["name"], cpu["plugin"], cpu["available"], cpu["chosen"]) == (
        "cpu",
        "default-delegates",
        True,
        True,
    )
    assert (cpu["reason"], cpu["ms_per_image"]) == ("", None)
    assert {row["name"]: row["code"] for row in others} == dict.fromkeys(SHIPPED_NAMES, "plugin-missing")
    assert all(set(row) >= KEYS and "pip install" in row["advice"] for row in others)


def test_what_is_missing_is_said_without_loading_anything(show, library):
    """For each, with something to do; a library that would kill the process is only looked at."""
    found = show(
        DelegateSpec("coral", ("libedgetpu.so.1",), advice="install libedgetpu1-std"),
        DelegateSpec("deadly", (str(library("CRASH_AT_LOAD")),)),
        DelegateSpec("stick", (str(library()),), devices=(DeviceNode("/dev/no_such_stick*"),)),
    )

    assert {row["name"]: row["code"] for row in found if row["code"] != "plugin-missing"} == {
        "cpu": "ok",
        "coral": "library-missing",
        "deadly": "untried",
        "stick": "device-missing",
    }
    assert [row["name"] for row in found if row["chosen"]] == ["cpu"]
    assert not any(row["available"] for row in found[1:])
    assert all(row["reason"] and row["advice"] for row in found[1:])


def test_probe_tries_each_and_remembers(show, library, tmp_path):
    """Figures are shown from then on, also without trying; the CPU is timed too."""
    specs = (
        DelegateSpec("deadly", (str(library("CRASH_AT_LOAD")),)),
        DelegateSpec("good", (str(library()),)),
    )

    tried = {row["name"]: row for row in show(*specs, arguments=("--probe", "--json"))}
    known = {row["name"]: row for row in show(*specs)}

    assert tried["deadly"]["code"] == "crashed"
    assert tried["cpu"]["ms_per_image"] > 0
    assert tried["good"]["cosine_to_cpu"] > 0.999
    assert (tried["good"]["nodes"], tried["good"]["of_nodes"]) == (1, 60)
    assert known["good"]["ms_per_image"] == tried["good"]["ms_per_image"]
    assert known["good"]["chosen"] == (known["good"]["code"] == "ok")
    assert (known["deadly"]["code"], known["deadly"]["reason"]) == ("crashed", tried["deadly"]["reason"])


def test_people_read_a_table_and_what_to_do(show):
    """One line for each, and below the table what is missing and what to do, in lines of a usual width."""
    out = show(DelegateSpec("coral", ("libedgetpu.so.1",), advice="install libedgetpu1-std"), arguments=())

    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "PLUGIN", "STATE", "MS/PICTURE", "COSINE", "OPERATORS", "CHOSEN"]
    assert lines[1].split() == ["cpu", "default-delegates", "ok", "-", "-", "-", "yes"]
    assert lines[2].split() == ["coral", "offers", "library", "missing", "-", "-", "-"]
    assert lines[3].split() == ["edgetpu", "edgetpu", "not", "installed", "-", "-", "-"]
    at = lines.index("coral: library missing: no libedgetpu.so.1.")
    assert lines[at + 1] == "  What to do: install libedgetpu1-std."
    assert max(map(len, lines)) <= 100


def test_who_has_the_device_is_named(show, library, tmp_path):
    """Another agent's lock is respected, and its process is told."""
    device = "/dev/null"
    spec = DelegateSpec("stick-of-a-test", (str(library()),), devices=(DeviceNode(device),))
    lock = DeviceLock(spec.name, (Path("/run/lock"), tmp_path))
    assert lock.acquire() == ""
    try:
        [_cpu, stick, *_others] = show(spec)
    finally:
        lock.release()

    assert stick["code"] == "device-busy"
    assert f"process {os.getpid()} (" in stick["reason"]


@pytest.mark.parametrize("probe", [False, True])
def test_the_running_agents_own_device_is_not_busy(library, tmp_path, probe):
    """It has the lock; what it serves by is shown as chosen, with the figures that it found out."""
    spec = DelegateSpec("stick-of-a-test", (str(library()),), devices=(DeviceNode("/dev/null"),))
    settings, home = Offering(tmp_path, spec), Home(tmp_path)
    home.make()
    found_out = Verdict(code="ok", ms_per_image=2.0, cpu_ms_per_image=8.0, cosine=0.995)
    card = settings.plugins().register_extractors()[BUILT_IN]
    bench = open_bench(home, card, settings.config.extractor, time.monotonic)
    bench.settled(spec, bench.look(spec), found_out)
    home.status_path.write_text(json.dumps({"state": "ok", "delegate": {"name": spec.name}}))
    try:
        rows = inspect_delegates(home, settings.config, settings.plugins(), probe=probe, running=True)
    finally:
        bench.release()

    [stick] = [row for row in rows if row.name == spec.name]
    assert (stick.code, stick.reason, stick.available, stick.chosen) == ("ok", "", True, True)
    assert (stick.ms_per_image, stick.cosine_to_cpu) == (2.0, 0.995)


def test_a_device_without_its_plugin_comes_first(show, monkeypatch):
    """A Coral that is plugged in and that nothing uses is told before anything else, with what to install."""
    gap = Gap(
        SHIPPED[0], "plugin-missing", "Coral's Edge TPUs; /dev/apex_0 is here", "`pip install it`", ("x",)
    )
    monkeypatch.setattr(inspecting, "gaps", lambda *_given: [gap])

    lines = show(arguments=()).splitlines()

    after = lines.index("")
    assert lines[after + 1] == (
        "A device is plugged in that nothing uses: Coral's Edge TPUs; /dev/apex_0 is here."
    )
    assert lines[after + 2] == "  What to do: `pip install it`."
