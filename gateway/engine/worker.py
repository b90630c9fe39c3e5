"""Workers: where analyzers run. A process by default, a thread if the operator says so; the same calls.

One job is in flight per worker: a second one would only double the latency (measured), and taking the next frame late
means taking the newest. A second may be sent all the same, for its frames to be decoded meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.engine import refresh, wire
from gateway.engine.host import AnalyzerHost, Report
from gateway.engine.mailbox import Closed, Mailbox
from gateway.engine.plugins import PluginSpec
from gateway.engine.process import FAREWELL_S, ChildProcess, WorkerDied
from gateway.engine.reports import check_hello, check_manifest, check_state
from gateway.engine.wire import Header
from gateway.engine.work import Work

__all__ = ["ProcessWorker", "ThreadWorker", "Worker", "WorkerDied", "WorkerSetup"]

T = TypeVar("T")

_ENDED = "the worker was ended"


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker is made of: the plugins it loads, the operator's options per analyzer, its place in the system."""

    plugins: tuple[PluginSpec, ...]
    options: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str]
    nice: int = 10
    lines_per_s: float = 5.0


class Worker(Protocol):
    """The seam between the engine and foreign code. `rss`: bytes it held after its last job, 0 if unknown."""

    rss: int

    @property
    def pid(self) -> int | None: ...

    @property
    def lines_left_out(self) -> int:
        """Lines of its standard error that were too many for the log."""
        return 0

    async def start(self) -> Report:
        """Bring it up and return its hello: manifests and failures. Raises `WorkerDied`."""
        ...

    async def listen(self) -> None:
        """Carry its answers until it dies: ends only by `WorkerDied` or cancellation."""
        ...

    async def prepare(self, analyzer: str) -> Report:
        """Have a model loaded, which may take seconds; the state that came of it. Raises `WorkerDied`."""
        ...

    def run(self, job: Header, pictures: Sequence[bytes]) -> AsyncIterator[Report]:
        """Send one job now; its reports come when it has been run, after those of the jobs before it.

        Both raise `WorkerDied`. The reports are as the worker sent them: nobody has looked into them.
        """
        ...

    def forget(self, stream_id: str, analyzer: str | None = None) -> None:
        """A session is over, or does without this analyzer: drop what is remembered of it."""
        ...

    async def reload(self, analyzer: str) -> Report:
        """Take over the new code of the plugin that this analyzer is of, between two jobs. Raises `WorkerDied`."""
        ...

    async def ping(self) -> None:
        """Return when it has answered, whatever it is doing. Raises `WorkerDied`; how long to wait is the caller's."""
        ...

    def kill(self) -> None:
        """It hangs: `close()` need not be polite."""
        ...

    async def close(self) -> None:
        """End it: its analyzers have a moment to close, if it is in its right mind."""
        ...


