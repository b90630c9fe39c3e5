"""Memory of a server and all its processes: what it holds, and the most it has held since one looked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bench.servers import Address, Server

KIB = 1024
_RESET_PEAK = "5"  # to clear_refs, proc(5)
_TCP = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def held(server: Server) -> int:
    """Resident bytes of it and its children."""
    return sum(_field(pid, "VmRSS") for pid in family(server))


def forget_peak(server: Server) -> None:
    """From here on counts what `peak` says. Needs to be the same user, Linux."""
    for pid in family(server):
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def peak(server: Server) -> int:
    """The most that each of them held since `forget_peak`, added up; one that came since counts in full."""
    return sum(_field(pid, "VmHWM") for pid in family(server))


def family(server: Server) -> Iterator[int]:
    try:
        children = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    yield from (server.pid, *(child.pid for child in children))


def _field(pid: int, name: str) -> int:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # it has just gone
        return 0
    return int(found[1]) * KIB if found else 0


def queued(address: Address) -> tuple[int, int, int]:
    """Connections of a server that are open, and bytes in their send and receive queues in the kernel."""
    port, count, send, receive = f":{address[1]:04X}", 0, 0, 0
    for table in _TCP:
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                _, local, remote, state, queues, *_ = line.split()
                if local.endswith(port) and not remote.endswith(":0000") and state != "06":  # a listener; TIME_WAIT
                    waiting, unread = queues.split(":")
                    count, send, receive = count + 1, send + int(waiting, 16), receive + int(unread, 16)
    return count, send, receive
