"""What a filter says is worked out by a machine as the kernel's, for every processor, also those that are not here."""

from __future__ import annotations

import errno
import struct

import pytest

from edge_agent.vision.permissions import rules, rules_with_devices
from edge_agent.vision.seccomp import ABSENT, ALLOW, KILL, REFUSE, Check, program
from edge_agent.vision.syscalls import Processor, processor

OWN, AGENT = 4242, 4241
THREAD_OF_GLIBC, FORK, THREAD_AND_MOUNTS = 0x3D0F00, 17, 0x3D0F00 | 0x20000
PROCESSORS = [("x86_64", 8), ("i686", 4), ("armv7l", 4), ("aarch64", 8), ("aarch64", 4), ("x86_64", 4)]
REFUSED = (
    "open", "openat", "openat2", "creat", "socket", "connect", "bind", "fork", "vfork", "kill", "tkill",
    "unlink", "unlinkat", "rename", "renameat2", "mkdirat", "fchmod", "chmod", "pidfd_open",
    "pidfd_send_signal", "seccomp", "landlock_restrict_self", "name_to_handle_at",
)  # fmt: skip


def verdict(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the program returns: loads, a mask, two kinds of jump and a return, as in classic BPF."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, *[0] * 6)[:6])
    steps = list(struct.iter_unpack("=HBBI", code))
    register = at = 0
    while True:
        operation, then, otherwise, value = steps[at]
        at += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("=I", data, value)
            case 0x54:
                register &= value
            case 0x15:
                at += then if register == value else otherwise
            case 0x25:
                at += then if register > value else otherwise
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"no such operation: {operation:#x}")


@pytest.fixture(name="own", params=PROCESSORS, ids=lambda one: f"{one[0]}-{one[1] * 8}")
def _own(request: pytest.FixtureRequest) -> Processor:
    found = processor(*request.param)
    assert found is not None
    return found


def asked(own: Processor, code: bytes, name: str, *arguments: int) -> int:
    """What becomes of a call by its name; of one that this processor has not, as if it were refused."""
    if name not in own.numbers:
        return REFUSE
    return verdict(code, own.audit, own.numbers[name], *arguments)


def test_an_engine_on_the_cpu_may_answer_and_no_more(own: Processor) -> None:
    """C2: On every processor: reading, computing and threads are allowed, everything that names something is refused,
    and what nobody honest does is the end."""
    code = program(own, rules(own_pid=OWN), otherwise=REFUSE, unknown=REFUSE)

    for name in ("read", "pread64", "futex", "brk", "munmap", "exit_group", "getrandom", "sched_yield"):
        assert asked(own, code, name) == ALLOW, name
    for name in REFUSED:
        assert asked(own, code, name) == REFUSE, name
    for name in ("execve", "execveat", "ptrace", "process_vm_readv", "mount", "bpf", "io_uring_setup"):
        assert asked(own, code, name) == KILL, name
    assert asked(own, code, "clone", THREAD_OF_GLIBC) == ALLOW
    assert asked(own, code, "clone", FORK) == REFUSE
    assert asked(own, code, "clone", THREAD_AND_MOUNTS) == REFUSE
    assert asked(own, code, "clone3") == ABSENT
    assert asked(own, code, "tgkill", OWN, 1, 6) == ALLOW
    assert asked(own, code, "tgkill", AGENT, 1, 6) == REFUSE
    assert asked(own, code, "prlimit64", 0) == ALLOW
    assert asked(own, code, "prlimit64", AGENT) == REFUSE
    mapping = "mmap" if "mmap" in own.numbers else "mmap2"
    assert asked(own, code, mapping, 0, 4096, 3) == ALLOW
    assert asked(own, code, mapping, 0, 4096, 7) == REFUSE
    assert asked(own, code, "mprotect", 0, 4096, 4) == REFUSE
    assert asked(own, code, "prctl", 15) == ALLOW
    assert asked(own, code, "prctl", 4) == REFUSE
    control = "fcntl64" if "fcntl64" in own.numbers else "fcntl"
    assert [asked(own, code, control, 3, command) for command in (1, 1030, 8, 10)] == [
        ALLOW, ALLOW, REFUSE, REFUSE
    ]  # fmt: skip
    if own.name == "i386":
        assert asked(own, code, "socketcall", 16) == ALLOW
        assert asked(own, code, "socketcall", 1) == REFUSE


def test_a_vendors_library_may_use_its_device_and_leave_the_rest(own: Processor) -> None:
    """C2: Opening and asking devices is allowed; making files, processes, connections and signals is not."""
    code = program(own, rules_with_devices(own_pid=OWN), otherwise=ALLOW, unknown=ABSENT)

    assert asked(own, code, "openat", 0, 0, 2) == ALLOW
    assert asked(own, code, "openat", 0, 0, 0o102) == REFUSE
    assert asked(own, code, "ioctl", 3, 0x8901) == REFUSE
    assert asked(own, code, "ioctl", 3, 0xC0104320) == ALLOW
    assert asked(own, code, "clone", THREAD_OF_GLIBC) == ALLOW
    assert asked(own, code, "clone", FORK) == REFUSE
    for name in (
        "socket",
        "socketpair",
        "connect",
        "fork",
        "kill",
        "unlink",
        "fchmod",
        "setuid",
        "rt_tgsigqueueinfo",
    ):
        assert asked(own, code, name) == REFUSE, name
    for name in ("execve", "ptrace", "process_vm_writev", "bpf"):
        assert asked(own, code, name) == KILL, name
    if own.name == "i386":
        assert [asked(own, code, "socketcall", call) for call in (1, 8, 16)] == [REFUSE, REFUSE, ALLOW]
    assert verdict(code, own.audit, 460) == ABSENT


def test_numbers_of_another_kind_of_program_are_not_believed(own: Processor) -> None:
    """C2: A call as of another processor ends the process, one with the mark of x32 is none that is known."""
    code = program(own, rules(own_pid=OWN), otherwise=REFUSE, unknown=REFUSE)

    others = [other for pair in PROCESSORS if (other := processor(*pair)) and other.audit != own.audit]
    for other in others:
        assert verdict(code, other.audit, own.numbers["read"]) == KILL
    assert verdict(code, own.audit, 0x40000000 | own.numbers["read"]) == REFUSE


def test_a_check_compares_what_the_mask_leaves() -> None:
    """The first, the last and no value of several, each with bits beside the mask."""
    own = processor("x86_64", 8)
    assert own is not None
    code = program(own, {"ioctl": Check(1, 0xFF, (1, 2, 3), KILL, ALLOW)}, otherwise=REFUSE, unknown=REFUSE)

    assert [asked(own, code, "ioctl", 0, 0xF00 | value) for value in (1, 2, 3, 4)] == [
        KILL, KILL, KILL, ALLOW
    ]  # fmt: skip
    assert (REFUSE & 0xFFFF, ABSENT & 0xFFFF) == (errno.EPERM, errno.ENOSYS)
