"""The plugin `edgetpu`: which Edge TPU is asked for, what it takes, and why it cannot be used.

The devices are files in a folder that stands for the system. In libedgetpu's place is a delegate written in C, which
takes compiled models, too; what needs it is left out where there is no gcc.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import edge_agent
from edge_agent.config import ExtractorConfig, PluginsConfig
from edge_agent.errors import ConfigError, PluginError
from edge_agent.plugins import load_plugins
from edge_agent.store.device_lock import SHARED_FOLDER
from edge_agent.testing import check_plugin
from edge_agent.vision.accelerator import Accelerator
from edge_agent.vision.delegate_bench import DelegateBench, DelegateRound
from edge_agent.vision.delegate_check import check_delegate
from edge_agent.vision.delegate_spec import DelegateSpec
from edge_agent.vision.device_nodes import Board
from edge_agent.vision.preprocessing import ExtractorCard, load_card

pytest.importorskip("edge_agent_edgetpu", reason="edge-agent-edgetpu is not installed")

import edge_agent_edgetpu
from edge_agent_edgetpu import CUSTOM_OP, LIBRARIES, USB, EdgeTpu

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "tests" / "native" / "delegate.c"
UNIT = ROOT / "deploy" / "edge-agent.service"
SYSTEM = Path(edge_agent_edgetpu.__file__).parent / "system"
MODELS = ROOT.parent / "shared" / "testdata" / "models"
EMBEDDED = Path(edge_agent.__file__).parent / "extractors" / "efficientnet_lite0_int8.json"
COMPILED = (CUSTOM_OP,)
PATIENCE = 100
"""Seconds until a test gives up on a child process."""


def host(**settings: Any) -> Any:
    """The plugin with these settings, loaded as the agent does."""
    return load_plugins(
        PluginsConfig(settings={"edgetpu": settings}),
        built_in=[],
        entry_points=[EntryPoint("edgetpu", "edge_agent_edgetpu:EdgeTpu", "edge_agent")],
    )


def offered(**settings: Any) -> list[DelegateSpec]:
    """The delegates it offers."""
    return list(host(**settings).register_delegates().values())


@pytest.fixture(name="board")
def _board(tmp_path: Path) -> Board:
    """A system with nothing in it."""
    return Board(root=tmp_path / "board")


def plug_in(board: Board, name: str) -> None:
    """A stick, with or without its firmware, on bus 2."""
    folder = board.place("/sys/bus/usb/devices/2-1")
    folder.mkdir(parents=True)
    vendor, product = name.split(":")
    for file, text in {"idVendor": vendor, "idProduct": product, "busnum": "2", "devnum": "7"}.items():
        (folder / file).write_text(f"{text}\n")
    node = board.place("/dev/bus/usb/002/007")
    node.parent.mkdir(parents=True)
    node.touch()


def insert(board: Board) -> Path:
    """A card."""
    node = board.place("/dev/apex_0")
    node.parent.mkdir(parents=True, exist_ok=True)
    node.touch()
    return node


@pytest.fixture(name="library", scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What stands for libedgetpu."""
    compiler = shutil.which("gcc")
    if compiler is None or not SOURCE.exists():
        pytest.skip("gcc is not installed, or this is no checkout: no delegate can be built")
    path = tmp_path_factory.mktemp("native") / "libedgetpu.so.1"
    flags = ["-O2", "-shared", "-fPIC", "-DEDGETPU"]
    subprocess.run([compiler, *flags, "-o", str(path), str(SOURCE)], check=True)
    return str(path)


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    """A compiled extractor with its card beside it."""
    original = MODELS / "pinto_mobilenet_v2_0.5_96_int8_features_edgetpu.tflite"
    if not original.exists():
        pytest.skip("the shared test data (../shared/testdata) is not on this machine")
    model = tmp_path / "compiled.tflite"
    shutil.copy(original, model)
    card = {
        "name": "compiled",
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "n_features": 1280,
        "input": {"width": 96, "height": 96, "mean": 0, "std": 1},
    }
    model.with_suffix(".json").write_text(json.dumps(card))
    return model


