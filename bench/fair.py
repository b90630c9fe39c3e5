"""16 streams, and one analyzer that computes for 50 ms at each frame: who gets how many calls, and how old they are.

All streams push 10 frames a second, eight times what the analyzer can do. At every look at `GET /stream` the streams'
calls are compared; and every result tells its frame's age. A result is as old as a frame may wait for the next one to
replace it, and a call; between two results of a stream lie the calls of all.

Exit code 1 if a stream was ever two calls ahead of another, got no call, or calls were counted backwards; 3 if the load
generator was late, which says nothing of ages alone; else 1 if a result was too old.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench import picture
from bench.comparison import VOID
from bench.cores import all_cores
from bench.crowd import Crowd, Seen, Task, crowd
from bench.foreign import busy_plugin
from bench.observer import wait_for
from bench.servers import Server, gateway
from gateway.commands.table import table

STREAMS, FPS, CALL_S = 16, 10.0, 0.05
MOST_APART = 1
LOOK_S = 0.05
SLACK = 1.5  # of the bounds, for a machine with other work


@dataclass(slots=True)
class Found:
    """Calls of each stream at every look, and what the viewers saw."""

    looks: list[list[int]] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    call_ms: float = 0.0

    @property
    def apart(self) -> int:
        """How far the most served stream was ever ahead of the least served one."""
        return max(max(calls) - min(calls) for calls in self.looks)

    @property
    def ages(self) -> list[float]:
        return self.seen.all_ages("busy")

    @property
    def bound_ms(self) -> float:
        """What a result's age must stay below: all streams' calls and a frame's time."""
        return SLACK * (STREAMS * self.call_ms + 1e3 / FPS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    chosen = parser.parse_args()
    seconds = chosen.seconds / 10 if chosen.quick else chosen.seconds
    with tempfile.TemporaryDirectory(prefix="framegate-bench-plugins-") as folder:
        settings = {"FRAMEGATE_PLUGINS": json.dumps([str(busy_plugin(Path(folder), CALL_S))])}
        with gateway(all_cores(), settings) as server, crowd(server.address) as people:
            _warm_up(server, people)
            found = _watch(server, people, seconds)
    return _report(found)


def _open(server: Server) -> dict[str, Any]:
    stream: dict[str, Any] = server.post("/stream/request", {"analyzers": ["busy"]})
    return stream


def _warm_up(server: Server, people: Crowd) -> None:
    """Have the analyzer loaded and called, so that no stream meets it while it is not ready."""
    server.wait_for_analyzers(["busy"])
    stream = _open(server)
    wait_for("busy to be ready", lambda: _analyzer(server)["state"] == "ready", 30.0)
    people.run(Task((stream["websocket_url"],), picture.jpeg(), FPS, 10))
    server.delete(f"/stream/{stream['stream_id']}")


def _analyzer(server: Server) -> Any:
    return next(item for item in server.get("/api/analyzers")["items"] if item["name"] == "busy")


def _watch(server: Server, people: Crowd, seconds: float) -> Found:
    """Look at all streams' calls, one answer of the gateway being one moment, until all is pushed."""
    found = Found()
    streams = [_open(server) for _ in range(STREAMS)]
    people.begin(Task(tuple(stream["websocket_url"] for stream in streams), picture.jpeg(), FPS, round(seconds * FPS)))
    end = time.monotonic() + seconds - 1.0  # before the first stream gets its last frame
    while time.monotonic() < end:
        items = server.get("/stream")["items"]
        found.looks.append([stage["analyzed"] for stream in items for stage in stream["analyzers"]])
        time.sleep(LOOK_S)
    found.call_ms = _analyzer(server)["mean_ms"]
    found.seen = people.end()
    return found


def _report(found: Found) -> int:
    last, ages = found.looks[-1], found.ages
    cuts = quantiles(ages, n=100)
    rows: list[tuple[str, object]] = [
        ("calls of a stream, least", min(last)),
        ("calls of a stream, most", max(last)),
        ("most ever apart", found.apart),
        ("looks", len(found.looks)),
        ("a call, ms", f"{found.call_ms:.1f}"),
        ("age of a result, p50 ms", f"{cuts[49]:.1f}"),
        ("age of a result, p99 ms", f"{cuts[98]:.1f}"),
        ("age of a result, max ms", f"{max(ages):.1f}"),
        ("allowed, ms", f"{found.bound_ms:.1f}"),
    ]
    print(table(["what", "value"], [[what, str(value)] for what, value in rows]))
    broken = _unfair(found) + ([] if found.seen.void else _late(found))
    for text in broken:
        print(f"BROKEN: {text}")
    line = {
        "bench": "fair",
        "void": found.seen.void,
        "streams": STREAMS,
        "apart": found.apart,
        "calls": {"min": min(last), "max": max(last)},
        "call_ms": found.call_ms,
        "age_ms": {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(ages), 1)},
        "looks": len(found.looks),
        "broken": broken,
    }
    print(json.dumps(line))
    return 1 if broken else VOID if found.seen.void else 0


def _unfair(found: Found) -> list[str]:
    """What is broken whenever the frames came."""
    broken = []
    if found.apart > MOST_APART:
        broken.append(f"a stream was {found.apart} calls ahead of another, allowed is {MOST_APART}")
    if min(found.looks[-1]) < 1:
        broken.append("a stream got no call at all")
    if any(later < earlier for earlier, later in itertools.pairwise(map(sum, found.looks))):
        broken.append("calls were counted backwards")
    return broken


def _late(found: Found) -> list[str]:
    """What a late load generator may have broken itself."""
    if max(found.ages) <= found.bound_ms:
        return []
    return [f"a result was {max(found.ages):.0f} ms old, allowed is {found.bound_ms:.0f}"]


if __name__ == "__main__":
    raise SystemExit(main())
