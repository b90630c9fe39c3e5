"""Hub: which analyzers a stream gets, how streams begin and end, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from itertools import pairwise
from typing import Any

import pytest

from gateway.engine.metrics import exposition
from gateway.engine.picture import Variant
from gateway.engine.session import Session, SessionRequest
from gateway.engine.subscriber import Subscriber
from gateway.errors import AtCapacity, NotFound, SessionEnded, UnknownOption
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

MOTION = FakeAnalyzer("motion")
OBJECTS = FakeAnalyzer("objects", options={"labels": {}, "score": {}})
SMOKING = FakeAnalyzer("smoking", needs=("objects",))
STRANGER = FakeAnalyzer("acme.queue", distribution="acme")


def names(session: Session) -> list[str]:
    return [stage.name for stage in session.stages]


# --- which analyzers -------------------------------------------------------------------------------------------------


@simulated
async def test_the_default_set_is_motion_first_and_the_built_ins_that_can_run() -> None:
    blind = FakeAnalyzer("abandoned", missing="no weights")
    async with engine(FakeWorker(SMOKING, blind, OBJECTS, MOTION, STRANGER)) as hub:
        assert names(await hub.open_session(SessionRequest())) == ["motion", "objects", "smoking"]


@simulated
async def test_what_needs_an_analyzer_that_cannot_run_is_not_in_the_default_set() -> None:
    blind = FakeAnalyzer("objects", missing="no weights")
    async with engine(FakeWorker(SMOKING, blind, MOTION)) as hub:
        assert names(await hub.open_session(SessionRequest())) == ["motion"]


@simulated
async def test_the_operator_may_choose_the_default_set() -> None:
    async with engine(FakeWorker(SMOKING, OBJECTS, MOTION), analysis={"default": ["smoking"]}) as hub:
        assert names(await hub.open_session(SessionRequest())) == ["objects", "smoking"]


@simulated
async def test_needs_are_added_once_and_come_first() -> None:
    async with engine(FakeWorker(SMOKING, OBJECTS, MOTION)) as hub:
        await hub.introduced()
        assert hub.resolve(["smoking", "motion", "objects"]) == ["objects", "smoking", "motion"]


@simulated
async def test_an_empty_list_means_no_analyzer() -> None:
    async with engine(FakeWorker(MOTION)) as hub:
        assert names(await hub.open_session(SessionRequest(analyzers=()))) == []


@pytest.mark.parametrize(
    ("wanted", "options", "complaint"),
    [
        ("smokin", {}, "there is no analyzer 'smokin'; did you mean smoking?"),
        ("x", {}, "there is no analyzer 'x'; there are a, b, objects, smoking"),
        ("a", {}, "analyzers need each other in a circle: a -> b -> a"),
        ("objects", {"scor": 1}, "analyzer objects has no option scor; did you mean score?"),
        ("objects", {"zzz": 1}, "analyzer objects has no option zzz; it has labels, score, fps"),
        ("objects", {"fps": 0}, "analyzer objects, option fps: expected frames per second above 0, got 0"),
        ("objects", {"fps": "5"}, "analyzer objects, option fps: expected frames per second above 0, got '5'"),
        ("objects", {"fps": float("nan")}, "analyzer objects, option fps: expected frames per second above 0, got nan"),
    ],
)
def test_a_wrong_wish_is_answered_with_what_is_right(wanted: str, options: dict[str, Any], complaint: str) -> None:
    @simulated
    async def check() -> None:
        circle = FakeAnalyzer("a", needs=("b",)), FakeAnalyzer("b", needs=("a",))
        async with engine(FakeWorker(SMOKING, OBJECTS, *circle)) as hub:
            with pytest.raises(UnknownOption) as refused:
                await hub.open_session(SessionRequest(analyzers=(wanted,), options={wanted: options}))
            assert (str(refused.value), refused.value.status) == (complaint, 422)
            assert hub.sessions == {}

    check()


@simulated
async def test_options_for_an_analyzer_that_is_not_asked_for_are_refused() -> None:
    async with engine(FakeWorker(MOTION, OBJECTS)) as hub:
        with pytest.raises(UnknownOption, match="options for objects, which is not among this stream's analyzers"):
            await hub.open_session(SessionRequest(analyzers=("motion",), options={"objects": {"score": 1}}))


@simulated
async def test_a_refused_request_loads_no_model() -> None:
    async with engine(FakeWorker(OBJECTS)) as hub:
        with pytest.raises(UnknownOption):
            await hub.open_session(SessionRequest(analyzers=("objects",), options={"objects": {"typo": 1}}))
        assert hub.runners["objects"].state == "idle"


@simulated
async def test_of_two_analyzers_with_one_name_the_first_is_used_and_the_second_is_reported() -> None:
    one, two = FakeWorker(FakeAnalyzer("same"), name="one"), FakeWorker(FakeAnalyzer("same"), name="two", hello_s=1)
    async with engine(one, two) as hub:
        session = await stream(hub, "same")
        await play(session, fps=10, seconds=1)
        assert (len(one.calls), len(two.calls)) == (10, 0)
        assert list(hub.plugin_errors) == ["two"]
        assert hub.plugin_errors["two"].startswith("two analyzers are called same: plugin one")


@simulated
async def test_a_plugin_that_takes_long_to_import_holds_up_the_first_stream_for_10_s_at_most() -> None:
    quick, slow = FakeWorker(MOTION, name="quick"), FakeWorker(OBJECTS, name="slow", hello_s=25)
    async with engine(quick, slow) as hub:
        began = now()
        first = await hub.open_session(SessionRequest())
        assert (now() - began, names(first)) == (10, ["motion"])
        await asyncio.sleep(20)
        assert names(await hub.open_session(SessionRequest())) == ["motion", "objects"]


@simulated
async def test_one_stream_too_many_is_told_when_to_come_back() -> None:
    async with engine(limits={"max_sessions": 1}) as hub:
        await hub.open_session(SessionRequest())
        with pytest.raises(AtCapacity) as refused:
            await hub.open_session(SessionRequest())
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)


# --- how a stream ends by itself -------------------------------------------------------------------------------------


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


# --- how a stream is ended -------------------------------------------------------------------------------------------


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


# --- what is left ----------------------------------------------------------------------------------------------------


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
        assert worker.forgotten == [session.id]
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


# --- totals ----------------------------------------------------------------------------------------------------------


def counters(text: str) -> dict[str, float]:
    """The counters of an exposition that count frames."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("framegate_frames")]
    return {name: float(value) for name, value in lines if "_total" in name}


