"""This is where it is put into words why a delegate is used or not, and what to do about it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Code = Literal[
    "ok",
    "untried",
    "library-missing",
    "not-a-library",
    "wrong-architecture",
    "symbol-missing",
    "dependency-missing",
    "system-too-old",
    "device-missing",
    "device-forbidden",
    "device-busy",
    "model-not-accepted",
    "refused",
    "refused-silently",
    "crashed",
    "hung",
    "exited",
    "too-much-memory",
    "failed",
    "wrong-numbers",
    "turned-wrong",
    "takes-nothing",
    "not-faster",
    "switched-off",
]

ADVICE: dict[Code, str] = {
    "ok": "",
    "untried": "`edge-agent delegates --probe` tries it; a running agent does so by itself",
    "library-missing": "once it is installed, a running agent finds it by itself within ten minutes",
    "not-a-library": "let this user read it; or it is damaged or no shared library, then install it again",
    "wrong-architecture": "install the library that was built for this processor and this Python",
    "symbol-missing": "it is not an external TFLite delegate; look for the file that is",
    "system-too-old": "install the build of it for this release of the system, or a newer release of the system",
    "dependency-missing": "install the other library that it needs",
    "device-missing": "plug the device in or load its driver; the agent looks again by itself",
    "device-forbidden": "let this user read and write the device, by a udev rule or its group",
    "device-busy": "stop the other program, or let it have the device",
    "model-not-accepted": "choose an extractor that was compiled for this device",
    "refused": "see the message; mostly the device, its driver or an option",
    "refused-silently": "it gave no reason; look whether the device is plugged in and its driver suits the library",
    "crashed": "install a library that was built for this version of the runtime",
    "hung": "unplug the device and plug it in again, or start the board again",
    "exited": "the library ends the process it is in; install another version of it",
    "too-much-memory": "install another version of the library; this one leaks or needs more than there is",
    "failed": "it was loaded and could not run the model; see the message",
    "wrong-numbers": "it computes other features than the CPU; install another version or use another model",
    "turned-wrong": "it agreed with the CPU at first; look after heat, power and cables, or replace the device",
    "takes-nothing": "it runs none of this model; choose an extractor that it supports",
    "not-faster": "the CPU is as fast; name it in `[extractor] delegate` to use it all the same",
    "switched-off": "it failed too often; tried again when its file changes, or by `edge-agent delegates --probe`",
}
"""What a person can do, for each reason."""

DEATHS: frozenset[Code] = frozenset({"crashed", "hung", "exited", "too-much-memory", "turned-wrong"})
"""What ends a process, or would have spoilt what is learned; after a few of these a delegate is left alone."""

LASTING: frozenset[Code] = frozenset({"ok", "wrong-numbers", "takes-nothing", "not-faster"})
"""What would come out the same way again with the same library, options, model and runtime."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found out about one delegate; figures are None where it was not run."""

    code: Code
    detail: str = ""
    """What is particular, such as a path or the library's own words."""
    library: str = ""
    library_sha256: str = ""
    ms_per_image: float | None = None
    cpu_ms_per_image: float | None = None
    cosine: float | None = None
    """The smallest cosine of its features to the CPU's, over all reference pictures."""
    nodes: int | None = None
    """How many of `of_nodes` operators it took; None where the runtime does not tell."""
    of_nodes: int | None = None
    memory_bytes: int | None = None
    """What the process needed more than without it."""
    load_seconds: float | None = None
    words: str = ""
    """The last of what the library printed."""

    @property
    def reason(self) -> str:
        """The reason with what is particular, in one line."""
        name = "" if self.code == "ok" else self.code.replace("-", " ")
        return ": ".join(filter(None, [name, self.detail]))

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self.code]
