"""A worker process: `python -m gateway.engine.child FD ROLE`, where FD is its end of a socketpair.

ROLE is `analyze`, `picture`, `study`, `media`, `clips` or `window`. The main thread only reads the socket, one thread
runs jobs, one loads models; so a job that hangs in native code cannot keep the process alive once its parent has gone:
the end of the stream ends it at once.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from gateway.engine import guard, wire
from gateway.engine.confine import confine_as_told
from gateway.engine.wire import BrokenWire, Header

if TYPE_CHECKING:
    from gateway.engine.host import AnalyzerHost
    from gateway.engine.work import Work

MAX_RECORD = 20_000  # characters of a log record's text, or of its traceback


class Child:
    """Answers on one socket; several threads send, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = Lock()
        self.confined: dict[str, str] = {}
        self.jobs = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self.loads = ThreadPoolExecutor(1, thread_name_prefix="loads")

    def send(self, header: Header, payload: bytes = b"", *, most: int = wire.MAX_PART) -> None:
        with self._sending:
            wire.send(self._connection, header, *([payload] if payload else []), most=most)

    def receive(self) -> tuple[Header, bytes]:
        return wire.receive(self._connection)

    def spoken_to(self, within_s: float) -> bool:
        """Whether the parent has something to say, or has gone, within this time."""
        return bool(select.select([self._connection], [], [], within_s)[0])


def analyze(child: Child) -> None:
    """Serve one group of analyzers until the parent has gone."""
    from gateway.engine.host import AnalyzerHost
    from gateway.engine.plugins import PluginSpec
    from gateway.engine.work import split

    setup, _ = child.receive()
    host = AnalyzerHost([PluginSpec(**item) for item in setup["plugins"]], setup["options"])
    child.send({**host.hello(), "confined": child.confined})

    def run(number: int, work: Work) -> None:
        for report in host.run(work):
            _report(child, {**report, "id": number})
        child.send({"t": "done", "id": number, "rss": resident_bytes()})

    def reload(name: str, text: bytes) -> None:
        from gateway.engine import refresh

        child.send({**refresh.reload(host, name, text or None), "t": "reloaded", "analyzer": name})

    while True:
        header, payload = child.receive()
        match header["t"]:
            case "job":
                work = host.begin(header, split(payload, header))
                _watched(child.jobs.submit(run, header["id"], work))
            case "prepare":
                _watched(child.loads.submit(lambda name: child.send(host.prepare(name)), header["analyzer"]))
            case "forget":
                _watched(child.jobs.submit(host.forget, header["stream_id"], header["analyzer"]))
            case "reload":
                _watched(child.jobs.submit(reload, header["analyzer"], payload))
            case "ping":
                child.send({"t": "pong"})
            case "bye":
                _watched(child.jobs.submit(_leave, host))


def _report(child: Child, report: Header) -> None:
    """Tell what came of a call; if that is too much to tell, say so."""
    try:
        child.send(report, most=wire.MAX_REPORT)
    except (ValueError, TypeError) as error:
        outcomes = [{"error": f"its result cannot be told: {error}"}] * len(report["outcomes"])
        child.send({**report, "outcomes": outcomes})


def _leave(host: AnalyzerHost) -> None:
    host.close()
    os._exit(0)


def resident_bytes() -> int:
    """The memory this process holds; 0 where nobody can tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.Process().memory_info().rss)


def picture(child: Child) -> None:
    """Draw, scale and transcode until the parent has gone."""
    from gateway.engine.pictures import render

    _do_orders(child, render)


def clips(child: Child) -> None:
    """Make clips until the parent has gone."""
    from gateway.media.film import make

    _do_orders(child, make)


def _do_orders(child: Child, do: Callable[[Header, bytes], tuple[Header, bytes]]) -> None:
    def run(header: Header, payload: bytes) -> None:
        answer, made = do(header, payload)
        child.send({**answer, "id": header["id"]}, made)

    child.send({"t": "hello"})
    while True:
        _watched(child.jobs.submit(run, *child.receive()))


def study(child: Child) -> None:
    """Study pictures of faces until the parent has gone."""
    from gateway.engine.study import serve

    serve(child)


def media(child: Child) -> None:
    """Read cameras until the parent has gone."""
    from gateway.media.child import serve

    serve(child)


def window(child: Child) -> None:
    """Show one camera in a window until the parent has gone."""
    from gateway.engine.window import serve

    serve(child)


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
                    "text": record.getMessage()[:MAX_RECORD],
                    "trace": trace and trace[:MAX_RECORD],
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


def main() -> None:
    connection = int(sys.argv[1])
    guard.split(connection)  # while there is one thread; from here on this is the worker, which its guard outlives
    child = Child(socket.socket(fileno=connection))
    os.dup2(2, 1)  # what a plugin prints must not mix with what a command prints, such as JSON
    logging.basicConfig(level=os.environ.get("FRAMEGATE_CHILD_LOG", "WARNING"), handlers=[WireLog(child)])
    for number in (signal.SIGINT, signal.SIGTERM):  # both may reach the whole group; the parent decides
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which programs that a plugin starts would inherit
    os.nice(int(os.environ.get("FRAMEGATE_CHILD_NICE", "0")))
    child.confined = confine_as_told()  # the last thing before foreign code, and the only thread so far
    roles = (analyze, picture, study, media, clips, window)
    role = {role.__name__: role for role in roles}[sys.argv[2]]
    with suppress(BrokenWire):
        role(child)
    os._exit(0)  # not sys.exit: a thread may be inside native code for seconds


if __name__ == "__main__":
    main()
