"""WHEP at a real gateway: pictures as video, results on the data channel, how watching ends. The viewer is aiortc."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from gateway.calls import Calls, Visitor
from gateway.engine.picture import Variant
from gateway.media.peers import Peer
from gateway.sinks.whep import WhepViewer
from gateway.webrtc_rules import Webrtc
from tests.access.door import TOKEN, basic, bearer, publish_token, view_token
from tests.clock import now, simulated
from tests.doubles import engine, jpeg, listener, stream
from tests.pictures import picture
from tests.rtc_http import LOOPBACK, OBS, VIEWER, keep, met, post, publisher, refusal, until, viewer
from tests.server import Server, running

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("whep"), **LOOPBACK, AUTH_TOKEN=TOKEN, FRAMEGATE_LIMITS__MAX_VIEWERS="2"
    ) as running_server:
        running_server.http.headers.update(bearer(TOKEN))
        keep(running_server)
        yield running_server


@contextlib.asynccontextmanager
async def pushing(server: Server, stream: str, fps: float = 10) -> AsyncIterator[None]:
    """Red and blue pictures in turn, until it is left."""

    async def push() -> None:
        for number in range(10**6):
            await asyncio.to_thread(server.post_frame, stream, picture("red" if number % 2 else "blue", (320, 240)))
            await asyncio.sleep(1 / fps)

    task = asyncio.create_task(push())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_pictures_come_as_video_and_results_on_the_data_channel(server: Server) -> None:
    stream = server.open(analyzers=["motion"])
    async with pushing(server, stream), viewer(server, f"/stream/{stream}/whep") as watching:
        await until(lambda: len(watching.pictures) >= 5 and len(watching.told("result")) >= 3)
        assert server.show(stream)["viewers"] == 1
        result = watching.told("result")[-1]
        assert (result["stream_id"], result["width"], result["height"]) == (stream, 320, 240)
        assert "motion" in result["analyzers"]
        await until(lambda: watching.told("status"))
    shown = watching.pictures[-1].to_ndarray(format="rgb24")
    assert shown.shape == (240, 320, 3)
    red, _, blue = shown.reshape(-1, 3).mean(axis=0)
    assert max(red, blue) > 200
    assert min(red, blue) < 60


@simulated
async def test_a_defect_in_showing_costs_one_viewer_its_call_and_nobody_the_stream() -> None:
    class Broken:
        def show(self, *_: object) -> None:
            raise ZeroDivisionError

        def tell(self, _: str) -> None: ...
        def close(self) -> None: ...

    async with engine() as hub:
        session = await stream(hub)
        call = WhepViewer(session, Visitor("192.0.2.1"), Calls(Webrtc(), clock=now), Variant())
        call.begin()
        call.peer, other = cast(Peer, Broken()), listener(session)
        call.online.set()
        session.put(jpeg())
        await asyncio.sleep(1)
        assert (call.over, session.reason, session.viewers) == (True, None, 1)
        session.audience.leave(other)


async def test_who_wants_no_results_gets_pictures_alone(server: Server) -> None:
    stream = server.open()
    async with pushing(server, stream), viewer(server, f"/stream/{stream}/whep", listens=False) as watching:
        await until(lambda: len(watching.pictures) >= 3)
    assert watching.texts == []


@pytest.mark.slow
async def test_a_smaller_form_is_asked_for_at_the_endpoint_and_its_query_stands_in_no_location(server: Server) -> None:
    stream = server.open()
    async with pushing(server, stream), viewer(server, f"/stream/{stream}/whep?width=320&draw=boxes") as watching:
        await until(lambda: len(watching.pictures) >= 3)
        assert "?" not in watching.location


async def test_what_one_publishes_another_one_watches(server: Server) -> None:
    stream = server.open()
    async with publisher(server, f"/stream/{stream}/whip"), viewer(server, f"/stream/{stream}/whep") as watching:
        await until(lambda: len(watching.pictures) >= 10)
        shown = server.show(stream)
    assert (shown["publishers"], shown["viewers"]) == (1, 1)
    assert f"stream {stream}: whep is connected" in server.log
    assert [line for line in server.log.splitlines() if "aioice" in line] == []  # which tells every check it makes


async def test_a_viewer_holds_the_stream_and_hanging_up_lets_go(server: Server) -> None:
    stream = server.open(grace_s=0)
    async with viewer(server, f"/stream/{stream}/whep") as watching:
        await until(lambda: server.show(stream)["viewers"] == 1)
        assert server.http.get(watching.location).status_code == 204
        assert server.http.delete(watching.location).status_code == 200
        await until(lambda: server.http.get(f"/stream/{stream}").status_code == 404)


@pytest.mark.slow
async def test_the_streams_end_is_told_and_ends_the_peer(server: Server) -> None:
    stream = server.open()
    async with pushing(server, stream), viewer(server, f"/stream/{stream}/whep") as watching:
        await until(lambda: watching.told("status"))
        assert server.http.delete(f"/stream/{stream}").status_code == 204
        await until(lambda: watching.told("bye") or watching.pc.connectionState in ("closed", "failed"))
        await until(lambda: watching.pc.connectionState in ("closed", "failed"))
    assert [told["reason"] for told in watching.told("bye")] == ["deleted"]
    assert refusal(server.http.get(watching.location)) == (404, "session_ended")


async def test_who_closes_his_connection_is_gone_without_a_word(server: Server) -> None:
    stream = server.open()
    async with viewer(server, f"/stream/{stream}/whep") as watching:
        await until(lambda: server.show(stream)["viewers"] == 1 and watching.pc.connectionState == "connected")
        await watching.pc.close()
        await until(lambda: server.show(stream)["viewers"] == 0)
        assert server.http.delete(watching.location).status_code == 200  # he hangs up all the same


def test_a_stream_has_so_many_viewers_and_no_more(server: Server) -> None:
    stream = server.open()
    answers = [post(server, f"/stream/{stream}/whep", VIEWER) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 503]
    assert refusal(answers[2])[1] == "viewer_limit"
    server.http.delete(met(answers[0]))
    assert post(server, f"/stream/{stream}/whep", VIEWER).status_code == 201
    server.http.delete(f"/stream/{stream}")


def test_an_offer_that_sends_is_refused(server: Server) -> None:
    assert refusal(post(server, f"/stream/{server.open()}/whep", OBS)) == (422, "sdp")


def test_whoever_may_view_may_watch(server: Server) -> None:
    opened: dict[str, Any] = server.http.post("/stream/request", json={"analyzers": []}).json()
    path, view = f"/stream/{opened['stream_id']}/whep", view_token(opened)
    assert opened["whep_url"] == f"/stream/{view}/whep"

    del server.http.headers["Authorization"]
    try:
        ways = [post(server, opened["whep_url"], VIEWER), post(server, path, VIEWER, **bearer(view))]
        assert [met(answer).rpartition("/")[0] for answer in ways] == [opened["whep_url"], path]
        for answer in ways:
            assert refusal(server.http.delete(answer.headers["Location"].replace(view, opened["stream_id"])))[0] == 401
        server.http.delete(met(ways[0]))
        assert server.http.delete(met(ways[1]), headers=basic(view)).status_code == 200
        assert met(post(server, path, VIEWER, **basic(publish_token(opened))))
        assert refusal(post(server, path, VIEWER)) == (401, "credential")
    finally:
        server.http.headers.update(bearer(TOKEN))
