"""The gateway as an object, for asyncio. `Client` in blocking.py is the same without `await`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import inf
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack
from urllib.parse import quote

from framegate_client import answers
from framegate_client.address import Address, stream_path
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
from framegate_client.errors import Busy, Unreachable
from framegate_client.messages import Result
from framegate_client.pictures import WHOLE, Image, encoded, media_type
from framegate_client.protocol import Json, Pictures, Topic, read_result
from framegate_client.publish import AsyncPublisher
from framegate_client.transport import CALL_S, Transport, Verify
from framegate_client.watch import AsyncWatch

StreamRef = str | Stream  # its id, or what `request` answered
WAIT_S = 10.0  # the gateway waits so long for the slowest analyzer
RELOAD_S = 330.0  # and longer than it lets a model load
T = TypeVar("T")


class AsyncClient:
    """One gateway. Use it as `async with`, or `close` it.

    `url`: where the gateway answers, with its base path if it has one. `token`: its bearer credential. `verify`: False,
    or a file with the certificate to trust. `patience_s`: how long a call waits for a gateway that is full, starting or
    away before it raises `Busy` or `Unreachable`.
    """

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
        """`trust_env`: take proxies and certificates from the environment. Raises `ValueError` for a wrong address."""
        self._transport = Transport(
            Address.parse(url),
            token=token,
            verify=verify,
            headers=headers,
            patience_s=patience_s,
            trust_env=trust_env,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    def url(self, path: str) -> str:
        """The address of something the gateway named, such as a `viewer_url`."""
        return self._transport.address.url(path)

    # --- streams -----------------------------------------------------------------------------------------------------

    async def request(
        self,
        *,
        name: str = "",
        analyzers: Sequence[str] | None = None,
        options: Options | None = None,
        grace_s: float | None = None,
        max_fps: float | None = None,
    ) -> Stream:
        """Open a stream. Raises `Busy` when the gateway is full, `Invalid` for an analyzer or option there is not."""
        return await self._request(StreamRequest(name, analyzers, options, grace_s, max_fps))

    async def list(self) -> tuple[StreamStatus, ...]:
        """The live streams."""
        return await self._transport.call("GET", "stream", _items(answers.read_stream_status))

    async def status(self, stream: StreamRef) -> StreamStatus:
        """How it is doing. Raises `SessionEnded` with the `reason` for a minute after its end, then `NotFound`."""
        return await self._transport.call("GET", _path(stream), answers.read_stream_status)

    async def update(self, stream: StreamRef, **changes: Unpack[Changes]) -> StreamStatus:
        """Switch and tune a live stream: all of it or, raising `Invalid`, nothing."""
        return await self._transport.call("PATCH", _path(stream), answers.read_stream_status, json=changes)

    async def delete(self, stream: StreamRef) -> None:
        """End a stream, whatever its state."""
        await self._transport.fetch("DELETE", _path(stream))

    async def snapshot(
        self,
        stream: StreamRef,
        *,
        draw: Literal["boxes"] | None = None,
        width: int | None = None,
        quality: int | None = None,
        max_age_s: float | None = None,
    ) -> bytes:
        """The latest picture as JPEG. Raises `NoPicture` if there is none, or none as young as that."""
        query = {"draw": draw, "width": width, "quality": quality, "max_age": max_age_s}
        given = {key: value for key, value in query.items() if value is not None}
        return (await self._transport.fetch("GET", f"{_path(stream)}/snapshot.jpg", params=given)).content

    async def post_frame(self, stream: StreamRef, image: Image, *, captured_at: datetime | None = None) -> Taken:
        """Post one picture: JPEG, PNG, WebP or pixels. What comes faster than the stream takes is not accepted."""
        posted = await _posted(image, captured_at)
        return await self._transport.call("POST", f"{_path(stream)}/frame", answers.read_taken, **posted)

    async def analyze(self, stream: StreamRef, image: Image, *, captured_at: datetime | None = None) -> Result:
        """Post one picture and wait for what the stream's analyzers see in it. Raises `Busy` if it comes too fast."""
        posted = await _posted(image, captured_at)
        posted["params"]["wait"] = "1"
        path = f"{_path(stream)}/frame"
        return await self._transport.call("POST", path, _read_seen, timeout=CALL_S + WAIT_S, **posted)

    def publish(
        self, stream: StreamRef | StreamRequest, *, resume: str | None = None, outage_s: float = inf
    ) -> AsyncPublisher:
        """A publisher, to be entered with `async with`.

        Given a `StreamRequest` it opens the stream itself, and a new one when the gateway has lost it: after a restart,
        or an outage longer than the grace. `resume`: the `resume_token` of an earlier publisher, to take its place;
        with a `StreamRequest` it raises `ValueError`, since nobody publishes to a new stream.
        """
        if isinstance(stream, StreamRequest):
            if resume is not None:
                raise ValueError("resume goes with the stream whose place it names; a StreamRequest opens a new one")
            wish = stream
            return AsyncPublisher(
                self._transport, None, open_stream=lambda: self._request(wish, once=True), outage_s=outage_s
            )
        return AsyncPublisher(self._transport, _reached(stream), resume=resume, outage_s=outage_s)

    def watch(
        self,
        stream: StreamRef,
        *,
        frames: Pictures = "none",
        topics: Sequence[Topic] | None = None,
        outage_s: float = inf,
    ) -> AsyncWatch:
        """A viewer, to be entered with `async with`. Without `topics` all of them, with `frames` also the pictures."""
        return AsyncWatch(self._transport, _reached(stream), frames=frames, topics=topics, outage_s=outage_s)

    # --- the gateway itself ------------------------------------------------------------------------------------------

    async def analyzers(self) -> tuple[AnalyzerInfo, ...]:
        """What is installed, and how it is."""
        return await self._transport.call("GET", "api/analyzers", _items(answers.read_analyzer))

    async def reload(self, analyzer: str) -> AnalyzerInfo:
        """Load an analyzer's code and model anew; whether that worked is in its `state`."""
        path = f"api/analyzers/{quote(analyzer, safe='')}/reload"
        return await self._transport.call("POST", path, answers.read_analyzer, timeout=RELOAD_S)

    async def plugins(self) -> tuple[PluginInfo, ...]:
        return await self._transport.call("GET", "api/plugins", _items(answers.read_plugin))

    async def health(self) -> Health:
        """Whether it is alive."""
        return await self._transport.call("GET", "api/health", answers.read_health)

    async def ready(self) -> bool:
        """Whether it may be given work: not while it starts or shuts down. Asks once; nobody there is not ready."""
        try:
            await self._transport.fetch_once("GET", "api/ready")
        except (Busy, Unreachable):
            return False
        return True

    async def system(self) -> SystemStatus:
        """Version, uptime, streams, analyzers."""
        return await self._transport.call("GET", "api/status", answers.read_system)

    async def _request(self, wish: StreamRequest, *, once: bool = False) -> Stream:
        path = "stream/request"
        return await self._transport.call("POST", path, answers.read_stream, once=once, json=wish.to_json())


async def _posted(image: Image, captured_at: datetime | None) -> dict[str, Any]:
    """A picture as the body of a request."""
    body = bytes(image) if isinstance(image, WHOLE) else await asyncio.to_thread(encoded, image)
    query = {} if captured_at is None else {"ts": captured_at.astimezone().isoformat()}
    return {"content": body, "headers": {"Content-Type": media_type(body)}, "params": query}


def _read_seen(raw: Json) -> Result:
    if raw.get("accepted") is False:
        rate = float(raw.get("max_fps") or 1.0)
        raise Busy(f"the stream takes {rate:g} pictures a second", code="max_fps", retry_after_s=1 / rate)
    return read_result("result", raw)


def _items(read: Callable[[Json], T]) -> Callable[[Json], tuple[T, ...]]:
    return lambda raw: tuple(read(item) for item in raw["items"])


def _path(stream: StreamRef) -> str:
    return stream_path(stream if isinstance(stream, str) else stream.stream_id)


def _reached(stream: StreamRef) -> Stream:
    return stream if isinstance(stream, Stream) else Stream(stream, f"ws/{stream_path(stream)}")
