"""The process that reads cameras, killed with SIGKILL and stopped with SIGSTOP, beside cameras of another one.

In each round two cameras are pulled by a media child of their own, which is killed; when they are back, the child that
reads one of them now is stopped. Beside them two more are watched all the time. Told are the seconds until pictures of
a hit camera are analysed again, and how many results of the others came in the rounds over how many came in the quiet
windows between them, so that what else slows the machine slows both.

Promises: the gateway is the same process with a growing uptime; hit cameras are back, each time; the others
are never lost and have at least 0.95 of their results; no process, thread, descriptor, shared memory or file is left
behind. Exit code 1 if one is broken, 3 if the machine was so busy that the cameras were late by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench import rtsp
from bench.comparison import VOID
from bench.cores import all_cores
from bench.leftovers import Traces, settled
from bench.observer import wait_for
from bench.results import Viewers, viewers
from bench.servers import Server, gateway
from gateway.commands.table import table

PAIR = 2
ANALYZER, WISHED_FPS = "motion", 5.0
BACK_S = 60.0  # promised is that it comes back; when it does, the machine has a say in
PING_S = 1.0
LEAST_RATIO = 0.95
MOST_LOAD = 2.0  # of the machine's load average for a core; what starts processes beside others takes from them then
LEAST_QUIET = 0.8  # of the wished results, before anything is done: with fewer the machine has other work


@dataclass(slots=True)
class Found:
    """Seconds until a hit camera was back, by signal; results a second of the others before and meanwhile."""

    back: dict[str, list[float]] = field(default_factory=lambda: {"SIGKILL": [], "SIGSTOP": []})
    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    longest_gap_s: float = 0.0
    left: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return sum(self.beside) / max(1e-9, sum(self.quiet))

    @property
    def void(self) -> bool:
        busy = median(self.load) > MOST_LOAD * len(all_cores())
        return busy or median(self.quiet) < LEAST_QUIET * WISHED_FPS * PAIR


def main() -> int:
    chosen = _options()
    if lacking := rtsp.missing():
        print(f"mediachild: skipped, {lacking}")
        print(json.dumps({"bench": "mediachild", "skipped": lacking}))
        return 0
    found = Found()
    with (
        tempfile.TemporaryDirectory(prefix="framegate-bench-") as folder,
        rtsp.cameras(2 * PAIR, Path(folder)) as urls,
        gateway(all_cores(), _settings(urls)) as server,
    ):
        server.wait_for_analyzers([ANALYZER])
        _run(Bench(server, urls), chosen, found)
    return _report(found, chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="rounds: each kills once and stops once")
    parser.add_argument("--quiet", type=float, default=5.0, help="length of a quiet window, in s")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.count, chosen.quiet = 3, 3.0
    return chosen


def _settings(urls: Sequence[str]) -> dict[str, str]:
    return {
        "FRAMEGATE_MEDIA__ENDPOINTS": json.dumps([urls[0].split("/")[2]]),
        "FRAMEGATE_MEDIA__STREAMS_PER_CHILD": str(PAIR),
        "FRAMEGATE_MEDIA__PING_S": str(PING_S),
        "FRAMEGATE_CLIPS__ON": "false",  # their process comes with the first event
        "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0",
    }


class Bench:
    """The gateway, its cameras and the processes that read them, seen from outside."""

    def __init__(self, server: Server, urls: Sequence[str]) -> None:
        self.server = server
        self._urls = urls

    def open(self, first: int) -> list[dict[str, Any]]:
        """A pair of cameras, online."""
        wish = {"analyzers": [ANALYZER], "options": {ANALYZER: {"fps": WISHED_FPS}}}
        pair = [self.server.post("/stream/connect", {"stream_url": url, **wish}) for url in self._urls[first:][:PAIR]]
        wait_for("cameras to be online", lambda: {self.camera(one)["state"] for one in pair} == {"online"}, 60.0)
        return pair

    def close(self, pair: Sequence[dict[str, Any]]) -> None:
        for one in pair:
            self.server.delete(f"/stream/{one['stream_id']}")

    def camera(self, stream: dict[str, Any]) -> dict[str, Any]:
        camera: dict[str, Any] = self.server.get(f"/stream/{stream['stream_id']}")["camera"]
        return camera

    def analyzed(self, stream: dict[str, Any]) -> int:
        return int(self.server.get(f"/stream/{stream['stream_id']}")["analyzers"][0]["analyzed"])

    def readers(self) -> set[int]:
        """Processes that read cameras. Each has a guard before it, which looks the same but for its parent."""
        found = {}
        for process in psutil.Process(self.server.pid).children(recursive=True):
            try:
                if process.cmdline()[-1:] == ["media"]:
                    found[process.pid] = process.ppid()
            except psutil.NoSuchProcess:  # it has just gone
                continue
        return {pid for pid, parent in found.items() if parent in found}


def _run(bench: Bench, chosen: argparse.Namespace, found: Found) -> None:
    others = bench.open(0)
    kept = bench.readers()
    with viewers(bench.server.address, [one["websocket_url"] for one in others], ANALYZER) as people:
        _round(bench, kept, Found())  # every pool of threads has its threads
        time.sleep(2.0)
        before, created = Traces.of(bench.server), psutil.Process(bench.server.pid).create_time()
        uptime = bench.server.get("/status")["uptime_s"]
        for _ in range(chosen.count):
            people.take()
            began = time.monotonic()
            time.sleep(chosen.quiet)
            found.quiet.append(_hear(people, time.monotonic() - began, found))
            began = time.monotonic()
            _round(bench, kept, found)
            found.beside.append(_hear(people, time.monotonic() - began, found))
            found.load.append(os.getloadavg()[0])
        found.left = settled(bench.server, before, 15.0)
    _judge(bench, others, (created, uptime), found)


def _round(bench: Bench, kept: set[int], found: Found) -> None:
    pair = bench.open(PAIR)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        hit = sorted(bench.readers() - kept)[:1]
        if not hit:
            found.broken.append("nobody reads the cameras")
            break
        found.back[number.name] += _strike(bench, pair, hit[0], number, found)
    bench.close(pair)
    if not wait_for("its children to end", lambda: bench.readers() == kept, 15.0):
        found.broken.append("media children without work go on")


def _strike(bench: Bench, pair: Sequence[dict[str, Any]], pid: int, number: int, found: Found) -> list[float]:
    """Seconds until each of the pair that this process read was back."""
    at, took = time.monotonic(), []
    os.kill(pid, number)
    if not wait_for("a camera to be lost", lambda: _lost(bench, pair), BACK_S):
        found.broken.append(f"{signal.Signals(number).name}: no camera was lost")
        return []
    counts = {one["stream_id"]: bench.analyzed(one) for one in pair}
    for one in pair:
        if not wait_for("a camera to be back", lambda one=one: bench.analyzed(one) > counts[one["stream_id"]], BACK_S):
            found.broken.append(f"{signal.Signals(number).name}: a camera was not back after {BACK_S:.0f} s")
        took.append(time.monotonic() - at)
    if not wait_for("all to be online", lambda: {bench.camera(one)["state"] for one in pair} == {"online"}, BACK_S):
        found.broken.append("a camera is analysed but not online")
    return [max(took)]


def _lost(bench: Bench, pair: Sequence[dict[str, Any]]) -> bool:
    return any(bench.camera(one)["state"] != "online" for one in pair)


def _hear(people: Viewers, took: float, found: Found) -> float:
    """Results a second of all the others."""
    heard = people.take()
    for each in heard:
        ats = [one.at for one in each]
        gaps = [later - earlier for earlier, later in pairwise(ats)]
        found.longest_gap_s = max([found.longest_gap_s, *gaps])
    return sum(map(len, heard)) / took


def _judge(bench: Bench, others: Sequence[dict[str, Any]], before: tuple[float, float], found: Found) -> None:
    created, uptime = before
    if psutil.Process(bench.server.pid).create_time() != created or bench.server.get("/status")["uptime_s"] <= uptime:
        found.broken.append("the gateway was restarted")
    if lost := sum(bench.camera(one)["attempts"] != 1 or bench.camera(one)["state"] != "online" for one in others):
        found.broken.append(f"{lost} of the others were lost")
    if found.ratio < LEAST_RATIO and not found.void:
        found.broken.append(f"the others had {found.ratio:.3f} of their results, promised are {LEAST_RATIO}")
    if found.left:
        found.broken.append(f"left behind: {found.left}")


# --- what came of it --------------------------------------------------------------------------------------------------


def _report(found: Found, chosen: argparse.Namespace) -> int:
    back = {name: (median(took), max(took)) for name, took in found.back.items() if took}
    head = ["rounds", "others' ratio", "longest gap s", *(f"back after {name} s" for name in back), "worst s"]
    shown = [f"{found.ratio:.3f}", f"{found.longest_gap_s:.2f}", *(f"{typical:.2f}" for typical, _ in back.values())]
    print(table(head, [[chosen.count, *shown, f"{max(worst for _, worst in back.values()):.2f}"]]))
    for promise in found.broken:
        print(f"BROKEN: {promise}")
    if found.void:
        print("VOID: the machine had other work, so the ratio says nothing.")
    line = {
        "bench": "mediachild",
        "void": found.void,
        "rounds": chosen.count,
        "others_ratio": round(found.ratio, 4),
        "others_longest_gap_s": round(found.longest_gap_s, 2),
        "back_s": {name: {"median": round(each[0], 2), "worst": round(each[1], 2)} for name, each in back.items()},
        "load": round(median(found.load), 1),
        "left": found.left,
        "broken": found.broken,
    }
    print(json.dumps(line))
    return 1 if found.broken else VOID if found.void else 0


if __name__ == "__main__":
    raise SystemExit(main())
