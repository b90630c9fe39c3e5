"""Guard: the parent of a worker's process, so that nothing a plugin started outlives its worker, or the gateway.

The process that the gateway spawned splits: its child goes on as the worker, itself it stays behind as the guard. What
the worker's children leave behind becomes the guard's (child subreaper, prctl(2)), however far they went to be alone:
process groups, sessions and double forks change nothing about that. When the worker ends, the gateway ends or sends
SIGTERM, the guard kills all of them and ends the way the worker did. SIGKILL for the guard would leave them, so the
gateway does not send it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
_AWAITED = {signal.SIGTERM, signal.SIGCHLD}
_BLOCKED = {*_AWAITED, signal.SIGINT, signal.SIGHUP}  # a terminal's signals reach the whole group; the gateway decides


def split(connection: int) -> None:
    """Put a guard behind this process: returns in a child of it, which is killed when the guard dies.

    The guard closes its copy of the connection, whose end is to tell that the worker has gone. To be called while there
    is one thread. Elsewhere than on Linux it does nothing.
    """
    if sys.platform != "linux":
        return
    gateway = os.getppid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    _prctl(_CHILD_SUBREAPER, 1)
    guard, worker = os.getpid(), os.fork()
    if worker:
        os.close(connection)
        _guard(worker, gateway)
    _prctl(_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.getppid() != guard:  # it died before it could be of use
        os._exit(0)


def guarded(guard: int) -> int | None:
    """The worker that a guard stands behind, its eldest child; None if it has none yet, or there are no guards here."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])
    return None


def _guard(worker: int, gateway: int) -> NoReturn:
    _prctl(_PDEATHSIG, signal.SIGTERM)
    status = None
    if os.getppid() == gateway:
        status = _wait(worker)
    while _kill_children():
        pass
    _end_like(status)


def _wait(worker: int) -> int | None:
    """How the worker ended; None if it is to be ended."""
    while signal.sigwait(_AWAITED) == signal.SIGCHLD:
        while (ended := _reaped(os.WNOHANG)) is not None:
            if ended[0] == worker:
                return ended[1]
    return None


def _kill_children() -> bool:
    """Kill those there are and bury one; whether there was one. Its children are ours then, and next."""
    for pid in _children():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return _reaped(0) is not None


def _reaped(options: int) -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _children() -> list[int]:
    """Our children, from the kernel's own list where it keeps one, else from everybody's."""
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _parent_of(entry) == os.getpid()]


def _parent_of(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just gone
        return 0


def _end_like(status: int | None) -> NoReturn:
    """With the worker's exit code, or by its signal, so that the gateway's log names what happened."""
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's core is the one that tells something
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if status is not None else 0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)
