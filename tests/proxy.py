"""A bad line for tests: a TCP proxy on loopback that delays, jitters, throttles, corrupts, cuts, half-closes, resets.

    async with Proxy(("127.0.0.1", 8000)) as proxy:
        client.connect(proxy.address)
        proxy.up = Line(delay_s=0.2, jitter_s=0.05)
        proxy.cut()  # everybody is thrown out, nobody gets in until `proxy.heal()`

The two directions are set apart: `up` leads to the server, `down` to the client. What is set applies at once, also to
connections that there are. Each direction holds at most `BUFFERED` bytes on their way: beyond that the sender feels it,
as on a real line. `ProxyThread` is the same for tests without an event loop of their own.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TypeVar

T = TypeVar("T")

CHUNK = 16 * 1024
BUFFERED = 1024 * 1024  # bytes under way in each direction of a connection
MAX_CONNECTIONS = 1024
GONE = (OSError, asyncio.IncompleteReadError)  # a peer that left in the middle of something

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Line:
    """How one direction is. Delays keep the order of bytes, as TCP does."""

    delay_s: float = 0.0
    jitter_s: float = 0.0  # up to so much more, evenly distributed
    bytes_per_s: float = float("inf")
    corrupt: float = 0.0  # share of bytes that are changed, 0-1
    stalled: bool = False  # takes everything up to `BUFFERED` and delivers nothing


class _Pipe:
    """One direction of a connection: a reader that takes chunks in, a writer that lets them out when they are due."""

    def __init__(self, proxy: Proxy, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._proxy, self._direction = proxy, direction
        self._reader, self._writer = reader, writer
        self._chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFERED // CHUNK)
        self._due = 0.0

    @property
    def _line(self) -> Line:
        return self._proxy.up if self._direction == "up" else self._proxy.down

    async def run(self) -> None:
        """Until its source has ended and all of it is delivered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take())
            tasks.create_task(self._deliver())

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            chunk = await self._reader.read(CHUNK)
            line = self._line
            late = line.delay_s + self._proxy.random.random() * line.jitter_s
            self._due = max(self._due, loop.time() + late)
            await self._chunks.put((self._due, chunk))
            if not chunk:
                return

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await self._chunks.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._proxy.flowing(self._direction)
            if not chunk:
                self._writer.write_eof()
                return
            self._writer.write(_corrupted(chunk, self._line.corrupt, self._proxy.random))
            await self._writer.drain()
            self._proxy.delivered[self._direction] += len(chunk)
            await asyncio.sleep(len(chunk) / self._line.bytes_per_s)


class Proxy:
    """The proxy. `connections` are live, `accepted` all there were, `delivered` counts bytes by direction.

    `receive_buffer`: bytes the kernel takes from the server for each connection, else as many as it likes (megabytes).
    """

    def __init__(self, target: tuple[str, int], *, seed: int = 0, receive_buffer: int | None = None) -> None:
        self.target = target
        self._receive_buffer = receive_buffer
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self.random = random.Random(seed)
        self.delivered: Counter[str] = Counter()
        self.accepted = 0
        self._lines: dict[Direction, Line] = {"up": Line(), "down": Line()}
        self._moved = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._refusing = False
        self._live: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None

    # --- how the line is ---------------------------------------------------------------------------------------------

    @property
    def up(self) -> Line:
        return self._lines["up"]

    @up.setter
    def up(self, line: Line) -> None:
        self._set("up", line)

    @property
    def down(self) -> Line:
        return self._lines["down"]

    @down.setter
    def down(self, line: Line) -> None:
        self._set("down", line)

    def _set(self, direction: Direction, line: Line) -> None:
        self._lines[direction] = line
        moved, self._moved[direction] = self._moved[direction], asyncio.Event()
        moved.set()

    async def flowing(self, direction: Direction) -> None:
        """Waits while this direction is stalled."""
        while self._lines[direction].stalled:
            await self._moved[direction].wait()

    @property
    def connections(self) -> int:
        return len(self._live)

    # --- faults ------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection, and each new one, until `heal`."""
        self._refusing = True
        self.reset()

    def heal(self) -> None:
        """A good line again, open to everybody."""
        self._refusing = False
        self.up = self.down = Line()

    def vanish(self) -> None:
        """Nobody hears anything any more, and nobody is told: a phone in a tunnel."""
        self.up = self.down = Line(stalled=True)

    def reset(self) -> None:
        """RST to both ends of every connection."""
        for task, writers in list(self._live.items()):
            for writer in writers:
                _reset(writer)
            task.cancel()

    def half_close(self, direction: Direction) -> None:
        """FIN in one direction of every connection; the other goes on."""
        for server, client in list(self._live.values()):
            (server if direction == "up" else client).write_eof()

    # --- its life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._live)
        self.reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing or len(self._live) >= MAX_CONNECTIONS:
            _reset(writer)
            return
        self.accepted += 1
        try:
            from_server, to_server = await self._connected()
        except OSError:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._live[task] = [to_server, writer]
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_Pipe(self, "up", reader, to_server).run())
                tasks.create_task(_Pipe(self, "down", from_server, writer).run())
        except* GONE:
            pass
        finally:
            del self._live[task]
            for end in (to_server, writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._receive_buffer is None:
            return await asyncio.open_connection(*self.target)
        there = socket.socket()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)  # before the window is told
        there.setblocking(False)
        await asyncio.get_running_loop().sock_connect(there, self.target)
        return await asyncio.open_connection(sock=there)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: the peer is told at once that nothing more will come (SO_LINGER 0)."""
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None:
        with suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _corrupted(chunk: bytes, share: float, chance: random.Random) -> bytes:
    if share <= 0:
        return chunk
    return bytes(byte ^ chance.randrange(1, 256) if chance.random() < share else byte for byte in chunk)


@dataclass(slots=True)
class ProxyThread:
    """The proxy on an event loop of its own thread; `do` runs one of its methods there."""

    target: tuple[str, int]
    receive_buffer: int | None = None
    proxy: Proxy = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> ProxyThread:
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.proxy = self._run(self._make())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._run(self.proxy.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.proxy.address)

    def do(self, act: Callable[[Proxy], T]) -> T:
        """`do(Proxy.cut)`, `do(lambda proxy: setattr(proxy, "up", Line(delay_s=1)))`; what it answered."""

        async def there() -> T:
            return act(self.proxy)

        return self._run(there())

    async def _make(self) -> Proxy:
        return await Proxy(self.target, receive_buffer=self.receive_buffer).__aenter__()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)
