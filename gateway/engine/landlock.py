"""Landlock for workers: which files this process and all it starts may open, for good; see landlock(7).

It also keeps them from looking into other processes (ptrace, /proc/PID/environ), and since ABI 6 from signalling them
and from reaching abstract sockets. It says nothing about a file's mode, owner and times: the seccomp filter does.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterable, Mapping

EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
MAKE_DEVICES = 1 << 6 | 1 << 11
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15
SIGNALS_SINCE, TRUNCATE_SINCE = 6, 3

LOOK = EXECUTE | READ | LIST
USE = READ | WRITE | TRUNCATE | IOCTL  # a device
OWN = (1 << 16) - 1 & ~MAKE_DEVICES  # a folder of its own
_OF_A_FILE = EXECUTE | WRITE | READ | TRUNCATE | IOCTL
_KNOWN = {0: 0, 1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by ABI
_ALL = (1 << 16) - 1
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same number on every machine


def abi() -> int:
    """What this kernel offers; 0 for nothing."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE, None, 0, 1))


def restrict(rules: Mapping[str, int] | None, *, tcp: bool) -> str:
    """Allow these paths only (None: all), take TCP if asked. Returns why not, or nothing. Cannot be undone.

    A path that is not there is left out. The caller has set no_new_privs.
    """
    version = abi()
    if not version:
        return "this kernel has no Landlock"
    if rules is None:
        handled, rules = (0, {}) if version >= SIGNALS_SINCE else (MAKE_DEVICES | REFER, {"/": REFER})
    else:
        handled = _KNOWN.get(version, _ALL)
    return _restrict(version, handled & _KNOWN.get(version, _ALL), rules, tcp=tcp)


def _restrict(version: int, handled: int, rules: Mapping[str, int], *, tcp: bool) -> str:
    fields = [handled, 3 if tcp and version >= 4 else 0, 3 if version >= SIGNALS_SINCE else 0]
    fields = fields[: 1 if version < 4 else 2 if version < SIGNALS_SINCE else 3]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _call(_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return f"Landlock cannot be used here (errno {-ruleset})"
    try:
        for path, access in rules.items():
            if error := _allow(ruleset, path, access & handled):
                return f"Landlock takes no rule for {path} (errno {error})"
        error = _call(_RESTRICT, ruleset, 0, 0)
    finally:
        os.close(ruleset)
    return f"Landlock cannot be used here (errno {-error})" if error else ""


def _allow(ruleset: int, path: str, access: int) -> int:
    """Errno, or 0."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _OF_A_FILE
        return -_call(_ADD, ruleset, 1, struct.pack("=Qi", access, place), 0) if access else 0
    finally:
        os.close(place)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """What the kernel answers; -errno for an error."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    passed: Iterable[object] = (ctypes.c_long(part) if isinstance(part, int) else part for part in arguments)
    answer = int(libc.syscall(ctypes.c_long(number), *passed))
    return answer if answer >= 0 else -ctypes.get_errno()
