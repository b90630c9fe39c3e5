"""10,000 sessions opened, used and left: what each leaves in memory; and what an idle socket costs.

A session: a stream is requested, a publisher sends pictures, a viewer takes pictures, an MJPEG reader takes a part, an
event stream is read, a client's message goes round; then all leave, and the stream is deleted or ends by itself. After
each batch, when no stream is left, the gateway's resident memory is read. The slope over sessions is Theil and Sen's,
over the last 80 % of the samples, with its interval of 95 % (`bench.slope`).

Then 5,000 sockets are opened that watch a stream where nothing happens: resident memory of the gateway by socket,
beside the same sockets at a stock server.

Promises: from 5,000 sessions on (before, pools and what Python has yet to collect still fill) the memory slope is not
surely above 512 bytes a session; processes, threads, descriptors, shared memory, temporary files and tasks of the
event loop are afterwards what they were before; an idle socket costs no more than at the stock server. Exit
code 1 if one is broken.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from bench import picture
from bench.cores import all_cores
from bench.hostile import ask
from bench.leftovers import Traces, settled
from bench.lines import PER_SOURCE, READER, SOCKET, allow_open_files, closing, opened
from bench.memory import held
from bench.servers import Address, Server, gateway, stock
from bench.slope import Slope, settled_slope
from bench.websocket import BINARY, TEXT, Inbox, packed
from gateway.commands.table import table

SETTINGS = {
    "FRAMEGATE_ANALYSIS__DEFAULT": "[]",
    "FRAMEGATE_GRACE_S": "0",
    "FRAMEGATE_STREAM__ENDED_KEPT_S": "1",
    "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0",
    "FRAMEGATE_LIMITS__MAX_VIEWERS": "16000",
    "FRAMEGATE_LIMITS__MAX_CONNECTIONS_PER_ADDRESS": "0",
    "FRAMEGATE_LIMITS__MAX_PENDING_PER_ADDRESS": "0",
}
BATCHES = 100
AT_ONCE = 4
SOURCES = 50  # addresses that clients come from in turns
LEAK_BYTES = 512.0
JUDGED = 5_000  # sessions; with fewer the slope is told and not judged
IDLE = 5_000
PATIENCE_S = 40.0
MUTE = packed(TEXT, b'{"type":"subscribe","frames":"none","topics":[]}')
_STREAMS = re.compile(rb"^framegate_streams\{[^}]*\} (\S+)", re.MULTILINE)
_TASKS = re.compile(rb"^framegate_tasks (\S+)", re.MULTILINE)


@dataclass(slots=True)
class Found:
    """`memory` of the gateway's own process after each batch, in bytes; `idle` bytes of a socket by server."""

    sessions: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    tasks: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    idle: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="sessions")
    parser.add_argument("--idle", type=int, default=IDLE, help="idle sockets")
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.count, chosen.idle = chosen.count // 10, chosen.idle // 10
    if chosen.count < BATCHES:
        parser.error(f"--count must be at least {BATCHES}")
    allow_open_files()
    found = Found()
    with gateway(all_cores(), SETTINGS) as server:
        _sessions(server, chosen.count, found)
        found.idle["gateway"] = _idle(server, _quiet_stream(server), chosen.idle)
    with stock(all_cores()) as server:
        found.idle["stock"] = _idle(server, "/ws", chosen.idle)
    return _report(found, chosen)


# --- sessions --------------------------------------------------------------------------------------------------------


def _sessions(server: Server, count: int, found: Found) -> None:
    jpeg, gateway_itself = picture.jpeg(20_000), psutil.Process(server.pid)
    size = count // BATCHES
    with ThreadPoolExecutor(AT_ONCE) as people:
        _first(server, jpeg)
        _batch(server.address, people, range(2 * AT_ONCE), jpeg)  # threads and modules that come with the first
        _empty(server)
        before, tasks = Traces.of(server), _tasks(server)
        began = time.monotonic()
        for number in range(BATCHES):
            _batch(server.address, people, range(number * size, (number + 1) * size), jpeg)
            _empty(server)
            found.sessions.append((number + 1) * size)
            found.memory.append(gateway_itself.memory_info().rss)
        found.seconds = time.monotonic() - began
    found.left = settled(server, before, PATIENCE_S)
    found.tasks = tasks, _settled_tasks(server, tasks)


def _first(server: Server, jpeg: bytes) -> None:
    """Has the worker started that draws: a session that lasts long enough to be stale would."""
    stream = server.post("/stream/request", {"analyzers": [], "grace_s": 0})
    publisher = opened(server.address, SOCKET, stream["websocket_url"], 0)
    with closing((publisher,)):
        publisher.sendall(packed(BINARY, jpeg))
        end = time.monotonic() + PATIENCE_S
        while ask(server.address, "GET", f"{stream['snapshot_url']}?width=320")[0] != 200:
            if time.monotonic() > end:
                raise RuntimeError("no picture could be drawn")
            time.sleep(0.1)


def _batch(address: Address, people: ThreadPoolExecutor, numbers: Sequence[int], jpeg: bytes) -> None:
    list(people.map(lambda number: _session(address, number, jpeg), numbers))


