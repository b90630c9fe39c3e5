"""A connection stays, comes back and gives up as docs/protocol.md says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from framegate_client import (
    AsyncClient,
    AsyncWatch,
    Busy,
    Event,
    Forbidden,
    FramegateError,
    NotFound,
    SessionEnded,
    Status,
    Unauthenticated,
    Unreachable,
    connection,
)
from framegate_client.errors import Answer, SecondPublisher, error_of_answer, error_of_close
from framegate_client.protocol import pack_frame
from framegate_client.reconnect import Backoff, Retry, after_asking
from framegate_client.transport import curable
from websockets.http11 import Request

from clients.python.tests.peer import Peer, until

STATUS = {"state": "live", "fps_in": 0, "fps_analyzed": 0, "publishers": 0, "viewers": 1, "analyzers": []}


def test_the_back_off_doubles_up_to_its_longest_times_a_random_share() -> None:
    full = Backoff(lambda: 1.0)
    assert [full.next() for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    full.reset()
    assert full.next() == 0.5


def test_the_random_share_comes_on_top_of_what_the_server_asks_for() -> None:
    assert Backoff(lambda: 0.5).next(2.0) == 2.25


@pytest.mark.parametrize("asked", [float("inf"), 1e12])
def test_no_server_makes_a_client_wait_for_more_than_an_hour(asked: float) -> None:
    assert Backoff(lambda: 0.0).next(asked) == 3600


@pytest.mark.parametrize("asked", [float("nan"), -5.0])
def test_a_time_that_makes_no_sense_is_none(asked: float) -> None:
    assert Backoff(lambda: 0.0).next(asked) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_upgrade_is_tried_again_when_the_server_says(status: int) -> None:
    step = after_asking(1006, Answer(status, "at_capacity", retry_after_s=7.0))
    assert isinstance(step, Retry)
    assert (step.after_s, type(step.error)) == (7.0, Busy)


def test_every_error_has_its_class_its_code_and_its_numbers() -> None:
    kinds = {code: type(error_of_close(code, "")).__name__ for code in (1009, 4400, 4401, 4403, 4404, 4409, 4413, 4422)}
    assert kinds == {
        1009: "ImageTooLarge",
        4400: "BadRequest",
        4401: "Unauthenticated",
        4403: "Forbidden",
        4404: "NotFound",
        4409: "SecondPublisher",
        4413: "ImageTooLarge",
        4422: "BadImage",
    }
    error = error_of_answer(Answer(404, "session_ended", "it has ended", "deleted"))
    assert (type(error), error.code, error.status, error.reason, str(error)) == (
        SessionEnded,
        "session_ended",
        404,
        "deleted",
        "it has ended",
    )
    statuses = {status: type(error_of_answer(Answer(status))).__name__ for status in (400, 401, 403, 404, 409, 413)}
    assert list(statuses.values()) == [
        "BadRequest",
        "Unauthenticated",
        "Forbidden",
        "NotFound",
        "SecondPublisher",
        "ImageTooLarge",
    ]
    others = {status: type(error_of_answer(Answer(status))).__name__ for status in (422, 429, 500, 502, 503)}
    assert list(others.values()) == ["Invalid", "Busy", "GatewayFailed", "GatewayFailed", "Busy"]


def test_only_what_may_fare_better_and_does_no_harm_is_asked_again() -> None:
    cut = Unreachable("cut", code="broken")
    assert curable(cut, "GET")
    assert not curable(cut, "POST"), "it may have arrived"
    assert curable(Unreachable("", code="connect"), "POST")
    assert curable(Busy(""), "POST")
    assert not curable(Unreachable("", code="certificate"), "GET")
    assert not curable(NotFound(""), "GET")


# --- sockets ---------------------------------------------------------------------------------------------------------


async def watching(peer: Peer, **how: Any) -> tuple[AsyncWatch, asyncio.Task[AsyncWatch]]:
    watch = peer.client(**how).watch("door", frames="binary", topics=["results"])
    return watch, asyncio.create_task(watch.__aenter__())


async def test_a_lost_connection_comes_back_and_asks_for_the_same_again(peer: Peer) -> None:
    watch, entering = await watching(peer)
    first = await peer.line()
    await first.hello()
    await entering
    await first.until(lambda: len(first.heard) == 1)
    first.socket.transport.abort()
    second = await peer.line()
    await second.hello()
    await second.until(lambda: len(second.heard) == 1)
    wish = {"type": "subscribe", "frames": "binary", "topics": ["results"]}
    assert first.heard == second.heard == [wish]
    assert (watch.reconnects, watch.state) == (1, "open")
    await watch.close()
    assert (watch.state, watch.reason) == ("ended", "closed")


@pytest.mark.parametrize(
    ("code", "answer", "kind"),
    [
        (4401, None, Unauthenticated),
        (4403, None, Forbidden),
        (4404, (404, {"code": "not_found"}), NotFound),
        (4404, (404, {"code": "session_ended", "reason": "lease_expired"}), SessionEnded),
        (4409, None, SecondPublisher),
    ],
)
async def test_a_final_close_ends_it_with_its_error(
    peer: Peer, code: int, answer: tuple[int, dict[str, Any]] | None, kind: type[FramegateError]
) -> None:
    watch, entering = await watching(peer)
    line = await peer.line()
    await line.hello()
    await entering
    peer.refuse = lambda request: None if answer is None else (answer[0], {}, answer[1])
    await line.socket.close(code)
    assert (await anext(watch)).type == "hello"
    with pytest.raises(kind) as raised:
        await anext(watch)
    assert raised.value.close_code in (code, None)
    assert watch.state == "ended"


async def test_a_stream_that_came_to_its_end_ends_the_iteration_with_its_reason(peer: Peer) -> None:
    watch, entering = await watching(peer)
    line = await peer.line()
    await line.hello()
    await entering
    await line.say("bye", reason="deleted")
    await line.socket.close(4404)
    assert [message.type async for message in watch] == ["hello", "bye"]
    assert (watch.reason, watch.error) == ("deleted", None)


async def test_a_restart_is_waited_out_as_long_as_the_server_asks(peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    watch, entering = await watching(peer)
    line = await peer.line()
    await line.hello()
    await entering
    await line.say("bye", reason="shutdown", retry_ms=300)
    asked = loop.time()
    await line.socket.close(1012)
    await peer.line()
    assert loop.time() - asked >= 0.3
    await watch.close()


async def test_an_overloaded_server_is_tried_again_and_its_answer_decides(peer: Peer) -> None:
    watch, entering = await watching(peer)
    line = await peer.line()
    await line.hello()
    await entering
    await line.socket.close(1013)
    await (await peer.line()).hello()
    await until(lambda: watch.state == "open")
    assert [request.path for request in peer.requests] == ["/ws/stream/door"] * 2
    await watch.close()


async def test_a_full_server_is_tried_again_after_its_retry_after(peer: Peer) -> None:
    loop, refused = asyncio.get_running_loop(), []

    def full_once(request: Request) -> tuple[int, dict[str, str], dict[str, Any]] | None:
        refused.append(loop.time())
        return (503, {"Retry-After": "1"}, {"code": "viewer_limit"}) if len(refused) == 1 else None

    peer.refuse = full_once
    watch, entering = await watching(peer)
    await (await peer.line()).hello()
    await entering
    assert refused[1] - refused[0] >= 1
    await watch.close()


@pytest.mark.parametrize(
    ("status", "problem", "kind"),
    [
        (401, {"code": "unauthenticated"}, Unauthenticated),
        (404, {"code": "not_found"}, NotFound),
        (503, {"code": "viewer_limit"}, Busy),
        (502, {}, FramegateError),
    ],
)
async def test_entering_raises_what_refused_it(
    peer: Peer, status: int, problem: dict[str, Any], kind: type[FramegateError]
) -> None:
    peer.refuse = lambda request: (status, {"Retry-After": "3"}, problem)
    async with peer.client(patience_s=0.1) as client:
        with pytest.raises(kind) as raised:
            async with client.watch("door"):
                pass
    assert (raised.value.status, raised.value.code) == (status, problem.get("code", ""))
    assert len(peer.requests) == 1, "its Retry-After is longer than the patience"


async def test_nobody_there_is_unreachable_when_the_patience_is_over(peer: Peer) -> None:
    url = peer.url
    await peer.__aexit__()
    async with AsyncClient(url, patience_s=0.2, trust_env=False) as client:
        with pytest.raises(Unreachable):
            async with client.watch("door"):
                pass
        with pytest.raises(Unreachable):
            await client.health()
        assert not await client.ready()


async def test_an_outage_may_be_limited(peer: Peer) -> None:
    peer.greets = True
    async with peer.client() as client, client.watch("door", outage_s=0.2) as watch:
        line = await peer.line()
        await watch.get()
        peer.refuse = lambda request: (502, {}, {})
        line.socket.transport.abort()
        with pytest.raises(FramegateError) as raised:
            await watch.get()
        assert raised.value.status == 502


async def test_a_silent_line_is_asked_and_then_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "QUIET_S", 0.05)
    monkeypatch.setattr(connection, "DEAD_S", 0.3)
    watch, entering = await watching(peer)
    first = await peer.line()
    await first.hello()
    await entering
    second = await peer.line()
    assert {"type": "ping"} in first.heard
    monkeypatch.setattr(connection, "DEAD_S", 60)
    await second.hello()
    await second.until(lambda: {"type": "ping"} in second.heard)
    asked_at = asyncio.get_running_loop().time()
    await second.say("pong")
    await until(lambda: watch._heard_at >= asked_at)
    assert watch.reconnects == 1
    await watch.close()


async def test_closing_leaves_no_task_behind_in_any_state(peer: Peer) -> None:
    before = asyncio.all_tasks()

    async def refused(watch: AsyncWatch) -> None:
        peer.refuse = lambda request: (503, {"Retry-After": "60"}, {})

    async def opened(watch: AsyncWatch) -> None:
        peer.refuse = lambda request: None
        await (await peer.line()).hello()

    for reach in (refused, opened):
        watch = peer.client(patience_s=100).watch("door")
        entering = asyncio.create_task(watch.__aenter__())
        await asyncio.sleep(0)
        await reach(watch)
        await until(lambda watch=watch: watch.state in ("waiting", "open"))  # type: ignore[misc]
        await watch.close()
        await watch.close()
        await entering
        assert {task for task in asyncio.all_tasks() - before if "framegate" in task.get_name()} == set()


async def test_a_slow_reader_loses_the_oldest_and_never_an_event_before_a_result(peer: Peer) -> None:
    watch, entering = await watching(peer)
    line = await peer.line()
    await line.hello()
    await entering
    await line.say("event", id="e1", phase="new", event_type="motion")
    for number in range(100):
        await line.say("status", **STATUS, number=number)
        await line.socket.send(pack_frame(b"\xff\xd8", number))
    await line.say("bye", reason="deleted")
    await line.socket.close(4404)
    await watch._until(lambda: watch.state == "ended")
    seen = [message async for message in watch]
    assert len(seen) == 64
    assert seen[0] == next(message for message in seen if isinstance(message, Event))
    assert [message.raw["number"] for message in seen if isinstance(message, Status)][-1] == 99
    assert [message.seq for message in seen if message.type == "frame"] == [99]  # type: ignore[attr-defined]
    assert watch.dropped == {"pictures": 99, "messages": 40}
