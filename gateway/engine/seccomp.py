"""A seccomp filter for workers: system calls that answer EPERM, in this process and all it starts, for good.

Built by hand as classic BPF, because the numbers and a dozen instructions are less than another dependency. It knows
x86-64 and aarch64. A filter sees numbers, not memory: what a pointer points to (a path, a signal's target in a struct)
is for Landlock to judge.
"""

from __future__ import annotations

import platform
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from errno import ENOSYS, EPERM
from functools import cache

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column below; AUDIT_ARCH_...

# name: number on x86-64, on aarch64. From 424 on they are the same everywhere.
NUMBERS: Mapping[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "socketpair": (53, 199),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220), "chroot": (161, 51), "pivot_root": (155, 41),
    "mount": (165, 40), "umount2": (166, 39), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "swapon": (167, 224), "swapoff": (168, 225),
    "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "msgget": (68, 186), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "fcntl": (72, 25), "ioctl": (16, 29),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "prlimit64": (302, 261),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "truncate": (76, 45),
    "inotify_add_watch": (254, 27), "fanotify_init": (300, 262),
    **{name: (number, number) for name, number in {
        "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
        "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
        "quotactl_fd": 443, "process_mrelease": 448, "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466,
        "open_tree_attr": 467, "file_setattr": 469,
    }.items()},
}  # fmt: skip

# What no analyzer needs, and what would reach other processes or the kernel's rarely used parts.
NEVER = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "process_madvise", "process_mrelease"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("bpf", "perf_event_open", "userfaultfd", "migrate_pages", "move_pages", "keyctl", "add_key", "request_key"),
    *("unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "open_tree", "open_tree_attr", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "open_by_handle_at", "quotactl", "quotactl_fd"),
    *("init_module", "finit_module", "delete_module", "reboot", "kexec_load", "kexec_file_load", "swapon", "swapoff"),
    *("sethostname", "setdomainname", "acct", "syslog", "settimeofday", "clock_settime", "adjtimex", "clock_adjtime"),
    *("iopl", "ioperm", "vhangup", "tkill"),
)
NETWORK = ("socket", "connect", "bind", "listen")
# What Landlock does not see: changing a file without opening it, watching a folder, memory shared by name.
FILES = (
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr"),
    *("fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_setattr"),
    *("utime", "utimes", "futimesat", "utimensat", "inotify_add_watch", "fanotify_init"),
    *("shmget", "shmat", "shmctl", "semget", "semctl", "msgget", "msgctl", "mq_open", "mq_unlink"),
)

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW... of clone(); clone3() hides its flags in memory, so it is said to be unknown
_TERMINAL = (0x5412, 0x541C)  # TIOCSTI types into the operator's terminal, TIOCLINUX pastes into a console
_OWNERS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP: who gets a descriptor's signals
_SET_OWNER = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: the same by fcntl

_LOAD, _AND, _EQUAL, _AT_LEAST, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_DENY = _ERRNO | EPERM
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class Check:
    """One argument (its low 32 bits, masked) must be among `values`, or, with `unless`, must not."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    unless: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a filter is to take away. `pid` is this process, `gateway` its parent."""

    network: bool
    files: bool
    signals: bool  # False where Landlock takes them, which lets a plugin still end what it started itself
    truncate: bool
    pid: int
    gateway: int


def install(wanted: Wanted) -> str:
    """Filter this thread and what it starts; needs no privilege. Returns why not, or nothing. Cannot be undone."""
    import ctypes

    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        return f"no filter is known for {sys.platform} on {platform.machine()}"
    if sys.maxsize < 2**32:
        return "no filter is known for a 32-bit Python"
    program = compile_filter(wanted, platform.machine())
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(header), 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        return f"the kernel takes no seccomp filter (errno {ctypes.get_errno()})"
    return ""


def compile_filter(wanted: Wanted, machine: str) -> bytes:
    """The program, instruction by instruction; see seccomp(2)."""
    column, architecture = ARCHITECTURES[machine]
    denied = [*NEVER, *(NETWORK if wanted.network else ()), *(FILES if wanted.files else ())]
    denied += ["truncate"] if wanted.truncate else []
    program = _code(_LOAD, 4) + _code(_EQUAL, architecture, 1, 0) + _code(_RETURN, _KILL) + _code(_LOAD, 0)
    if machine == "x86_64":
        program += _code(_AT_LEAST, _X32, 0, 1) + _code(_RETURN, _DENY)
    for number in _numbers(denied, column):
        program += _code(_EQUAL, number, 0, 1) + _code(_RETURN, _DENY)
    for name, checks in _checked(wanted).items():
        for number in _numbers([name], column):
            block = b"".join(map(_check, checks)) + _code(_RETURN, _ALLOW)
            program += _code(_EQUAL, number, 0, len(block) // 8) + block
    clone3 = _code(_EQUAL, 435, 0, 1) + _code(_RETURN, _ERRNO | ENOSYS)
    return program + clone3 + _code(_RETURN, _ALLOW)


def _checked(wanted: Wanted) -> dict[str, list[Check]]:
    """Calls that are allowed with some arguments only."""
    myself = (0, wanted.pid)
    rules = {
        "clone": [Check(0, (0,), mask=_NEW_NAMESPACES)],
        "ioctl": [Check(1, _TERMINAL + (_OWNERS if wanted.signals else ()), unless=True)],
        "prlimit64": [Check(0, myself)],
        "setpriority": [Check(0, (0,)), Check(1, myself)],
        "ioprio_set": [Check(0, (1,)), Check(1, myself)],
        "sched_setscheduler": [Check(0, myself)],
        "sched_setparam": [Check(0, myself)],
        "sched_setattr": [Check(0, myself)],
        "sched_setaffinity": [Check(0, (wanted.gateway,), unless=True)],  # libraries pin their own threads by number
    }
    if wanted.network:  # a pair of datagram sockets can still send to any address, a connected stream cannot
        rules["socketpair"] = [Check(1, (1, 5), mask=0xF)]
    if wanted.signals:
        only_me = [Check(0, (wanted.pid,))]
        rules |= dict.fromkeys(("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"), only_me)
        rules["fcntl"] = [Check(1, _SET_OWNER, unless=True)]
    return rules


def _check(check: Check) -> bytes:
    """Goes on behind its last instruction, or ends with EPERM."""
    count = len(check.values)
    code = _code(_LOAD, 16 + 8 * check.argument) + _code(_AND, check.mask)
    for place, value in enumerate(check.values):
        code += _code(_EQUAL, value, count - place, 0)
    return code + (_code(_JUMP, 1) if check.unless else b"") + _code(_RETURN, _DENY)


def _numbers(names: Iterable[str], column: int) -> list[int]:
    return [number for name in names if (number := NUMBERS[name][column]) is not None]


@cache
def _code(operation: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction: struct sock_filter."""
    return struct.pack("HBBI", operation, yes, no, value)
