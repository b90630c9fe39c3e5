"""Session: one publisher at a time, frames in, answers to who waits for one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.engine.session import Session
from gateway.errors import BadImage, GatewayError, ImageTooLarge, SecondPublisher
from tests.clock import about, now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakePublisher,
    FakeWorker,
    breaks,
    engine,
    jpeg,
    play,
    stream,
)

# --- publishers -------------------------------------------------------------------------------------------------------


@simulated
async def test_a_second_publisher_is_refused_while_the_first_is_sending() -> None:
    async with engine() as hub:
        session, first, second = await stream(hub), FakePublisher(), FakePublisher("other")
        session.claim(first)
        await play(session, fps=10, seconds=5)
        with pytest.raises(SecondPublisher) as refused:
            session.claim(second, resume="guessed")
        assert (refused.value.status, refused.value.close_code, first.displacements) == (409, 4409, 0)


@simulated
async def test_a_publisher_is_replaced_2_s_after_it_came_or_sent_something() -> None:
    async with engine() as hub:
        for sends in (True, False):
            session, first, second = await stream(hub), FakePublisher(), FakePublisher("other")
            session.claim(first)
            if sends:
                await asyncio.sleep(1)
                session.put(jpeg())
            await asyncio.sleep(2)
            with pytest.raises(SecondPublisher):
                session.claim(second)
            await asyncio.sleep(0.01)
            session.claim(second)
            assert first.displacements == 1


@simulated
async def test_a_camera_that_nobody_wants_pictures_of_is_not_silent() -> None:
    async with engine() as hub:
        session, camera, other = await stream(hub), FakePublisher(asked_for_few=True), FakePublisher("other")
        session.claim(camera)
        await asyncio.sleep(600)
        with pytest.raises(SecondPublisher):
            session.claim(other)
        camera.asked_for_few = False  # it is lost
        session.claim(other)
        assert camera.displacements == 1


@simulated
async def test_who_holds_the_resume_token_takes_over_at_once() -> None:
    async with engine() as hub:
        session, first, again = await stream(hub), FakePublisher("secret"), FakePublisher("other")
        session.claim(first)
        session.put(jpeg())
        session.claim(again, resume="secret")
        assert first.displacements == 1
        session.resign(first)  # too late: it is no longer the publisher
        assert session.status()["publishers"] == 1


@simulated
async def test_a_publisher_may_claim_again_and_resign() -> None:
    async with engine() as hub:
        session, first = await stream(hub), FakePublisher()
        session.claim(first)
        session.claim(first)
        session.resign(first)
        session.claim(FakePublisher("other"))
        assert first.displacements == 0


# --- frames in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "given"),
    [
        ([None, None, None], [0, 1, 2]),
        ([7, 8, 20], [7, 8, 20]),
        ([5, 5, 3, None], [5, 6, 7, 8]),
        ([2**32 - 1, None], [0, 1]),
        ([2**31 - 1, None], [2**31 - 1, 2**31]),
    ],
)
def test_a_senders_numbers_are_kept_unless_they_step_back_or_leave_no_room(
    claims: list[int | None], given: list[int]
) -> None:
    @simulated
    async def check() -> None:
        async with engine() as hub:
            session = await stream(hub)
            frames = [session.put(jpeg(), seq=claim) for claim in claims]
            assert [frame.seq for frame in frames if frame] == given

    check()


@simulated
async def test_frames_beyond_max_fps_are_dropped_and_counted() -> None:
    async with engine() as hub:
        session = await stream(hub, max_fps=10)
        await play(session, fps=30, seconds=60)
        dropped = session.dropped()["ingest"]
        assert session.frames.total == pytest.approx(600, abs=6)
        assert session.frames.total + dropped["max_fps"] == 1800


@simulated
async def test_a_stream_cannot_ask_for_more_than_the_operators_max_fps() -> None:
    async with engine(limits={"max_fps": 25}) as hub:
        assert (await stream(hub, max_fps=1000)).max_fps == 25


@pytest.mark.parametrize(
    ("image", "error", "code"),
    [
        (b"GIF89a", BadImage, "undecodable"),
        (jpeg()[:100], BadImage, "truncated"),
        (jpeg(64, 64), ImageTooLarge, "image_too_large"),
    ],
)
def test_a_bad_picture_is_refused_and_counted(image: bytes, error: type[GatewayError], code: str) -> None:
    @simulated
    async def check() -> None:
        async with engine(limits={"max_pixels": 1000}) as hub:
            session = await stream(hub)
            with pytest.raises(error):
                session.put(image)
            assert (session.dropped()["ingest"], session.frames.total) == ({code: 1}, 0)

    check()


@simulated
async def test_a_stream_is_waiting_then_live_then_stale_then_ended() -> None:
    async with engine() as hub:
        session = await stream(hub)
        states = [session.state]
        session.put(jpeg())
        states.append(session.state)
        await asyncio.sleep(3.1)
        states.append(session.state)
        session.put(jpeg())
        states.append(session.state)
        await hub.end(session.id)
        assert [*states, session.state] == ["waiting", "live", "stale", "live", "ended"]


# --- answers to a post ------------------------------------------------------------------------------------------------


async def answer_to(session: Session, *, then: Any = None) -> tuple[dict[str, Any], float]:
    """What each analyzer made of one posted frame, and how long that took."""
    began = now()
    with session.answers.expect(session.next_seq, [stage.name for stage in session.stages]) as answer:
        session.put(jpeg())
        if then:
            await then()
        await answer.complete(10.0)
    return answer.analyzers, now() - began


@simulated
async def test_an_answer_waits_for_every_analyzer() -> None:
    async with engine(FakeWorker(FakeAnalyzer("a", 0.1), FakeAnalyzer("b", 0.2))) as hub:
        answer, took = await answer_to(await stream(hub, "a", "b"))
        assert ({name: said["state"] for name, said in answer.items()}, took) == (
            {"a": "ready", "b": "ready"},
            about(0.3),
        )


@pytest.mark.parametrize(
    ("analyzer", "answer"),
    [
        (FakeAnalyzer("a", load_s=99), {"state": "loading", "dropped": "loading"}),
        (FakeAnalyzer("a", unfit="no"), {"state": "failed", "dropped": "failed"}),
        (FakeAnalyzer("a", look=breaks), {"state": "ready", "dropped": "error"}),
    ],
    ids=["loading", "failed", "broken"],
)
def test_an_analyzer_that_does_not_look_answers_why(analyzer: FakeAnalyzer, answer: dict[str, str]) -> None:
    @simulated
    async def check() -> None:
        async with engine(FakeWorker(analyzer)) as hub:
            assert await answer_to(await stream(hub, "a")) == ({"a": answer}, about(0))

    check()


@simulated
async def test_who_waits_for_a_frame_that_is_replaced_is_told_so() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow", 5.0))) as hub:
        session = await stream(hub, "slow")
        session.put(jpeg())
        await asyncio.sleep(0.1)

        async def overtake() -> None:
            session.put(jpeg())

        assert await answer_to(session, then=overtake) == (
            {"slow": {"state": "ready", "dropped": "replaced"}},
            about(0),
        )


@simulated
async def test_who_waits_for_a_frame_that_takes_the_worker_along_is_told_so() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 5.0))
    async with engine(worker) as hub:

        async def kill() -> None:
            await asyncio.sleep(1)
            worker.die()

        answer, took = await answer_to(await stream(hub, "slow"), then=kill)
        assert (answer["slow"]["dropped"], took) == ("worker_died", about(1))


@simulated
async def test_who_waits_when_the_stream_ends_waits_no_longer() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow", 5.0))) as hub:
        session = await stream(hub, "slow")

        async def end() -> None:
            await asyncio.sleep(1)
            await hub.end(session.id)

        assert await answer_to(session, then=end) == ({}, about(1, within=0.3))


@simulated
async def test_an_answer_that_takes_too_long_is_what_there_is() -> None:
    async with engine(FakeWorker(FakeAnalyzer("quick"), FakeAnalyzer("slow", 30.0))) as hub:
        answer, took = await answer_to(await stream(hub, "quick", "slow"))
        assert (list(answer), took) == (["quick"], 10)
