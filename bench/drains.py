"""200 SIGTERMs under load: how the gateway leaves, and what its clients are told.

Each time a fresh gateway, without analyzers, serves 20 clients on two streams: publishers, viewers over the socket,
MJPEG and event readers, each a process of its own. One of the 20, another one each time, is stopped (SIGSTOP) a second
before the gateway gets its SIGTERM, and goes on when the gateway has left.

Promises: exit code 0 within 10 s each time; every close code seen is 1000, 1001 or 1012, and who was not stopped sees
one, or the proper end of an endless answer; no process, shared memory or temporary file is left. Exit code 1 if one is
broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import psutil

from bench import picture
from bench.cores import all_cores
from bench.leftovers import files, relatives, shared_memory
from bench.peers import ENDED, ROLES, Part, Peer, peers
from bench.servers import Server, gateway
from gateway.commands.table import table

SETTINGS = {"FRAMEGATE_ANALYSIS__DEFAULT": "[]", "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0"}
STREAMS = 2
CLIENTS = STREAMS * len(ROLES)
LANES = 2
LOAD_S, STOPPED_S = 0.5, 1.0
ALLOWED_S = 10.0
PATIENCE_S = 20.0
GOODBYES = frozenset({1000, 1001, 1012})
JPEG_BYTES = 30_000


@dataclass(slots=True)
class Found:
    """Of all drains: exit codes, seconds until the exit, how the lines of each role ended (`stopped` apart)."""

    codes: Counter[int] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drains", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="a tenth of the drains")
    chosen = parser.parse_args()
    drains = max(1, chosen.drains // 10) if chosen.quick else chosen.drains
    found, shared, jpeg = Found(), shared_memory(), picture.jpeg(JPEG_BYTES)
    with ExitStack() as stack:
        lanes = [stack.enter_context(peers(CLIENTS)) for _ in range(min(LANES, drains))]
        with ThreadPoolExecutor(len(lanes)) as pool:
            for lane, clients in enumerate(lanes):
                pool.submit(_lane, clients, range(lane, drains, len(lanes)), jpeg, found)
    if left := shared_memory() - shared:
        found.broken[f"{len(left)} pieces of shared memory left"] += 1
    return _report(found, drains)


def _lane(clients: Sequence[Peer], numbers: Sequence[int], jpeg: bytes, found: Found) -> None:
    for number in numbers:
        try:
            _drain(clients, number % CLIENTS, jpeg, found)
        except Exception as error:  # noqa: BLE001 - one drain that could not be made must not hide the others
            found.broken[f"no drain: {type(error).__name__}: {error}"[:200]] += 1
            return


def _drain(clients: Sequence[Peer], stopped: int, jpeg: bytes, found: Found) -> None:
    with gateway(all_cores(), SETTINGS) as server:
        parts = _parts(server, jpeg)
        for client, part in zip(clients, parts, strict=True):
            client.join(part)
            if not client.has_joined(PATIENCE_S):
                raise TimeoutError(f"a {part.role} did not join")
        time.sleep(LOAD_S)
        halted = psutil.Process(clients[stopped].process.pid)
        halted.suspend()
        time.sleep(STOPPED_S)
        code, took = _leave(server)
        halted.resume()
        found.codes[code] += 1
        found.took_s.append(took)
        _see(found, code, took)
        for index, (client, part) in enumerate(zip(clients, parts, strict=True)):
            _hear(found, part.role, client.ended(PATIENCE_S), stopped=index == stopped)
        if left := relatives(server.folder):
            found.broken[f"{len(left)} processes left"] += 1
        if left_files := files(server.temporary):
            found.broken[f"{len(left_files)} temporary files left"] += 1


def _parts(server: Server, jpeg: bytes) -> list[Part]:
    parts = []
    for _ in range(STREAMS):
        stream = server.post("/stream/request", {"analyzers": []})
        paths = {
            "publisher": stream["websocket_url"],
            "viewer": f"{stream['websocket_url']}?frames=binary",
            "mjpeg": stream["video_url"],
            "events": stream["events_url"],
        }
        parts += [Part(role, server.address, paths[role], jpeg if role == "publisher" else b"") for role in ROLES]
    return parts


def _leave(server: Server) -> tuple[int, float]:
    """Its exit code after a SIGTERM (-9: it had to be killed), and how long that took."""
    process, began = psutil.Process(server.pid), time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    try:
        code = process.wait(2 * ALLOWED_S)
    except psutil.TimeoutExpired:
        process.kill()
        code = process.wait()
    return int(code if code is not None else -1), time.monotonic() - began


def _see(found: Found, code: int, took: float) -> None:
    if code:
        found.broken[f"exit code {code}"] += 1
    if took > ALLOWED_S:
        found.broken[f"took longer than {ALLOWED_S:.0f} s"] += 1


def _hear(found: Found, role: str, end: int | str | None, *, stopped: bool) -> None:
    """A stopped client may find its line cut: that is what happens to who does not answer."""
    found.ends["stopped" if stopped else role, str(end)] += 1
    good = end in GOODBYES or (end == ENDED and role in ("mjpeg", "events"))
    if isinstance(end, int) and not good:
        found.broken[f"a {role} saw close code {end}"] += 1
    elif not good and not stopped:
        found.broken[f"a {role}'s line: {end or 'still there'}"] += 1
    elif end is None:
        found.broken["the line of a stopped client is still there"] += 1


def _report(found: Found, drains: int) -> int:
    worst = max(found.took_s, default=0.0)
    middle = median(found.took_s) if found.took_s else 0.0
    print(
        table(["drains", "exit 0", "median s", "worst s"], [[drains, found.codes[0], f"{middle:.2f}", f"{worst:.2f}"]])
    )
    print(table(["who", "saw", "times"], [[who, end, times] for (who, end), times in sorted(found.ends.items())]))
    for promise, times in found.broken.most_common():
        print(f"BROKEN: {times} times {promise}")
    line = {
        "bench": "drains",
        "void": False,
        "drains": drains,
        "exit_0": found.codes[0],
        "exit_s": {"median": round(middle, 3), "worst": round(worst, 3)},
        "ends": {f"{who} {end}": times for (who, end), times in sorted(found.ends.items())},
        "broken": dict(found.broken),
    }
    print(json.dumps(line))
    return 1 if found.broken or found.codes[0] < drains else 0


if __name__ == "__main__":
    raise SystemExit(main())
