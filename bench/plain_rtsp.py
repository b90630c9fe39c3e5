"""What is written in five minutes to watch cameras: a PyAV loop a camera that decodes every picture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from threading import Thread

import av

from bench.child import child


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
