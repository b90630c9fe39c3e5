"""ChildProcess: one child of the gateway on one socketpair, started, spoken to, killed."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.engine import wire
from gateway.engine.guard import guarded
from gateway.engine.rate import Allowance
from gateway.engine.stderr import AT_ONCE, Stderr
from gateway.engine.wire import BrokenWire, Gone, Header

FAREWELL_S = 0.5  # for analyzers to close in
GUARD_S = 5.0  # for a guard to kill what is below it, which takes it milliseconds
LAST_WORDS_S = 0.5  # to read what a process that has gone wrote to its standard error
RECORDS_PER_S = 200.0  # of a worker's log; more are taken slowly, which slows who writes them


class WorkerDied(Exception):
    """The worker is gone and must be started again."""


class ChildProcess:
    """One child of the gateway on one socketpair: started, spoken to, killed. Used by workers of both roles.

    `name` stands before the lines of its standard error in the log, which gets `lines_per_s` of them.
    """

    def __init__(
        self, role: str, *, environment: Mapping[str, str], nice: int, lines_per_s: float = 5.0, name: str = ""
    ) -> None:
        self._role = role
        self._name = name or role
        self._environment = {**environment, "FRAMEGATE_CHILD_NICE": str(nice)}
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._worker_pid: int | None = None
        self.reader: asyncio.StreamReader | None = None
        self._records = Allowance(RECORDS_PER_S)
        self._lines = Allowance(lines_per_s, burst=AT_ONCE)
        self._stderr: Stderr | None = None
        self._left_out = 0

    @property
    def pid(self) -> int | None:
        """The worker's own process, once it runs; the one we spawned is its guard."""
        if self._process is None:
            return None
        if self._worker_pid is None:
            self._worker_pid = guarded(self._process.pid)
        return self._worker_pid or self._process.pid

    @property
    def lines_left_out(self) -> int:
        """Lines of its standard error that are not in the log, over all its lives."""
        return self._left_out + (self._stderr.left_out if self._stderr else 0)

    async def start(self) -> None:
        """Spawn it from this thread, not from an executor's: a child dies with the thread that made it (prctl).

        Raises `WorkerDied`.
        """
        try:
            ours = self._spawn()
            self.reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
            await self._overhear()
        except OSError as error:  # no memory, too many processes, no file descriptor left
            raise WorkerDied(f"the {self._role} worker cannot be started: {error}") from None

    async def _overhear(self) -> None:
        assert self._process is not None
        self._left_out = self.lines_left_out
        _, self._stderr = await asyncio.get_running_loop().connect_read_pipe(
            lambda: Stderr(self._name, self._lines), self._process.stderr
        )

    def _spawn(self) -> socket.socket:
        """Start the process; our end of its socket. Raises `OSError`."""
        self._worker_pid = None
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [*python(), "-u", "-m", "gateway.engine.child", str(theirs.fileno()), self._role]
            try:
                self._process = subprocess.Popen(
                    arguments,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=self._environment,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def send(self, header: Header, *payload: bytes) -> None:
        """Queue a message. Raises `WorkerDied`."""
        if self._writer is None:
            raise WorkerDied("the worker is not running")
        if self._writer.is_closing():  # uvloop raises when somebody goes on writing
            raise WorkerDied("the worker has gone")
        wire.write(self._writer, header, *payload)

    @property
    def unsent(self) -> int:
        """Bytes that were sent and that the socket has not yet taken."""
        return 0 if self._writer is None else self._writer.transport.get_write_buffer_size()

    async def receive(self, most: int = wire.MAX_PART) -> tuple[Header, bytes]:
        """Its next message. Raises `WorkerDied` when it has gone, or speaks nonsense."""
        if self.reader is None:
            raise WorkerDied("the worker is not running")
        try:
            while True:
                header, payload = await wire.read(self.reader, most)
                if header.get("t") != "log":
                    return header, payload
                if not self._records.take(asyncio.get_running_loop().time()):
                    await asyncio.sleep(1e-3)
                _log_again(header)
        except Gone:
            raise WorkerDied(f"the {self._role} worker has gone ({_ending(await self._exit_code())})") from None
        except BrokenWire as error:
            raise WorkerDied(f"the {self._role} worker broke the protocol: {error}") from None

    async def _exit_code(self) -> int | None:
        """Its end of the socket closes a moment before the process is reaped."""
        process = self._process
        await self._left_within(0.5)
        return process.poll() if process else None

    async def _left_within(self, seconds: float) -> None:
        process = self._process
        for _ in range(round(seconds / 0.01)):
            if process is None or process.poll() is not None:
                break
            await asyncio.sleep(0.01)

    def kill(self) -> None:
        """End it and all it has started."""
        if self._process is not None:
            _end(self._process)

    async def close(self, farewell: Header | None = None) -> None:
        """Kill and reap; a `farewell` lets it leave by itself before, in a moment."""
        if farewell is not None and self._writer is not None:
            with suppress(WorkerDied):
                self.send(farewell)
            await self._left_within(FAREWELL_S)
        writer, self._writer, self.reader = self._writer, None, None
        if writer is not None:
            writer.close()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, _bury, process))  # it must be reaped
        if self._stderr is not None:
            await self._stderr.end(LAST_WORDS_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Where there is a guard it must not be killed: it is the one that kills what the worker has started."""
    if sys.platform == "linux":
        process.terminate()
    else:
        process.kill()


def _bury(process: subprocess.Popen[bytes]) -> None:
    _end(process)
    try:
        process.wait(GUARD_S)
    except subprocess.TimeoutExpired:  # somebody stopped the guard
        process.kill()
        process.wait()


def _log_again(record: Header) -> None:
    """A worker's log record, in our log. Raises `BrokenWire` for one that is none."""
    level, name, text, trace = (record.get(part) for part in ("level", "logger", "text", "trace"))
    if not (isinstance(level, int) and isinstance(name, str) and isinstance(text, str)):
        raise BrokenWire("a log record without level, logger or text")
    logging.getLogger(f"worker.{name[:100]}").log(level, "%s", f"{text}\n{trace}" if trace else text)


def _ending(code: int | None) -> str:
    """How a process ended, in words; signals by name."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-code}"


def python() -> list[str]:
    """What runs a worker. Without the current folder among its imports, unless we come from there: what lies there is
    nobody's plugin.
    """
    return [sys.executable] if Path.cwd() == Path(__file__).parents[2] else [sys.executable, "-P"]
