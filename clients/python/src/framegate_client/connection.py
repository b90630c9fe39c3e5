"""One stream socket that stays: it comes back until the stream is over, and says why it is.

One task per connection holds it, from `async with` to its end; while a socket is open, that task reads and a second one
watches for silence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Any, Literal, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from framegate_client.answers import Stream
from framegate_client.errors import FramegateError, Unreachable
from framegate_client.messages import Bye, ErrorMessage, Hello, Message
from framegate_client.protocol import ping, read_message, relay
from framegate_client.reconnect import ABNORMAL, Backoff, Retry, Stop, after_asking, after_close, worth_asking_again
from framegate_client.transport import Refused, Transport, curable

log = logging.getLogger("framegate_client")

State = Literal["connecting", "open", "waiting", "ended"]

QUIET_S = 10.0  # nothing heard for so long: ask with a ping
DEAD_S = 30.0  # still nothing: a half-open line, or a gateway that hangs
STEADY_S = 5.0  # a connection that lasted so long makes the next back-off start over
CLOSE_S = 3.0  # for saying goodbye to a gateway that does not listen

OpenStream = Callable[[], Awaitable[Stream]]


class Connection:
    """Use it as `async with`: it enters when the gateway has said hello and raises if that will never be.

    `outage_s`: how long a connection that was lost is tried again; the first one is tried for the client's patience.
    """

    protocols: tuple[str, ...] = ()

    def __init__(
        self,
        transport: Transport,
        stream: Stream | None,
        *,
        open_stream: OpenStream | None = None,
        outage_s: float = inf,
    ) -> None:
        """`open_stream` opens one while there is none, and again when the gateway has lost it."""
        self.state: State = "connecting"
        self.reason: str | None = None  # why it waits or ended
        self.error: FramegateError | None = None  # what ended it, if it did not come to its end
        self.hello: Hello | None = None  # of the present or last socket
        self.reconnects = 0
        self._told = False  # whether somebody was told of `error`
        self._transport = transport
        self._stream = stream
        self._open_stream = open_stream
        self._outage_s = outage_s
        self._socket: ClientConnection | None = None
        self._bye: Bye | None = None
        self._stream_id: str | None = None  # as the gateway says
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._change = asyncio.Event()

    @property
    def stream(self) -> Stream:
        """The stream it is of. One that a publisher opened itself is another one after a restart of the gateway."""
        if self._stream is None:
            raise RuntimeError("there is no stream before `with` is entered")
        return self._stream

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise RuntimeError("a connection is entered once; ask the client for another one")
        self._task = asyncio.create_task(self._run(), name="framegate connection")
        try:
            await self._until(lambda: self.state in ("open", "ended"))
            self._check()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave. Safe to call again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if self.state != "ended":  # it had not even begun
                self._become("ended", "closed")
            if not self._task.cancelled():
                self._task.result()  # a defect of this client

    def _check(self) -> None:
        """Raise what ended it, if it did not come to its end."""
        if self.error is not None:
            self._told = True
            raise self.error
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()  # a defect of this client

    async def relay(self, data: Any) -> bool:
        """Tell everybody else on the stream; False if the line is down. It is never kept for later."""
        return await self._say(relay(data))

    # --- for publisher and viewer ------------------------------------------------------------------------------------

    async def _opened(self) -> None:
        """The socket is open; the gateway has not spoken yet."""

    def _received(self, message: Message) -> None:
        pass

    def _lost(self) -> None:
        """The socket is gone."""

    async def _beside(self, socket: ClientConnection) -> None:
        """Runs while a socket is open; may end before it."""

    async def _say(self, text: str) -> bool:
        if self._socket is None:
            return False
        try:
            await self._socket.send(text)
        except ConnectionClosed:
            return False
        return True

    def _ring(self) -> None:
        """Wake who waits in `_until`."""
        self._change.set()
        self._change = asyncio.Event()

    async def _until(self, condition: Callable[[], bool], timeout: float = inf) -> bool:
        """Whether it became true in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if timeout == inf else timeout):
                while not condition():
                    await self._change.wait()
        return condition()

    # --- staying connected -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        stop = Stop("closed")
        try:
            stop = await self._stay()
        finally:
            self.error = stop.error
            self._become("ended", stop.reason)

    async def _stay(self) -> Stop:
        backoff = Backoff(self._transport.random)
        lost_at, patience_s = _now(), self._transport.patience_s
        while True:
            began = _now()
            self._become("connecting", self.reason)
            step = await self._attempt()
            if self._was_open():
                lost_at, patience_s = _now(), self._outage_s
                if lost_at - began >= STEADY_S:
                    backoff.reset()
            if isinstance(step, Stop):
                if self._open_stream is None or not worth_asking_again(step):
                    return step
                self._stream, step = None, Retry(step.reason, error=step.error)
            pause = backoff.next(step.after_s)
            if _now() + pause - lost_at > patience_s:
                return Stop("unreachable", step.error or Unreachable(f"the gateway stays away: {step.reason}"))
            log.info("stream %s: %s, coming back in %.1f s", self._name, step.reason, pause)
            self._become("waiting", step.reason)
            await asyncio.sleep(pause)
            self.reconnects += 1

    async def _attempt(self) -> Stop | Retry:
        """One connection from its beginning to its end, and what follows from that."""
        self.hello = self._bye = None
        try:
            if self._stream is None and self._open_stream is not None:
                self._stream = await self._open_stream()
            socket = await self._transport.connect(self.stream.websocket_url, self.protocols)
        except Refused as refusal:
            return after_asking(ABNORMAL, refusal.answer)
        except FramegateError as error:
            if curable(error, "GET"):  # a stream opened twice by a lost answer ends by itself
                return Retry(error.code, error.retry_after_s or 0.0, error)
            return Stop(error.code, error)
        code = await self._serve(socket)
        return after_close(code, self._bye) or after_asking(code, None)  # the next upgrade's answer tells the rest

    async def _serve(self, socket: ClientConnection) -> int:
        """Take in what the gateway says until either side closes; the close code."""
        self._socket, self._heard_at = socket, _now()
        try:
            async with asyncio.TaskGroup() as tasks:
                aside = [tasks.create_task(self._watch(socket)), tasks.create_task(self._beside(socket))]
                with suppress(ConnectionClosed):
                    await self._opened()
                    async for data in socket:
                        self._hear(data)
                for task in aside:
                    task.cancel()
        finally:
            self._socket = None
            self._lost()
            await self._leave(socket)
        return socket.close_code or ABNORMAL

    def _hear(self, data: str | bytes) -> None:
        self._heard_at = _now()
        message = read_message(data)
        match message:
            case None:
                return
            case Hello():
                self.hello, self._stream_id = message, message.stream_id
            case Bye():
                self._bye = message
            case ErrorMessage():
                log.warning("stream %s: the gateway says %s: %s", self._name, message.code, message.detail)
        self._received(message)
        if isinstance(message, Hello):
            self._become("open", None)
        self._ring()

    async def _watch(self, socket: ClientConnection) -> None:
        """TCP may not notice for minutes that the other side is gone."""
        while (quiet := _now() - self._heard_at) < DEAD_S:
            if quiet >= QUIET_S:
                with suppress(TimeoutError, ConnectionClosed):
                    async with asyncio.timeout(1.0):
                        await socket.send(ping())
            await asyncio.sleep(QUIET_S if quiet >= QUIET_S else QUIET_S - quiet)
        socket.transport.abort()

    @staticmethod
    async def _leave(socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await socket.close()
        except TimeoutError:
            socket.transport.abort()

    def _was_open(self) -> bool:
        return self.hello is not None

    def _become(self, state: State, reason: str | None) -> None:
        self.state, self.reason = state, reason
        self._ring()

    @property
    def _name(self) -> str:
        """For logs; what a caller names a stream by may be a token of it."""
        return self._stream_id or "(not yet named)"


def _now() -> float:
    return asyncio.get_running_loop().time()
