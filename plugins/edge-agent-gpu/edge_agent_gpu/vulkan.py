"""This is where it is looked whether a Vulkan driver is there, without loading it."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

LOADER = "libvulkan.so.1"

FOLDERS = ("/usr/local/etc", "/usr/local/share", "/etc", "/usr/share")
"""Where the loader looks for drivers, each with `vulkan/icd.d` below it, unless the environment names files."""

NAMED = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""The variables that name driver files, the newer one first."""


def missing(environment: Mapping[str, str] = os.environ) -> str:
    """Why the GPU cannot be reached, with what to do; empty where all files are there, which proves nothing yet."""
    try:
        ctypes.CDLL(LOADER)
    except OSError:
        return f"the Vulkan loader, {LOADER}, is not installed; `apt-get install libvulkan1` brings it"
    reasons = []
    for file in driver_files(environment):
        reason = _unusable(file)
        if not reason:
            return ""
        reasons.append(reason)
    if reasons:
        return "; ".join(reasons)
    return (
        "no Vulkan driver is installed; install the one of your GPU (`apt-get install mesa-vulkan-drivers` brings those"
        " of Mesa)"
    )


def driver_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files that describe drivers, whether they are there or not."""
    for variable in NAMED:
        if named := environment.get(variable):
            yield from map(Path, filter(None, named.split(os.pathsep)))
            return
    for folder in FOLDERS:
        yield from sorted(Path(folder, "vulkan", "icd.d").glob("*.json"))


def _unusable(file: Path) -> str:
    """What is wrong with the file of a driver; empty where nothing is."""
    try:
        library = json.loads(file.read_bytes())["ICD"]["library_path"]
    except OSError as error:
        return f"the Vulkan driver {file} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{file} does not describe a Vulkan driver"
    # A plain name is looked for by the system's loader; only a path can be looked at here.
    if "/" in str(library) and not (file.parent / str(library)).is_file():
        return f"the Vulkan driver {file} names a library that is not there, {library}"
    return ""
