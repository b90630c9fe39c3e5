"""500 viewers who take nothing beside 50 who do, half over the socket and half MJPEG, all of one stream.

By turns the 50 are measured alone, and while 500 more have come, have stopped reading after the first bytes and wait to
be noticed. Told are the rate of the live ones beside the stalled over their rate alone, in all (`fps_ratio`) and of who
lost most; the most bytes that lay in the kernel's send queues; how long it took until the server's end of the last
stalled one was gone (theirs may not know: a kernel that gives up tells nobody); and what memory has stayed. The stalled
have small receive buffers, so that the server sees it soon.

Promises: live rate ratio at least 0.95; all stalled are first seen in the kernel's table; send queues at most 512 KiB
for each viewer; the stalled gone within 15 s, and their queues with them; later rounds leave at most 4 MiB (the first
fills the allocator's pools); no live viewer is cut off. Exit code 1 if one is broken, 3 if the publisher
was late.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import picture
from bench.audience import Audience, Publisher, addresses, publishing, watching
from bench.comparison import VOID
from bench.cores import all_cores
from bench.lines import allow_open_files, closing, opened
from bench.memory import held, queued
from bench.servers import Server, gateway
from bench.websocket import BINARY, packed
from gateway.commands.table import table

SETTINGS = {"FRAMEGATE_ANALYSIS__DEFAULT": "[]", "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0"}
STALLED, LIVE = 500, 50
FPS, JPEG_BYTES = 10.0, 30_000
LEAST_RATIO = 0.95
QUEUE_BYTES = 512 * 1024
RESET_S = 15.0
KEPT_BYTES = 4 * 2**20
RECEIVE_BUFFER = 32 * 1024
LOOK_S = 0.25
MOST_LATE = 0.05


@dataclass(slots=True)
class Found:
    """Of each round: bytes a second of each live viewer alone and beside; and of the stalled what it came to."""

    alone: list[list[float]] = field(default_factory=list)
    beside: list[list[float]] = field(default_factory=list)
    queue_bytes: list[int] = field(default_factory=list)
    left_bytes: list[int] = field(default_factory=list)
    reset_s: list[float] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    never: int = 0
    memory: list[int] = field(default_factory=list)
    late: float = 0.0
    cut: int = 0

    @property
    def ratios(self) -> list[float]:
        return [sum(with_) / sum(without) for with_, without in zip(self.beside, self.alone, strict=True)]

    @property
    def grown(self) -> tuple[int, int]:
        """Bytes after the first round above before it, and after the last above the first."""
        return self.memory[1] - self.memory[0], self.memory[-1] - self.memory[1]

    @property
    def worst(self) -> float:
        """The live viewer who lost most, by the median over rounds."""
        by_viewer = zip(zip(*self.beside, strict=True), zip(*self.alone, strict=True), strict=True)
        return min(median(map(_over, with_, without)) for with_, without in by_viewer)


def _over(one: float, other: float) -> float:
    return one / other if other else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="the live viewers alone, in each round")
    parser.add_argument("--stalled", type=int, default=STALLED)
    parser.add_argument("--live", type=int, default=LIVE)
    parser.add_argument("--quick", action="store_true", help="two rounds")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 2, 6.0
    allow_open_files()
    found, audience, publisher = Found(), Audience(chosen.live), Publisher()
    message = packed(BINARY, picture.jpeg(JPEG_BYTES))
    with gateway(all_cores(), SETTINGS) as server:
        stream = server.post("/stream/request", {"analyzers": []})
        paths = stream["websocket_url"], stream["video_url"]
        with publishing(server.address, paths[0], message, FPS, publisher), watching(server.address, paths, audience):
            time.sleep(2.0)
            found.memory.append(held(server))
            for _ in range(chosen.rounds):
                found.alone.append(_rates(audience, chosen.seconds))
                _round(server, paths, chosen.stalled, audience, found)
                found.memory.append(held(server))
        found.late = publisher.late.value / max(1, publisher.sent.value)
        found.cut = audience.gone.value
    return _report(found, chosen)


def _rates(audience: Audience, seconds: float) -> list[float]:
    """Bytes a second that each live viewer gets."""
    before, began = audience.read(), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return [(now - then) / took for now, then in zip(audience.read(), before, strict=True)]


def _round(server: Server, paths: tuple[str, str], count: int, audience: Audience, found: Found) -> None:
    """The stalled come, and are watched until they have gone or their time is over."""
    there, lines = queued(server.address)[0], list[socket.socket]()
    with closing(lines):
        for number in range(count):
            request, path = addresses(number, *paths)
            lines.append(opened(server.address, request, path, 256 + number, receive_buffer=RECEIVE_BUFFER))
        stopped, before, most = time.monotonic(), audience.read(), 0
        found.seen.append(queued(server.address)[0] - there)
        while (left := queued(server.address)[0] - there) > 0 and time.monotonic() - stopped < RESET_S + 10.0:
            most = max(most, queued(server.address)[1])
            time.sleep(LOOK_S)
        took = time.monotonic() - stopped
        found.beside.append([(now - then) / took for now, then in zip(audience.read(), before, strict=True)])
        found.queue_bytes.append(most)
        found.left_bytes.append(queued(server.address)[1])
        found.reset_s.append(took)
        found.never += max(0, left)


def _broken(found: Found, stalled: int, live: int) -> list[str]:
    said = []
    if (ratio := median(found.ratios)) < LEAST_RATIO:
        said.append(f"live viewers got {ratio:.3f} of what they get alone, promised is {LEAST_RATIO}")
    if (seen := min(found.seen)) < stalled:
        said.append(f"of {stalled} stalled viewers the kernel's table showed {seen}: nothing can be said of the others")
    if max(found.queue_bytes) > (stalled + live) * QUEUE_BYTES:
        said.append(f"{max(found.queue_bytes)} bytes lay in send queues")
    if found.never or max(found.reset_s) > RESET_S:
        said.append(f"stalled viewers were there for {max(found.reset_s):.1f} s, {found.never} of them still")
    if max(found.left_bytes) > live * QUEUE_BYTES:
        said.append(f"{max(found.left_bytes)} bytes were in send queues when all had gone")
    if (grown := found.grown[1]) > KEPT_BYTES:
        said.append(f"{grown / 2**20:.1f} MiB of memory stayed after the first round")
    if found.cut:
        said.append(f"{found.cut} live viewers were cut off")
    return said


def _report(found: Found, chosen: argparse.Namespace) -> int:
    broken, void = _broken(found, chosen.stalled, chosen.live), found.late > MOST_LATE
    kib = [f"{each / 1024:,.0f}" for each in (max(found.queue_bytes), max(found.left_bytes), *found.grown)]
    head = ["stalled", "live", "fps ratio", "worst viewer", "queued KiB", "then", "grown KiB", "later", "last reset s"]
    shown = [f"{median(found.ratios):.3f}", f"{found.worst:.3f}", *kib, f"{max(found.reset_s):.1f}"]
    print(table(head, [[chosen.stalled, chosen.live, *shown]]))
    for promise in broken:
        print(f"BROKEN: {promise}")
    if void:
        print(f"VOID: {found.late:.0%} of the pictures were sent late.")
    line = {
        "bench": "stalled",
        "void": void,
        "stalled": chosen.stalled,
        "live": chosen.live,
        "fps_ratio": round(median(found.ratios), 3),
        "worst_viewer_ratio": round(found.worst, 3),
        "live_fps": round(_fps(found.alone), 2),
        "queue_bytes": max(found.queue_bytes),
        "queue_bytes_then": max(found.left_bytes),
        "reset_s": {"median": round(median(found.reset_s), 2), "worst": round(max(found.reset_s), 2)},
        "seen": min(found.seen),
        "never_reset": found.never,
        "grown_bytes": dict(zip(("first_round", "later"), found.grown, strict=True)),
        "late": round(found.late, 4),
        "broken": broken,
    }
    print(json.dumps(line))
    return 1 if broken else VOID if void else 0


def _fps(rates: Sequence[Sequence[float]]) -> float:
    """Pictures a second of a live viewer, near enough: what frames them is small."""
    return median(rate for each in rates for rate in each) / JPEG_BYTES


if __name__ == "__main__":
    raise SystemExit(main())