@pytest.fixture(name="bench")
def _bench(board: Board, tmp_path: Path) -> Callable[[ExtractorCard], DelegateBench]:
    """Where delegates of a model are tried, in child processes, on that board."""

    def bench(card: ExtractorCard) -> DelegateBench:
        return DelegateBench(card, ExtractorConfig(), board=board, lock_folders=(tmp_path,))

    return bench


def test_it_keeps_the_contract() -> None:
    """The agent has nothing to complain of."""
    report = check_plugin(EdgeTpu, {"devices": ["usb:0", "pci:1"], "performance": "High"})

    assert set(report.hooks) == {"register_delegates", "register_extractors"}


def test_without_settings_any_edge_tpu_is_taken() -> None:
    """On USB or PCIe, for compiled models only; no extractor is offered."""
    [spec] = offered()

    assert (spec.name, spec.libraries, dict(spec.options)) == ("edgetpu", LIBRARIES, {})
    assert spec.libraries[0] == "libedgetpu.so.1"
    assert [str(device) for device in spec.devices] == ["USB 1a6e:089a or 18d1:9302", "/dev/apex_*"]
    assert spec.custom_ops == ("edgetpu-custom-op",)
    assert host().register_extractors() == {}


@pytest.mark.parametrize(
    ("device", "name", "nodes"),
    [
        ("usb", "edgetpu-usb", ["USB 1a6e:089a or 18d1:9302"]),
        ("pci", "edgetpu-pci", ["/dev/apex_*"]),
        ("usb:0", "edgetpu-usb-0", ["USB 1a6e:089a or 18d1:9302"]),
        ("pci:1", "edgetpu-pci-1", ["/dev/apex_*"]),
        (":1", "edgetpu-1", ["USB 1a6e:089a or 18d1:9302", "/dev/apex_*"]),
    ],
)
def test_a_device_is_an_option_of_the_library(device: str, name: str, nodes: list[str]) -> None:
    """It has a name of its own, so that two agents with a stick each do not share a lock."""
    [spec] = offered(device=device)

    assert (spec.name, dict(spec.options)) == (name, {"device": device})
    assert [str(node) for node in spec.devices] == nodes


def test_several_devices_are_several_delegates() -> None:
    """Each with its option and its name, and with what is set for all."""
    found = offered(
        devices=["usb:0", "usb:1", "pci:0"], performance="High", options={"Usb.AlwaysDfu": "False"}
    )

    assert [spec.name for spec in found] == ["edgetpu-usb-0", "edgetpu-usb-1", "edgetpu-pci-0"]
    assert [spec.options["device"] for spec in found] == ["usb:0", "usb:1", "pci:0"]
    assert all(spec.options["Performance"] == "High" for spec in found)
    assert all(spec.options["Usb.AlwaysDfu"] == "False" for spec in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device": "usb0"}, "write 'usb'"),
        ({"device": "usb:-1"}, "write 'usb'"),
        ({"device": "USB"}, "write 'usb'"),
        ({"devices": ["usb"]}, "needs a number of its own"),
        ({"devices": ["usb:0", "usb:0"]}, "needs a number of its own"),
        ({"devices": [":0", "usb:0"]}, "may be the same"),
        ({"device": "usb", "devices": ["usb:0"]}, "either"),
        ({"library": "lib/libedgetpu.so.1"}, "not an absolute path"),
        ({"model": "model_edgetpu.tflite"}, "not an absolute path"),
        ({"performance": "Max"}, "only for a device with a number"),
        ({"device": "usb", "options": {"Usb.AlwaysDfu": "True"}}, "only for a device with a number"),
        ({"device": "usb:0", "options": {"device": "pci"}}, "is set by"),
        ({"device": "usb:0", "performance": "max"}, "performance"),
        ({"devcie": "usb"}, "devcie"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], words: str) -> None:
    """With its table, at the start and not at the first picture."""
    with pytest.raises(ConfigError, match=r"plugins\.edgetpu") as caught:
        offered(**settings)
    assert words in str(caught.value)


