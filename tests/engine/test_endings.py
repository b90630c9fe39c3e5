"""How a stream ends, by itself or by order, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from gateway.engine.picture import Variant
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import AtCapacity, NotFound, SessionEnded
from tests.clock import about, now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakePainter,
    FakePublisher,
    FakeWorker,
    engine,
    heard,
    jpeg,
    listener,
    play,
    sees,
    stream,
)

# --- how a stream ends by itself --------------------------------------------------------------------------------------


@simulated
async def test_a_stream_nobody_joins_ends_after_its_lease() -> None:
    async with engine() as hub:
        session, began = await hub.open_session(SessionRequest()), now()
        await session.gone.wait()
        assert (now() - began, session.reason) == (about(300), "never_joined")


@pytest.mark.parametrize(("grace_s", "most"), [(None, 20.0), (5.0, 5.0), (0.0, 0.0)])
def test_a_stream_ends_when_its_last_client_has_been_gone_for_the_grace(grace_s: float | None, most: float) -> None:
    @simulated
    async def check() -> None:
        async with engine() as hub:
            session = await stream(hub, grace_s=grace_s)
            session.lease.join()
            await asyncio.sleep(1000)
            leave(session)
            await asyncio.sleep(1000)
            assert session.state == "waiting"
            leave(session)
            left_at = now()
            await session.gone.wait()
            assert (now() - left_at, session.reason) == (about(most), "last_client_left")

    check()


def leave(session: Session) -> None:
    session.lease.leave(now())
    session.changed.set()


@simulated
async def test_who_comes_back_within_the_grace_finds_the_stream() -> None:
    async with engine() as hub:
        session = await stream(hub)
        leave(session)
        await asyncio.sleep(19)
        hub.get(session.id).lease.join()
        session.changed.set()
        await asyncio.sleep(1000)
        assert hub.get(session.id) is session


@simulated
async def test_a_picture_posted_keeps_a_stream_for_its_lease() -> None:
    async with engine() as hub:
        session = await hub.open_session(SessionRequest())
        await asyncio.sleep(200)
        session.lease.posted(now())
        posted_at = now()
        await session.gone.wait()
        assert (now() - posted_at, session.reason) == (about(300), "lease_expired")


@simulated
async def test_mjpeg_readers_hold_a_stream_until_its_lease_and_no_longer() -> None:
    async with engine() as hub:
        session = await stream(hub)
        session.lease.readers += 1
        leave(session)
        left_at = now()
        await session.gone.wait()
        assert (now() - left_at, session.reason) == (about(300), "lease_expired")


@simulated
async def test_when_the_last_reader_goes_after_the_grace_the_stream_ends_at_once() -> None:
    async with engine() as hub:
        session = await stream(hub)
        session.lease.readers += 1
        leave(session)
        await asyncio.sleep(100)
        session.lease.readers -= 1
        session.changed.set()
        gone_at = now()
        await session.gone.wait()
        assert now() - gone_at < 1


# --- how a stream is ended --------------------------------------------------------------------------------------------


async def waiting(session: Session) -> None:
    pass


async def live(session: Session) -> None:
    await play(session, fps=10, seconds=1)


async def stale(session: Session) -> None:
    await live(session)
    await asyncio.sleep(10)


async def watched(session: Session) -> None:
    await live(session)
    session.watch(Subscriber(messages=1, pictures="binary", fill=True), Variant(draw=True))


async def left(session: Session) -> None:
    leave(session)


async def analysing(session: Session) -> None:
    session.put(jpeg())
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("state", [waiting, live, stale, watched, left, analysing], ids=lambda state: state.__name__)
def test_a_stream_can_be_deleted_in_every_state(state: Any) -> None:
    @simulated
    async def check() -> None:
        worker = FakeWorker(FakeAnalyzer("slow", 0.2))
        async with engine(worker) as hub:
            session = await stream(hub, "slow")
            await state(session)
            began = now()
            await hub.end(session.id)
            assert now() - began < 0.3
            assert (session.state, session.reason, hub.sessions) == ("ended", "deleted", {})
            with pytest.raises(SessionEnded):
                await hub.end(session.id)

    check()


@simulated
async def test_the_reason_can_be_asked_for_60_s_then_the_stream_is_unknown() -> None:
    async with engine() as hub:
        session = await stream(hub)
        await hub.end(session.id)
        for _ in range(2):
            with pytest.raises(SessionEnded) as ended:
                hub.get(session.id)
            assert (ended.value.status, ended.value.code, ended.value.reason) == (404, "session_ended", "deleted")
            await asyncio.sleep(59.9)
        with pytest.raises(NotFound) as unknown:
            hub.get(session.id)
        assert (unknown.value.status, unknown.value.code) == (404, "not_found")


@simulated
async def test_nobody_can_join_a_stream_that_is_ending() -> None:
    async with engine() as hub:
        session = await stream(hub)
        session.end("deleted")
        with pytest.raises(SessionEnded):
            hub.get(session.id)
        with pytest.raises(SessionEnded):
            session.put(jpeg())


@simulated
async def test_everybody_on_a_stream_is_told_why_it_ends() -> None:
    async with engine() as hub:
        session = await stream(hub)
        viewer = listener(session)
        await hub.end(session.id)
        assert (await heard(viewer))[-1] == {"type": "bye", "reason": "deleted"}
        assert viewer.farewell == (4404, "deleted")


@simulated
async def test_a_shutdown_ends_all_streams_and_says_when_to_come_back() -> None:
    async with engine() as hub:
        sessions = [await stream(hub) for _ in range(5)]
        viewers = [listener(session) for session in sessions]
        await hub.drain()
        assert hub.sessions == {}
        for viewer in viewers:
            (bye,) = await heard(viewer, "bye")
            assert bye.keys() == {"type", "reason", "retry_ms"}
            assert (bye["reason"], 500 <= bye["retry_ms"] < 2500) == ("shutdown", True)
            assert viewer.farewell == (1012, "shutdown")
        with pytest.raises(AtCapacity):
            await hub.open_session(SessionRequest())


@simulated
async def test_leaving_the_hub_ends_what_runs_in_it() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        session.put(jpeg())
    assert (session.reason, hub.sessions, worker.running) == ("shutdown", {}, False)


# --- what is left -----------------------------------------------------------------------------------------------------


@simulated
async def test_nothing_of_a_stream_survives_it() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2, look=sees("passer-by")))
    async with engine(worker) as hub:
        await asyncio.sleep(1)
        tasks = asyncio.all_tasks()
        session = await stream(hub, "slow")
        session.claim(FakePublisher())
        session.watch(Subscriber(messages=1, pictures="binary"), Variant(draw=True, width=320))
        await play(session, fps=30, seconds=3)
        await hub.end(session.id)
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == tasks
        assert worker.forgotten == [(session.id, None)]
        remains = weakref.ref(session)
        del session
        gc.collect()
        assert remains() is None


@simulated
async def test_a_job_in_flight_when_its_stream_ends_changes_nothing_any_more() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2, look=sees("passer-by")))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        session.put(jpeg())
        await asyncio.sleep(0.1)
        await hub.end(session.id)
        await asyncio.sleep(1)
        assert len(worker.calls) == 1
        assert session.findings.events == {}


@simulated
async def test_a_frame_on_its_way_to_a_second_worker_ends_with_its_stream() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 0.2), name="near")
    far = FakeWorker(FakeAnalyzer("queue", needs=("objects",)), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "queue")
        session.put(jpeg())
        await asyncio.sleep(0.1)
        await hub.end(session.id)
        await asyncio.sleep(1)
        assert (len(near.calls), far.calls) == (1, [])


@simulated
async def test_a_stream_whose_worker_is_just_down_can_end() -> None:
    worker = FakeWorker(FakeAnalyzer("slow"))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        worker.die()
        await asyncio.sleep(0.5)
        await hub.end(session.id)
        assert session.gone.is_set()


@simulated
async def test_a_bug_of_ours_in_one_stream_ends_that_stream_only() -> None:
    class Broken(FakePainter):
        async def slate(self, lines: list[str], width: int, height: int) -> bytes:
            raise ZeroDivisionError

    async with engine(painter=Broken()) as hub:
        broken, well = await stream(hub), await stream(hub)
        viewer = listener(broken, fill=True)
        broken.watch(viewer)
        await asyncio.sleep(5)
        assert (broken.reason, well.state, list(hub.sessions)) == ("internal", "waiting", [well.id])
        assert viewer.farewell == (4404, "internal")
