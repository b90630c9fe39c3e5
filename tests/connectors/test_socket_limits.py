"""What one socket may do and how it is told, on a clock of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.hub import Hub
from gateway.engine.picture import Variant
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import BadImage
from tests.clock import about, now, simulated
from tests.connectors.conversation import Client
from tests.doubles import FakePainter, FakePublisher, engine, jpeg, stream
from tests.sockets import framed


async def joined(tasks: asyncio.TaskGroup, hub: Hub, session: Session, **how: Any) -> Client:
    client = Client(hub, session.id, **how)
    tasks.create_task(client.run())
    await asyncio.sleep(0.01)
    assert client.status == 101
    return client


async def closes(client: Client) -> tuple[float, int | None, list[str]]:
    """How long it takes until the socket is closed, with which code and after which errors."""
    began = now()
    async with asyncio.timeout(100):
        await client.closed.wait()
    return now() - began, client.code, [error["code"] for error in client.told("error")]


# --- deadlines --------------------------------------------------------------------------------------------------------


@simulated
async def test_who_negotiates_and_says_nothing_is_closed_with_4408() -> None:
    async with engine() as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client = await joined(tasks, hub, session, negotiates=True)
        viewer = await joined(tasks, hub, session)
        assert await closes(client) == (about(10, within=0.2), 4408, ["hello_timeout"])
        await asyncio.sleep(600)
        assert viewer.code is None
        viewer.leave()


@simulated
async def test_a_publisher_without_a_frame_for_60_s_is_closed_and_its_stream_ends_after_the_grace() -> None:
    async with engine(grace_s=20) as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client = await joined(tasks, hub, session)
        session.lease.leave(now())  # the one `stream` joined for
        client.say(jpeg())
        await asyncio.sleep(4)
        assert session.status()["state"] == "stale"
        assert await closes(client) == (about(56, within=0.3), 4408, ["publisher_silent"])
        await asyncio.sleep(19.5)
        assert list(hub.sessions) == [session.id]
        await asyncio.sleep(1)
        assert (session.reason, hub.sessions) == ("last_client_left", {})


@simulated
async def test_a_half_dead_publisher_that_takes_nothing_either_is_reset() -> None:
    async with engine() as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client = await joined(tasks, hub, session)
        client.say(jpeg())
        await asyncio.sleep(0.1)
        client.stuck = True
        await asyncio.sleep(13)
        assert (client.resets, session.status()["publishers"], session.lease.clients) == (1, 0, 1)


# --- rates ------------------------------------------------------------------------------------------------------------


@simulated
async def test_a_flood_of_messages_is_dropped_told_once_a_second_and_closed_with_4429() -> None:
    async with engine() as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client, began = await joined(tasks, hub, session), now()
        for _ in range(200):
            for _ in range(50):
                client.say('{"type":"ping"}')
            await asyncio.sleep(0.1)
            if client.code is not None:
                break
        assert now() - began == about(6, within=1)
        assert client.code == 4429
        assert 4 <= len(client.told("error")) <= 8
        assert len(client.told("pong")) <= 200 * 7


@simulated
async def test_messages_for_everybody_are_bounded_in_number_and_size() -> None:
    async with engine() as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client, other = [await joined(tasks, hub, session) for _ in range(2)]
        client.say(json.dumps({"type": "message", "data": "x" * 20_000}))
        for number in range(100):
            client.say(json.dumps({"type": "message", "data": number}))
        await asyncio.sleep(0.1)
        assert [said["data"] for said in other.told("message")] == list(range(40))
        assert [error["code"] for error in client.told("error")] == ["relay_too_large", "too_fast"]
        client.leave()
        other.leave()


@simulated
async def test_many_messages_in_one_go_hold_up_nobody() -> None:
    async with engine() as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub)
        client, turns = await joined(tasks, hub, session), 0
        for _ in range(10_000):
            client.say('{"type":"ack","seq":0}')
        while not client._inbox.empty():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100
        client.leave()


# --- pictures that need the worker ------------------------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n"


@simulated
async def test_a_foreign_picture_that_comes_too_fast_or_from_the_wrong_one_costs_the_worker_nothing() -> None:
    painter = FakePainter(paint_s=0.01)
    async with engine(painter=painter) as hub, asyncio.TaskGroup() as tasks:
        session = await stream(hub, max_fps=1)
        client = await joined(tasks, hub, session)
        for _ in range(20):
            client.say(PNG)
            await asyncio.sleep(0.05)
        assert painter.encodes == 1
        session.resign(session._place.holder)  # type: ignore[arg-type]
        session.put(jpeg())
        session.claim(FakePublisher())
        await asyncio.sleep(1)
        session.put(jpeg())
        client.say(PNG)
        await asyncio.sleep(0.1)
        assert (painter.encodes, client.code) == (1, 4409)


# --- snapshots --------------------------------------------------------------------------------------------------------


@simulated
async def test_a_snapshot_is_made_once_per_frame_and_form_whoever_asks() -> None:
    painter = FakePainter(paint_s=0.1)
    async with engine(painter=painter) as hub:
        session = await stream(hub)
        for frames in range(1, 4):
            session.put(jpeg())
            for wish in (Variant(width=320), Variant(width=640), Variant(draw=True)):
                async with asyncio.TaskGroup() as tasks:
                    asked = [tasks.create_task(session.snapshot(wish)) for _ in range(50)]
                assert {seq.result()[0].seq for seq in asked} == {frames - 1}
            assert painter.encodes == 3 * frames
        for width in range(320, 340):
            await session.snapshot(Variant(width=width))
        assert len(session._snapshots._made) == 8


@simulated
async def test_a_form_that_viewers_watch_is_not_made_again_for_a_snapshot() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session, small = await stream(hub), Variant(width=320)
        session.watch(Subscriber(messages=1), small)
        session.put(jpeg())
        await asyncio.sleep(0.1)
        assert (await session.snapshot(small))[1] == b"painted"
        assert painter.encodes == 1


@simulated
async def test_who_asks_for_a_picture_that_cannot_be_made_is_told_with_everybody_else() -> None:
    painter = FakePainter(paint_s=1)
    painter.error = BadImage("the picture does not decode")
    async with engine(painter=painter) as hub:
        session, began = await stream(hub), now()
        session.put(jpeg())
        asked = [asyncio.create_task(session.snapshot(Variant(width=320))) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {str(answer) for answer in answers} == {"the picture does not decode"}
        assert now() - began == about(1, within=0.1)
        painter.error = None
        assert (await session.snapshot(Variant(width=320)))[1] == b"painted"


# --- whatever is said -------------------------------------------------------------------------------------------------

CLOSES = {None, 4400, 4408, 4409, 4413, 4422, 4429}
ERRORS = {
    *("bad_json", "bad_base64", "bad_image_url", "bad_header", "bad_message", "relay_too_large", "too_fast"),
    *("undecodable", "truncated", "image_too_large", "second_publisher", "hello_timeout", "publisher_silent"),
}
WORDS = st.sampled_from(["type", "frame", "hello", "subscribe", "ack", "message", "ping", "image", "seq", "ts", "data"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
SAID = st.one_of(
    st.dictionaries(WORDS, VALUES, max_size=5).map(json.dumps),
    VALUES.map(json.dumps),
    st.text(max_size=30).filter(lambda text: text.isprintable()),
    st.binary(max_size=40),
    st.binary(max_size=30).map(lambda tail: jpeg()[:200] + tail),
    st.builds(
        framed, st.sampled_from([jpeg(), b"\xff\xd8", b""]), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
    ),
    st.sampled_from([jpeg(), '{"type":"subscribe","frames":"binary"}', '{"type":"hello","acks":true,"resume":"x"}']),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(said=st.lists(SAID, min_size=1, max_size=40), negotiates=st.booleans(), pause=st.sampled_from([0.0, 0.3, 3.0]))
def test_whatever_is_said_in_whatever_order_only_documented_codes_come_back(
    said: list[str | bytes], negotiates: bool, pause: float
) -> None:
    @simulated
    async def check() -> None:
        async with engine() as hub, asyncio.TaskGroup() as tasks:
            session = await stream(hub)
            client = await joined(tasks, hub, session, negotiates=negotiates)
            witness = await joined(tasks, hub, session)
            for message in said:
                client.say(message)
                await asyncio.sleep(pause)
            client.leave()
            await asyncio.sleep(1)
            assert client.code in CLOSES
            assert {error["code"] for error in client.told("error")} <= ERRORS
            witness.say('{"type":"ping"}')
            await asyncio.sleep(0.1)
            assert (witness.code, len(witness.told("pong")), witness.told("error")) == (None, 1, [])
            witness.leave()

    check()


@pytest.mark.parametrize("text", ["\x1b[31mred\x1b[0m\r\nGET / HTTP/1.1", "<script>alert(1)</script>", "\u2028\u202e"])
def test_what_a_client_says_reaches_another_as_a_value_and_no_log(text: str, caplog: pytest.LogCaptureFixture) -> None:
    @simulated
    async def check() -> None:
        async with engine() as hub, asyncio.TaskGroup() as tasks:
            session = await stream(hub)
            client, other = [await joined(tasks, hub, session) for _ in range(2)]
            client.say(json.dumps({"type": "message", "data": text}))
            for _ in range(5):
                client.say(f"data:{text}")
            await asyncio.sleep(0.1)
            assert [said["data"] for said in other.told("message")] == [text]
            assert client.code == 4400
            assert all("\x1b" not in error["detail"] for error in client.told("error"))
            other.leave()

    with caplog.at_level("DEBUG"):
        check()
    assert text not in caplog.text
    assert "script" not in caplog.text
