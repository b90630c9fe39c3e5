"""What a gateway holds of the machine, and what it has left there: processes, threads, descriptors, files.

Its processes are told by the data folder in their environment, which children inherit, however they came to be; so one
whose parent has gone is found as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench.servers import Server

SHARED = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Traces:
    """How many of each there are. `zombies` are children that nobody has buried."""

    processes: int
    zombies: int
    threads: int
    descriptors: int
    shared_memory: int
    temporary_files: int

    @classmethod
    def of(cls, server: Server) -> Traces:
        """Of a gateway that runs."""
        gateway = psutil.Process(server.pid)
        children = gateway.children(recursive=True)
        return cls(
            processes=len(relatives(server.folder) | {child.pid for child in children}),
            zombies=sum(map(_zombie, children)),
            threads=gateway.num_threads(),
            descriptors=gateway.num_fds(),
            shared_memory=len(shared_memory()),
            temporary_files=len(files(server.temporary)),
        )

    def beyond(self, before: Traces) -> dict[str, int]:
        """What there is more of than before."""
        then = asdict(before)
        return {name: count - then[name] for name, count in asdict(self).items() if count > then[name]}


def _zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it has just gone
        return False


def settled(
    server: Server, before: Traces, patience_s: float, *, nudge: Callable[[], object] | None = None
) -> dict[str, int]:
    """What there is more of than before, once that is nothing or the patience is at its end.

    `nudge` is called between looks: pools end threads they do not need when they are asked for one.
    """
    end = time.monotonic() + patience_s
    while (more := Traces.of(server).beyond(before)) and time.monotonic() < end:
        if nudge is not None:
            nudge()
        time.sleep(0.1)
    return more


def relatives(folder: Path) -> set[int]:
    """Living processes with this folder in their environment. A zombie has no environment any more."""
    mark = f"{folder}/".encode()
    return {pid for pid in psutil.pids() if mark in _environment(pid)}


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has just gone
        return b""


def shared_memory() -> set[str]:
    return set(os.listdir(SHARED)) if SHARED.is_dir() else set()


def files(folder: Path) -> set[str]:
    """Everything under a folder, files and folders."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
