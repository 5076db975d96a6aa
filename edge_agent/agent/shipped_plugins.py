"""This is where plugins for accelerators are named that are not installed or not set up, and whose devices are here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from edge_agent.vision.delegate_spec import DeviceNode
from edge_agent.vision.device_nodes import Board


@dataclass(frozen=True)
class ShippedPlugin:
    """A package in `plugins/` of the repository that brings accelerators."""

    name: str
    """Of its entry point and its settings; the package has `edge-agent-` in front."""
    brings: str
    devices: tuple[DeviceNode, ...] = ()
    """What it is for, where that can be seen."""
    set_up: str = ""
    """What its settings need before it offers anything; empty: nothing."""
    extractor: bool = False
    """Whether it brings an extractor, which is chosen by its name, and no delegate."""
    extra: str = ""

    @property
    def package(self) -> str:
        """The name of its distribution."""
        return f"edge-agent-{self.name}"

    @property
    def installation(self) -> str:
        """What to do where it is not installed."""
        return f"`pip install 'plugins/{self.package}{self.extra}'` in a checkout of edge-agent"


SHIPPED = (
    ShippedPlugin(
        "edgetpu",
        "Coral's Edge TPUs on USB and PCIe",
        (DeviceNode(usb=("1a6e:089a", "18d1:9302")), DeviceNode("/dev/apex_*")),
    ),
    ShippedPlugin(
        "external-delegate",
        "delegates of boards' makers: Arm NN, NXP, Mesa Teflon, Qualcomm, TI",
        (
            DeviceNode("/dev/galcore"),
            DeviceNode("/dev/ethosu*"),
            DeviceNode("/dev/neutron*"),
            DeviceNode("/dev/accel/accel*"),
        ),
        "add an entry with a `preset` or a `library` to `delegates`",
    ),
    ShippedPlugin(
        "gpu",
        "GPUs through LiteRT and Vulkan",
        (DeviceNode("/dev/dri/renderD*"), DeviceNode("/dev/mali*"), DeviceNode("/dev/kgsl-3d0")),
        "name a float32 `.tflite` as `model`",
        extractor=True,
    ),
    ShippedPlugin(
        "onnx",
        "ONNX Runtime and what it has providers for",
        set_up="name a `.onnx` as `model`",
        extractor=True,
        extra="[runtime]",
    ),
)
"""Those of the repository; whoever writes another one is known once it is installed."""


@dataclass(frozen=True)
class Gap:
    """Why a shipped plugin brings nothing at present."""

    plugin: ShippedPlugin
    code: str
    """`plugin-missing`, `not-set-up` or `an-extractor`."""
    reason: str
    advice: str
    seen: tuple[str, ...]
    """Devices that are here and that it could use."""


def gaps(installed: Collection[str], offering: Collection[str], board: Board) -> Iterator[Gap]:
    """What is missing of each shipped plugin that is not `offering` a delegate; by their entry points' names.

    One that brings an extractor counts as `offering` once it brings it, and is explained all the same.
    """
    for plugin in SHIPPED:
        nodes = [str(node) for device in plugin.devices for node in board.nodes(device)]
        seen = tuple(nodes)
        here = f"; {', '.join(nodes[:3])} is here" if nodes else "; no such device is here"
        here = here if plugin.devices else ""
        if plugin.name not in installed:
            yield Gap(plugin, "plugin-missing", f"{plugin.brings}{here}", plugin.installation, seen)
        elif plugin.extractor and plugin.name in offering:
            reason = f"{plugin.brings}: it brings an extractor, not a delegate"
            yield Gap(plugin, "an-extractor", reason, "choose it by `name` in `[extractor]`", seen)
        elif plugin.name not in offering:
            advice = f"{plugin.set_up} in `[plugins.{plugin.name}]`"
            yield Gap(plugin, "not-set-up", f"{plugin.brings}{here}", advice, seen)
