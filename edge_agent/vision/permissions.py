"""This is where it is said what an engine may still ask of the kernel once it is warm.

One that computes on the CPU gets a list of what it may: it reads what it was given, computes, answers and allocates
memory. A vendor's driver needs calls that nobody can list, so an engine with one gets a list of what it may not.
"""

from __future__ import annotations

from edge_agent.vision.seccomp import ABSENT, ALLOW, KILL, REFUSE, Check, Rules

_CALLS = """
    read readv pread64 preadv write writev close dup dup2 dup3 lseek _llseek fstat fstat64 munmap mremap madvise
    brk membarrier futex futex_time64 futex_waitv set_robust_list rseq set_tid_address sched_yield
    sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority
    getcpu rt_sigaction rt_sigprocmask rt_sigreturn sigreturn sigaltstack restart_syscall clock_gettime
    clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep gettimeofday
    time times getrusage getrlimit ugetrlimit poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64
    recvmsg recvfrom recv sendmsg sendto send getpid gettid getppid getuid geteuid getgid getegid getuid32
    geteuid32 getgid32 getegid32 uname sysinfo getrandom exit exit_group cacheflush set_tls get_tls
"""
"""What decoding and computing need, whatever the picture: nothing here names a file, a process or an address."""

_NEVER = """
    execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp mount umount umount2 pivot_root
    chroot setns unshare move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr bpf init_module
    finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd
    perf_event_open userfaultfd open_by_handle_at keyctl add_key request_key io_uring_setup io_uring_enter
    io_uring_register iopl ioperm settimeofday clock_settime clock_settime64
"""
"""What no picture and no driver makes an honest engine do: it is ended on the spot."""

_NOT_WITH_DEVICES = """
    fork vfork socket socketpair connect bind listen accept accept4 kill tkill rt_sigqueueinfo rt_tgsigqueueinfo
    pidfd_open pidfd_send_signal process_madvise creat link linkat symlink symlinkat unlink unlinkat rename renameat
    renameat2 mkdir mkdirat rmdir mknod mknodat truncate truncate64 chmod fchmod fchmodat chown lchown fchown
    fchownat chown32 lchown32 fchown32 setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr utime
    utimes futimesat utimensat utimensat_time64 setuid setgid setreuid setregid setresuid setresgid setgroups
    setfsuid setfsgid setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32 setgroups32 setfsuid32
    setfsgid32 capset personality fanotify_init name_to_handle_at sethostname setdomainname syslog adjtimex
    clock_adjtime clock_adjtime64 ioprio_set migrate_pages move_pages vhangup modify_ldt mq_open mq_unlink shmget
    msgget semget
"""
"""Refused to a driver as well: files by name, other processes, connections, other users, the system's own affairs.

One end of a pair of sockets for datagrams may send to any other socket by its name, so pairs are connections, too.
"""

_FLAGS = 0xFFFFFFFF
_THREAD = 0x00010000
_NAMESPACES = 0x7E020000
_EXECUTE = 4
_EMPTY_PATH = 0x1000
_CREATE_TRUNCATE = 0o100 | 0o1000 | 0o20000000


def rules(*, own_pid: int) -> Rules:
    """For an engine that computes on the CPU; what is not in it is refused."""
    unexecutable = Check(2, _EXECUTE, (0,))
    of_a_descriptor = dict.fromkeys(("newfstatat", "fstatat64"), Check(3, _EMPTY_PATH, (_EMPTY_PATH,)))
    return {
        **dict.fromkeys(_CALLS.split(), ALLOW),
        **dict.fromkeys(("mmap", "mmap2", "mprotect"), unexecutable),
        **of_a_descriptor,
        "statx": Check(2, _EMPTY_PATH, (_EMPTY_PATH,)),
        # To copy a descriptor and to ask about one; to have signals sent by one is another matter.
        **dict.fromkeys(("fcntl", "fcntl64"), Check(1, _FLAGS, (0, 1, 2, 3, 1030))),
        # Is it a terminal; close it when a program starts, or not; how much is there to read.
        "ioctl": Check(1, _FLAGS, (0x5401, 0x5450, 0x5451, 0x541B)),
        # Its own name and those of its memory.
        "prctl": Check(0, _FLAGS, (15, 16, 0x53564D41)),
        # Sending and receiving, as 32-bit x86 spells it.
        "socketcall": Check(0, _FLAGS, (9, 10, 11, 12, 16, 17)),
        **_threads_and_limits(own_pid),
        **dict.fromkeys(_NEVER.split(), KILL),
    }


def rules_with_devices(*, own_pid: int) -> Rules:
    """For an engine with a vendor's library; what is not in it is allowed.

    Which files it opens is for Landlock to say.
    """
    return {
        **dict.fromkeys(_NOT_WITH_DEVICES.split(), REFUSE),
        **dict.fromkeys(_CALLS.split(), ALLOW),
        "open": Check(1, _CREATE_TRUNCATE, (0,)),
        "openat": Check(2, _CREATE_TRUNCATE, (0,)),
        # Its flags lie behind a pointer.
        "openat2": ABSENT,
        # Whom signals go to that a descriptor sends.
        **dict.fromkeys(("fcntl", "fcntl64"), Check(1, _FLAGS, (8, 10, 15), REFUSE, ALLOW)),
        "ioctl": Check(1, _FLAGS, (0x8901, 0x8902, 0x5412, 0x541C), REFUSE, ALLOW),
        # Being readable for other processes of this user.
        "prctl": Check(0, _FLAGS, (4,), REFUSE, ALLOW),
        "socketcall": Check(0, _FLAGS, (1, 2, 3, 4, 5, 8, 18), REFUSE, ALLOW),
        **_threads_and_limits(own_pid),
        **dict.fromkeys(_NEVER.split(), KILL),
    }


def _threads_and_limits(own_pid: int) -> Rules:
    return {
        # Another thread in this process, not another process.
        "clone": Check(0, _THREAD | _NAMESPACES, (_THREAD,)),
        # Its flags lie behind a pointer; libraries then take the one above.
        "clone3": ABSENT,
        # To die by its own hand, as abort() does.
        "tgkill": Check(0, _FLAGS, (own_pid,)),
        "prlimit64": Check(0, _FLAGS, (0,)),
    }
