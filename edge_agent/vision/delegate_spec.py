"""This is where it is said what a delegate is, before anything of it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

CPU = "cpu"
"""The name of the runtime's own kernels (XNNPACK where it takes the model), which need no library."""

AGREES = 0.99
"""From this cosine on, features of a delegate and of the CPU are of one kind and may be compared."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")


@dataclass(frozen=True)
class DeviceNode:
    """One way in which a device may be there: as a file in `/dev`, or as something on the USB."""

    pattern: str = ""
    """Such as `/dev/apex_*`; any file that matches is the device."""
    usb: tuple[str, ...] = ()
    """Such as `18d1:9302`, vendor and product; the node is then found below `/dev/bus/usb`."""
    drivers: tuple[str, ...] = ()
    """Only a file of `pattern` whose driver, as the kernel calls it, is one of these counts; empty: any."""

    def __post_init__(self) -> None:
        if bool(self.pattern) == bool(self.usb):
            raise ValueError("a DeviceNode has either a pattern or usb ids")
        _all(self.usb, str, "a DeviceNode's usb is a tuple of texts")
        _all(self.drivers, str, "a DeviceNode's drivers are a tuple of texts")
        if self.drivers and self.usb:
            raise ValueError("a DeviceNode on the USB is known by its ids, not by drivers")
        if self.pattern and not self.pattern.startswith("/dev/"):
            raise ValueError(f"a DeviceNode's pattern begins with /dev/, not {self.pattern!r}")
        for name in self.usb:
            if not _USB.fullmatch(name):
                raise ValueError(f"{name!r} is not a USB id such as 18d1:9302, in small letters")

    def __str__(self) -> str:
        told = f" of {' or '.join(self.drivers)}" if self.drivers else ""
        return f"{self.pattern}{told}" or f"USB {' or '.join(self.usb)}"


@dataclass(frozen=True)
class DelegateSpec:
    """A delegate that may be there. It is only written down; nothing is loaded before it was tried elsewhere.

    Raises `ValueError` for what cannot be meant.
    """

    name: str
    """By which it is named in the configuration and in the status."""
    libraries: tuple[str, ...] = ()
    """Where its library may be, the best first: paths, or names that the system's loader would find."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What is given to the library, as it documents it."""
    devices: tuple[DeviceNode, ...] = ()
    """One of these must be there; empty: it needs none."""
    custom_ops: tuple[str, ...] = ()
    """It only takes models with one of these operators, such as `edgetpu-custom-op`; empty: any model."""
    advice: str = ""
    """What to do where its library is missing, such as which package has it."""

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise ValueError(
                f"a delegate's name has letters, digits, dots, dashes, underscores: {self.name!r}"
            )
        if self.name == "auto":
            raise ValueError("a delegate cannot be called 'auto': in the configuration that means any")
        if bool(self.libraries) == (self.name == CPU):
            raise ValueError(f"delegate {self.name!r}: only {CPU!r} has no libraries")
        # Nobody but a type checker would say so before the agent looks for it, and then it would die of it.
        for kind, *keys in ((str, "libraries", "custom_ops"), (DeviceNode, "devices")):
            for key in keys:
                _all(getattr(self, key), kind, f"delegate {self.name!r}: {key} is a tuple of {kind.__name__}")
        if not isinstance(self.options, Mapping):
            raise ValueError(f"delegate {self.name!r}: options is a mapping, not {self.options!r}")  # noqa: TRY004
        for key, value in self.options.items():
            if not (isinstance(key, str) and isinstance(value, str)):
                raise ValueError(  # noqa: TRY004  # for whoever writes a plugin it is one kind of mistake
                    f"delegate {self.name!r}: options are texts, not {key!r} = {value!r}"
                )


def _all(given: object, kind: type, rule: str) -> None:
    """Raise `ValueError` for one thing where several are meant: a text is a list of letters to Python."""
    if not isinstance(given, tuple | list) or not all(isinstance(one, kind) for one in given):
        raise ValueError(f"{rule}, not {given!r}")


class DelegateUse(Struct, frozen=True, kw_only=True):
    """A delegate that was found fit, as the process that loads it is told."""

    name: str
    library: str
    options: dict[str, str] = {}
    kind: str = CPU
    """What its features may be mixed with: the CPU's, or only its own (then its name)."""
    comparable: bool = True
    """Whether the CPU can run the model, and so be asked whether it agrees."""
    min_cosine: float = AGREES
    """What its features must have to the CPU's as long as it serves."""


@dataclass(frozen=True)
class DelegateChange:
    """Pictures are looked at by something else from now on."""

    previous: str
    current: str
    """The delegates' names; `cpu` is the runtime itself."""
    reason: str
    requested: str
    """What the configuration asks for: a name, or `auto`."""

    @property
    def is_fallback(self) -> bool:
        """Whether the accelerator is gone, rather than there."""
        return self.current == CPU
