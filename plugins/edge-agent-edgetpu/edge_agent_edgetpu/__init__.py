"""This is where the plugin `edgetpu` offers Coral's Edge TPUs, on USB and PCIe, through libedgetpu.

One name in four places: distribution `edge-agent-edgetpu`, module `edge_agent_edgetpu`, entry point `edgetpu`,
settings `[plugins.edgetpu]`. Nothing is loaded here. What the library takes is described beside the function that
libedgetpu exports: https://github.com/google-coral/libedgetpu, tflite/edgetpu_delegate_for_custom_op_tflite_plugin.cc.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from edge_agent import DelegateSpec, DeviceNode, hookimpl
from edge_agent.errors import ExtractorError
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard, load_card

NAME = "edgetpu"

LIBRARIES = (
    "libedgetpu.so.1",
    "/usr/lib/aarch64-linux-gnu/libedgetpu.so.1",
    "/usr/lib/arm-linux-gnueabihf/libedgetpu.so.1",
    "/usr/lib/x86_64-linux-gnu/libedgetpu.so.1",
)
"""Where it is on Debian and Raspberry Pi OS for arm64, armhf and amd64; one for another processor is passed over."""

USB = DeviceNode(usb=("1a6e:089a", "18d1:9302"))
"""A stick, before and after it was given its firmware."""

PCI = DeviceNode("/dev/apex_*")
"""A card, with the driver `apex`."""

CUSTOM_OP = "edgetpu-custom-op"
"""What is in every file that was compiled for an Edge TPU, and in no other."""

ADVICE = "install libedgetpu1-std from Coral's packages, or set `library`"

_DEVICE = re.compile(r"(usb|pci)?(?::([0-9]{1,2}))?")
_Performance = Literal["", "Low", "Medium", "High", "Max"]


class EdgeTpuSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.edgetpu]`."""

    library: str = ""
    """An absolute path, or a name that the system's loader finds; empty: the usual places."""
    device: str = ""
    """Which Edge TPU: `usb`, `pci`, `usb:0`, `pci:1`, `:1`; empty: any."""
    devices: tuple[str, ...] = ()
    """Several, each with its number, in place of `device`."""
    performance: _Performance = ""
    """How fast its clock is, and how hot it gets; empty: the library's own, which is `Max`."""
    options: dict[str, str] = {}
    """More that is given to the library, as it documents it."""
    model: str = ""
    """An absolute path of a compiled extractor; its card, a `.json` of the same name, lies beside it."""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        for key in ("library", "model"):
            value = getattr(self, key)
            if (key == "model" or "/" in value) and value and not Path(value).expanduser().is_absolute():
                raise ValueError(f"{key}: {value!r} is not an absolute path; a daemon's folder is not yours")
        if self.device and self.devices:
            raise ValueError("devices: set either `device` or `devices`")
        for device in (self.device, *self.devices):
            if not _DEVICE.fullmatch(device):
                raise ValueError(f"device: {device!r} is none; write 'usb', 'pci', 'usb:0', 'pci:1' or ':1'")
        for device in self.devices:
            if ":" not in device or self.devices.count(device) > 1:
                raise ValueError(
                    f"devices: {device!r} needs a number of its own, such as 'usb:0' and 'usb:1'"
                )
        if len({device.startswith(":") for device in self.devices}) > 1:
            raise ValueError("devices: ':0' may be the same as 'usb:0'; write all of them in one way")
        if "device" in self.options:
            raise ValueError("options: `device` is set by `device` or `devices`")
        if (self.options or self.performance) and not all(":" in one for one in self.chosen):
            raise ValueError("the library hears `performance` and `options` only for a device with a number")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The devices, as the library calls them; one that is empty is any."""
        return self.devices or (self.device,)


class EdgeTpu:
    """Offers each Edge TPU that is set as one delegate, and any of them where none is."""

    Settings = EdgeTpuSettings

    def __init__(self, settings: EdgeTpuSettings) -> None:
        self._settings = settings

    @hookimpl
    def register_delegates(self, register: Callable[[DelegateSpec], None]) -> None:
        """One for each device, with a name of its own, because a name has one lock."""
        for device in self._settings.chosen:
            register(self._spec(device))

    @hookimpl
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        """The compiled extractor, if one is set; raises `ExtractorError` where its card is missing or wrong."""
        if not self._settings.model:
            return
        model = Path(self._settings.model).expanduser()
        place = model.with_suffix(".json")
        card = load_card(place)
        if card.path != model:
            raise ExtractorError(f"{place}: describes {card.path.name}, not {model.name}")
        if card.backend != TFLITE:
            raise ExtractorError(f"{place}: is for {card.backend}; an Edge TPU runs TFLite models")
        register(card)

    def _spec(self, device: str) -> DelegateSpec:
        settings = self._settings
        library = settings.library
        options = {"device": device} if device else {}
        if settings.performance:
            options["Performance"] = settings.performance
        kind = device.partition(":")[0]
        return DelegateSpec(
            name="-".join(filter(None, [NAME, *device.split(":")])),
            libraries=(str(Path(library).expanduser()),) if library else LIBRARIES,
            options=options | settings.options,
            devices={"usb": (USB,), "pci": (PCI,)}.get(kind, (USB, PCI)),
            custom_ops=(CUSTOM_OP,),
            advice=ADVICE if not library else "look at `library` in the settings",
        )