def _session(address: Address, number: int, jpeg: bytes) -> None:
    """One of them. Raises `ConnectionError` or `TimeoutError` where something did not come."""
    _, answer = ask(address, "POST", "/stream/request", '{"analyzers": [], "grace_s": 0}')
    stream = json.loads(answer)
    path = stream["websocket_url"]
    source = number % SOURCES * PER_SOURCE  # no port comes back within the minute that the kernel remembers it
    publisher = opened(address, SOCKET, path, source)
    viewer = opened(address, SOCKET, f"{path}?frames=binary", source)
    part = opened(address, READER, stream["video_url"], source)
    events = opened(address, READER, stream["events_url"], source)
    with closing((publisher, viewer, part, events)):
        publisher.sendall(packed(TEXT, b'{"type":"hello","acks":true}') + packed(BINARY, jpeg))
        _until(viewer, BINARY, b"")
        publisher.sendall(packed(TEXT, b'{"type":"message","data":"hello"}') + packed(BINARY, jpeg))
        _until(viewer, TEXT, b'"message"')
        _read(part, b"\xff\xd9")
        _read(events, b"event: status")
    if number % 2:
        ask(address, "DELETE", f"/stream/{stream['stream_id']}")


def _until(line: socket.socket, opcode: int, word: bytes) -> None:
    """Until a message of this kind has come that holds the word."""
    inbox = Inbox()
    while True:
        data = line.recv(2**16)
        if not data:
            raise ConnectionError("a client of a session was closed")
        inbox.feed(data)
        while (message := inbox.take()) is not None:
            if message[0] == opcode and word in message[1]:
                return


def _read(line: socket.socket, word: bytes) -> None:
    data = b""
    while word not in data:
        got = line.recv(2**16)
        if not got:
            raise ConnectionError("a reader of a session was closed")
        data = data[-64:] + got


def _empty(server: Server) -> None:
    """Wait until no stream is left."""
    end = time.monotonic() + PATIENCE_S
    while (streams := sum(map(float, _STREAMS.findall(_metrics(server))))) and time.monotonic() < end:
        time.sleep(0.01)
    if streams:
        raise RuntimeError(f"{streams:.0f} streams did not end after {PATIENCE_S:.0f} s")


def _metrics(server: Server) -> bytes:
    return ask(server.address, "GET", "/metrics")[1]


def _tasks(server: Server) -> int:
    """Tasks of the event loop, among them the one that answers this."""
    told = _TASKS.search(_metrics(server))
    if told is None:
        raise RuntimeError("the gateway does not tell its tasks")
    return int(float(told[1]))


def _settled_tasks(server: Server, before: int) -> int:
    """How many there are once they are no more than before, or the patience is at its end."""
    end = time.monotonic() + PATIENCE_S
    while (tasks := _tasks(server)) > before and time.monotonic() < end:
        time.sleep(0.1)
    return tasks


# --- idle sockets ----------------------------------------------------------------------------------------------------


def _quiet_stream(server: Server) -> str:
    return str(server.post("/stream/request", {"analyzers": [], "grace_s": 60})["websocket_url"])


def _idle(server: Server, path: str, count: int) -> float:
    """Resident bytes of a socket that offers compression, as browsers do, asks for nothing and gets nothing."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    lines: list[socket.socket] = []
    with closing(lines):
        for number in range(50):  # what is made once
            lines.append(opened(server.address, SOCKET, path, number, more=offer))
        before = held(server)
        for number in range(count):
            lines.append(opened(server.address, SOCKET, path, number, more=offer))
            lines[-1].sendall(MUTE)
        time.sleep(1.0)
        return (held(server) - before) / count


# --- report ----------------------------------------------------------------------------------------------------------


def _report(found: Found, chosen: argparse.Namespace) -> int:
    slope = settled_slope(found.sessions, found.memory)
    found.broken += list(_broken(found, slope))
    grown = found.memory[-1] - found.memory[0]
    rows = [
        [chosen.count, f"{found.seconds:.0f}", f"{slope.slope:.1f}", f"{slope.low:.1f}", f"{slope.high:.1f}", grown]
    ]
    print(table(["sessions", "s", "bytes each", "95 % from", "to", "grown in all"], rows))
    print(table(["server", "bytes per idle socket"], [[side, f"{each:,.0f}"] for side, each in found.idle.items()]))
    for promise in found.broken:
        print(f"BROKEN: {promise}")
    line = {
        "bench": "sessions",
        "void": False,
        "sessions": chosen.count,
        "seconds": round(found.seconds, 1),
        "bytes_per_session": slope.rounded(),
        "slope_judged": chosen.count >= JUDGED,
        "may_be_nothing": slope.may_be_nothing,
        "grown_bytes": grown,
        "memory_kib": [each // 1024 for each in found.memory[:: BATCHES // 20]],
        "left": found.left,
        "tasks": found.tasks,
        "idle_sockets": chosen.idle,
        "bytes_per_idle_socket": {side: round(each) for side, each in found.idle.items()},
        "idle_socket_ratio": round(found.idle["stock"] / max(1.0, found.idle["gateway"]), 3),
        "broken": found.broken,
    }
    print(json.dumps(line))
    return 1 if found.broken else 0


def _broken(found: Found, slope: Slope) -> list[str]:
    said = []
    if found.sessions[-1] >= JUDGED and slope.low > LEAK_BYTES:
        said.append(f"memory grows by {slope.slope:.0f} bytes a session, surely by more than {slope.low:.0f}")
    if found.left:
        said.append(f"left behind: {found.left}")
    if found.tasks[1] > found.tasks[0]:
        said.append(f"{found.tasks[1] - found.tasks[0]} tasks left")
    if found.idle["gateway"] > found.idle["stock"]:
        said.append(
            f"an idle socket costs {found.idle['gateway']:.0f} bytes, at the stock server {found.idle['stock']:.0f}"
        )
    return said


if __name__ == "__main__":
    raise SystemExit(main())
