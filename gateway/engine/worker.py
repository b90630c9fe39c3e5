"""Workers: where analyzers run. A process by default, a thread if the operator says so; the same four calls.

One job is in flight per worker: a second one would only double the latency (measured), and taking the next frame late
means taking the newest.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from gateway.engine import wire
from gateway.engine.host import AnalyzerHost, Report
from gateway.engine.mailbox import Closed, Mailbox
from gateway.engine.plugins import PluginSpec
from gateway.engine.wire import BrokenWire, Header

log = logging.getLogger(__name__)

T = TypeVar("T")


class WorkerDied(Exception):
    """The worker is gone and must be started again."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker is made of: the plugins it loads, the operator's options per analyzer, its place in the system."""

    plugins: tuple[PluginSpec, ...]
    options: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    nice: int = 10


class Worker(Protocol):
    """The seam between the engine and foreign code."""

    async def start(self) -> Report:
        """Bring it up and return its hello: manifests and failures. Raises `WorkerDied`."""
        ...

    async def listen(self) -> None:
        """Carry its answers until it dies: ends only by `WorkerDied` or cancellation."""
        ...

    async def prepare(self, analyzer: str) -> Report:
        """Have a model loaded, which may take seconds; the state that came of it. Raises `WorkerDied`."""
        ...

    def run(self, job: Header, jpeg: bytes) -> AsyncIterator[Report]:
        """Run one job, yielding each stage's report. Raises `WorkerDied`."""
        ...

    def forget(self, stream_id: str) -> None:
        """A session is over: drop what is remembered of it."""
        ...

    async def close(self) -> None:
        """End it now, whatever it is doing."""
        ...


class ChildProcess:
    """One child of the gateway on one socketpair: started, spoken to, killed. Used by workers of both roles."""

    def __init__(self, role: str, *, environment: Mapping[str, str], nice: int) -> None:
        self._role = role
        self._environment = {**environment, "FRAMEGATE_CHILD_NICE": str(nice)}
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.reader: asyncio.StreamReader | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Spawn it from this thread, not from an executor's: a child dies with the thread that made it (prctl).

        Raises `WorkerDied`.
        """
        try:
            ours = self._spawn()
            self.reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
        except OSError as error:  # no memory, too many processes, no file descriptor left
            raise WorkerDied(f"the {self._role} worker cannot be started: {error}") from None

    def _spawn(self) -> socket.socket:
        """Start the process; our end of its socket. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [sys.executable, "-u", "-m", "gateway.engine.child", str(theirs.fileno()), self._role]
            try:
                self._process = subprocess.Popen(
                    arguments,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=self._environment,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def send(self, header: Header, payload: bytes = b"") -> None:
        if self._writer is None:
            raise WorkerDied("the worker is not running")
        wire.write(self._writer, header, payload)

    async def receive(self) -> tuple[Header, bytes]:
        if self.reader is None:
            raise WorkerDied("the worker is not running")
        try:
            while True:
                header, payload = await wire.read(self.reader)
                if header.get("t") != "log":
                    return header, payload
                _log_again(header)
        except BrokenWire:
            raise WorkerDied(f"the {self._role} worker has gone (exit code {await self._exit_code()})") from None

    async def _exit_code(self) -> int | None:
        """Its end of the socket closes a moment before the process is reaped."""
        process = self._process
        for _ in range(50):
            if process is None or process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        return process.poll() if process else None

    async def close(self) -> None:
        """Kill and reap. There is nothing in a worker that must be saved."""
        writer, self._writer, self.reader = self._writer, None, None
        if writer is not None:
            writer.close()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.get_running_loop().run_in_executor(None, process.wait)


def _log_again(record: Header) -> None:
    """A worker's log record, in our log."""
    text = f"{record['text']}\n{record['trace']}" if record["trace"] else record["text"]
    logging.getLogger(f"worker.{record['logger']}").log(record["level"], "%s", text)


class ProcessWorker:
    """Analyzers in a process of their own."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._child = ChildProcess("analyze", environment=setup.environment, nice=setup.nice)
        self._ids = itertools.count()
        self._reports: Mailbox[Report] = Mailbox(_REPORTS)
        self._preparing: dict[str, asyncio.Future[Report]] = {}

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> Report:
        self._reports = Mailbox(_REPORTS)
        await self._child.start()
        self._child.send({"plugins": [asdict(spec) for spec in self._setup.plugins], "options": self._setup.options})
        hello, _ = await self._child.receive()
        return hello

    async def listen(self) -> None:
        try:
            while True:
                header, _ = await self._child.receive()
                if header["t"] != "state":
                    self._reports.put(header)
                elif waiting := self._preparing.pop(header["analyzer"], None):
                    waiting.set_result(header)
        finally:
            self._reports.close()
            for waiting in self._preparing.values():
                waiting.cancel()
            self._preparing.clear()

    async def prepare(self, analyzer: str) -> Report:
        waiting: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._preparing[analyzer] = waiting
        self._child.send({"t": "prepare", "analyzer": analyzer})
        return await waiting

    async def run(self, job: Header, jpeg: bytes) -> AsyncIterator[Report]:
        number = next(self._ids)
        self._child.send({**job, "t": "job", "id": number}, jpeg)
        while True:
            try:
                report = await self._reports.get()
            except Closed:
                raise WorkerDied("the worker has gone during a job") from None
            if report["id"] != number:  # of a call that was given up
                continue
            if report["t"] == "done":
                return
            yield report

    def forget(self, stream_id: str) -> None:
        with suppress(WorkerDied):  # one that is not running remembers nothing
            self._child.send({"t": "forget", "stream_id": stream_id})

    async def close(self) -> None:
        await self._child.close()


class ThreadWorker:
    """The same in a thread of the gateway: for tests and trivial code. A call that hangs cannot be ended."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._made: AnalyzerHost | None = None
        self._hire()

    def _hire(self) -> None:
        """New pools; their threads begin with the first work."""
        self._jobs = ThreadPoolExecutor(1, thread_name_prefix="analyze")
        self._loads = ThreadPoolExecutor(1, thread_name_prefix="load")

    @property
    def _host(self) -> AnalyzerHost:
        if self._made is None:
            raise WorkerDied("the worker is not running")
        return self._made

    async def start(self) -> Report:
        made: AnalyzerHost = await _in(self._loads, AnalyzerHost, list(self._setup.plugins), self._setup.options)
        self._made = made
        return made.hello()

    async def listen(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def prepare(self, analyzer: str) -> Report:
        report: Report = await _in(self._loads, self._host.prepare, analyzer)
        return report

    async def run(self, job: Header, jpeg: bytes) -> AsyncIterator[Report]:
        stages = self._host.run(job, jpeg)
        while (report := await _in(self._jobs, next, stages, None)) is not None:
            yield report

    def forget(self, stream_id: str) -> None:
        if self._made is not None:
            self._jobs.submit(self._made.forget, stream_id)

    async def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            self._jobs.submit(made.close)
        self._jobs.shutdown(wait=False)
        self._loads.shutdown(wait=False)
        self._hire()  # it may be started again


_REPORTS = 256  # a job has a report per stage, so this is never full


async def _in(pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)
