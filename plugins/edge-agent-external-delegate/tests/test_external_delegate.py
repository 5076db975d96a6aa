"""The plugin `external-delegate`: any library by its path, and what is known of those of several makers.

A delegate written in C is used for real; that is left out where there is no gcc.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import PluginsConfig
from edge_agent.errors import ConfigError
from edge_agent.plugins import load_plugins
from edge_agent.testing import check_plugin
from edge_agent.vision.delegate_check import check_delegate
from edge_agent.vision.delegate_spec import DelegateSpec
from edge_agent.vision.device_nodes import Board

pytest.importorskip("edge_agent_external_delegate", reason="edge-agent-external-delegate is not installed")

from edge_agent_external_delegate import ExternalDelegate
from edge_agent_external_delegate.presets import PRESETS

SOURCE = Path(__file__).resolve().parents[3] / "tests" / "native" / "delegate.c"
GUIDE = Path(__file__).resolve().parents[1] / "README.md"
PATIENCE = 100
"""Seconds until a test gives up on a child process."""

EXPECTED = {
    "arm-nn": (["libarmnnDelegate.so.29", "libarmnnDelegate.so"], {"backends": "GpuAcc,CpuAcc"}, []),
    "nxp-vx": (["libvx_delegate.so"], {}, ["/dev/galcore"]),
    "ethos-u": (["libethosu_delegate.so"], {}, ["/dev/ethosu*"]),
    "neutron": (["libneutron_delegate.so"], {}, ["/dev/neutron*"]),
    "mesa-teflon": (
        ["/usr/lib/teflon/libteflon.so", "libteflon.so"],
        {},
        ["/dev/accel/accel*", "/dev/dri/renderD* of etnaviv"],
    ),
    "qualcomm-qnn": (["libQnnTFLiteDelegate.so"], {"backend_type": "htp"}, []),
    "ti-tidl": (["libtidl_tfl_delegate.so"], {"artifacts_folder": "/opt/artifacts"}, []),
}
"""For each preset: libraries, options and devices, as their makers document them."""

OWNERS: dict[str, dict[str, Any]] = {"ti-tidl": {"options": {"artifacts_folder": "/opt/artifacts"}}}
"""What has to be set beside a preset."""


def offered(*delegates: dict[str, Any]) -> list[DelegateSpec]:
    """What the plugin offers with these settings, loaded as the agent does."""
    host = load_plugins(
        PluginsConfig(settings={"external-delegate": {"delegates": list(delegates)}}),
        built_in=[],
        entry_points=[
            EntryPoint("external-delegate", "edge_agent_external_delegate:ExternalDelegate", "edge_agent")
        ],
    )
    return list(host.register_delegates().values())


@pytest.fixture(name="library", scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An external delegate, built from its source."""
    compiler = shutil.which("gcc")
    if compiler is None or not SOURCE.exists():
        pytest.skip("gcc is not installed, or this is no checkout: no delegate can be built")
    path = tmp_path_factory.mktemp("native") / "libdelegate.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(path), str(SOURCE)], check=True)
    return path


