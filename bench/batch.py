"""Batches: 16 sessions of `objects` with yolov8n.onnx, in calls of up to 8 frames, against a plain loop doing the same.

Beside it the same with single frames. Both sides have the same weights, picture, number of runtime threads, priority
and cores, and neither's threads spin. Each stream gets 7.5 pictures a second, several times what can be analysed, so
that a batch can always be filled; a viewer of each stream is told the age of its results. Exit code 1 if in a window
one stream got two calls more than another (beyond one at each end), else 3 if the load was late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import quantiles

from bench import picture
from bench.analyze import WEIGHTS, find_weights
from bench.comparison import Case, Measure, Window, measure, options, report, window
from bench.cores import all_cores
from bench.crowd import Crowd, Task, crowd
from bench.loop import PlainLoop, Rules, plain_loop
from bench.servers import Server, gateway

STREAMS, FPS = 16, 7.5
SIZES = (1, 8)
MOST_APART = 2
LEAST_S = 2.0  # of a window, to hold several calls
SPARE_S = 6.0  # of load, for the streams' first results


@dataclass(slots=True)
class Side:
    """The gateway with calls of `size` frames, its crowd, and what was seen in all windows."""

    size: int
    server: Server
    people: Crowd
    jpeg: bytes
    ages: list[float] = field(default_factory=list)
    apart: int = 0
    call_ms: float = 0.0

    def measure(self, seconds: float) -> Window:
        seconds = max(seconds, LEAST_S)
        streams = [self._open() for _ in range(STREAMS)]
        ids = [stream["stream_id"] for stream in streams]
        paths = tuple(stream["websocket_url"] for stream in streams)
        self.people.begin(Task(paths, self.jpeg, FPS, round((1.25 * seconds + SPARE_S) * FPS)))
        self._wait(ids, STREAMS)  # every stream has had its first
        before = self._calls(ids)
        seen = window(lambda: sum(self._calls(ids)), self.server.family_cpu_s, [], seconds)
        counts = [now - then for now, then in zip(self._calls(ids), before, strict=True)]
        self.apart = max(self.apart, max(counts) - min(counts))
        load = self.people.end()
        self.ages += load.all_ages("objects")
        self.call_ms = self._analyzer()["mean_ms"]
        return replace(seen, load_bound=load.void)

    def warm_up(self) -> None:
        """Have the model loaded and run, which takes seconds."""
        stream = self._open()
        self.people.begin(Task((stream["websocket_url"],), self.jpeg, FPS, round(5 * FPS)))
        self._wait([stream["stream_id"]], 5)
        self.people.end()

    def figures(self) -> dict[str, float]:
        cuts = quantiles(self.ages, n=100)
        return {
            "age_p50_ms": round(cuts[49], 1),
            "age_p99_ms": round(cuts[98], 1),
            "apart": self.apart,
            "call_ms": self.call_ms,
        }

    def _open(self) -> dict[str, str]:
        stream: dict[str, str] = self.server.post("/stream/request", {"analyzers": ["objects"], "grace_s": 0})
        return stream

    def _calls(self, ids: Sequence[str]) -> list[int]:
        found = {stream["stream_id"]: stream["frames_analyzed"] for stream in self.server.get("/stream")["items"]}
        if missing := set(ids) - found.keys():
            raise RuntimeError(f"{len(missing)} streams ended before the window did: the machine is too busy")
        return [found[stream_id] for stream_id in ids]

    def _wait(self, ids: Sequence[str], frames: int) -> None:
        for _ in range(600):
            calls = self._calls(ids)
            if sum(calls) >= frames and min(calls) > 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"objects analysed nothing: {self.server.get('/api/analyzers')}")

    def _analyzer(self) -> dict[str, float]:
        found: dict[str, float] = next(
            item for item in self.server.get("/api/analyzers")["items"] if item["name"] == "objects"
        )
        return found


def main() -> int:
    chosen = options(__doc__, seconds=5.0, rounds=6)
    weights = find_weights()
    if weights is None:
        print(f"batch: skipped, {WEIGHTS} is not under FRAMEGATE_MODELS_DIR")
        print(json.dumps({"bench": "batch", "skipped": f"no {WEIGHTS} under FRAMEGATE_MODELS_DIR"}))
        return 0
    jpeg, threads = picture.clip(50)[-1], len(all_cores())
    print(f"batch: {STREAMS} streams, {threads} threads, {chosen.rounds} windows of {chosen.seconds} s a side")
    with ExitStack() as stack:
        sides = [_gateway(stack, weights, threads, size, jpeg) for size in SIZES]
        loops = [
            stack.enter_context(plain_loop(weights, [jpeg], Rules(threads, spinning=False, batch=size)))
            for size in SIZES
        ]
        cases = [
            Case(f"batch_{side.size}", side.measure, _plain(loop)) for side, loop in zip(sides, loops, strict=True)
        ]
        measure(cases, chosen)
    return _report(sides, cases)


def _gateway(stack: ExitStack, weights: Path, threads: int, size: int, jpeg: bytes) -> Side:
    settings = {
        "FRAMEGATE_YOLO_MODEL_PATH": str(weights),
        "FRAMEGATE_ANALYSIS__THREADS": str(threads),
        "FRAMEGATE_ANALYSIS__NICE": "0",  # as the loop: what else runs on the machine must hit both alike
        "FRAMEGATE_ANALYSIS__BATCH_SIZE": str(size),
        "FRAMEGATE_ANALYSIS__DEADLINE_S": "10",  # nobody's call is to be a failure because of a neighbour
        "FRAMEGATE_ANALYSIS__KILL_S": "20",
    }
    server = stack.enter_context(gateway(all_cores(), settings))
    side = Side(size, server, stack.enter_context(crowd(server.address)), jpeg)
    side.warm_up()
    return side


def _plain(loop: PlainLoop) -> Measure:
    def run(seconds: float) -> Window:
        done = loop.run(seconds)
        return Window(done.rate, done.cpu / done.took)

    return run


def _report(sides: Sequence[Side], cases: Sequence[Case]) -> int:
    more = {f"batch_{side.size}_seen": side.figures() for side in sides}
    for side in sides:
        text = ", ".join(f"{name} {value}" for name, value in side.figures().items())
        print(f"calls of up to {side.size}: {text}")
    code = report("batch", cases, unit="frames/s", more=more)
    if any(side.apart > MOST_APART for side in sides):  # whatever the machine had besides
        print(f"BROKEN: a stream was more than {MOST_APART} calls ahead of another")
        return 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