class ProcessWorker:
    """Analyzers in a process of their own."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._child = ChildProcess(
            "analyze",
            environment=setup.environment,
            nice=setup.nice,
            lines_per_s=setup.lines_per_s,
            name=setup.plugins[0].owner if setup.plugins else "",
        )
        self._ids = itertools.count()
        self._jobs: dict[int, Mailbox[Report]] = {}  # in flight, the first of them running
        self._asked: dict[tuple[str, str], asyncio.Future[Report]] = {}
        self._trouble: str | None = "the worker is not running"
        self.rss = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def lines_left_out(self) -> int:
        return self._child.lines_left_out

    async def start(self) -> Report:
        self._ids, self._jobs, self._asked = itertools.count(), {}, {}
        await self._child.start()
        self._child.send({"plugins": [asdict(spec) for spec in self._setup.plugins], "options": self._setup.options})
        hello, _ = await self._child.receive(wire.MAX_REPORT)
        try:
            check_hello(hello)
        except ValueError as error:
            raise WorkerDied(f"the worker broke the protocol: {error}") from None
        self._trouble = None
        return hello

    async def listen(self) -> None:
        self._trouble = _ENDED  # the answer to who still waits when this was cancelled
        try:
            while True:
                header, _ = await self._child.receive(wire.MAX_REPORT)
                try:
                    self._take(header)
                except ValueError as error:
                    raise WorkerDied(f"the worker broke the protocol: {error}") from None
        except WorkerDied as died:
            self._trouble = str(died)
            raise
        finally:
            self._give_up()

    def _take(self, header: Header) -> None:
        """One message; everything it may say was asked for. Raises `ValueError`."""
        match header.get("t"):
            case "call" | "alone" | "done":
                self._report(header)
            case "state":
                check_state(header)
                self._answer("prepare", header["analyzer"], header)
            case "reloaded":
                if "manifest" in header:
                    check_manifest(header["manifest"])
                self._answer("reload", str(header.get("analyzer")), header)
            case "pong":
                self._answer("ping", "", header)
            case other:
                raise ValueError(f"there is no message {str(other)[:80]!r}")

    def _report(self, header: Header) -> None:
        number = next(iter(self._jobs), None)
        if number is None or header.get("id") != number:
            raise ValueError(f"a report of job {str(header.get('id'))[:20]}, expected {number}")
        if header["t"] == "done":
            rss = header.get("rss")
            if not isinstance(rss, int):
                raise ValueError("done without the memory it holds")
            self.rss = rss
        self._jobs[number].put(header)
        if header["t"] == "done":
            del self._jobs[number]

    def _answer(self, question: str, about: str, header: Header) -> None:
        waiting = self._asked.pop((question, about), None)
        if waiting is None:
            raise ValueError(f"an answer to a {question} that nobody asked for")
        if not waiting.done():
            waiting.set_result(header)

    def _give_up(self) -> None:
        for mailbox in self._jobs.values():
            mailbox.close()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(WorkerDied(self._trouble))
        self._asked.clear()

    async def _ask(self, question: str, about: str = "", payload: bytes = b"") -> Report:
        """Put a question, or wait for the answer to the same one."""
        waiting = self._asked.get((question, about))
        if waiting is None or waiting.cancelled():
            self._child.send({"t": question, "analyzer": about}, payload)
            waiting = self._asked[question, about] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiting)

    async def prepare(self, analyzer: str) -> Report:
        return await self._ask("prepare", analyzer)

    async def reload(self, analyzer: str) -> Report:
        return await self._ask("reload", analyzer, await asyncio.to_thread(_saved_text, self._setup.plugins))

    async def ping(self) -> None:
        await self._ask("ping")

    def run(self, job: Header, pictures: Sequence[bytes]) -> AsyncIterator[Report]:
        number = next(self._ids)
        most = sum(1 + len(call["items"]) for call in job["calls"]) + 1
        self._child.send({**job, "t": "job", "id": number}, *pictures)
        reports = self._jobs[number] = Mailbox(most)
        return self._reports(reports)

    async def _reports(self, reports: Mailbox[Report]) -> AsyncIterator[Report]:
        while True:
            try:
                report = await reports.get()
            except Closed:
                raise WorkerDied(f"{self._trouble} during a job") from None
            if report["t"] == "done":
                return
            yield report

    def forget(self, stream_id: str, analyzer: str | None = None) -> None:
        with suppress(WorkerDied):  # one that is not running remembers nothing
            self._child.send({"t": "forget", "stream_id": stream_id, "analyzer": analyzer})

    def kill(self) -> None:
        self._trouble = "the worker was killed"
        self._child.kill()

    async def close(self) -> None:
        sane, self._trouble = self._trouble in (None, _ENDED), "the worker is not running"
        await self._child.close({"t": "bye"} if sane else None)


class ThreadWorker:
    """The same in a thread of the gateway: for tests and trivial code. A call that hangs cannot be ended."""

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._made: AnalyzerHost | None = None
        self._running = False
        self._forgotten: list[tuple[str, str | None]] = []
        self.rss = 0
        self._hire()

    @property
    def pid(self) -> int | None:
        return None

    @property
    def lines_left_out(self) -> int:
        return 0

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

    async def reload(self, analyzer: str) -> Report:
        report: Report = await _in(self._jobs, refresh.reload, self._host, analyzer)
        return report

    async def ping(self) -> None:
        """A thread that hangs cannot be ended, so nobody asks."""

    def run(self, job: Header, pictures: Sequence[bytes]) -> AsyncIterator[Report]:
        return self._reports(self._host, self._host.begin(job, pictures))

    async def _reports(self, host: AnalyzerHost, work: Work) -> AsyncIterator[Report]:
        self._running = True
        try:
            reports = host.run(work)
            while (report := await _in(self._jobs, next, reports, None)) is not None:
                yield report
        finally:
            self._running = False
            for forgotten in self._forgotten:
                self._jobs.submit(host.forget, *forgotten)
            self._forgotten.clear()

    def forget(self, stream_id: str, analyzer: str | None = None) -> None:
        """After the job that is running: between two of its calls the session would be remembered again."""
        if self._made is not None and self._running:
            self._forgotten.append((stream_id, analyzer))
        elif self._made is not None:
            self._jobs.submit(self._made.forget, stream_id, analyzer)

    def kill(self) -> None:
        """There is no way."""

    async def close(self) -> None:
        made, self._made = self._made, None
        jobs = self._jobs
        closing = [asyncio.wrap_future(jobs.submit(made.close))] if made else []
        jobs.shutdown(wait=False)
        self._loads.shutdown(wait=False)
        self._hire()  # it may be started again
        if closing:
            await asyncio.wait(closing, timeout=FAREWELL_S)


def _saved_text(plugins: Sequence[PluginSpec]) -> bytes:
    """The text of a file plugin: a confined worker cannot open the file that an editor put in the place of the old."""
    with suppress(OSError):
        return Path(plugins[0].path).read_bytes() if len(plugins) == 1 and plugins[0].path else b""
    return b""


async def _in(pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)
