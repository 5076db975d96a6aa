"""This is where it is written down what is known of the delegates of several makers; README.md names the sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent import DeviceNode


@dataclass(frozen=True)
class Preset:
    """What a delegate needs, as its maker or its source tells; whatever the owner sets goes before it."""

    libraries: tuple[str, ...]
    """The best first: names that the system's loader finds, or paths."""
    advice: str
    """Which package has the library."""
    options: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[DeviceNode, ...] = ()
    """One of these must be there; empty: none is known that must be."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Options that only the owner knows, each with what it is."""


PRESETS: Mapping[str, Preset] = {
    # Names the backends in the order in which they are tried for each operator.
    "arm-nn": Preset(
        libraries=("libarmnnDelegate.so.29", "libarmnnDelegate.so"),
        options={"backends": "GpuAcc,CpuAcc"},
        advice="unpack a release of Arm NN and set `library` to its libarmnnDelegate.so",
    ),
    "nxp-vx": Preset(
        libraries=("libvx_delegate.so",),
        devices=(DeviceNode("/dev/galcore"),),
        advice="use NXP's Linux image for the i.MX 8M Plus, which has it",
    ),
    "ethos-u": Preset(
        libraries=("libethosu_delegate.so",),
        devices=(DeviceNode("/dev/ethosu*"),),
        advice="use NXP's Linux image for the i.MX 93, which has it",
    ),
    # Its source reads no options at all.
    "neutron": Preset(
        libraries=("libneutron_delegate.so",),
        devices=(DeviceNode("/dev/neutron*"),),
        advice="use NXP's Linux image for the i.MX 95, which has it",
    ),
    # Drivers of the kernel's class for accelerators, and etnaviv, which is one for graphics: any other graphics unit
    # has such a node, too, and is none that Teflon knows.
    "mesa-teflon": Preset(
        libraries=("/usr/lib/teflon/libteflon.so", "libteflon.so"),
        devices=(DeviceNode("/dev/accel/accel*"), DeviceNode("/dev/dri/renderD*", drivers=("etnaviv",))),
        advice="install the package mesa-teflon-delegate",
    ),
    "qualcomm-qnn": Preset(
        libraries=("libQnnTFLiteDelegate.so",),
        options={"backend_type": "htp"},
        advice="install the QNN delegate of Qualcomm's AI Engine Direct (QAIRT)",
    ),
    "ti-tidl": Preset(
        libraries=("libtidl_tfl_delegate.so",),
        needs={"artifacts_folder": "the folder that TI's tools made of this very model"},
        advice="use TI's Processor SDK for Edge AI, which has it",
    ),
}
"""By the name that is written into the settings."""
