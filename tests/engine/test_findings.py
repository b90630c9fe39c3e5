"""Findings: what analyzers found in one session, as results and as events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.engine.subscriber import Subscriber
from gateway.results import Box, Detection, Result
from tests.clock import simulated
from tests.doubles import (
    FakeAnalyzer,
    FakeWorker,
    engine,
    heard,
    jpeg,
    listener,
    play,
    sees,
    stream,
)

# --- results ----------------------------------------------------------------------------------------------------------

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
    assert result.pop("clock_skew_s") == pytest.approx((taken - datetime.now(UTC)).total_seconds(), abs=60)
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
                "detections": [
                    {
                        "id": "7-0",
                        "track_id": 3,
                        "label": "person",
                        "score": 0.9,
                        "box": [0.1, 0.2, 0.3, 0.4],
                        "zones": [],
                        "attributes": {},
                        "person": None,
                    }
                ],
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


# --- events -----------------------------------------------------------------------------------------------------------


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


# --- analyzers out of use ---------------------------------------------------------------------------------------------


def failures(messages: list[dict[str, Any]]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Phase, severity, analyzer and data of the events that say that an analyzer is out of use."""
    return [
        (event["phase"], event["severity"], event["analyzer"], event["data"])
        for event in messages
        if event.get("event_type") == "analyzer_failed"
    ]


@simulated
async def test_an_analyzer_that_is_given_up_is_one_critical_event_until_it_works_again() -> None:
    motion = FakeAnalyzer("motion")
    async with engine(FakeWorker(motion)) as hub:
        session, other = await stream(hub, "motion"), await stream(hub)
        viewer, stranger = listener(session), listener(other)
        await play(session, fps=10, seconds=1)
        runner = hub.runners["motion"]
        runner.disable("costs too many lives")
        runner.disable("costs too many lives")
        said = await heard(viewer, "event", "status")
        assert said[-1]["analyzers"][0]["state"] == "disabled"
        data = {"state": "disabled", "reason": "costs too many lives"}
        assert failures(said) == [("new", "critical", "motion", data)]
        await play(session, fps=10, seconds=30)
        assert failures(await heard(viewer, "event")) == []
        await hub.reload("motion")
        await play(session, fps=10, seconds=1)
        assert failures(await heard(viewer, "event")) == [("end", "critical", "motion", data)]
        assert await heard(stranger, "event") == []


@simulated
async def test_that_an_analyzer_never_ran_is_a_state_and_no_event() -> None:
    async with engine(FakeWorker(FakeAnalyzer("motion", unfit="no eyes"))) as hub:
        session = await stream(hub, "motion")
        await play(session, fps=10, seconds=1)
        assert (session.stages[0].describe()["state"], session.findings.open_events) == ("failed", [])


@simulated
async def test_a_stream_that_gets_an_analyzer_that_is_given_up_is_told_and_losing_it_ends_the_event() -> None:
    async with engine(FakeWorker(FakeAnalyzer("motion"))) as hub:
        await hub.introduced()
        hub.runners["motion"].disable("costs too many lives")
        session = await stream(hub)
        viewer = listener(session)
        for analyzers in (("motion",), ()):
            hub.change(session.id, session.request.changed({"analyzers": analyzers}))
        assert [phase for phase, *_ in failures(await heard(viewer, "event"))] == ["new", "end"]


@simulated
async def test_a_stream_remembers_its_newest_events_and_no_more() -> None:
    kinds = [f"kind{number}" for number in range(30)]
    async with engine(FakeWorker(FakeAnalyzer("many", look=sees(*kinds))), stream={"events_kept": 10}) as hub:
        session = await stream(hub, "many")
        await play(session, fps=10, seconds=1)
        assert [event.event_type for event in session.findings.events.values()] == kinds[-10:]