def test_a_board_without_the_library_is_told_what_to_install(board: Board) -> None:
    """Where it was looked for, and which package has it."""
    [spec] = offered(library="libedgetpu-of-nobody.so.1")
    assert check_delegate(spec, COMPILED, board).code == "library-missing"

    [spec] = offered()
    assert "libedgetpu1-std" in spec.advice


@pytest.mark.parametrize("folder", ["aarch64-linux-gnu", "arm-linux-gnueabihf", "x86_64-linux-gnu"])
def test_the_library_is_found_where_debian_puts_it(folder: str, board: Board, library: str) -> None:
    """By its name, through the loader's configuration, for each kind of board."""
    place = board.place(f"/usr/lib/{folder}")
    place.mkdir(parents=True)
    shutil.copy(library, place)
    configured = board.place("/etc/ld.so.conf.d")
    configured.mkdir(parents=True)
    (configured / f"{folder}.conf").write_text(f"/usr/lib/{folder}\n")
    insert(board)

    verdict = check_delegate(offered()[0], COMPILED, board)

    assert (verdict.code, verdict.library) == ("untried", str(place / "libedgetpu.so.1"))
    assert f"/usr/lib/{folder}/libedgetpu.so.1" in LIBRARIES


def test_a_board_without_a_device_is_told_so(board: Board, library: str) -> None:
    """The reason names what was looked for; a card is no stick."""
    [some] = offered(library=library)
    [stick] = offered(library=library, device="usb")
    [card] = offered(library=library, device="pci")

    nothing = check_delegate(some, COMPILED, board)
    insert(board)

    assert nothing.reason == "device missing: no USB 1a6e:089a or 18d1:9302 or /dev/apex_*"
    assert check_delegate(stick, COMPILED, board).code == "device-missing"
    assert check_delegate(card, COMPILED, board).code == "untried"


@pytest.mark.parametrize("name", ["1a6e:089a", "18d1:9302"])
def test_a_stick_is_found_before_and_after_its_firmware(name: str, board: Board, library: str) -> None:
    """It changes its name while it is in use."""
    plug_in(board, name)

    assert check_delegate(offered(library=library, device="usb")[0], COMPILED, board).code == "untried"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_device_of_others_is_told_of(board: Board, library: str) -> None:
    """What is missing then is a rule for udev."""
    insert(board).chmod(0)

    verdict = check_delegate(offered(library=library)[0], COMPILED, board)

    assert verdict.code == "device-forbidden"
    assert "udev" in verdict.advice


def test_an_ordinary_model_is_refused(board: Board, library: str, bench: Callable[..., Any]) -> None:
    """With the reason, and the CPU answers: the embedded extractor was not compiled."""
    insert(board)
    [spec] = offered(library=library)
    cpu = DelegateSpec("cpu")
    one = bench(load_card(EMBEDDED))

    verdict = one.look(spec)
    accelerator = Accelerator(one, [cpu, spec])

    assert verdict.code == "model-not-accepted"
    assert CUSTOM_OP in verdict.detail
    assert accelerator.wanted() is None


def test_a_compiled_model_is_run_and_chosen(
    board: Board, library: str, model: Path, bench: Callable[..., Any]
) -> None:
    """It is tried in a child, takes the model's only step, and is chosen, because the CPU cannot stand in."""
    plug_in(board, "18d1:9302")
    loaded = host(library=library, device="usb:0", model=str(model))
    [card] = loaded.register_extractors().values()
    [spec] = loaded.register_delegates().values()
    one = bench(card)

    work = DelegateRound(one, [DelegateSpec("cpu"), spec])
    work.advance(wait=True)
    accelerator = Accelerator(one, [DelegateSpec("cpu"), spec])
    use = accelerator.wanted()

    assert work.found["cpu"].code == "model-not-accepted"
    assert work.found["edgetpu-usb-0"].code == "ok", work.found["edgetpu-usb-0"].reason
    assert work.found["edgetpu-usb-0"].ms_per_image > 0
    assert (use.name, use.options) == ("edgetpu-usb-0", {"device": "usb:0"})
    assert use.kind == "edgetpu-usb-0"
    accelerator.close()


