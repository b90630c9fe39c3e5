"""Pictures analysed: `objects` with yolov8n.onnx through the gateway, with 1 and 8 sessions, against a plain loop.

Both sides have the same weights, pictures, number of runtime threads, priority and cores; of the loop with spinning and
with waiting threads the faster one counts. Pictures are pushed faster than they can be analysed, so that the analyzer
always has one waiting; what is not analysed is dropped, undecoded.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median

from bench import picture
from bench.comparison import Case, Measure, Window, measure, options, report, window
from bench.cores import all_cores
from bench.load import generating
from bench.loop import PlainLoop, Rules, plain_loop
from bench.servers import Address, Server, gateway
from bench.websocket import BINARY, connect, packed

SESSIONS = (1, 8)
WEIGHTS = "yolov8n.onnx"
DEMAND = 120.0  # pictures/s for all sessions together


def main() -> int:
    chosen = options(__doc__, seconds=1.5, rounds=10)
    weights = find_weights()
    if weights is None:
        print(f"analyze: skipped, {WEIGHTS} is not under FRAMEGATE_MODELS_DIR")
        print(json.dumps({"bench": "analyze", "skipped": f"no {WEIGHTS} under FRAMEGATE_MODELS_DIR"}))
        return 0
    pictures, threads = picture.clip(50), len(all_cores())
    settings = {
        "FRAMEGATE_YOLO_MODEL_PATH": str(weights),
        "FRAMEGATE_ANALYSIS__THREADS": str(threads),
        "FRAMEGATE_ANALYSIS__NICE": "0",  # as the loop: what else runs on the machine must hit both alike
    }
    print(f"analyze: {len(pictures)} pictures, {threads} threads, {chosen.rounds} windows of {chosen.seconds} s a side")
    with (
        gateway(all_cores(), settings) as ours,
        plain_loop(weights, pictures, Rules(threads, spinning=True)) as spinning,
        plain_loop(weights, pictures, Rules(threads, spinning=False)) as waiting,
    ):
        inside = Inside(max(spinning, waiting, key=lambda loop: loop.run(chosen.seconds).rate))
        cases = [
            Case(f"sessions_{sessions}", _through_sessions(ours, sessions, pictures, inside), inside.plain)
            for sessions in SESSIONS
        ]
        _warm_up(ours, pictures)
        measure(cases, chosen)
    print(inside.text())
    return report("analyze", cases, unit="frames/s", more={"threads": threads, "inside_ms": inside.figures()})


class Inside:
    """Where a frame's time goes: the steps of the loop, and the analyzer's whole call as its worker times it."""

    def __init__(self, loop: PlainLoop) -> None:
        self._loop = loop
        self._steps: list[dict[str, float]] = []
        self._calls: list[float] = []

    def plain(self, seconds: float) -> Window:
        """Measure the loop, which needs no generator."""
        run = self._loop.run(seconds)
        self._steps.append({step: 1e3 * took / run.frames for step, took in run.steps.items()})
        return Window(run.rate, run.cpu / run.took)

    def called(self, server: Server) -> None:
        objects = next(item for item in server.get("/api/analyzers")["items"] if item["name"] == "objects")
        self._calls.append(objects["mean_ms"])

    def figures(self) -> dict[str, float]:
        """Medians in ms a frame."""
        steps = {f"plain_{step}": median(each[step] for each in self._steps) for step in self._steps[0]}
        return {name: round(value, 2) for name, value in {**steps, "gateway_call": median(self._calls)}.items()}

    def text(self) -> str:
        return "ms a frame: " + ", ".join(f"{name} {value}" for name, value in self.figures().items())


def find_weights() -> Path | None:
    """The first file of that name under FRAMEGATE_MODELS_DIR."""
    folders = os.environ.get("FRAMEGATE_MODELS_DIR", "").split(os.pathsep)
    return next((file for folder in folders if folder for file in Path(folder).rglob(WEIGHTS)), None)


def _warm_up(server: Server, pictures: Sequence[bytes]) -> None:
    """Have the model loaded and run, which takes seconds."""
    stream = _open(server)
    with generating(all_cores(), feed, server.address, [stream["websocket_url"]], pictures):
        for _ in range(300):
            if server.get(f"/stream/{stream['stream_id']}")["frames_analyzed"] > 10:
                return
            time.sleep(0.1)
    raise RuntimeError(f"objects analysed nothing: {server.get('/api/analyzers')}")


def _open(server: Server) -> dict[str, str]:
    stream: dict[str, str] = server.post("/stream/request", {"analyzers": ["objects"], "grace_s": 0})
    return stream


def _through_sessions(server: Server, sessions: int, pictures: Sequence[bytes], inside: Inside) -> Measure:
    def run(seconds: float) -> Window:
        streams = [_open(server) for _ in range(sessions)]
        ids = {stream["stream_id"] for stream in streams}

        def count(key: str) -> float:
            return float(sum(s[key] for s in server.get("/stream")["items"] if s["stream_id"] in ids))

        paths = [stream["websocket_url"] for stream in streams]
        with generating(all_cores(), feed, server.address, paths, pictures) as load:
            seen = window(lambda: count("frames_analyzed"), server.family_cpu_s, [load.cpu_s], seconds)
            if count("frames_in") < 1.2 * count("frames_analyzed"):
                raise RuntimeError("pictures came no faster than they were analysed: this measures the generator")
            inside.called(server)
        return seen

    return run


def feed(ready: Event, address: Address, paths: Sequence[str], pictures: Sequence[bytes]) -> None:
    """Push the pictures to all streams in turn, `DEMAND` a second in all."""
    clients = itertools.cycle([connect(address, path) for path in paths])
    messages = itertools.cycle([packed(BINARY, jpeg) for jpeg in pictures])
    ready.set()
    for number, (client, message) in enumerate(zip(clients, messages, strict=False)):
        if number == 0:
            started = time.perf_counter()
        time.sleep(max(0.0, started + number / DEMAND - time.perf_counter()))
        client.sendall(message)


if __name__ == "__main__":
    raise SystemExit(main())