@simulated
async def test_totals_never_go_back_when_viewers_leave_or_streams_end() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        seen: list[dict[str, float]] = []
        for _ in range(3):
            session = await stream(hub, "slow")
            viewer = listener(session, messages=1, pictures="binary")
            session.watch(viewer)
            await play(session, fps=20, seconds=3)
            seen.append(counters(exposition(hub)[0].decode()))
            session.audience.leave(viewer)
            seen.append(counters(exposition(hub)[0].decode()))
            await hub.end(session.id)
            seen.append(counters(exposition(hub)[0].decode()))
    for earlier, later in pairwise(seen):
        assert all(later[name] >= value for name, value in earlier.items())
    assert seen[-1]["framegate_frames_total"] == 180
    assert seen[-1]['framegate_frames_dropped_total{reason="pictures",stage="viewers"}'] == 3 * 59


@simulated
async def test_every_frame_of_an_ended_stream_is_in_the_totals() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow", 0.2))) as hub:
        session = await stream(hub, "slow")
        frames = await play(session, fps=30, seconds=10)
        await asyncio.sleep(1)
        for _ in range(2):
            session.put(jpeg())
            await asyncio.sleep(0.05)
        await hub.end(session.id)
        totals = hub.totals()
        (stage,) = session.stages
        assert totals.frames == frames + 2
        assert totals.dropped == {("analysis", reason): count for reason, count in stage.dropped.items()}
        assert (totals.analyzed, stage.dropped["ended"]) == (stage.analyzed, 1)
        assert totals.frames - totals.analyzed - totals.dropped.total() == 1  # the one in flight
