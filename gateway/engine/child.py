"""A worker process: `python -m gateway.engine.child FD ROLE`, where FD is its end of a socketpair.

ROLE is `analyze` or `picture`. The main thread only reads the socket, one thread runs jobs, one loads models; so a job
that hangs in native code cannot keep the process alive once its parent has gone: the end of the stream ends it at once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any

from gateway.engine import wire
from gateway.engine.wire import BrokenWire, Header


class Child:
    """Answers on one socket; several threads send, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = Lock()
        self.jobs = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self.loads = ThreadPoolExecutor(1, thread_name_prefix="loads")

    def send(self, header: Header, payload: bytes = b"") -> None:
        with self._sending:
            wire.send(self._connection, header, payload)

    def receive(self) -> tuple[Header, bytes]:
        return wire.receive(self._connection)


def analyze(child: Child) -> None:
    """Serve one group of analyzers until the parent has gone."""
    from gateway.engine.host import AnalyzerHost
    from gateway.engine.plugins import PluginSpec

    setup, _ = child.receive()
    host = AnalyzerHost([PluginSpec(**item) for item in setup["plugins"]], setup["options"])
    child.send(host.hello())

    def run(job: Header, jpeg: bytes) -> None:
        for report in host.run(job, jpeg):
            child.send({**report, "id": job["id"]})
        child.send({"t": "done", "id": job["id"]})

    while True:
        header, payload = child.receive()
        match header["t"]:
            case "job":
                _watched(child.jobs.submit(run, header, payload))
            case "prepare":
                _watched(child.loads.submit(lambda name: child.send(host.prepare(name)), header["analyzer"]))
            case "forget":
                _watched(child.jobs.submit(host.forget, header["stream_id"]))


def picture(child: Child) -> None:
    """Draw, scale and transcode until the parent has gone."""
    from gateway.engine.pictures import render

    def run(header: Header, payload: bytes) -> None:
        answer, jpeg = render(header, payload)
        child.send({**answer, "id": header["id"]}, jpeg)

    child.send({"t": "hello"})
    while True:
        _watched(child.jobs.submit(run, *child.receive()))


class WireLog(logging.Handler):
    """Log records go to the parent, whose log is one well-formed stream."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        with suppress(OSError):  # the parent has gone; so do we, in a moment
            self._child.send(
                {
                    "t": "log",
                    "level": record.levelno,
                    "logger": record.name,
                    "text": record.getMessage(),
                    "trace": trace,
                }
            )


def _watched(future: Future[Any]) -> None:
    """A bug of ours in a thread ends the process, visibly, instead of leaving the parent to wait."""
    future.add_done_callback(_leave_on_bug)


def _leave_on_bug(future: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        if not isinstance(error, OSError):  # the parent went while we were answering
            logging.getLogger(__name__).critical("worker: leaving", exc_info=error)
        os._exit(70)


def _die_with_parent() -> None:
    """Linux: SIGKILL from the kernel when the parent dies, for a thread stuck where it cannot notice."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    child = Child(socket.socket(fileno=int(sys.argv[1])))
    os.dup2(2, 1)  # what a plugin prints must not mix with what a command prints, such as JSON
    logging.basicConfig(level=os.environ.get("FRAMEGATE_CHILD_LOG", "WARNING"), handlers=[WireLog(child)])
    for number in (signal.SIGINT, signal.SIGTERM):  # both may reach the whole group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    os.nice(int(os.environ.get("FRAMEGATE_CHILD_NICE", "0")))
    role = {"analyze": analyze, "picture": picture}[sys.argv[2]]
    with suppress(BrokenWire):
        role(child)
    os._exit(0)  # not sys.exit: a thread may be inside native code for seconds


if __name__ == "__main__":
    main()
