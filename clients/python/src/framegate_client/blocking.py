"""The same without `await`, for plain scripts and threads: `Client`, `Publisher`, `Watch`.

Each client has one background thread with an event loop; whatever is called here runs there and is waited for. All of
it may be called from any thread, but a `Watch` is read by one at a time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from math import inf
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack

from framegate_client.answers import (
    AnalyzerInfo,
    Changes,
    Health,
    Options,
    PluginInfo,
    Stream,
    StreamRequest,
    StreamStatus,
    SystemStatus,
    Taken,
)
from framegate_client.client import AsyncClient, StreamRef
from framegate_client.connection import Connection, State
from framegate_client.messages import Ack, Hello, Message, Result
from framegate_client.pictures import Captured, Image, Picture
from framegate_client.protocol import Pictures, Topic
from framegate_client.publish import FLUSH_S, AsyncPublisher, Refusal
from framegate_client.transport import Verify
from framegate_client.watch import AsyncWatch

T = TypeVar("T")
C = TypeVar("C", bound=Connection)


class LoopThread:
    """An event loop in a thread of its own. A daemon: a client that nobody closed holds no interpreter back."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="framegate client", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def call(self, doing: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait. Interrupted by Ctrl-C, it is cancelled there too."""
        if self.closed:
            doing.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(doing, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End what still runs there, then the thread. Safe to call again."""
        if not self.closed:
            self.call(_end_all())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


class Client:
    """`AsyncClient` for plain scripts: `with Client(url) as client`, or `close` it."""

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        token: str | None = None,
        verify: Verify = True,
        headers: Mapping[str, str] | None = None,
        patience_s: float = 10.0,
        trust_env: bool = True,
    ) -> None:
        self._client = AsyncClient(
            url, token=token, verify=verify, headers=headers, patience_s=patience_s, trust_env=trust_env
        )
        self._thread = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if not self._thread.closed:
            self._thread.call(self._client.close())
            self._thread.close()

    def url(self, path: str) -> str:
        return self._client.url(path)

    # --- streams -----------------------------------------------------------------------------------------------------

    def request(
        self,
        *,
        name: str = "",
        analyzers: Sequence[str] | None = None,
        options: Options | None = None,
        grace_s: float | None = None,
        max_fps: float | None = None,
    ) -> Stream:
        wish = self._client.request(name=name, analyzers=analyzers, options=options, grace_s=grace_s, max_fps=max_fps)
        return self._thread.call(wish)

    def list(self) -> tuple[StreamStatus, ...]:
        return self._thread.call(self._client.list())

    def status(self, stream: StreamRef) -> StreamStatus:
        return self._thread.call(self._client.status(stream))

    def update(self, stream: StreamRef, **changes: Unpack[Changes]) -> StreamStatus:
        return self._thread.call(self._client.update(stream, **changes))

    def delete(self, stream: StreamRef) -> None:
        self._thread.call(self._client.delete(stream))

    def snapshot(
        self,
        stream: StreamRef,
        *,
        draw: Literal["boxes"] | None = None,
        width: int | None = None,
        quality: int | None = None,
        max_age_s: float | None = None,
    ) -> bytes:
        picture = self._client.snapshot(stream, draw=draw, width=width, quality=quality, max_age_s=max_age_s)
        return self._thread.call(picture)

    def post_frame(self, stream: StreamRef, image: Image, *, captured_at: datetime | None = None) -> Taken:
        return self._thread.call(self._client.post_frame(stream, image, captured_at=captured_at))

    def analyze(self, stream: StreamRef, image: Image, *, captured_at: datetime | None = None) -> Result:
        return self._thread.call(self._client.analyze(stream, image, captured_at=captured_at))

    def publish(
        self, stream: StreamRef | StreamRequest, *, resume: str | None = None, outage_s: float = inf
    ) -> Publisher:
        return Publisher(self._thread, self._client.publish(stream, resume=resume, outage_s=outage_s))

    def watch(
        self,
        stream: StreamRef,
        *,
        frames: Pictures = "none",
        topics: Sequence[Topic] | None = None,
        outage_s: float = inf,
    ) -> Watch:
        return Watch(self._thread, self._client.watch(stream, frames=frames, topics=topics, outage_s=outage_s))

    # --- the gateway itself ------------------------------------------------------------------------------------------

    def analyzers(self) -> tuple[AnalyzerInfo, ...]:
        return self._thread.call(self._client.analyzers())

    def reload(self, analyzer: str) -> AnalyzerInfo:
        return self._thread.call(self._client.reload(analyzer))

    def plugins(self) -> tuple[PluginInfo, ...]:
        return self._thread.call(self._client.plugins())

    def health(self) -> Health:
        return self._thread.call(self._client.health())

    def ready(self) -> bool:
        return self._thread.call(self._client.ready())

    def system(self) -> SystemStatus:
        return self._thread.call(self._client.system())


class _Held(Generic[C]):
    """A connection that lives in the client's thread. What is only looked at here is one word each, so never torn."""

    def __init__(self, thread: LoopThread, connection: C) -> None:
        self._thread = thread
        self._connection = connection

    def __enter__(self) -> Self:
        self._thread.call(self._connection.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._thread.closed:
            self._thread.call(self._connection.__aexit__(kind, error, trace))

    def close(self) -> None:
        """Leave. Safe to call again, also from another thread."""
        if not self._thread.closed:
            self._thread.call(self._connection.close())

    def relay(self, data: Any) -> bool:
        return self._thread.call(self._connection.relay(data))

    @property
    def stream(self) -> Stream:
        return self._connection.stream

    @property
    def state(self) -> State:
        return self._connection.state

    @property
    def reason(self) -> str | None:
        return self._connection.reason

    @property
    def hello(self) -> Hello | None:
        return self._connection.hello

    @property
    def reconnects(self) -> int:
        return self._connection.reconnects


class Publisher(_Held[AsyncPublisher]):
    """`AsyncPublisher` for plain scripts."""

    def send(
        self,
        image: Image,
        *,
        captured_at: Captured = "now",
        meta: Mapping[str, Any] | None = None,
        wait: bool = False,
    ) -> int | None:
        return self._thread.call(self._connection.send(image, captured_at=captured_at, meta=meta, wait=wait))

    def run(self, source: Iterable[Image | Picture], *, live: bool | None = None) -> int:
        """As the asynchronous one, but the source is read in this thread."""
        live = bool(getattr(source, "live", False)) if live is None else live
        before = self.sent
        for item in source:
            self.run_one(item, live=live)
        self.flush()
        return self.sent - before

    def run_one(self, item: Image | Picture, *, live: bool) -> int | None:
        return self._thread.call(self._connection.run_one(item, live=live))

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        return self._thread.call(self._connection.flush(timeout_s))

    @property
    def refusal(self) -> Refusal | None:
        return self._thread.call(_value(lambda: self._connection.refusal))

    @property
    def ready(self) -> bool:
        return self.refusal is None

    @property
    def sent(self) -> int:
        return self._connection.sent

    @property
    def dropped(self) -> Counter[str]:
        return self._connection.dropped

    @property
    def errors(self) -> Counter[str]:
        return self._connection.errors

    @property
    def last_ack(self) -> Ack | None:
        return self._connection.last_ack

    @property
    def resume_token(self) -> str | None:
        return self._connection.resume_token


class Watch(_Held[AsyncWatch]):
    """`AsyncWatch` for plain scripts."""

    def get(self, timeout_s: float = inf) -> Message | None:
        """As the asynchronous one. Raises `TimeoutError` when nothing came in time."""
        return self._thread.call(_in_time(self._connection.get(), timeout_s))

    def subscribe(self, *, frames: Pictures = "none", topics: Sequence[Topic] | None = None) -> None:
        self._thread.call(self._connection.subscribe(frames=frames, topics=topics))

    @property
    def dropped(self) -> Counter[str]:
        return self._connection.dropped

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self.get()
        if message is None:
            raise StopIteration
        return message


async def _in_time(doing: Coroutine[Any, Any, T], timeout_s: float) -> T:
    async with asyncio.timeout(None if timeout_s == inf else timeout_s):
        return await doing


async def _value(read: Callable[[], T]) -> T:
    return read()
