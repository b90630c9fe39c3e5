"""Where an analyzer runs: in a process worker, in a thread of the gateway, or called directly, per frame size.

`motion` and `objects` (the smallest YOLOX there is) with pictures of a clip. The client sends a frame when it has the
result of an earlier one: two are on the way for frames/s, so that one always waits, and one for the latency. `added` is
a result's age, from the frame's arrival to the report, less the direct call's time. `own CPU` is the gateway's process
alone while it analyses at full speed; with thread workers the analysis is in it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import cv2
import numpy as np

from bench import picture
from bench.comparison import options
from bench.cores import all_cores
from bench.inline import InlineLoop, inline_loop
from bench.servers import Server, gateway
from bench.websocket import BINARY, PING, PONG, TEXT, Inbox, connect, packed
from gateway.commands.table import table

SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))
ANALYZERS = ("motion", "objects")
WAYS = ("process", "thread", "inline")
PICTURES = 12
LOST_S = 5.0
SETTLE = 0.2  # of a window, before it


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames/s at full speed, median ms until a frame's result is there, and cores the gateway's own process took."""

    rate: float
    ms: float
    own: float


@dataclass(slots=True)
class Case:
    """One analyzer and one frame size: its pictures, and the samples by way."""

    analyzer: str
    size: tuple[int, int]
    pictures: list[bytes]
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {way: [] for way in WAYS})

    @property
    def name(self) -> str:
        return f"{self.analyzer}_{self.size[0]}x{self.size[1]}"

    def ratios(self, way: str) -> list[float]:
        """Frames/s of a way over the direct call's, round by round."""
        return [ours.rate / direct.rate for ours, direct in zip(self.samples[way], self.samples["inline"], strict=True)]

    def added(self, way: str) -> float:
        pairs = zip(self.samples[way], self.samples["inline"], strict=True)
        return median(ours.ms - direct.ms for ours, direct in pairs)


class Pusher:
    """A client of one stream that sends frames and waits for their results."""

    def __init__(self, server: Server, analyzer: str) -> None:
        self._analyzer = analyzer
        stream = server.post("/stream/request", {"analyzers": [analyzer]})
        self._server, self._id = server, stream["stream_id"]
        self._socket = connect(server.address, stream["websocket_url"])
        self._socket.settimeout(LOST_S)
        self._socket.sendall(packed(TEXT, b'{"type":"subscribe","frames":"none","topics":["results"]}'))
        self._inbox = Inbox()
        self._sent = 0

    def close(self) -> None:
        self._socket.close()
        self._server.delete(f"/stream/{self._id}")

    def run(self, pictures: Sequence[bytes], seconds: float, ahead: int) -> tuple[list[float], float]:
        """Ages of the results in ms, and the seconds it took. Up to `ahead` frames are on the way."""
        messages = itertools.cycle([packed(BINARY, jpeg) for jpeg in pictures])
        ages: list[float] = []
        began, results, answered = time.perf_counter(), self._results(), self._sent - 1
        while time.perf_counter() - began < seconds or not ages:
            while self._sent - 1 - answered < ahead:
                self._send(next(messages))
            answered, age = next(results)  # one before it that was replaced gets no answer
            ages.append(age)
        took = time.perf_counter() - began
        while answered < self._sent - 1:
            answered, _ = next(results)
        return ages, took

    def ready(self, jpeg: bytes) -> None:
        """Have the analyzer loaded and run. Frames are sent until one is not passed by."""
        self._socket.settimeout(0.5)
        for _ in range(240):
            try:
                self._send(packed(BINARY, jpeg))
                while next(self._results())[0] < self._sent - 1:
                    pass
            except TimeoutError:
                continue
            self._socket.settimeout(LOST_S)
            return
        raise RuntimeError(f"{self._analyzer} analysed nothing: {self._server.get('/api/analyzers')}")

    def _send(self, message: bytes) -> None:
        self._socket.sendall(message)
        self._sent += 1

    def _results(self) -> Iterator[tuple[int, float]]:
        """Number and age in ms of each frame that was analysed."""
        while True:
            while (message := self._inbox.take()) is None:
                data = self._socket.recv(2**20)
                if not data:
                    raise ConnectionError("the gateway closed the stream")
                self._inbox.feed(data)
            yield from self._ages(*message)

    def _ages(self, opcode: int, payload: bytes) -> Iterator[tuple[int, float]]:
        if opcode == PING:
            self._socket.sendall(packed(PONG, payload))
        elif opcode == TEXT:
            told = json.loads(payload)
            if told["type"] == "result" and "age_ms" in told["analyzers"].get(self._analyzer, {}):
                yield told["seq"], told["analyzers"][self._analyzer]["age_ms"]


