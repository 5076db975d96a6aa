"""This is where the plugin `external-delegate` offers any external TFLite delegate that its settings name.

One name in four places: distribution `edge-agent-external-delegate`, module `edge_agent_external_delegate`, entry
point `external-delegate`, settings `[plugins.external-delegate]`. Nothing is loaded here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent import DelegateSpec, DeviceNode, hookimpl
from edge_agent_external_delegate.presets import PRESETS, Preset

CPU = "cpu"
"""The name that the processor has among delegates."""

_NOTHING = Preset(libraries=(), advice="look at `library` in the settings")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One delegate in `delegates` of `[plugins.external-delegate]`; what is not set is the preset's."""

    name: str = ""
    """By which it is chosen; empty: the preset's name."""
    preset: str = ""
    library: str = ""
    """An absolute path, or a name that the system's loader finds."""
    options: dict[str, str] = {}
    """What is given to the library, as its maker documents it; the preset's are kept beside them."""
    without: tuple[str, ...] = ()
    """Options of the preset that are not to be given."""
    devices: tuple[str, ...] | None = None
    """Such as `/dev/ethosu1` or `18d1:9302`, of which one must be there; `[]`: it needs none."""
    custom_ops: tuple[str, ...] = ()
    """It only takes models with one of these operators."""

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        if self.preset and self.preset not in PRESETS:
            near = difflib.get_close_matches(self.preset, PRESETS, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"preset: no {self.preset!r}; there are {', '.join(sorted(PRESETS))}{meant}")
        if not (self.preset or self.library):
            raise ValueError("a delegate needs `library`, or a `preset` that knows it")
        if not (self.preset or self.name):
            raise ValueError(f"the delegate of {self.library!r} needs a `name`")
        if "/" in self.library and not Path(self.library).expanduser().is_absolute():
            raise ValueError(
                f"library: {self.library!r} is not an absolute path; a daemon's folder is not yours"
            )
        for option in self.without:
            if option not in self._known.options:
                raise ValueError(f"without: the preset has no option {option!r}")
        for option, what in self._known.needs.items():
            if not self.options.get(option):
                raise ValueError(f"options: {self.preset} needs {option!r}, {what}")
        if self.name == CPU:
            raise ValueError(f"name: {CPU!r} is the processor itself; give it another one")
        _ = self.spec  # which refuses what cannot be meant

    @property
    def _known(self) -> Preset:
        return PRESETS.get(self.preset, _NOTHING)

    @property
    def spec(self) -> DelegateSpec:
        """What the agent is offered; raises `ValueError` for what cannot be meant."""
        preset = self._known
        kept = {key: value for key, value in preset.options.items() if key not in self.without}
        devices = preset.devices if self.devices is None else tuple(map(_device, self.devices))
        return DelegateSpec(
            name=self.name or self.preset,
            libraries=(str(Path(self.library).expanduser()),) if self.library else preset.libraries,
            options=kept | self.options,
            devices=devices,
            custom_ops=self.custom_ops,
            advice=_NOTHING.advice if self.library else preset.advice,
        )


class ExternalDelegateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[plugins.external-delegate]`."""

    delegates: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        """Raise `ValueError`, which the agent reports as a problem of this table."""
        names = [entry.spec.name for entry in self.delegates]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"delegates: two are named {name!r}; give one another `name`")


class ExternalDelegate:
    """Offers what the settings name, and without any nothing."""

    Settings = ExternalDelegateSettings

    def __init__(self, settings: ExternalDelegateSettings) -> None:
        self._settings = settings

    @hookimpl
    def register_delegates(self, register: Callable[[DelegateSpec], None]) -> None:
        """Each one, in the order of the settings."""
        for entry in self._settings.delegates:
            register(entry.spec)


def _device(text: str) -> DeviceNode:
    return DeviceNode(text) if text.startswith("/") else DeviceNode(usb=(text,))