@pytest.fixture(name="probed")
def _probed(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows of `edge-agent delegates --probe`, run as people run it, by name."""

    def probed(extractor: str, *delegates: dict[str, Any]) -> dict[str, dict[str, Any]]:
        lines = [f"[extractor]\n{extractor}\n[plugins.external-delegate]\ndelegates = ["]
        lines += [f"  {_inline(one)}," for one in delegates]
        (tmp_path / "board.toml").write_text("\n".join([*lines, "]\n"]))
        command = ["-m", "edge_agent.cli", "--config", "board.toml", "delegates", "--probe", "--json"]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={
                **os.environ,
                "EDGE_AGENT_HOME": str(tmp_path / "home"),
                "OPENBLAS_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)}

    return probed


def _inline(value: Any) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def test_it_keeps_the_contract() -> None:
    """The agent has nothing to complain of, with a preset or without anything."""
    assert check_plugin(ExternalDelegate, {}).hooks == ("register_delegates",)
    assert check_plugin(ExternalDelegate, {"delegates": [{"preset": "nxp-vx"}]}).hooks == (
        "register_delegates",
    )


def test_without_settings_nothing_is_offered() -> None:
    """What nobody asked for is not looked for."""
    assert offered() == []


@pytest.mark.parametrize("preset", EXPECTED)
def test_each_preset_is_what_its_maker_documents(preset: str) -> None:
    """Libraries, options and devices; the name is the preset's."""
    libraries, options, devices = EXPECTED[preset]

    [spec] = offered({"preset": preset, **OWNERS.get(preset, {})})

    assert spec.name == preset
    assert list(spec.libraries) == libraries
    assert dict(spec.options) == options
    assert list(map(str, spec.devices)) == devices
    assert spec.advice


@pytest.mark.parametrize("preset", EXPECTED)
def test_a_board_without_the_library_is_told_what_to_do(preset: str, tmp_path: Path) -> None:
    """On an empty board the reason names the library and what has it."""
    [spec] = offered({"preset": preset, "library": "libnothing.so", **OWNERS.get(preset, {})})
    assert check_delegate(spec, (), Board(root=tmp_path)).code == "library-missing"

    if preset != "mesa-teflon":  # which looks into a folder of the real system, too
        [spec] = offered({"preset": preset, **OWNERS.get(preset, {})})
        verdict = check_delegate(spec, (), Board(root=tmp_path))
        assert verdict.code == "library-missing"
        assert spec.libraries[0] in verdict.detail
        assert spec.advice in verdict.detail


@pytest.mark.parametrize(
    ("preset", "node"),
    [
        ("nxp-vx", "/dev/galcore"),
        ("ethos-u", "/dev/ethosu0"),
        ("neutron", "/dev/neutron0"),
        ("mesa-teflon", "/dev/accel/accel0"),
        ("mesa-teflon", "/dev/dri/renderD128"),
    ],
)
def test_a_device_is_waited_for(preset: str, node: str, library: Path, tmp_path: Path) -> None:
    """With the library alone the device is missing; with its node in `/dev` it may be tried."""
    board = Board(root=tmp_path / "board")
    [spec] = offered({"preset": preset, "library": str(library)})

    assert check_delegate(spec, (), board).code == "device-missing"
    board.place(node).parent.mkdir(parents=True)
    board.place(node).touch()
    if "renderD" in node:
        assert check_delegate(spec, (), board).code == "device-missing"
        driver(board, node, "i915")
        assert check_delegate(spec, (), board).code == "device-missing"
        driver(board, node, "etnaviv")
    assert check_delegate(spec, (), board).code == "untried"


def driver(board: Board, node: str, name: str) -> None:
    """Say in a board's files which driver of the kernel is behind a node."""
    link = board.place(f"/sys/class/drm/{Path(node).name}/device/driver")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../../../bus/platform/drivers/{name}")


def test_every_preset_is_known_to_the_guide_and_to_these_tests() -> None:
    """The table of README.md has a row for each, with what is given to the library."""
    text = GUIDE.read_text(encoding="utf-8")

    assert set(PRESETS) == set(EXPECTED)
    for name, preset in PRESETS.items():
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        wanted = [*preset.libraries, *preset.options, *preset.options.values(), *preset.needs]
        wanted += [str(device) for device in preset.devices]
        assert all(one in row for one in wanted), row


def test_what_is_set_goes_before_the_preset() -> None:
    """Options are added and replaced, or left out; a name, a library and devices are taken as they are."""
    entry = {
        "name": "gpu",
        "preset": "qualcomm-qnn",
        "library": "/opt/qnn/libQnnTFLiteDelegate.so",
        "options": {"backend_type": "gpu", "gpu_precision": "1"},
        "devices": ["/dev/kgsl-3d0", "18d1:9302"],
        "custom_ops": ["mine"],
    }

    gpu, plain = offered(entry, {"preset": "arm-nn", "without": ["backends"]})

    assert (gpu.name, gpu.libraries) == ("gpu", ("/opt/qnn/libQnnTFLiteDelegate.so",))
    assert dict(gpu.options) == {"backend_type": "gpu", "gpu_precision": "1"}
    assert [str(device) for device in gpu.devices] == ["/dev/kgsl-3d0", "USB 18d1:9302"]
    assert gpu.custom_ops == ("mine",)
    assert dict(plain.options) == {}


def test_one_preset_may_be_offered_twice() -> None:
    """With another name and other options each, such as for two devices on one board."""
    found = offered({"preset": "ethos-u"}, {"preset": "ethos-u", "name": "second", "devices": []})

    assert [(spec.name, len(spec.devices)) for spec in found] == [("ethos-u", 1), ("second", 0)]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "needs `library`"),
        ({"library": "/opt/lib.so"}, "needs a `name`"),
        ({"preset": "armnn"}, "did you mean 'arm-nn'"),
        ({"name": "mine", "library": "lib/mine.so"}, "not an absolute path"),
        ({"name": "cpu", "library": "/opt/lib.so"}, "the processor itself"),
        ({"name": "a name", "library": "/opt/lib.so"}, "letters, digits"),
        ({"preset": "ti-tidl"}, "needs 'artifacts_folder'"),
        ({"preset": "arm-nn", "without": ["backend"]}, "no option 'backend'"),
        ({"preset": "ethos-u", "devices": ["ethosu0"]}, "18d1:9302"),
        ({"preset": "ethos-u", "options": {"timeout": 3}}, "expected `str`"),
        ({"preset": "ethos-u", "librery": "/opt/lib.so"}, "librery"),
    ],
)
def test_what_cannot_be_meant_is_refused(entry: dict[str, Any], words: str) -> None:
    """With the table it stands in, at the start and not at the first picture."""
    with pytest.raises(ConfigError, match=r"plugins\.external-delegate") as caught:
        offered(entry)
    assert words in str(caught.value)


def test_two_of_one_name_are_refused() -> None:
    """Nobody could choose one of them."""
    with pytest.raises(ConfigError, match="two are named 'ethos-u'"):
        offered({"preset": "ethos-u"}, {"preset": "ethos-u"})


def test_a_library_is_used_for_real_and_chosen(library: Path, probed: Callable[..., Any]) -> None:
    """Named in the settings it is loaded in a child, agrees with the CPU, and is chosen; the other says why not."""
    rows = probed('delegate = "mine"', {"name": "mine", "library": str(library)}, {"preset": "neutron"})

    assert (rows["mine"]["plugin"], rows["mine"]["chosen"]) == ("external-delegate", True)
    assert rows["mine"]["cosine_to_cpu"] > 0.999
    assert rows["mine"]["nodes"] == 1
    assert rows["neutron"]["code"] == "library-missing"
    assert "i.MX 95" in rows["neutron"]["advice"]
    assert not rows["neutron"]["chosen"]


def test_options_reach_the_library(library: Path, probed: Callable[..., Any]) -> None:
    """One that is told to refuse says so in its own words, and the CPU is chosen."""
    entry = {"name": "mine", "library": str(library), "options": {"fault": "refuse"}}

    rows = probed('delegate = "auto"', entry)

    assert rows["mine"]["code"] == "refused"
    assert "of another generation" in rows["mine"]["reason"]
    assert rows["cpu"]["chosen"]
