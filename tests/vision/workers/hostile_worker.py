"""This is where an engine process is given a decoder that was taken over: it does what the picture says."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError
from edge_agent.vision import images, worker
from edge_agent.vision.images import DecodedImage

PTRACE_ATTACH, PR_GET_DUMPABLE, PR_SET_DUMPABLE = 16, 3, 4


def native(name: str, *arguments: object) -> None:
    """Call a function of the C library that says -1 when it fails."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def look_on() -> None:
    """Be looked at by another process of the same user, which the kernel allows where it says 1."""
    answer = ctypes.CDLL(None, use_errno=True).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    if answer != 1:
        raise OSError(errno.EACCES if answer == 0 else ctypes.get_errno(), "prctl")


def fork() -> None:
    """Become two."""
    if os.fork() == 0:
        os._exit(0)


def thread() -> None:
    """Start one, as a library does that computes."""
    done = threading.Thread(target=sum, args=([1, 2],))
    done.start()
    done.join()


DEEDS: dict[str, Callable[[str], object]] = {
    "open": lambda path: os.open(path, os.O_RDONLY),
    "write": lambda path: os.open(path, os.O_WRONLY | os.O_CREAT),
    "list": os.listdir,
    "remove": os.unlink,
    "rename": lambda path: os.rename(path, path + "-moved"),  # noqa: PTH104
    "mode": lambda path: os.chmod(path, 0o777),  # noqa: PTH101
    "memory": lambda _: os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    "environment": lambda _: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY),
    "internet": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "datagram": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "pair": lambda _: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "packet": lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "fork": lambda _: fork(),
    "start": lambda _: subprocess.run(["true"], check=True),
    "kill": lambda _: os.kill(os.getppid(), 0),
    "signal": lambda _: signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0),
    "owner": lambda _: fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid()),
    "hidden": lambda _: look_on(),
    "visible": lambda _: native("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0),
    "execute": lambda path: os.execv("/bin/sh", ["sh", "-c", f"echo > {path}"]),
    "trace": lambda _: native("ptrace", PTRACE_ATTACH, os.getppid(), None, None),
    "unshare": lambda _: native("unshare", 0x10000000),
    "code": lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "grow": lambda _: bytearray(3 << 30),
    "thread": lambda _: thread(),
    "abort": lambda _: os.abort(),
    "mistake": lambda _: {}["no such key"],
    "late": lambda _: __import__("wave"),
}


def decode(data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
    """Do the deed that the picture names and refuse the picture with what became of that; decode all others."""
    deed, _, rest = data.partition(b" ")
    deed_here = DEEDS.get(deed.decode("ascii", "replace"))
    if deed_here is None:
        return images.decode(data, limits=limits, target=target)
    try:
        deed_here(os.fsdecode(rest))
    except OSError as error:
        raise ImageError(f"refused, {errno.errorcode[error.errno or 0]}") from None
    except MemoryError:
        raise ImageError("refused, no memory") from None
    except ImportError:
        raise ImageError("refused, no module") from None
    raise ImageError("done")


if __name__ == "__main__":
    sys.exit(worker.main(decode=decode))
