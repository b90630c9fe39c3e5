"""Against the real gateway: what one client publishes another one sees, and every refusal is the documented one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import pytest
from framegate_client import (
    AsyncClient,
    AsyncWatch,
    BadImage,
    Busy,
    Frame,
    ImageTooLarge,
    Invalid,
    Message,
    NoPicture,
    NotFound,
    Relay,
    Result,
    SecondPublisher,
    SessionEnded,
    Stream,
    StreamRequest,
    Subscribed,
    Unauthenticated,
)
from framegate_client.answers import Health

from clients.python.tests.conftest import STREAMS
from clients.python.tests.peer import until
from tests.pictures import colour_of, picture
from tests.server import SERVE, Server, running

COUNT = 30
BARE = {"FRAMEGATE_PLUGINS_OFF": '["motion", "objects", "smoking"]'}  # no worker to wait for
M = TypeVar("M", bound=Message)


@pytest.fixture
async def stream(client: AsyncClient) -> Stream:
    """Without analyzers: its pictures cost nothing."""
    return await client.request(analyzers=[])


async def test_every_picture_published_is_seen_by_a_viewer_under_its_number(
    server: Server, client: AsyncClient, stream: Stream
) -> None:
    colours = ["red", "green", "blue"]
    seen: list[tuple[int, str]] = []
    shown = asyncio.Semaphore(1)

    async def pictures() -> AsyncIterator[bytes]:
        for number in range(COUNT):
            await shown.acquire()  # a viewer is shown the newest picture: the next one comes when it has the last
            yield picture(colours[number % 3])

    async def watch() -> None:
        async with AsyncClient(server.url, trust_env=False) as other, other.watch(stream, frames="binary") as viewer:
            entered.set()
            async for message in viewer:
                if isinstance(message, Frame):
                    seen.append((message.seq, colour_of(message.jpeg)))
                    shown.release()
                    if len(seen) == COUNT:
                        return

    entered = asyncio.Event()
    watching = asyncio.create_task(watch())
    await entered.wait()
    async with client.publish(stream) as camera:
        assert await camera.run(pictures()) == COUNT
        status = await client.status(stream)
    await watching
    assert seen == [(number, colours[number % 3]) for number in range(COUNT)]
    assert (camera.sent, sum(camera.dropped.values()), status.frames_in) == (COUNT, 0, COUNT)


async def _next(viewer: AsyncWatch, kind: type[M], suits: Callable[[M], bool] = lambda message: True) -> M:
    """The next message of a type; others are passed over."""
    async for message in viewer:
        if isinstance(message, kind) and suits(message):
            return message
    raise AssertionError(f"the stream ended: {viewer.reason}")


async def test_results_of_a_generator_reach_a_viewer_typed(client: AsyncClient) -> None:
    stream = await client.request(analyzers=["motion"])
    over = threading.Event()

    def pictures() -> Iterator[bytes]:
        while not over.is_set():
            yield picture("red")
            yield picture("blue")

    async with client.watch(stream, topics=["results"]) as viewer, client.publish(stream) as camera:
        running = asyncio.create_task(camera.run(pictures()))
        result = await _next(viewer, Result, lambda result: result.analyzers["motion"].state == "ready")
        over.set()
        await running
    assert result.analyzers["motion"].detections is not None
    assert result.analyzers["motion"].measures
    assert (result.width, result.height, result.stream_id) == (160, 120, stream.stream_id)
    assert result.received_at is not None
    assert result.captured_at is not None
    assert result.captured_at.utcoffset() == timedelta(0)


async def test_pictures_as_base64_are_the_same(client: AsyncClient, stream: Stream) -> None:
    async with client.watch(stream, topics=[]) as viewer, client.publish(stream) as camera:
        await viewer.subscribe(frames="base64", topics=[])
        await until(lambda: any(isinstance(message, Subscribed) for message in viewer._inbox._waiting))
        seq = await camera.send(picture("green"))
        frame = await _next(viewer, Frame)
    assert (frame.seq, frame.jpeg) == (seq, picture("green"))


async def test_clients_of_a_stream_talk_to_each_other(client: AsyncClient, stream: Stream) -> None:
    async with client.watch(stream, topics=["messages"]) as viewer, client.watch(stream) as other:
        assert await other.relay({"gate": "open"})
        assert (await _next(viewer, Relay)).data == {"gate": "open"}


async def test_a_second_publisher_is_refused_until_it_names_the_firsts_token(
    client: AsyncClient, stream: Stream
) -> None:
    async with client.publish(stream) as first:
        await first.send(picture("red"))
        with pytest.raises(SecondPublisher):
            await _publish_one(client, stream, None)
        await first.send(picture("red"), wait=True)
        await _publish_one(client, stream, first.resume_token)
        await until(lambda: first.state == "ended")
        with pytest.raises(SecondPublisher):
            await first.send(picture("red"))


async def _publish_one(client: AsyncClient, stream: Stream, resume: str | None) -> None:
    async with client.publish(stream, resume=resume) as camera:
        await camera.send(picture("blue"))


async def test_an_unknown_stream_is_not_found_by_any_way(client: AsyncClient) -> None:
    for entering in (client.watch("nowhere"), client.publish("nowhere")):
        with pytest.raises(NotFound):
            await entering.__aenter__()
    with pytest.raises(NotFound) as raised:
        await client.status("nowhere")
    assert (raised.value.code, raised.value.status) == ("not_found", 404)


async def test_a_deleted_stream_ends_its_viewer_and_is_remembered_with_its_reason(
    client: AsyncClient, stream: Stream
) -> None:
    async with client.watch(stream) as viewer:
        await client.delete(stream)
        async for _ in viewer:
            pass
        assert viewer.reason == "deleted"
    with pytest.raises(SessionEnded) as raised:
        await client.status(stream)
    assert raised.value.reason == "deleted"


async def test_a_full_gateway_says_when_to_come_back(server: Server, client: AsyncClient) -> None:
    async with AsyncClient(server.url, patience_s=0, trust_env=False) as hasty:
        for _ in range(STREAMS - len(await client.list())):
            await hasty.request(analyzers=[])
        with pytest.raises(Busy) as raised:
            await hasty.request(analyzers=[])
        assert (raised.value.code, raised.value.status, raised.value.retry_after_s) == ("at_capacity", 503, 5)
        with pytest.raises(Busy):
            await hasty.publish(StreamRequest(analyzers=[])).__aenter__()


async def test_a_stream_is_changed_and_shown(client: AsyncClient) -> None:
    stream = await client.request(name="door", analyzers=["motion"], max_fps=7)
    changed = await client.update(stream, name="gate", analyzers=[], paused=True)
    assert (changed.name, changed.analyzers, changed.paused, changed.state) == ("gate", (), True, "waiting")
    assert [each.stream_id for each in await client.list()] == [stream.stream_id]
    with pytest.raises(Invalid) as raised:
        await client.update(stream, analyzers=["moton"])
    assert raised.value.code == "unknown_analyzer"
    assert "motion" in str(raised.value)
    async with client.watch(stream) as viewer:
        assert viewer.hello is not None
        assert viewer.hello.limits.max_fps == 7


async def test_pictures_are_posted_shown_and_analyzed(client: AsyncClient, stream: Stream) -> None:
    with pytest.raises(NoPicture):
        await client.snapshot(stream)
    taken = await client.post_frame(stream, picture("blue", kind="png"))
    assert (taken.accepted, taken.seq, taken.width, taken.height) == (True, 0, 160, 120)
    assert colour_of(await client.snapshot(stream, width=80)) == "blue"
    await client.update(stream, analyzers=["motion"])
    result = await client.analyze(stream, picture("red"))
    assert (result.seq, set(result.analyzers)) == (1, {"motion"})
    with pytest.raises(BadImage):
        await client.post_frame(stream, b"not a picture")
    with pytest.raises(ImageTooLarge):
        await client.post_frame(stream, bytes(3 * 2**20))


async def test_what_comes_faster_than_the_stream_takes_is_not_analyzed(client: AsyncClient) -> None:
    stream = await client.request(analyzers=[], max_fps=0.01)
    taken = [(await client.post_frame(stream, picture("red"))).accepted for _ in range(8)]
    assert taken[-1] is False
    with pytest.raises(Busy) as raised:
        await client.analyze(stream, picture("red"))
    assert (raised.value.code, raised.value.retry_after_s) == ("max_fps", 100)


async def test_the_gateway_tells_about_itself(client: AsyncClient) -> None:
    health, system = await client.health(), await client.system()
    assert health == Health("ok", health.database, health.raw)
    assert await client.ready()
    assert (system.status, system.analyzers["motion"] in ("idle", "ready", "loading")) == ("ok", True)
    (motion,) = [each for each in await client.analyzers() if each.name == "motion"]
    assert motion.options["type"] == "object"
    assert "motion" in {name for plugin in await client.plugins() for name in plugin.analyzers}
    assert (await client.reload("motion")).name == "motion"
    with pytest.raises(NotFound) as raised:
        await client.reload("moton")
    assert raised.value.code == "unknown_analyzer"


@pytest.mark.slow
async def test_a_restart_in_mid_stream_is_survived_by_who_opened_the_stream(tmp_path: Path) -> None:
    """The gateway keeps no stream over a restart: its publisher opens another one; who has only the id is told."""
    over = threading.Event()

    def pictures() -> Iterator[bytes]:
        while not over.is_set():
            yield picture("red")

    with running(tmp_path / "first", **BARE) as first:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(AsyncClient(first.url, trust_env=False))
            camera = await stack.enter_async_context(client.publish(StreamRequest(analyzers=[])))
            viewer = await stack.enter_async_context(client.watch(camera.stream))
            sending, before = asyncio.create_task(camera.run(pictures())), camera.stream
            await until(lambda: camera.last_ack is not None)
            assert await asyncio.to_thread(first.stop) == 0
            again = (*SERVE[:-1], str(first.address[1]))
            stack.enter_context(running(tmp_path / "second", command=again, url=first.url, **BARE))
            await until(lambda: camera.state == "open" and camera.stream != before)
            sent = camera.sent
            await until(lambda: camera.sent > sent)
            assert (await client.status(camera.stream)).frames_in > 0
            await until(lambda: viewer.state == "ended")
            assert isinstance(viewer.error, NotFound)
            over.set()
            assert await sending == camera.sent
            assert camera.dropped["lost"] <= 4, "no more than the credits"
            await camera.close()


@pytest.mark.slow
async def test_a_streams_own_address_opens_it_alone_and_shows_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "framegate_client")
    secret = token_hex(32)
    with running(tmp_path, FRAMEGATE_AUTH_TOKEN=secret, **BARE) as locked:
        async with (
            AsyncClient(locked.url, token=secret, trust_env=False) as client,
            AsyncClient(locked.url, trust_env=False) as other,
        ):
            stream = await client.request(analyzers=[])
            with pytest.raises(Unauthenticated):
                await other.watch(stream.stream_id).__aenter__()
            async with client.watch(stream.stream_id, frames="binary") as viewer, other.publish(stream) as camera:
                await camera.send(picture("red"), wait=True)
                assert await camera.flush()
                assert camera._socket is not None
                camera._socket.transport.abort()
                assert await camera.send(picture("blue"), wait=True) == 1
                assert colour_of((await _next(viewer, Frame, lambda frame: frame.seq == 1)).jpeg) == "blue"
            addresses = [stream.websocket_url, stream.viewer_url, stream.video_url]
    assert "coming back" in caplog.text
    for hidden in (secret, *addresses):
        assert hidden not in caplog.text
        assert hidden not in repr(stream)


async def test_a_broken_line_is_resumed_in_the_same_stream(client: AsyncClient, stream: Stream) -> None:
    async with client.publish(stream) as camera:
        first = await camera.send(picture("red"), wait=True)
        assert await camera.flush()
        assert camera._socket is not None
        camera._socket.transport.abort()
        assert await camera.send(picture("red"), wait=True) == (first or 0) + 1
        assert await camera.flush()
        assert (camera.reconnects, (await client.status(stream)).frames_in) == (1, 2)
