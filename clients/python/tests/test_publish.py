"""A publisher sends the newest picture in time or drops it, and says which."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from framegate_client import (
    AsyncPublisher,
    BadImage,
    ImageTooLarge,
    NotFound,
    Picture,
    SecondPublisher,
    SessionEnded,
    StreamRequest,
)

from clients.python.tests.peer import LIMITS, Line, Peer, until

JPEG = b"\xff\xd8\xff\xd9"


@asynccontextmanager
async def publishing(peer: Peer, **hello: Any) -> AsyncIterator[tuple[AsyncPublisher, Line]]:
    camera = peer.client().publish("door")
    entering = asyncio.create_task(camera.__aenter__())
    line = await peer.line()
    await line.hello(**hello)
    await entering
    try:
        yield camera, line
    finally:
        await camera.close()


async def test_it_negotiates_asks_for_acks_and_numbers_from_the_gateways_next(peer: Peer) -> None:
    async with publishing(peer, next_seq=7) as (camera, line):
        moment = datetime(2026, 11, 21, 6, 49, 9, 123456, UTC)
        assert await camera.send(JPEG, captured_at=moment, meta={"lens": "wide"}) == 7
        assert await line.pictures(1) == [7]
        frame = line.frames[0]
        assert (frame.captured_at, frame.meta, frame.jpeg) == (moment, {"lens": "wide"}, JPEG)
        assert line.socket.subprotocol == "framegate.v1"
        assert line.heard == [
            {"type": "hello", "acks": True},
            {"type": "subscribe", "frames": "none", "topics": []},
        ]


async def test_a_place_in_a_stream_that_is_yet_to_be_opened_is_refused(peer: Peer) -> None:
    with pytest.raises(ValueError, match="a StreamRequest opens a new one"):
        peer.client().publish(StreamRequest(), resume="token of before")
    assert peer.client().publish(StreamRequest(), resume=None).resume_token is None
    assert peer.client().publish("door", resume="token of before").resume_token == "token of before"


async def test_an_ack_of_what_was_never_sent_changes_nothing(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        await camera.send(JPEG)
        await line.ack(40)
        await _sent(camera)
        await until(lambda: camera.refusal == "credits")
        await line.ack(1)
        assert await camera.flush()


async def test_a_picture_that_cannot_go_is_dropped_and_counted_and_uses_up_no_number(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        numbers = [await _sent(camera), await _sent(camera), await _sent(camera)]
        await line.pictures(2)
        await line.ack(1)
        await until(lambda: camera.ready)
        await line.say("slow_down", fps=0.1)
        await until(lambda: camera.refusal == "pace")
        numbers.append(await camera.send(JPEG))
        await line.say("slow_down", fps=1000)
        await until(lambda: camera.ready)
        numbers.append(await camera.send(JPEG))
        assert numbers == [0, 1, None, None, 2]
        assert camera.dropped == {"credits": 1, "pace": 1}
        assert await line.pictures(3) == [0, 1, 2]


async def _sent(camera: AsyncPublisher) -> int | None:
    """Send as soon as the line has the last one."""
    await until(lambda: camera.refusal not in ("backlog", "pace"))
    return await camera.send(JPEG)


async def test_one_that_waits_sends_every_picture_when_the_slow_gateway_has_room(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        running = asyncio.create_task(camera.run([JPEG] * 6))
        most = 0
        for seq in range(6):
            await line.pictures(min(seq + 2, 6))
            most = max(most, len(line.frames) - seq)
            await line.ack(seq)
        assert await running == 6
        assert most == 2, "no more than the credits"
        assert (camera.sent, sum(camera.dropped.values())) == (6, 0)


async def test_from_a_live_source_the_newest_goes_and_the_rest_is_dropped(peer: Peer) -> None:
    class Camera:
        live = True

        def __iter__(self) -> Iterator[Picture]:
            for number in range(50):
                time.sleep(0.002)
                yield Picture(JPEG, meta={"number": number})

    async with publishing(peer) as (camera, line):
        running = asyncio.create_task(camera.run(Camera()))
        await line.pictures(2)
        await asyncio.sleep(0.05)
        await line.ack(1)
        await line.pictures(3)
        await line.ack(2)
        await until(lambda: sum(camera.dropped.values()) + camera.sent == 50)
        await line.ack(camera.sent - 1)
        assert await running == camera.sent
        assert line.frames[2].meta["number"] > 2, "what came while there was no credit is older than what went"
        assert camera.dropped["credits"] > 0


async def test_a_line_that_takes_nothing_drops_pictures_before_they_are_sent(peer: Peer) -> None:
    """No credits asked of it, so only the line itself can hold it back; nothing piles up in this process."""
    big = JPEG + bytes(100_000)
    async with publishing(peer, limits={}) as (camera, line):
        line.socket.transport.pause_reading()
        for _ in range(400):
            await camera.send(big)
            await asyncio.sleep(0.001)
        assert camera._socket is not None
        waiting = camera._socket.transport.get_write_buffer_size()
        assert camera.dropped["backlog"] > 100
        assert camera.sent + camera.dropped["backlog"] == 400
        assert waiting <= len(big) + 100, "one picture at most"
        line.socket.transport.resume_reading()
        assert len(await line.pictures(camera.sent)) == camera.sent


async def test_coming_back_it_resumes_its_place_and_counts_what_never_arrived(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        await camera.send(JPEG)
        await _sent(camera)
        await line.pictures(2)
        line.socket.transport.abort()
        await until(lambda: camera.state != "open")
        assert await camera.send(JPEG) is None
        second = await peer.line()
        await second.hello(next_seq=1, resume_token="second")
        await second.until(lambda: bool(second.heard))
        await until(lambda: camera.ready)
        assert second.heard[0] == {"type": "hello", "acks": True, "resume": "first"}
        assert await camera.send(JPEG) == 1
        assert camera.dropped == {"lost": 1, "disconnected": 1}
        assert (camera.resume_token, camera.sent) == ("second", 3)


async def test_a_picture_that_was_in_the_line_when_it_broke_is_not_sent_again(peer: Peer) -> None:
    big = JPEG + bytes(8_000_000)
    async with publishing(peer, limits={}) as (camera, line):
        line.socket.transport.pause_reading()
        await camera.send(big)
        await asyncio.sleep(0.05)
        assert camera.refusal == "backlog", "more than the kernel takes"
        line.socket.transport.abort()
        second = await peer.line()
        await second.hello(next_seq=0, limits={})
        await until(lambda: camera.ready)
        assert await camera.send(JPEG) == 0
        await second.pictures(1)
        assert second.frames[0].jpeg == JPEG


async def test_one_that_waits_goes_on_after_a_loss(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        running = asyncio.create_task(camera.run([JPEG] * 4))
        await line.pictures(2)
        line.socket.transport.abort()
        second = await peer.line()
        await second.hello(next_seq=2)
        await second.pictures(2)
        await second.ack(3)
        assert await running == 4


async def test_a_second_publisher_is_told_at_the_next_picture_and_when_it_leaves(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        await camera.send(JPEG)
        leaving = asyncio.create_task(camera.__aexit__(None, None, None))
        await line.pictures(1)
        await line.say("error", code="second_publisher", detail="somebody else is publishing to this stream")
        await line.socket.close(4409)
        with pytest.raises(SecondPublisher) as raised:
            await leaving
        assert (raised.value.code, camera.errors) == ("second_publisher", {"second_publisher": 1})
        with pytest.raises(SecondPublisher):
            await camera.send(JPEG)


async def test_a_stream_that_has_ended_takes_no_more(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        await line.say("bye", reason="deleted")
        await line.socket.close(4404)
        await until(lambda: camera.state == "ended")
        for wait in (True, False):
            with pytest.raises(SessionEnded) as raised:
                await camera.send(JPEG, wait=wait)
            assert raised.value.reason == "deleted"


async def test_who_waits_for_its_turn_hears_of_the_end(peer: Peer) -> None:
    async with publishing(peer, limits={"credits": 1}) as (camera, line):
        await camera.send(JPEG)
        waiting = asyncio.create_task(camera.send(JPEG, wait=True))
        await line.pictures(1)
        await line.socket.close(4409)
        with pytest.raises(SecondPublisher):
            await waiting


async def test_what_is_no_picture_or_too_large_is_refused_here(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        with pytest.raises(BadImage):
            await camera.send(b"hello")
        with pytest.raises(ValueError, match="1970 or later"):
            await camera.send(JPEG, captured_at=datetime(1969, 12, 31, tzinfo=UTC))
        with pytest.raises(ImageTooLarge, match="takes 10000"):
            await camera.send(JPEG + bytes(10_000))
        with pytest.raises(BadImage):
            await camera.send(np.zeros((0, 0, 3), np.uint8))
        assert await camera.send(np.zeros((8, 8, 3), np.uint8)) == 0, "they used up no number"
        await line.pictures(1)
        assert line.frames[0].jpeg[:2] == b"\xff\xd8"


async def test_a_cameras_picture_that_is_too_large_is_dropped_and_one_of_a_file_is_an_error(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        running = asyncio.create_task(camera.run([JPEG + bytes(10_000), JPEG], live=True))
        assert await line.pictures(1) == [0]
        await line.ack(0)
        assert await running == 1
        assert camera.dropped == {"size": 1}
        with pytest.raises(ImageTooLarge):
            await camera.run([JPEG + bytes(10_000)])


async def test_a_generator_of_asyncio_is_a_source_too(peer: Peer) -> None:
    async def pictures() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield JPEG

    async with publishing(peer, limits={**LIMITS, "credits": 9}) as (camera, line):
        running = asyncio.create_task(camera.run(pictures()))
        await line.pictures(3)
        await line.ack(2, 9)
        assert await running == 3


async def test_a_source_that_breaks_is_the_callers_error_and_its_generator_is_closed(peer: Peer) -> None:
    closed: list[bool] = []

    def pictures() -> Iterator[bytes]:
        try:
            yield JPEG
            yield b"not a picture"
        finally:
            closed.append(True)

    async with publishing(peer) as (camera, _):
        with pytest.raises(BadImage):
            await camera.run(pictures())
        await until(lambda: closed == [True])


async def test_a_stream_of_its_own_is_opened_anew_when_the_gateway_has_lost_it(peer: Peer) -> None:
    opened: list[str] = []

    async def open_stream() -> Any:
        from framegate_client import Stream

        opened.append(f"door-{len(opened)}")
        return Stream(opened[-1], f"/ws/stream/{opened[-1]}")

    client = peer.client()
    camera = client.publish(StreamRequest(name="door"))
    camera._open_stream = open_stream
    entering = asyncio.create_task(camera.__aenter__())
    line = await peer.line()
    await line.hello(stream_id="door-0")
    await entering
    await camera.send(JPEG)
    await line.pictures(1)
    peer.refuse = lambda request: (404, {}, {"code": "not_found"}) if "door-0" in request.path else None
    line.socket.transport.abort()
    line = await peer.line()
    await line.hello(stream_id="door-1")
    await until(lambda: camera.ready)
    assert await camera.send(JPEG) == 0
    assert (camera.stream.stream_id, opened) == ("door-1", ["door-0", "door-1"])
    assert camera.dropped == {"lost": 1}
    await line.say("bye", reason="deleted")
    await line.socket.close(4404)
    await until(lambda: camera.state == "ended")
    assert opened == ["door-0", "door-1"], "what somebody deleted is not opened again"
    await camera.close()
    await client.close()


async def test_a_stream_that_somebody_else_opened_is_not_opened_again(peer: Peer) -> None:
    async with publishing(peer) as (camera, line):
        peer.refuse = lambda request: (404, {}, {"code": "not_found"})
        line.socket.transport.abort()
        await until(lambda: camera.state == "ended")
        with pytest.raises(NotFound):
            await camera.send(JPEG)
