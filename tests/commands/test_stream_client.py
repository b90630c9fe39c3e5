"""Our client against a socket that plays the gateway: numbering, credits, losses, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.commands import stream_client
from gateway.commands.stream_client import Refused, StreamClient, Target, get_stream, request_stream
from tests.commands.stream_double import Double

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def jpeg(number: int) -> bytes:
    return b"\xff\xd8" + bytes([number]) + b"\xff\xd9"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is a value of the client
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_client, "BACKOFF_S", 0.01)
    monkeypatch.setattr(stream_client, "GRACE_S", 0.3)


def client_of(
    double: Double, *, publish: bool = True, patient: bool = True, told: list[Any] | None = None
) -> StreamClient:
    tell = (told if told is not None else []).append
    return StreamClient(Target(double.url, "s"), "/ws/stream/s", tell, publish=publish, patient=patient)


async def publish(double: Double, number: int, *, patient: bool = True) -> StreamClient:
    """Send so many pictures and wait for their acks, as `push` does."""
    async with double.serving(), asyncio.timeout(10), asyncio.TaskGroup() as group:
        client = client_of(double, patient=patient)
        running = group.create_task(client.run())
        for index in range(number):
            await client.send(jpeg(index), NOW)
        await client.flush()
        running.cancel()
    return client


async def test_frames_are_numbered_from_next_seq_and_wait_for_credits() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket, next_seq=40)
        await double.take(socket, 5)
        await socket.wait_closed()

    double = Double(play)
    client = await publish(double, 5)
    assert double.frames == [(40 + index, jpeg(index)) for index in range(5)]
    assert (client.sent, client.acked, client.dropped) == (5, 5, {})
    assert double.said == [{"type": "hello", "acks": True, "resume": None}]


async def test_what_the_server_never_got_is_sent_again_after_a_loss() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        if double.connections == 1:
            await double.hello(socket)
            await double.take(socket, 1)
            await double.take(socket, 1, ack=False)
            socket.transport.abort()
        else:
            double.frames.pop()  # the second one got lost on the way
            await double.hello(socket, next_seq=1)
            await double.take(socket, 3)
            await socket.wait_closed()

    double = Double(play)
    client = await publish(double, 4)
    assert double.frames == [(index, jpeg(index)) for index in range(4)]
    assert (client.sent, client.acked) == (4, 4)
    assert double.said[-1]["resume"] == "r1"


async def test_what_arrived_before_the_loss_is_not_sent_twice() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket, next_seq=len(double.frames))
        if double.connections == 1:
            await double.take(socket, 2, ack=False)
            socket.transport.abort()
        else:
            await double.take(socket, 1)
            await socket.wait_closed()

    double = Double(play)
    client = await publish(double, 3)
    assert double.frames == [(index, jpeg(index)) for index in range(3)]
    assert client.acked == 3


async def test_a_live_source_drops_what_cannot_go_and_counts_why() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket, credits=1)
        await double.take(socket, 1, ack=False)
        await socket.wait_closed()

    double = Double(play)
    async with double.serving(), asyncio.timeout(10), asyncio.TaskGroup() as group:
        client = client_of(double, patient=False)
        assert not await client.send(jpeg(0), NOW)
        running = group.create_task(client.run())
        await until(lambda: bool(client.limits))
        assert [await client.send(jpeg(index), NOW) for index in (1, 2, 3)] == [True, False, False]
        running.cancel()
    assert client.dropped == {"disconnected": 1, "credits": 2}


async def test_slow_down_thins_a_live_source() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket, credits=100)
        await double.tell(socket, "slow_down", fps=0.1)
        await double.take(socket, 1)
        await socket.wait_closed()

    double = Double(play)
    async with double.serving(), asyncio.timeout(10), asyncio.TaskGroup() as group:
        client = client_of(double, patient=False)
        running = group.create_task(client.run())
        await until(lambda: client.interval == 10.0)
        assert [await client.send(jpeg(index), NOW) for index in range(3)] == [True, False, False]
        running.cancel()
    assert client.dropped == {"pace": 2}


async def test_a_patient_client_waits_for_its_turn() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket, fps=50)
        await double.take(socket, 5)
        await socket.wait_closed()

    double = Double(play)
    client = await publish(double, 5)
    assert (client.acked, client.dropped) == (5, {})


@pytest.mark.parametrize(
    ("code", "bye", "status", "answer", "reason"),
    [
        (4404, "deleted", 404, {}, "deleted"),
        (1000, "ended", 404, {}, "ended"),
        (4409, None, 200, {}, "second_publisher"),
        (1011, None, 404, {"code": "session_ended", "reason": "lease"}, "lease"),
    ],
)
async def test_a_stream_that_is_over_is_left(
    code: int, bye: str | None, status: int, answer: dict[str, Any], reason: str
) -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket)
        if bye:
            await double.tell(socket, "bye", reason=bye)
        await socket.close(code)

    double = Double(play, status=status)
    double.answer = answer
    async with double.serving(), asyncio.timeout(10):
        client = client_of(double)
        assert await client.run() == reason
        assert not await client.send(jpeg(0), NOW)
    assert double.connections == 1


async def test_a_restarting_gateway_is_waited_for() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        await double.hello(socket)
        if double.connections == 1:
            await double.tell(socket, "bye", reason="restart", retry_ms=50)
            await socket.close(1012)
        else:
            await double.take(socket, 1)
            await socket.wait_closed()

    double = Double(play)
    client = await publish(double, 1)
    assert client.acked == 1


async def test_a_gateway_that_stays_away_is_given_up() -> None:
    client = StreamClient(Target("http://127.0.0.1:9", "s"), "/ws/stream/s", lambda _: None, publish=True)
    async with asyncio.timeout(10):
        assert await client.run() == "unreachable"


async def test_a_viewer_speaks_no_word_and_hears_everything() -> None:
    async def play(double: Double, socket: ServerConnection) -> None:
        assert socket.subprotocol is None
        await double.hello(socket)
        await double.tell(socket, "event", id="e")
        await double.tell(socket, "bye", reason="ended")
        await socket.close(1000)

    double, told = Double(play), list[Any]()
    async with double.serving(), asyncio.timeout(10):
        assert await client_of(double, publish=False, told=told).run() == "ended"
    assert [message["type"] for message in told] == ["hello", "event", "bye"]
    assert double.said == []


@pytest.mark.parametrize(
    ("url", "base", "stream_id"),
    [
        ("http://h:8000", "http://h:8000", None),
        ("http://h:8000/", "http://h:8000", None),
        ("http://h/stream/abc", "http://h", "abc"),
        ("http://h/stream/video/abc", "http://h", "abc"),
        ("https://h/viewer?stream_id=abc", "https://h", "abc"),
    ],
)
def test_addresses_are_understood(url: str, base: str, stream_id: str | None) -> None:
    assert Target.parse(url) == Target(base, stream_id)


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", "http://h/nothing", "", "http://h/stream"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="expected http"):
        Target.parse(url)


async def test_a_refusal_is_one_line_with_the_reason() -> None:
    async def play(double: Double, socket: ServerConnection) -> None: ...

    double = Double(play, status=503)
    double.answer = {"detail": "256 streams are live already", "code": "at_capacity"}
    async with double.serving():
        with pytest.raises(Refused, match="503: 256 streams are live already"):
            await get_stream(Target(double.url, "s"))
    with pytest.raises(Refused, match="no gateway answers at"):
        await request_stream(Target("http://127.0.0.1:9"), name="x", analyzers=None)
