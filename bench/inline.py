"""An analyzer called directly: a loop in one process that makes a frame of each JPEG and asks the analyzer about it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.child import child


@dataclass(frozen=True, slots=True)
class Calls:
    """What the loop did in a while: ms of each call, decoding included, and the seconds it took, of time and of CPU."""

    ms: list[float]
    took: float
    cpu: float


class InlineLoop:
    """The loop's process, seen from outside."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def run(self, analyzer: str, pictures: Sequence[bytes], seconds: float) -> Calls:
        """Ask about the pictures in turn, at least once. The analyzer is loaded with the first question."""
        self._pipe.send((analyzer, pictures, seconds))
        calls: Calls = self._pipe.recv()
        return calls


@contextmanager
def inline_loop(threads: int) -> Iterator[InlineLoop]:
    """A process with so many threads for the runtime, as a worker would have; idle between runs."""
    with child(_serve, threads) as pipe:
        yield InlineLoop(pipe)


def _serve(pipe: Connection, threads: int) -> None:
    os.environ["FRAMEGATE_RUNTIME__THREADS"] = str(threads)
    asked: dict[str, Callable[[bytes, int], object]] = {}
    while True:
        name, pictures, seconds = pipe.recv()
        if name not in asked:
            asked[name] = _asking(name)
        pipe.send(_run(asked[name], pictures, seconds))


def _run(ask: Callable[[bytes, int], object], pictures: Sequence[bytes], seconds: float) -> Calls:
    ms: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    for number, jpeg in enumerate(itertools.cycle(pictures)):
        before = time.perf_counter()
        if ms and before - began >= seconds:
            break
        ask(jpeg, number)
        ms.append((time.perf_counter() - before) * 1e3)
    return Calls(ms, time.perf_counter() - began, time.process_time() - used)


def _asking(name: str) -> Callable[[bytes, int], object]:
    """What a worker does with a frame, without a worker."""
    from gateway import Frame, SessionInfo
    from gateway.analyzer import fill_options
    from gateway.convert import to_result
    from gateway.jpeg import MAX_PIXELS, HeaderReader

    cls: Any = _analyzer(name)
    analyzer = cls(fill_options(cls, {}))
    memory = analyzer.open(SessionInfo("inline", options=analyzer.options))
    headers = HeaderReader(max_pixels=MAX_PIXELS)

    def ask(jpeg: bytes, number: int) -> object:
        header, now = headers.read(jpeg), time.monotonic()
        frame = Frame(number, now, header.width, header.height, jpeg, at=now)
        return to_result(analyzer.analyze(frame, memory), frame, analyzer.labels)

    return ask


def _analyzer(name: str) -> type:
    from analyzers.motion import MotionAnalyzer
    from analyzers.objects import ObjectsAnalyzer

    return {"motion": MotionAnalyzer, "objects": ObjectsAnalyzer}[name]
