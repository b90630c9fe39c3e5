"""What is written in five minutes to watch cameras and decodes every picture: a PyAV loop a camera, or an ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from threading import Thread
from typing import Protocol

import av
import psutil

from bench.child import child


class Loops(Protocol):
    """Whoever decodes, seen from outside."""

    def read(self) -> tuple[float, int]:
        """CPU seconds and pictures so far, all cameras together."""


class Plain:
    """A process with one loop a camera, seen from outside: CPU seconds and pictures so far, all loops together."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def read(self) -> tuple[float, int]:
        self._pipe.send("read")
        spent: tuple[float, int] = self._pipe.recv()
        return spent


@contextmanager
def plain(urls: Sequence[str]) -> Iterator[Plain]:
    with child(_serve, tuple(urls)) as pipe:
        yield Plain(pipe)


def _serve(pipe: Connection, urls: Sequence[str]) -> None:
    counts = [0] * len(urls)

    def loop(number: int, url: str) -> None:
        with av.open(url, options={"rtsp_transport": "tcp"}) as container:
            for _ in container.decode(video=0):
                counts[number] += 1

    for number, url in enumerate(urls):
        Thread(target=loop, args=(number, url), daemon=True).start()
    while True:
        pipe.recv()
        pipe.send((time.process_time(), sum(counts)))


class Ffmpeg:
    """A process of ffmpeg a camera; what it says of its progress is read by a thread."""

    def __init__(self, url: str) -> None:
        said = ["-v", "error", "-nostdin", "-stats_period", "0.5", "-progress", "pipe:1"]
        taken = ["-rtsp_transport", "tcp", "-threads", "1", "-i", url, "-map", "0:v", "-f", "null", "-"]
        self.process = subprocess.Popen(["ffmpeg", *said, *taken], stdout=subprocess.PIPE, text=True)
        self.pictures = 0
        Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, _, value = line.partition("=")
            if name == "frame":
                self.pictures = int(value)

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class AllFfmpegs:
    def __init__(self, each: Sequence[Ffmpeg]) -> None:
        self._each = each

    def read(self) -> tuple[float, int]:
        return sum(one.cpu_s() for one in self._each), sum(one.pictures for one in self._each)


@contextmanager
def ffmpeg(urls: Sequence[str]) -> Iterator[AllFfmpegs]:
    if shutil.which("ffmpeg") is None:
        raise SystemExit("there is no ffmpeg")
    with ExitStack() as ends:
        each = []
        for url in urls:
            each.append(Ffmpeg(url))
            ends.callback(each[-1].close)
        yield AllFfmpegs(each)
