"""This is where it is said what keeps an engine process from doing more than it should."""

from __future__ import annotations

from msgspec import Struct


class Confinement(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is in force in an engine process."""

    mode: str = "off"
    """As the configuration has it: `auto`, `required` or `off`."""
    no_new_privs: bool = False
    """Whether it can gain no rights, whatever it starts."""
    landlock: int = 0
    """The version of Landlock that keeps it from files; 0 for none."""
    seccomp: str = ""
    """Which calls it may make: `allowed` for a list of those, `refused` for a list of the others, or nothing."""
    calls: int = 0
    """How many are on that list."""
    limits: tuple[str, ...] = ()
    """What is limited, as `setrlimit` calls it in small letters."""
    missing: tuple[str, ...] = ()
    """What is not in force though it should be, and why, in words."""

    def __str__(self) -> str:
        """All of it on one line."""
        if self.mode == "off":
            return "off, as the configuration says"
        parts = ["no_new_privs"] if self.no_new_privs else []
        if self.landlock:
            parts.append(f"Landlock ABI {self.landlock}")
        if self.seccomp:
            parts.append(f"seccomp, {self.calls} calls {self.seccomp}")
        if self.limits:
            parts.append(f"limits of {', '.join(self.limits)}")
        return "; ".join([", ".join(parts) or "nothing", *self.missing])