def test_a_stick_that_is_locked_leaves_the_other(
    board: Board, library: str, model: Path, bench: Callable[..., Any]
) -> None:
    """Two agents with two sticks: what one has, the other does not get, and it takes the second."""
    plug_in(board, "18d1:9302")
    loaded = host(library=library, devices=["usb:0", "usb:1"], model=str(model))
    [card] = loaded.register_extractors().values()
    first, second = loaded.register_delegates().values()
    ours, theirs = bench(card), bench(card)

    assert ours.look(first).code == "untried"
    busy = theirs.look(first)
    assert busy.code == "device-busy"
    assert f"process {os.getpid()}" in busy.detail
    assert theirs.look(second).code == "untried"
    ours.release()
    theirs.release()


def test_a_card_for_another_file_is_refused(model: Path) -> None:
    """The message names both."""
    other = model.with_name("other.tflite")
    shutil.copy(model, other)
    shutil.copy(model.with_suffix(".json"), other.with_suffix(".json"))

    with pytest.raises(PluginError, match=r"describes compiled\.tflite, not other\.tflite"):
        host(model=str(other)).register_extractors()


def test_the_table_of_a_machine_without_one_says_what_is_missing(tmp_path: Path) -> None:
    """`edge-agent delegates --probe`, as people run it, on this machine without libedgetpu."""
    (tmp_path / "board.toml").write_text('[plugins.edgetpu]\nlibrary = "/nowhere/libedgetpu.so.1"\n')
    command = ["-m", "edge_agent.cli", "--config", "board.toml", "delegates", "--probe", "--json"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "EDGE_AGENT_HOME": str(tmp_path / "home"), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}

    assert (rows["edgetpu"]["plugin"], rows["edgetpu"]["code"]) == ("edgetpu", "library-missing")
    assert "/nowhere/libedgetpu.so.1" in rows["edgetpu"]["reason"]
    assert rows["edgetpu"]["advice"]
    assert rows["cpu"]["chosen"]


def test_the_udev_rule_knows_what_the_plugin_looks_for() -> None:
    """Both names of a stick, and the cards; each line has a group and a mode."""
    [path] = SYSTEM.glob("*.rules")
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]

    found = set()
    for line in lines:
        assert re.search(r'GROUP="plugdev", MODE="0660"$', line), line
        if name := re.search(r'idVendor}=="(\w{4})", ATTR{idProduct}=="(\w{4})"', line):
            found.add(":".join(name.groups()))
    assert found == set(USB.usb)
    assert any('KERNEL=="apex_*"' in line for line in lines)


def test_the_drop_in_lifts_what_the_unit_forbids() -> None:
    """Each key that is set to `no` is set to `yes` in the unit; the ways to the internet stay shut."""

    def service(path: Path) -> dict[str, str]:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(path.read_text())
        return dict(parser["Service"])

    unit, drop_in = service(UNIT), service(SYSTEM / "edgetpu.conf")

    lifted = {key for key, value in drop_in.items() if value == "no"}
    assert lifted == {"PrivateDevices", "PrivateUsers", "PrivateNetwork"}
    assert all(unit[key] == "yes" for key in lifted)
    assert unit["IPAddressDeny"] == "any"
    assert "IPAddressDeny" not in drop_in
    assert "AF_INET" not in drop_in["RestrictAddressFamilies"]
    assert drop_in["ReadWritePaths"] == f"-{SHARED_FOLDER}"
