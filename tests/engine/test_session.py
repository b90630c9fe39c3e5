"""Session: one publisher at a time, frames in, results and events out, pictures for who watches."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.engine.picture import Variant
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.errors import BadImage, GatewayError, ImageTooLarge, NoPicture, SecondPublisher
from gateway.results import Box, Detection, Result
from tests.clock import about, now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakePainter,
    FakePublisher,
    FakeWorker,
    breaks,
    engine,
    heard,
    jpeg,
    listener,
    play,
    seen,
    sees,
    stream,
)

BOXES = Variant(draw=True)
SMALL = Variant(width=320)


# --- publishers ------------------------------------------------------------------------------------------------------


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
async def test_a_publisher_silent_for_2_s_is_replaced() -> None:
    async with engine() as hub:
        session, first, second = await stream(hub), FakePublisher(), FakePublisher("other")
        session.claim(first)
        session.put(jpeg())
        await asyncio.sleep(2)
        with pytest.raises(SecondPublisher):
            session.claim(second)
        await asyncio.sleep(0.01)
        session.claim(second)
        assert first.displacements == 1


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


# --- frames in -------------------------------------------------------------------------------------------------------


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


# --- results ---------------------------------------------------------------------------------------------------------

FOUND = Result((Detection("person", 0.9, Box(0.1, 0.2, 0.3, 0.4), track_id=3),), {"count": 1}, data={"text": "hello"})


@simulated
async def test_a_result_says_what_was_seen_in_which_frame_and_how_old_it_is() -> None:
    async with engine(FakeWorker(FakeAnalyzer("objects", 0.25, look=lambda job: FOUND))) as hub:
        session = await stream(hub, "objects", camera_id="door")
        viewer, taken = listener(session), datetime(2026, 11, 21, 6, 49, 9, 123456, tzinfo=UTC)
        session.put(jpeg(64, 48), seq=7, captured_at=taken)
        await asyncio.sleep(1)
        (result,) = await heard(viewer, "result")
    assert abs(datetime.fromisoformat(result.pop("received_at")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert result == {
        "type": "result",
        "schema": "1.0",
        "stream_id": session.id,
        "camera_id": "door",
        "seq": 7,
        "captured_at": "2026-11-21T06:49:09.123Z",
        "width": 64,
        "height": 48,
        "analyzers": {
            "objects": {
                "version": "1",
                "state": "ready",
                "latency_ms": 250.0,
                "age_ms": 250.0,
                "detections": [{"label": "person", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.4], "track_id": 3}],
                "measures": {"count": 1},
                "data": {"text": "hello"},
            }
        },
        "dropped": {"ingest": {}, "analysis": {}, "viewers": {}},
    }


@simulated
async def test_each_analyzer_reports_as_soon_as_it_is_ready() -> None:
    async with engine(FakeWorker(FakeAnalyzer("quick", 0.1), FakeAnalyzer("slow", 1.0))) as hub:
        session = await stream(hub, "quick", "slow")
        viewer = listener(session)
        session.put(jpeg())
        await asyncio.sleep(0.2)
        assert [list(result["analyzers"]) for result in await heard(viewer, "result")] == [["quick"]]
        await asyncio.sleep(1)
        assert [list(result["analyzers"]) for result in await heard(viewer, "result")] == [["slow"]]


@simulated
async def test_frames_analysed_are_counted_once_however_many_analyzers_saw_them() -> None:
    async with engine(FakeWorker(FakeAnalyzer("a"), FakeAnalyzer("b"))) as hub:
        session = await stream(hub, "a", "b")
        await play(session, fps=10, seconds=6)
        status = session.status()
        assert (status["frames_in"], status["frames_analyzed"]) == (60, 60)
        assert (status["fps_in"], status["fps_analyzed"]) == (10, 10)


# --- answers to a post -----------------------------------------------------------------------------------------------


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


# --- events ----------------------------------------------------------------------------------------------------------


@simulated
async def test_an_event_ends_when_the_frames_stop() -> None:
    async with engine(FakeWorker(FakeAnalyzer("motion", look=sees("motion", linger_s=2.0)))) as hub:
        session = await stream(hub, "motion")
        viewer = listener(session)
        await play(session, fps=10, seconds=3)
        await asyncio.sleep(3)
        events = await heard(viewer, "event")
    assert [event["phase"] for event in events] == ["new", "end"]
    assert len({event["id"] for event in events}) == 1


async def phases(viewer: Subscriber) -> list[str]:
    return [event["phase"] for event in await heard(viewer, "event")]


@simulated
async def test_an_event_does_not_flicker_because_its_analyzer_is_busy_elsewhere() -> None:
    """Twelve streams of 0.25 s each: every one is looked at every 3 s, and the event lingers for one."""
    async with engine(FakeWorker(FakeAnalyzer("motion", 0.25, look=sees("motion", linger_s=1.0)))) as hub:
        sessions = [await stream(hub, "motion") for _ in range(12)]
        viewers = [listener(session) for session in sessions]
        async with asyncio.TaskGroup() as cameras:
            for session in sessions:
                cameras.create_task(play(session, fps=10, seconds=30))
        told = [await phases(viewer) for viewer in viewers]
    assert [each[0] for each in told] == ["new"] * 12
    assert {phase for each in told for phase in each[1:]} == {"update"}


@simulated
async def test_an_event_ends_with_the_first_look_that_does_not_see_it() -> None:
    motion = FakeAnalyzer("motion", look=sees("motion", linger_s=1.0))
    async with engine(FakeWorker(motion)) as hub:
        session = await stream(hub, "motion", options={"motion": {"fps": 0.2}})
        viewer = listener(session)
        await play(session, fps=10, seconds=2)
        motion.look = sees()
        await play(session, fps=10, seconds=2.9)
        told = [await phases(viewer)]
        await play(session, fps=10, seconds=0.5)
        assert [*told, await phases(viewer)] == [["new"], ["end"]]


@simulated
async def test_an_event_of_an_analyzer_that_looks_no_more_ends_all_the_same() -> None:
    worker = FakeWorker(FakeAnalyzer("motion", look=sees("motion", linger_s=1.0)))
    async with engine(worker) as hub:
        session = await stream(hub, "motion")
        viewer = listener(session)
        await play(session, fps=10, seconds=1)
        worker.stillborn = 99
        worker.die()
        await play(session, fps=10, seconds=12)
        assert await phases(viewer) == ["new", "end"]


@simulated
async def test_an_event_still_open_when_the_stream_ends_ends_with_it() -> None:
    async with engine(FakeWorker(FakeAnalyzer("motion", look=sees("motion")))) as hub:
        session = await stream(hub, "motion")
        viewer = listener(session)
        await play(session, fps=10, seconds=1)
        await hub.end(session.id)
        said = [message for message in await heard(viewer) if message["type"] in ("event", "bye")]
    assert [(message["type"], message.get("phase")) for message in said] == [
        ("event", "new"),
        ("event", "end"),
        ("bye", None),
    ]


@simulated
async def test_a_stream_remembers_its_newest_events_and_no_more() -> None:
    kinds = [f"kind{number}" for number in range(30)]
    async with engine(FakeWorker(FakeAnalyzer("many", look=sees(*kinds))), stream={"events_kept": 10}) as hub:
        session = await stream(hub, "many")
        await play(session, fps=10, seconds=1)
        assert [event.event_type for event in session.findings.events.values()] == kinds[-10:]


# --- viewers ---------------------------------------------------------------------------------------------------------


@simulated
async def test_a_slow_viewer_loses_the_oldest_counted_and_the_others_lose_nothing() -> None:
    async with engine(FakeWorker(FakeAnalyzer("quick"))) as hub:
        session = await stream(hub, "quick")
        slow, fast = listener(session, messages=8, topics=("results",)), listener(session, topics=("results",))
        await play(session, fps=10, seconds=10)
        assert [result["seq"] for result in await heard(slow)] == list(range(92, 100))
        assert [result["seq"] for result in await heard(fast)] == list(range(100))
        assert session.dropped()["viewers"] == {"messages": 92}


@simulated
async def test_a_viewer_that_takes_nothing_for_10_s_is_reset() -> None:
    async with engine() as hub:
        session, cut = await stream(hub), list[float]()
        viewer = listener(session, reset=lambda: cut.append(now()))
        patient = listener(session)
        viewer.sending_since = began = now()
        await asyncio.sleep(12)
        assert cut[0] - began == pytest.approx(10, abs=0.3)
        assert (viewer.farewell, patient.farewell) == ((1013, "stalled"), None)


@simulated
async def test_a_picture_is_redrawn_once_whatever_the_number_of_viewers() -> None:
    painter = FakePainter()
    async with engine(FakeWorker(FakeAnalyzer("motion")), painter=painter) as hub:
        session = await stream(hub, "motion")
        for number in range(30):
            session.watch(Subscriber(messages=1), BOXES if number % 2 else SMALL)
        await play(session, fps=10, seconds=3)
    by_variant = [[seq for seq, variant, _ in painter.redrawn if variant == wanted] for wanted in (BOXES, SMALL)]
    assert by_variant == [list(range(30))] * 2


@simulated
async def test_a_slow_painter_gets_the_newest_frame() -> None:
    painter = FakePainter(paint_s=0.97)
    async with engine(painter=painter) as hub:
        session = await stream(hub)
        session.watch(Subscriber(messages=1), SMALL)
        await play(session, fps=10, seconds=5)
    assert [seq for seq, _, _ in painter.redrawn] == [0, 9, 19, 29, 38, 48]


@simulated
async def test_what_nobody_watches_any_more_is_not_made() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub), Subscriber(messages=1)
        session.watch(viewer, SMALL)
        await play(session, fps=10, seconds=1)
        session.audience.leave(viewer)
        made = painter.encodes
        await play(session, fps=10, seconds=1)
        assert (made, painter.encodes) == (10, 10)


@simulated
async def test_boxes_are_those_of_the_very_frame() -> None:
    painter = FakePainter()

    def look(job: dict[str, Any]) -> Result:
        return Result(measures={"seq": job["frame"]["seq"]})

    async with engine(FakeWorker(FakeAnalyzer("objects", 0.05, look=look)), painter=painter) as hub:
        session = await stream(hub, "objects")
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=10, seconds=1)
    assert [overlay["objects"]["measures"] for _, _, overlay in painter.redrawn] == [{"seq": seq} for seq in range(10)]


@simulated
async def test_a_stream_without_analyzers_shows_its_pictures_undrawn() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session = await stream(hub)
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=10, seconds=1)
    assert [(seq, overlay) for seq, _, overlay in painter.redrawn] == [(seq, {}) for seq in range(10)]


@simulated
async def test_boxes_older_than_a_second_are_not_drawn() -> None:
    painter, found = FakePainter(), sees("x")
    worker = FakeWorker(FakeAnalyzer("objects", look=found))
    async with engine(worker, painter=painter) as hub:
        session = await stream(hub, "objects", options={"objects": {"fps": 0.4}})
        session.watch(Subscriber(messages=1), BOXES)
        await play(session, fps=4, seconds=2.5)
    assert [bool(overlay) for _, _, overlay in painter.redrawn] == [True] * 4 + [False] * 6


@simulated
async def test_a_new_viewer_sees_the_newest_picture_at_once() -> None:
    async with engine() as hub:
        session, raw, small = await stream(hub), Subscriber(messages=1), Subscriber(messages=1)
        session.put(jpeg())
        session.watch(raw)
        session.watch(small, SMALL)
        await asyncio.sleep(0.01)
        assert [picture.jpeg for viewer in (raw, small) for picture in await seen(viewer)] == [jpeg(), b"painted"]


@simulated
async def test_while_a_stream_is_stale_its_viewers_see_a_slate_that_says_so() -> None:
    painter = FakePainter()
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub, name="Door"), Subscriber(messages=1, fill=True)
        session.put(jpeg())
        session.watch(viewer)
        await asyncio.sleep(2)
        assert [picture.state for picture in await seen(viewer)] == ["live"]
        await asyncio.sleep(2)
        assert [picture.state for picture in await seen(viewer)] == ["stale"]
    assert painter.slates[0] == ["Door", "no frames are coming in"]


@simulated
async def test_without_a_slate_the_last_picture_must_do() -> None:
    painter = FakePainter()
    painter.error = NoPicture("the picture worker gave up")
    async with engine(painter=painter) as hub:
        session, viewer = await stream(hub), Subscriber(messages=1, fill=True)
        session.put(jpeg())
        session.watch(viewer)
        await asyncio.sleep(10)
        assert [picture.jpeg for picture in await seen(viewer)] == [jpeg()]
        assert session.state == "stale"


@simulated
async def test_one_viewer_too_many_is_refused_and_one_who_watches_twice_counts_once() -> None:
    async with engine(limits={"max_viewers": 2}) as hub:
        session = await stream(hub)
        first = listener(session)
        session.watch(first)
        listener(session)
        with pytest.raises(GatewayError, match="as many viewers as it may"):
            listener(session)
        assert session.viewers == 2


@simulated
async def test_a_publishers_own_socket_is_no_viewer() -> None:
    async with engine() as hub:
        session = await stream(hub)
        listener(session)
        listener(session)
        session.claim(FakePublisher(listens=True))
        assert (session.viewers, session.status()["publishers"]) == (1, 1)


@simulated
async def test_a_message_is_relayed_to_everybody_but_its_sender() -> None:
    async with engine() as hub:
        session = await stream(hub)
        sender, other = listener(session), listener(session)
        session.relay({"text": "hello"}, sender)
        assert await heard(sender, "message") == []
        assert await heard(other, "message") == [{"type": "message", "data": {"text": "hello"}}]


@simulated
async def test_a_status_is_told_every_2_s_and_when_something_changes() -> None:
    async with engine() as hub:
        session = await stream(hub)
        viewer = listener(session, topics=("status",))
        await asyncio.sleep(10)
        assert len(await heard(viewer)) == pytest.approx(5, abs=1)
        session.claim(FakePublisher())
        await asyncio.sleep(0.01)
        assert [status["publishers"] for status in await heard(viewer)] == [1]


@simulated
async def test_pictures_posted_one_by_one_are_no_news() -> None:
    async with engine() as hub:
        session = await stream(hub)
        viewer = listener(session, topics=("status",))
        for _ in range(100):
            poster = FakePublisher()
            session.claim(poster)
            session.put(jpeg())
            session.resign(poster)
            await asyncio.sleep(0.1)
        assert len(await heard(viewer)) <= 7


@simulated
async def test_that_a_stream_is_stale_is_told_at_once() -> None:
    async with engine(stream={"status_s": 3600}) as hub:
        session = await stream(hub)
        session.put(jpeg())
        viewer = listener(session, topics=("status",))
        await asyncio.sleep(3.5)
        assert [status["state"] for status in await heard(viewer)][-1] == "stale"
