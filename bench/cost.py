"""What each analyzer costs: CPU time per frame on one core, and its share of the whole chain's.

    python -m bench.cost [--analyzers A,B] [--frames 60] [--clip FILE] [--sizes 640x360,1280x720] [--quick] [--markdown]

A chain of analyzers runs in the host that a worker process runs, one thread per model. Decoding is counted once, on its
own, as all analyzers share the picture; `objects` runs once for all that need it. CPU time, so others on the machine
matter little. The first frames, in which caches and memories fill, are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import cv2

from gateway.commands.sources import decoded, encode, upright
from gateway.commands.table import table
from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import BUILT_IN, discover

WARM = 10  # frames that are not counted
FPS = 5.0  # of the clip: things move between two frames as they do for a camera of this rate
CLIP = "clips/people_onebyone_45s.mp4"
THREADS = "FRAMEGATE_RUNTIME__THREADS"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU ms per frame. `alone`: with decoding and all it needs, as on a stream that has only this analyzer."""

    size: str
    analyzer: str
    ms: float
    share: float
    alone: float | None = None


def main() -> int:
    options = _options()
    if not options.clip.is_file():
        print(f"cost: skipped, there is no clip {options.clip}")
        print(json.dumps({"bench": "cost", "skipped": f"no clip {options.clip.name}"}))
        return 0
    os.environ[THREADS] = "1"  # before a model is loaded
    cv2.setNumThreads(1)
    host = AnalyzerHost([spec for spec in discover() if spec.distribution == BUILT_IN], {})
    chain = _chain(host, options.analyzers.split(",") if options.analyzers else sorted(host.loaded.analyzers))
    found: list[Cost] = []
    for size in options.sizes.split(",")[: 1 if options.quick else None]:
        width, height = map(int, size.split("x"))
        pictures = list(_pictures(options.clip, (width, height), (10 if options.quick else options.frames) + WARM))
        found += _costs(size, host, chain, pictures)
    _print(found, markdown=options.markdown)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--analyzers", default="")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--clip", type=Path, default=Path(os.environ.get("FRAMEGATE_MEDIA_DIR", ".")) / CLIP)
    parser.add_argument("--sizes", default="640x360,1280x720")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    return parser.parse_args()


def _chain(host: AnalyzerHost, wanted: Sequence[str]) -> list[str]:
    """The analyzers that load, each after those it needs."""
    ordered: list[str] = []

    def add(name: str) -> bool:
        if name in ordered:
            return True
        needs = host.loaded.manifests[name].needs if name in host.loaded.analyzers else (name,)
        if name in needs or not all(map(add, needs)):
            return False
        report = host.prepare(name)
        if report["state"] != "ready":
            print(f"{name}: left out: {report['reason']}")
            return False
        ordered.append(name)
        return True

    for name in wanted:
        add(name)
    return ordered


def _pictures(clip: Path, size: tuple[int, int], count: int) -> Iterator[tuple[float, bytes]]:
    """JPEGs of the clip at this size and `FPS`, from where people are in it; from its beginning again at its end."""
    due, offset, made = 0.0, 0.0, 0
    while made < count:
        at = 0.0
        for at, frame in decoded(clip):
            if at >= 6.0 and offset + at >= due and made < count:
                picture = cv2.resize(upright(frame), size, interpolation=cv2.INTER_AREA)
                yield offset + at, encode(picture)  # type: ignore[arg-type]
                due, made = offset + at + 1 / FPS - 1e-3, made + 1
        offset += at + 1 / FPS


def _costs(size: str, host: AnalyzerHost, chain: Sequence[str], pictures: Sequence[tuple[float, bytes]]) -> list[Cost]:
    times: dict[str, list[float]] = {"decode": [], **{name: [] for name in chain}}
    for seq, picture in enumerate(pictures):
        for name, spent in _frame(host, chain, _order(f"cost-{size}", seq, picture, size, chain)):
            if seq >= WARM:
                times[name].append(spent)
    ms = {name: mean(found) for name, found in times.items()}
    total = sum(ms.values())
    rows = [Cost(size, name, value, value / total, _alone(name, ms, host)) for name, value in ms.items()]
    return [*rows, Cost(size, "all", total, 1.0)]


def _alone(name: str, ms: Mapping[str, float], host: AnalyzerHost) -> float | None:
    if name == "decode":
        return None
    needed: dict[str, None] = {}

    def add(one: str) -> None:
        needed.setdefault(one)
        for need in host.loaded.manifests[one].needs:
            add(need)

    add(name)
    pixels = any(host.ready[one].pixels for one in needed)
    return sum(ms[one] for one in needed) + (ms["decode"] if pixels else 0.0)


def _frame(
    host: AnalyzerHost, chain: Sequence[str], order: tuple[dict[str, Any], bytes]
) -> Iterator[tuple[str, float]]:
    """CPU ms of each step of one frame's way through the chain."""
    work = host.begin(order[0], [order[1]])
    began = time.process_time()
    work.items[0].frame.prepare()
    yield "decode", (time.process_time() - began) * 1e3
    began = time.process_time()
    for report in host.run(work):
        now = time.process_time()
        outcome = report["outcomes"][0]
        if "result" not in outcome:
            raise SystemExit(f"{report['analyzer']}: {outcome}")
        yield report["analyzer"], (now - began) * 1e3
        began = time.process_time()


def _order(
    stream: str, seq: int, picture: tuple[float, bytes], size: str, chain: Sequence[str]
) -> tuple[dict[str, Any], bytes]:
    """A job as a worker is told it."""
    at, jpeg = picture
    width, height = map(int, size.split("x"))
    frame = {"seq": seq, "received_at": at, "at": at, "width": width, "height": height, "captured_at": None}
    item = {"session": _session(stream), "frame": frame, "results": {}, "length": len(jpeg)}
    return {"items": [item], "calls": [{"analyzer": n, "items": [{"item": 0, "options": {}}]} for n in chain]}, jpeg


def _session(stream: str) -> dict[str, Any]:
    return {"stream_id": stream, "camera_id": None, "name": "", "zones": []}


def _print(found: Sequence[Cost], *, markdown: bool) -> None:
    head = ("SIZE", "ANALYZER", "CPU MS A FRAME", "SHARE", "ALONE, MS")
    rows = [
        (one.size, one.analyzer, f"{one.ms:.1f}", f"{one.share:.0%}", "-" if one.alone is None else f"{one.alone:.1f}")
        for one in found
    ]
    if markdown:
        print("\n".join("| " + " | ".join(line) + " |" for line in (tuple(map(str.lower, head)), ("---",) * 5, *rows)))
        return
    print(table(head, rows))
    sizes = dict.fromkeys(one.size for one in found)
    ms = {size: {one.analyzer: round(one.ms, 3) for one in found if one.size == size} for size in sizes}
    print(json.dumps({"bench": "cost", "cpu_ms": ms}))


if __name__ == "__main__":
    raise SystemExit(main())
