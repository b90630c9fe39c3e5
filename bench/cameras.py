"""20 RTSP cameras of 640x360 and 15 fps, analysed twice a second by `motion`, beside what decodes all and does no more.

By turns the gateway pulls them, with everything it does about it, and a process with one PyAV loop a camera, or one
ffmpeg a camera (`--beside ffmpeg`), does nothing but decode. Told are CPU ms a second and camera of either, and of the
gateway by process; how many of the wished results came, how old their pictures were when a viewer had them, and the
longest time without one.

The gateway's side has more to do: pictures are scaled and encoded, cross two processes, are looked at and told. It may
leave out what it does not need; the loop decodes all.

Promises: at least 0.95 of the wished results; 0.95 of them within half a second of the picture's arrival; no camera is
lost. Exit code 1 if one is broken, 3 if the cameras themselves were late.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from bench import rtsp
from bench.comparison import VOID
from bench.cores import all_cores
from bench.observer import wait_for
from bench.plain_rtsp import Loops, ffmpeg, plain
from bench.results import Heard, Viewers, viewers
from bench.servers import Server, gateway
from gateway.commands.table import table

COUNT, WISHED_FPS = 20, 2.0
BESIDE: dict[str, Callable[[Sequence[str]], AbstractContextManager[Loops]]] = {"pyav": plain, "ffmpeg": ffmpeg}
LEAST_SHARE = 0.95
ON_TIME_S, LEAST_ON_TIME = 0.5, 0.95
SETTLE_S = 5.0  # for a GOP or two, from which the decoder's plan is made
MOST_LATE = 0.05  # of the pictures that a camera is to send
ANALYZER = "motion"


@dataclass(slots=True)
class Found:
    """Of each round: CPU s a second of the gateway by process and of the plain loops; and what viewers heard."""

    ours: list[dict[str, float]] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    wished: float = 0.0
    heard: list[Heard] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)
    lost: int = 0
    counters: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return median(sum(ours.values()) / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def share(self) -> float:
        return len(self.heard) / self.wished

    @property
    def on_time(self) -> float:
        return sum(each.age_s <= ON_TIME_S for each in self.heard) / max(1, len(self.heard))


def main() -> int:
    chosen = _options()
    if lacking := rtsp.missing():
        print(f"cameras: skipped, {lacking}")
        print(json.dumps({"bench": "cameras", "skipped": lacking}))
        return 0
    found = Found()
    with (
        tempfile.TemporaryDirectory(prefix="framegate-bench-") as folder,
        rtsp.cameras(chosen.count, Path(folder)) as urls,
        _server(urls) as server,
    ):
        for _ in range(chosen.rounds):
            _ours(server, urls, chosen, found)
            _theirs(urls, chosen, found)
    return _report(found, chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="cameras")
    parser.add_argument("--fps", type=float, default=WISHED_FPS, help="pictures a second that are analysed")
    parser.add_argument("--beside", choices=BESIDE, default="pyav", help="what decodes all")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of one window")
    parser.add_argument("--rounds", type=int, default=3, help="windows of either side")
    parser.add_argument("--quick", action="store_true", help="one round of ten seconds")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 10.0
    return chosen


@contextmanager
def _server(urls: Sequence[str]) -> Iterator[Server]:
    endpoint = urls[0].split("/")[2]
    settings = {"FRAMEGATE_MEDIA__ENDPOINTS": json.dumps([endpoint]), "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0"}
    with gateway(all_cores(), settings) as server:
        server.wait_for_analyzers([ANALYZER])
        yield server


# --- ours ------------------------------------------------------------------------------------------------------------


def _ours(server: Server, urls: Sequence[str], chosen: argparse.Namespace, found: Found) -> None:
    wish = {"analyzers": [ANALYZER], "options": {ANALYZER: {"fps": chosen.fps}}}
    streams = [server.post("/stream/connect", {"stream_url": url, **wish}) for url in urls]
    ids = [stream["stream_id"] for stream in streams]
    with viewers(server.address, [stream["websocket_url"] for stream in streams], ANALYZER) as people:
        wait_for("all cameras to be online", lambda: _cameras(server, ids, "state") == {"online"}, 60.0)
        time.sleep(SETTLE_S)
        _watch(server, people, chosen, found)
    cameras = [_camera(server, each) for each in ids]
    found.fps += [camera["fps"] for camera in cameras]
    found.lost += sum(camera["attempts"] > 1 for camera in cameras)
    for each in ids:
        server.delete(f"/stream/{each}")


def _watch(server: Server, people: Viewers, chosen: argparse.Namespace, found: Found) -> None:
    people.take()
    before, began = _cpu(server), time.monotonic()
    time.sleep(chosen.seconds)
    after, took = _cpu(server), time.monotonic() - began
    heard = people.take()
    found.ours.append({role: (after[role] - before.get(role, 0.0)) / took for role in after})
    found.wished += chosen.fps * took * len(heard)
    for each in heard:
        found.heard += each
        ats = [began, *(result.at for result in each), began + took]
        found.gaps.append(max(later - earlier for earlier, later in pairwise(ats)))


def _camera(server: Server, stream_id: str) -> dict[str, Any]:
    camera: dict[str, Any] = server.get(f"/stream/{stream_id}")["camera"]
    return camera


def _cameras(server: Server, ids: Sequence[str], name: str) -> set[Any]:
    return {_camera(server, each)[name] for each in ids}


def _cpu(server: Server) -> dict[str, float]:
    """CPU seconds so far, by what a process does: `gateway`, `media`, and the rest of its children as `workers`."""
    spent: dict[str, float] = defaultdict(float, {"gateway": server.cpu_s()})
    for process in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just gone
            role = "media" if process.cmdline()[-1:] == ["media"] else "workers"
            times = process.cpu_times()
            spent[role] += times.user + times.system
    return spent


# --- theirs ----------------------------------------------------------------------------------------------------------


def _theirs(urls: Sequence[str], chosen: argparse.Namespace, found: Found) -> None:
    with BESIDE[chosen.beside](urls) as loops:
        wait_for("all loops to decode", lambda: loops.read()[1] > 2 * rtsp.FPS * len(urls), 60.0)
        time.sleep(SETTLE_S)
        (cpu, pictures), began = loops.read(), time.monotonic()
        time.sleep(chosen.seconds)
        (cpu_then, pictures_then), took = loops.read(), time.monotonic() - began
    found.theirs.append((cpu_then - cpu) / took)
    found.fps.append((pictures_then - pictures) / took / len(urls))


# --- what came of it --------------------------------------------------------------------------------------------------


def _broken(found: Found) -> list[str]:
    said = []
    if found.share < LEAST_SHARE:
        said.append(f"{found.share:.3f} of the wished results came, promised are {LEAST_SHARE}")
    if found.on_time < LEAST_ON_TIME:
        said.append(f"{found.on_time:.3f} of the results were there within {ON_TIME_S} s, promised are {LEAST_ON_TIME}")
    if found.lost:
        said.append(f"{found.lost} cameras were lost")
    return said


def _report(found: Found, chosen: argparse.Namespace) -> int:
    broken, void = _broken(found), min(found.fps) < rtsp.FPS * (1 - MOST_LATE)
    each = 1e3 / chosen.count
    ours = {role: round(median(spent[role] for spent in found.ours) * each, 2) for role in found.ours[0]}
    total, theirs = median(sum(spent.values()) for spent in found.ours) * each, median(found.theirs) * each
    ages = [1e3 * age for age in quantiles([one.age_s for one in found.heard], n=100)]
    head = [
        "cameras",
        "ms/s a camera",
        chosen.beside,
        "ratio",
        "share",
        "on time",
        "age p50 ms",
        "p99 ms",
        "longest gap s",
    ]
    shown = [f"{total:.2f}", f"{theirs:.2f}", f"{found.ratio:.2f}", f"{found.share:.3f}", f"{found.on_time:.3f}"]
    print(table(head, [[chosen.count, *shown, f"{ages[49]:.0f}", f"{ages[98]:.0f}", f"{max(found.gaps):.2f}"]]))
    for promise in broken:
        print(f"BROKEN: {promise}")
    if void:
        print(f"VOID: a camera sent {min(found.fps):.1f} pictures a second.")
    line = {
        "bench": "cameras",
        "void": void,
        "cameras": chosen.count,
        "fps": chosen.fps,
        "beside": chosen.beside,
        "cpu_ratio": round(found.ratio, 3),
        "cpu_ms_a_camera": {"gateway": round(total, 2), chosen.beside: round(theirs, 2), "by_process": ours},
        "share": round(found.share, 4),
        "on_time": round(found.on_time, 4),
        "age_ms": {"p50": round(ages[49], 1), "p99": round(ages[98], 1)},
        "longest_gap_s": round(max(found.gaps), 2),
        "camera_fps": {"least": round(min(found.fps), 2), "median": round(median(found.fps), 2)},
        "broken": broken,
    }
    print(json.dumps(line))
    return 1 if broken else VOID if void else 0


if __name__ == "__main__":
    raise SystemExit(main())
