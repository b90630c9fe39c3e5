"""`kill -9` of a gateway under load, again and again: what is left of it, and for how long.

Streams are pushed, viewers watch drawn pictures, and of its plugins one is busy in C with the GIL held, one hangs, one
ignores signals, has a thread of its own and has started two processes, one of them in a session of its own. Then the
gateway is killed. Within 5 s none of its processes may live, and no shared memory, lock or temporary file be there.

Exit code 1 if something was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Thread

import psutil

from bench import picture
from bench.cores import all_cores
from bench.crowd import Task, crowd
from bench.foreign import immortal_plugins, light_plugins
from bench.leftovers import files, relatives, shared_memory
from bench.observer import wait_for
from bench.servers import Server, gateway
from gateway.commands.table import table

STREAMS, FPS = 4, 10.0
ALLOWED_S = 5.0
LOOK_S = 0.01
BUSY = {"native", "hung", "stubborn"}
LOCKS = (".lock", ".pid", ".sock")


@dataclass(slots=True)
class Found:
    """Of each kill: processes there were besides the gateway, s until all had gone; and what had not."""

    processes: list[int] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    survivors: Counter[str] = field(default_factory=Counter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="a tenth of the kills")
    chosen = parser.parse_args()
    kills = max(1, chosen.kills // 10) if chosen.quick else chosen.kills
    found = Found()
    with tempfile.TemporaryDirectory(prefix="framegate-bench-plugins-") as folder:
        plugins = [*light_plugins(Path(folder), 2), *immortal_plugins(Path(folder))]
        for _ in range(kills):
            _round(plugins, found)
    return _report(found)


def _round(plugins: Sequence[Path], found: Found) -> None:
    settings = {"FRAMEGATE_PLUGINS": json.dumps([str(file) for file in plugins])}
    shared = shared_memory()
    with gateway(all_cores(), settings) as server, _under_load(server, plugins):
        family = _family(server)
        found.processes.append(len(family))
        os.kill(server.pid, signal.SIGKILL)
        began = time.monotonic()
        while left := _left(server, family, shared):
            if time.monotonic() - began > ALLOWED_S:
                break
            time.sleep(LOOK_S)
        found.gone_s.append(time.monotonic() - began)
        found.survivors.update(left)
        _end(family)


@contextmanager
def _under_load(server: Server, plugins: Sequence[Path]) -> Iterator[None]:
    """Until every plugin does what it is for, and pictures are drawn."""
    names = [plugin.stem for plugin in plugins]
    server.wait_for_analyzers(names)
    streams = [server.post("/stream/request", {"analyzers": names}) for _ in range(STREAMS)]
    paths = tuple(stream["websocket_url"] for stream in streams)
    with crowd(server.address) as people, ExitStack() as viewers:
        people.begin(Task(paths, picture.jpeg(20_000), FPS, round(60 * FPS)))
        for stream in streams:
            viewers.enter_context(_watching(server, f"{stream['video_url']}?draw=boxes"))
        if not wait_for("plugins to be busy", lambda: _busy(server) >= BUSY and _draws(server), 30.0):
            raise RuntimeError(f"no load: {_busy(server)}\n{server.log.read_text(errors='replace')[-2000:]}")
        yield


def _busy(server: Server) -> set[str]:
    return set(re.findall(r"\bbusy (\w+)", server.log.read_text(errors="replace")))


def _draws(server: Server) -> bool:
    """Whether the worker that draws pictures is there."""
    return any("picture" in _name(child) for child in psutil.Process(server.pid).children())


@contextmanager
def _watching(server: Server, path: str) -> Iterator[None]:
    """Somebody who reads an MJPEG stream and throws it away."""
    connection = socket.create_connection(server.address)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {server.address[0]}\r\n\r\n".encode())
    thread = Thread(target=_drain, args=(connection,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):  # the gateway was killed
            connection.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def _drain(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        while connection.recv(2**20):
            pass


def _family(server: Server) -> list[psutil.Process]:
    """All that came of the gateway, without itself: its children's children, and who only has its environment."""
    children = psutil.Process(server.pid).children(recursive=True)
    found = {child.pid: child for child in children}
    for pid in relatives(server.folder) - {server.pid}:
        with suppress(psutil.NoSuchProcess):
            found.setdefault(pid, psutil.Process(pid))
    return list(found.values())


def _left(server: Server, family: Sequence[psutil.Process], shared: set[str]) -> list[str]:
    """What is still there, in words."""
    living = {process.pid: process for process in family if _lives(process)}
    later = relatives(server.folder) - {server.pid} - living.keys()
    home = server.folder / "home"
    return [
        *(f"process {_name(process)}" for process in living.values()),
        *("process started meanwhile" for _ in later),
        *("shared memory" for _ in shared_memory() - shared),
        *(f"temporary file {name}" for name in files(server.temporary)),
        *(f"lock {name}" for name in files(home) if name.endswith(LOCKS)),
    ]


def _lives(process: psutil.Process) -> bool:
    """Dead but not buried counts as dead: that is up to the machine's init."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    """Its command, short: `child 7 analyze`, or what a plugin started."""
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return "gone"
    return " ".join(part.partition("\n")[0] for part in command[2:])[-60:]


def _end(family: Sequence[psutil.Process]) -> None:
    for process in family:
        if _lives(process):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _report(found: Found) -> int:
    worst = max(found.gone_s)
    rows = [[len(found.gone_s), f"{median(found.processes):.0f}", f"{median(found.gone_s):.2f}", f"{worst:.2f}"]]
    print(table(["kills", "processes", "gone after s", "worst s"], rows))
    for name, count in found.survivors.most_common():
        print(f"BROKEN: {count} times after {ALLOWED_S:.0f} s: {name}")
    line = {
        "bench": "orphans",
        "void": False,
        "kills": len(found.gone_s),
        "processes": median(found.processes),
        "gone_s": {"median": round(median(found.gone_s), 3), "worst": round(worst, 3)},
        "survivors": dict(found.survivors),
    }
    print(json.dumps(line))
    return 1 if found.survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
