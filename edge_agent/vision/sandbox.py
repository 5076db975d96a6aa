"""This is where an engine process, once warm, gives up what it does not need any more, for good.

Strangers' pictures are decoded by C code, and vendors' libraries are nobody's here. Whoever takes such a process over
through a mistake in them finds that it can open nothing, connect to nothing and start nothing. Each layer stands for
itself, so that a kernel that offers only some of them still keeps something shut.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
from pathlib import Path

from msgspec.structs import replace

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import ExtractorError
from edge_agent.vision import landlock, seccomp
from edge_agent.vision.abreast import MOST_DEPTH, most_abreast
from edge_agent.vision.confinement import Confinement
from edge_agent.vision.images import ABREAST_PIXELS
from edge_agent.vision.kernel import Call, call_kernel
from edge_agent.vision.permissions import rules, rules_with_devices
from edge_agent.vision.seccomp import ABSENT, ALLOW, KILL, REFUSE
from edge_agent.vision.syscalls import Processor, processor

BYTES_A_PIXEL = 16
SPARE_BYTES = 64 << 20
"""How much memory a process may take beside what it has when it is warm: the largest picture there may be needs up to
8 bytes a pixel (measured), and its file is held once or twice."""

LANE_BYTES = 32 << 20
"""What each further picture at once may take beside its pixels: the stack of a thread, and an interpreter."""

SPARE_FILES = 16
"""How many descriptors it may have open beside those; it needs one for each picture that it was sent."""

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_AF_UNIX, _SOCK_STREAM = 1, 1

_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/sys",
    "/run/udev",
    "/etc/ld.so.cache",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
)
"""What a vendor's library may read while it works: libraries, descriptions of devices, itself."""