def main() -> int:
    chosen = options(__doc__, seconds=1.5, rounds=8)
    threads = len(all_cores())
    settings = {
        "FRAMEGATE_ANALYSIS__THREADS": str(threads),
        "FRAMEGATE_ANALYSIS__NICE": "0",  # as the direct call: what else runs on the machine must hit all alike
        "FRAMEGATE_LIMITS__MAX_FPS": "100000",
    }
    cases = [Case(name, size, _pictures(size)) for name in ANALYZERS for size in SIZES]
    print(f"workers: {threads} threads, {chosen.rounds} windows of {chosen.seconds} s a way and case")
    with (
        gateway(all_cores(), settings) as processes,
        gateway(all_cores(), {**settings, "FRAMEGATE_ANALYSIS__WORKER": "thread"}) as threads_,
        inline_loop(threads) as loop,
    ):
        if lacking := _lacking(processes):
            cases = [case for case in cases if case.analyzer not in lacking]
            print(f"workers: skipped {', '.join(lacking)}: {lacking}")
        _measure(cases, {"process": processes, "thread": threads_}, loop, chosen)
    return _report(cases, threads)


def _pictures(size: tuple[int, int]) -> list[bytes]:
    """Pictures of the clip, enlarged or reduced."""
    made = []
    for jpeg in picture.clip(PICTURES):
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None, "our own JPEG"
        _, data = cv2.imencode(".jpg", cv2.resize(pixels, size), [cv2.IMWRITE_JPEG_QUALITY, 85])
        made.append(data.tobytes())
    return made


def _lacking(server: Server) -> dict[str, str]:
    """Analyzers that cannot run here, and why."""
    items = {item["name"]: item for item in server.get("/api/analyzers")["items"]}
    return {name: items[name]["reason"] for name in ANALYZERS if items[name]["state"] == "failed"}


def _measure(cases: Sequence[Case], servers: dict[str, Server], loop: InlineLoop, chosen: argparse.Namespace) -> None:
    """All cases, round by round, the ways taking turns at going first."""
    for case in cases:
        for server in servers.values():
            pusher = Pusher(server, case.analyzer)
            pusher.ready(case.pictures[0])
            pusher.close()
        loop.run(case.analyzer, case.pictures, 0.2)
    for number in range(chosen.rounds):
        for case in cases:
            ways = [*WAYS[number % len(WAYS) :], *WAYS[: number % len(WAYS)]]
            for way in ways:
                there = servers.get(way)
                sample = _through(there, case, chosen.seconds) if there else _direct(loop, case, chosen.seconds)
                case.samples[way].append(sample)


def _through(server: Server, case: Case, seconds: float) -> Sample:
    pusher = Pusher(server, case.analyzer)
    pusher.ready(case.pictures[0])
    pusher.run(case.pictures, SETTLE * seconds, 2)
    used = server.cpu_s()
    ages, took = pusher.run(case.pictures, seconds, 2)
    own = (server.cpu_s() - used) / took
    alone, _ = pusher.run(case.pictures, seconds / 3, 1)
    pusher.close()
    return Sample(len(ages) / took, median(alone), own)


def _direct(loop: InlineLoop, case: Case, seconds: float) -> Sample:
    loop.run(case.analyzer, case.pictures, SETTLE * seconds)
    calls = loop.run(case.analyzer, case.pictures, seconds)
    return Sample(len(calls.ms) / calls.took, median(calls.ms), 0.0)


def _report(cases: Sequence[Case], threads: int) -> int:
    head = ["case", "way", "frames/s", "/ inline", "min", "max", "ms", "added ms", "own CPU %"]
    print(table(head, [_row(case, way) for case in cases for way in WAYS]))
    line: dict[str, object] = {"bench": "workers", "unit": "frames/s", "void": False, "threads": threads}
    for case in cases:
        for way in WAYS[:2]:
            line[f"{case.name}_{way}_ratio"] = round(median(case.ratios(way)), 3)
        line[case.name] = {way: _figures(case, way) for way in WAYS}
    print(json.dumps(line))
    return 0


def _row(case: Case, way: str) -> list[str]:
    figures, ratios = _figures(case, way), case.ratios(way)
    spread = [f"{of(ratios):.3f}" for of in _SPREAD]
    return [
        case.name,
        way,
        f"{figures['rate']:.1f}",
        *spread,
        *(str(figures[key]) for key in ("ms", "added_ms", "own")),
    ]


_SPREAD: tuple[Callable[[list[float]], float], ...] = (median, min, max)


def _figures(case: Case, way: str) -> dict[str, float]:
    samples = case.samples[way]
    return {
        "rate": round(median(sample.rate for sample in samples), 1),
        "ms": round(median(sample.ms for sample in samples), 2),
        "added_ms": round(case.added(way), 2),
        "own": round(100 * median(sample.own for sample in samples)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
