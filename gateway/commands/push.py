"""`framegate push`: a video, a camera or pictures, sent to a gateway as a stream."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.commands.sources import Picture, Source, SourceFailed, Thinner, open_source, shrink
from gateway.commands.stream_client import Refused, StreamClient, Target, request_stream
from gateway.commands.table import table

HEADER_BYTES = 64  # room for the frame's header within the largest message
STOPPED = 130  # the exit code after Ctrl-C


def push(
    source: str,
    *,
    url: str,
    fps: float | None,
    loop: bool,
    analyzers: list[str] | None,
    token: str | None = None,
) -> int:
    """The exit code: 0 when everything was sent."""
    try:
        target = _target(url, analyzers, token)
        return asyncio.run(_push(open_source(source, fps=fps, loop=loop), target, analyzers))
    except (Refused, SourceFailed) as error:
        raise SystemExit(f"push: {error}") from None


def _target(url: str, analyzers: list[str] | None, token: str | None) -> Target:
    target = Target.parse(url, token)
    if target.stream_id and analyzers is not None:
        raise Refused("--analyzers are chosen when a stream is asked for; leave /stream/ID out of --url")
    return target


async def _push(source: Source, target: Target, analyzers: list[str] | None) -> int:
    target, path, viewer = await _stream(target, source.name, analyzers)
    print(f"stream  {target.stream_id}\nviewer  {target.url(viewer)}", flush=True)
    client = StreamClient(target, path, _complain, publish=True, patient=not source.live)
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    began, failure = loop.time(), None
    try:
        await _first_of(client.run(), feed(source, client), stopped.wait())
    except* SourceFailed as failures:
        failure = failures.exceptions[0]
    print(_summary(client, loop.time() - began))
    if failure is not None:
        raise failure
    if client.over is not None:
        raise Refused(f"the stream is over: {client.over}")
    return STOPPED if stopped.is_set() and not source.live else 0


async def _first_of(*doings: Coroutine[Any, Any, object]) -> None:
    """Run all until one has finished, then end the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(doing) for doing in doings]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


async def _stream(target: Target, name: str, analyzers: list[str] | None) -> tuple[Target, str, str]:
    """The stream to publish to, its socket's path, and its viewer's. Raises `Refused`."""
    if target.stream_id:
        place = f"/viewer/{target.stream_id}" if target.by_token else f"/viewer?stream_id={target.stream_id}"
        return target, f"/ws/stream/{target.stream_id}", place
    ticket = await request_stream(target, name=name, analyzers=analyzers)
    return replace(target, stream_id=ticket["stream_id"]), ticket["websocket_url"], ticket["viewer_url"]


async def feed(source: Source, client: StreamClient) -> None:
    """Every picture when it is due, or as soon as it comes from a live source."""
    clock, thinner = asyncio.get_running_loop().time, Thinner()
    began, began_at = clock(), datetime.now(UTC)
    async with aclosing(_pictures(source)) as pictures:
        async for picture in pictures:
            if not source.live:
                await asyncio.sleep(max(0.0, began + picture.at - clock()))
                thinner.interval = client.interval
                if not thinner.passes(picture.at):  # by the file's clock: what was late must not be lost for it
                    client.dropped["pace"] += 1
                    continue
            jpeg = await _fitting(picture.jpeg, client.limits.get("max_message_bytes"))
            await client.send(jpeg, began_at + timedelta(seconds=picture.at))
            if client.over is not None:
                return
    await client.flush()


async def _fitting(jpeg: bytes, largest: int | None) -> bytes:
    """The picture, small enough for one message."""
    if largest is None or len(jpeg) + HEADER_BYTES <= largest:
        return jpeg
    return await asyncio.to_thread(shrink, jpeg, largest - HEADER_BYTES)


async def _pictures(source: Source) -> AsyncGenerator[Picture, None]:
    """The source's pictures, read in one thread of its own when they are asked for: no buffer grows here."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="source") as owner:
        pictures = source.pictures()
        try:
            while (picture := await loop.run_in_executor(owner, next, pictures, None)) is not None:
                yield picture
        finally:
            owner.submit(pictures.close)


def _complain(message: dict[str, Any]) -> None:
    if message.get("type") == "error":
        print(f"the gateway says: {message.get('code')}: {message.get('detail')}", file=sys.stderr)


def _summary(client: StreamClient, seconds: float) -> str:
    """What became of the frames."""
    there: Counter[str] = Counter({f"by the gateway, {reason}": n for reason, n in _flat(client.dropped_there)})
    here: Counter[str] = Counter({f"here, {reason}": n for reason, n in client.dropped.items()})
    rows = [
        ("sent", client.sent),
        ("acknowledged", client.acked),
        *((f"dropped {where}", number) for where, number in sorted((here + there).items())),
        ("per second", round(client.sent / seconds, 1) if seconds > 0 else 0.0),
    ]
    return table(("FRAMES", "NUMBER"), rows)


def _flat(dropped: object) -> list[tuple[str, int]]:
    """Numbers by reason, whether the gateway groups them by stage or not."""
    if isinstance(dropped, int):
        return [("all", dropped)] if dropped else []
    if not isinstance(dropped, dict):
        return []
    return [
        (reason if inner == "all" else f"{reason}, {inner}", number)
        for reason, value in dropped.items()
        for inner, number in _flat(value)
    ]