def enter(
    extractor: ExtractorConfig,
    pictures: PicturesConfig,
    *,
    library: Path | None = None,
    vendor: bool = False,
    call: Call = call_kernel,
    own: Processor | None = None,
) -> Confinement:
    """Give up what this engine does not need, and say what is in force.

    `vendor` says that code of others, which no list of calls fits, runs in it: a delegate (`library` is its file) or
    a plugin's backend. It may then read the system's libraries and use the devices that it has open now. `call` makes
    calls to the kernel, on the processor `own`.

    Raises `ExtractorError` where the configuration requires what the kernel does not offer.
    """
    own = processor() if own is None else own
    threads = _threads()
    found = Confinement(mode=extractor.sandbox, limits=_limited(extractor, pictures, vendor=vendor))
    missing: list[str] = []
    if own is None:
        missing.append(f"the calls of this processor ({os.uname().machine}) are not known")
    else:
        readable, devices = (_readable(library), _open_devices()) if vendor else ([], [])
        make = rules_with_devices if vendor else rules
        allowed = make(own_pid=os.getpid())
        try:
            call(own.numbers["prctl"], _PR_SET_DUMPABLE, 0, 0, 0, 0)
            call(own.numbers["prctl"], _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            found = replace(found, no_new_privs=True)
        except OSError as error:
            missing.append(_lacking("no_new_privs", error))
        try:
            version = landlock.restrict(own, call, readable=readable, devices=devices)
            found = replace(found, landlock=version)
            if vendor and threads > 1:
                missing.append(
                    f"Landlock does not hold {threads - 1} of its threads, which were there before"
                )
        except OSError as error:
            missing.append(_lacking("Landlock", error))
        try:
            filter_program = seccomp.program(
                own, allowed, otherwise=ALLOW if vendor else REFUSE, unknown=ABSENT if vendor else REFUSE
            )
            seccomp.install(own, call, filter_program, alone=threads == 1)
            calls = _counted(own, allowed, vendor=vendor)
            found = replace(found, seccomp="refused" if vendor else "allowed", calls=calls)
        except OSError as error:
            missing.append(_lacking("seccomp", error))
        missing += _still_open(own, call)
    if not found.seccomp and not vendor:
        found = replace(found, limits=(*found.limits, "nproc"))
    found = replace(found, missing=tuple(missing))
    if extractor.sandbox == "required" and (not found.seccomp or (vendor and not found.landlock)):
        raise ExtractorError(
            f"the sandbox of the engine is required, and this kernel does not offer it ({found}); use one that does,"
            ' or set [extractor] sandbox = "auto"'
        )
    return found


def forbid_processes() -> None:
    """Start no process and no thread any more: for kernels without seccomp, once all threads are there."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _limited(extractor: ExtractorConfig, pictures: PicturesConfig, *, vendor: bool) -> tuple[str, ...]:
    """Limit what is known beforehand. Nobody knows what a vendor's library needs; its growth is watched instead."""
    limits = {"core": 0}
    if not vendor:
        pixels = round(pictures.max_megapixels * 1e6)
        now = _data_bytes()
        if now:
            # Data, not addresses: what is only reserved costs nothing.
            limits["data"] = now + SPARE_BYTES + 2 * pictures.max_file_bytes + BYTES_A_PIXEL * pixels
            # Of several pictures at once one is large; and a picture must not be refused for its neighbours' sake.
            lane = LANE_BYTES + 2 * pictures.max_file_bytes + BYTES_A_PIXEL // 2 * min(pixels, ABREAST_PIXELS)
            limits["data"] += (min(most_abreast(extractor), MOST_DEPTH) - 1) * lane
        limits["fsize"] = 0
        limits["nofile"] = max(_open_files(), default=2) + 1 + SPARE_FILES
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        _soft, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    # That of processor time is set anew for each picture.
    return (*limits, "cpu")


def _data_bytes() -> int:
    """What the kernel counts as data of this process; 0 where it does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


def _threads() -> int:
    """How many threads this process has; two where that cannot be known."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 2


def _open_files() -> list[int]:
    try:
        return [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    except OSError:
        return []


def _open_devices() -> list[Path]:
    """The device files that are open now, and their folders where these are below /dev, as devices come back there."""
    found = set()
    for fd in _open_files():
        try:
            if not stat.S_ISCHR(os.fstat(fd).st_mode):
                continue
            path = Path(f"/proc/self/fd/{fd}").readlink()
        except OSError:
            continue  # that of the listing itself
        if path.is_relative_to("/dev") and not path.is_relative_to("/dev/pts"):
            found |= {path} if path.parent == Path("/dev") else {path.parent}
    return sorted(found)


def _readable(library: Path | None) -> list[Path]:
    folders = [*_SYSTEM, sys.prefix, sys.base_prefix, *(place for place in sys.path if place)]
    return [*map(Path, folders), *([] if library is None else [library.parent])]


def _counted(own: Processor, allowed: seccomp.Rules, *, vendor: bool) -> int:
    """How many calls are on the list: allowed ones, or with a vendor's code refused ones."""
    rules_here = [rule for name, rule in allowed.items() if name in own.numbers]
    if vendor:
        return sum(rule != ALLOW for rule in rules_here)
    return sum(rule not in (KILL, ABSENT) for rule in rules_here)


def _still_open(own: Processor, call: Call) -> list[str]:
    """What can be done still though it should not; nothing is believed that was not tried."""
    found = []
    try:
        os.close(os.open("/", os.O_RDONLY))
        found.append("files can still be opened")
    except OSError:
        pass
    try:
        os.close(call(own.numbers["socket"], _AF_UNIX, _SOCK_STREAM, 0))
        found.append("sockets can still be made")
    except OSError:
        pass
    return found


def _lacking(what: str, error: OSError) -> str:
    if error.errno in (errno.ENOSYS, errno.EINVAL):
        return f"this kernel has no {what}"
    if error.errno == errno.EOPNOTSUPP:
        return f"{what} is switched off in this kernel"
    return f"{what} is refused: {error.strerror}"
