"""This is where the kernel's calls have their numbers, which differ from one kind of processor to the next.

From the tables of Linux 6.1 (`arch/*/entry/syscalls`, `include/uapi/asm-generic/unistd.h`).  Numbers are never given to
another call later.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

NEWEST = 450
"""No call in the table has a higher number, but the private ones of 32-bit ARM."""


@dataclass(frozen=True)
class Processor:
    """How programs of one kind of processor call the kernel."""

    name: str
    audit: int
    """What the kernel calls it, `AUDIT_ARCH_*`."""
    numbers: dict[str, int]
    """Of each call that it has."""


_AUDIT = {"x86_64": 0xC000003E, "i386": 0x40000003, "arm": 0x40000028, "aarch64": 0xC00000B7}
"""In the order of the columns below."""

_NUMBERS = """
    _llseek=-/140/140/- _newselect=-/142/142/- accept=43/-/285/202 accept4=288/364/366/242 acct=163/51/51/89
    add_key=248/286/309/217 adjtimex=159/124/124/171 bind=49/361/282/200 bpf=321/357/386/280 brk=12/45/45/214
    cacheflush=-/-/983042/- capset=126/185/185/91 chmod=90/15/15/- chown=92/182/182/- chown32=-/212/212/-
    chroot=161/61/61/51 clock_adjtime=305/343/372/266 clock_adjtime64=-/405/405/405 clock_getres=229/266/264/114
    clock_getres_time64=-/406/406/406 clock_gettime=228/265/263/113 clock_gettime64=-/403/403/403
    clock_nanosleep=230/267/265/115 clock_nanosleep_time64=-/407/407/407 clock_settime=227/264/262/112
    clock_settime64=-/404/404/404 clone=56/120/120/220 clone3=435 close=3/6/6/57 connect=42/362/283/203
    creat=85/8/8/- delete_module=176/129/129/106 dup=32/41/41/23 dup2=33/63/63/- dup3=292/330/358/24
    execve=59/11/11/221 execveat=322/358/387/281 exit=60/1/1/93 exit_group=231/252/248/94
    fanotify_init=300/338/367/262 fchmod=91/94/94/52 fchmodat=268/306/333/53 fchown=93/95/95/55
    fchown32=-/207/207/- fchownat=260/298/325/54 fcntl=72/55/55/25 fcntl64=-/221/221/-
    finit_module=313/350/379/273 fork=57/2/2/- fremovexattr=199/237/237/16 fsconfig=431 fsetxattr=190/228/228/7
    fsmount=432 fsopen=430 fspick=433 fstat=5/108/108/80 fstat64=-/197/197/- fstatat64=-/300/327/-
    futex=202/240/240/98 futex_time64=-/422/422/422 futex_waitv=449 futimesat=261/299/326/- get_tls=-/-/983046/-
    getcpu=309/318/345/168 getegid=108/50/50/177 getegid32=-/202/202/- geteuid=107/49/49/175
    geteuid32=-/201/201/- getgid=104/47/47/176 getgid32=-/200/200/- getpid=39/20/20/172 getppid=110/64/64/173
    getpriority=140/96/96/141 getrandom=318/355/384/278 getrlimit=97/76/-/163 getrusage=98/77/77/165
    gettid=186/224/224/178 gettimeofday=96/78/78/169 getuid=102/24/24/174 getuid32=-/199/199/-
    init_module=175/128/128/105 io_uring_enter=426 io_uring_register=427 io_uring_setup=425 ioctl=16/54/54/29
    ioperm=173/101/-/- iopl=172/110/-/- ioprio_set=251/289/314/30 kcmp=312/349/378/272
    kexec_file_load=320/-/401/294 kexec_load=246/283/347/104 keyctl=250/288/311/219 kill=62/37/37/129
    landlock_add_rule=445 landlock_create_ruleset=444 landlock_restrict_self=446 lchown=94/16/16/-
    lchown32=-/198/198/- link=86/9/9/- linkat=265/303/330/37 listen=50/363/284/201 lremovexattr=198/236/236/15
    lseek=8/19/19/62 lsetxattr=189/227/227/6 madvise=28/219/220/233 membarrier=324/375/389/283
    migrate_pages=256/294/400/238 mkdir=83/39/39/- mkdirat=258/296/323/34 mknod=133/14/14/-
    mknodat=259/297/324/33 mmap=9/-/-/222 mmap2=-/192/192/- modify_ldt=154/123/-/- mount=165/21/21/40
    mount_setattr=442 move_mount=429 move_pages=279/317/344/239 mprotect=10/125/125/226 mq_open=240/277/274/180
    mq_unlink=241/278/275/181 mremap=25/163/163/216 msgget=68/399/303/186 munmap=11/91/91/215
    name_to_handle_at=303/341/370/264 nanosleep=35/162/162/101 newfstatat=262/-/-/79 open=2/5/5/-
    open_by_handle_at=304/342/371/265 open_tree=428 openat=257/295/322/56 openat2=437
    perf_event_open=298/336/364/241 personality=135/136/136/92 pidfd_getfd=438 pidfd_open=434
    pidfd_send_signal=424 pivot_root=155/217/218/41 poll=7/168/168/- ppoll=271/309/336/73
    ppoll_time64=-/414/414/414 prctl=157/172/172/167 pread64=17/180/180/67 preadv=295/333/361/69
    prlimit64=302/340/369/261 process_madvise=440 process_vm_readv=310/347/376/270
    process_vm_writev=311/348/377/271 pselect6=270/308/335/72 pselect6_time64=-/413/413/413 ptrace=101/26/26/117
    quotactl=179/131/131/60 quotactl_fd=443 read=0/3/3/63 readv=19/145/145/65 reboot=169/88/88/142
    recv=-/-/291/- recvfrom=45/371/292/207 recvmsg=47/372/297/212 removexattr=197/235/235/14 rename=82/38/38/-
    renameat=264/302/329/38 renameat2=316/353/382/276 request_key=249/287/310/218 restart_syscall=219/0/0/128
    rmdir=84/40/40/- rseq=334/386/398/293 rt_sigaction=13/174/174/134 rt_sigprocmask=14/175/175/135
    rt_sigqueueinfo=129/178/178/138 rt_sigreturn=15/173/173/139 rt_tgsigqueueinfo=297/335/363/240
    sched_get_priority_max=146/159/159/125 sched_get_priority_min=147/160/160/126
    sched_getaffinity=204/242/242/123 sched_getparam=143/155/155/121 sched_getscheduler=145/157/157/120
    sched_setattr=314/351/380/274 sched_setparam=142/154/154/118 sched_setscheduler=144/156/156/119
    sched_yield=24/158/158/124 seccomp=317/354/383/277 select=23/82/-/- semget=64/393/299/190 send=-/-/289/-
    sendmsg=46/370/296/211 sendto=44/369/290/206 set_robust_list=273/311/338/99 set_tid_address=218/258/256/96
    set_tls=-/-/983045/- setdomainname=171/121/121/162 setfsgid=123/139/139/152 setfsgid32=-/216/216/-
    setfsuid=122/138/138/151 setfsuid32=-/215/215/- setgid=106/46/46/144 setgid32=-/214/214/-
    setgroups=116/81/81/159 setgroups32=-/206/206/- sethostname=170/74/74/161 setns=308/346/375/268
    setpriority=141/97/97/140 setregid=114/71/71/143 setregid32=-/204/204/- setresgid=119/170/170/149
    setresgid32=-/210/210/- setresuid=117/164/164/147 setresuid32=-/208/208/- setreuid=113/70/70/145
    setreuid32=-/203/203/- settimeofday=164/79/79/170 setuid=105/23/23/146 setuid32=-/213/213/-
    setxattr=188/226/226/5 shmget=29/395/307/194 sigaltstack=131/186/186/132 sigreturn=-/119/119/-
    socket=41/359/281/198 socketcall=-/102/-/- socketpair=53/360/288/199 statx=332/383/397/291 swapoff=168/115/115/225
    swapon=167/87/87/224 symlink=88/83/83/- symlinkat=266/304/331/36 sysinfo=99/116/116/179
    syslog=103/103/103/116 tgkill=234/270/268/131 time=201/13/-/- times=100/43/43/153 tkill=200/238/238/130
    truncate=76/92/92/45 truncate64=-/193/193/- ugetrlimit=-/191/191/- umount=-/22/-/- umount2=166/52/52/39
    uname=63/122/122/160 unlink=87/10/10/- unlinkat=263/301/328/35 unshare=272/310/337/97
    userfaultfd=323/374/388/282 utime=132/30/-/- utimensat=280/320/348/88 utimensat_time64=-/412/412/412
    utimes=235/271/269/- vfork=58/190/190/- vhangup=153/111/111/58 write=1/4/4/64 writev=20/146/146/66
"""
"""Name=number, where it is the same for all, or one for each processor; "-" where that has no such call.

`mmap` of i386 is left out: it takes a pointer to its arguments, and nobody has used it for twenty years."""


def processor(machine: str | None = None, pointer_bytes: int | None = None) -> Processor | None:
    """The one this program is for, by the kernel's name of it, or None for one that is not known here.

    A program of 32 bits calls in its own way also where the kernel has 64, as on many a Raspberry Pi.
    """
    machine = platform.machine() if machine is None else machine
    narrow = (struct.calcsize("P") if pointer_bytes is None else pointer_bytes) == 4
    if machine in ("x86_64", "i386", "i486", "i586", "i686"):
        name = "i386" if narrow else "x86_64"
    elif machine == "aarch64" or machine.startswith("armv"):
        name = "arm" if narrow else "aarch64"
    else:
        return None
    column = list(_AUDIT).index(name)
    numbers = {}
    for word in _NUMBERS.split():
        call, _, columns = word.partition("=")
        number = columns.split("/")[column] if "/" in columns else columns
        if number != "-":
            numbers[call] = int(number)
    return Processor(name, _AUDIT[name], numbers)
