"""Hub: which analyzers a stream gets, and what all streams come to."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from gateway.engine.metrics import exposition
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.errors import AtCapacity, UnknownOption
from tests.clock import now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakeWorker,
    engine,
    jpeg,
    listener,
    play,
    stream,
)

MOTION = FakeAnalyzer("motion")
OBJECTS = FakeAnalyzer("objects", options={"labels": {}, "score": {}})
SMOKING = FakeAnalyzer("smoking", needs=("objects",))
STRANGER = FakeAnalyzer("acme.queue", distribution="acme")

FPS = "analyzer objects, option fps: expected frames per second above 0 and up to 1000, got "


def names(session: Session) -> list[str]:
    return [stage.name for stage in session.stages]


# --- which analyzers --------------------------------------------------------------------------------------------------


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
        assert hub.catalog.resolve(["smoking", "motion", "objects"]) == ["objects", "smoking", "motion"]


@simulated
async def test_an_analyzer_is_unknown_only_when_every_worker_has_said_what_it_holds() -> None:
    async with engine(FakeWorker(MOTION, hello_s=20)) as hub:
        with pytest.raises(AtCapacity) as early:
            await hub.open_session(SessionRequest(analyzers=("motino",)))
        await asyncio.sleep(20)
        with pytest.raises(UnknownOption) as late:
            await hub.open_session(SessionRequest(analyzers=("motino",)))
    assert (early.value.code, early.value.retry_after_s) == ("starting", 2)
    assert (late.value.code, late.value.detail) == (
        "unknown_analyzer",
        "there is no analyzer 'motino'; did you mean motion?",
    )


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
        ("objects", {"zzz": 1}, "analyzer objects has no option zzz; it has labels, score, fps, motion_gate, zones"),
        ("objects", {"fps": 0}, FPS + "0"),
        ("objects", {"fps": "5"}, FPS + "'5'"),
        ("objects", {"fps": float("nan")}, FPS + "nan"),
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


@pytest.mark.parametrize("late", ["one", "two"])
def test_of_two_analyzers_with_one_name_the_one_found_first_is_used_and_the_other_is_reported(late: str) -> None:
    @simulated
    async def check() -> None:
        one, two = (FakeWorker(FakeAnalyzer("same"), name=name, hello_s=name == late) for name in ("one", "two"))
        async with engine(one, two) as hub:
            session = await stream(hub, "same")
            await play(session, fps=10, seconds=1)
            assert (len(one.calls), len(two.calls)) == (10, 0)
            paths = [spec.path for spec in hub.plugins]
            assert hub.plugin_errors == {
                "two": f"two analyzers are called same: plugin one of {paths[0]} and plugin two of {paths[1]};"
                " the first one is used"
            }

    check()


@simulated
async def test_who_was_found_first_gets_its_name_though_its_worker_answers_when_streams_are_live() -> None:
    one = FakeWorker(FakeAnalyzer("same"), name="one", hello_s=20)
    two = FakeWorker(FakeAnalyzer("same"), FakeAnalyzer("other"), name="two")
    async with engine(one, two) as hub:
        session = await stream(hub, "same", "other")
        await play(session, fps=10, seconds=5)
        assert (len(two.seqs("same")), hub.plugin_errors) == (50, {})
        await asyncio.sleep(10)
        await play(session, fps=10, seconds=1)
        assert (len(one.calls), len(two.seqs("same")), list(hub.plugin_errors)) == (10, 50, ["two"])
        assert {stage.name: stage.analyzed for stage in session.stages} == {"same": 60, "other": 60}
        assert (session.id, "same") in two.forgotten


@simulated
async def test_a_wrong_host_option_of_the_operator_is_that_analyzers_failure_and_no_streams() -> None:
    chosen = {"objects": {"motion_gate": "yes"}}
    async with engine(FakeWorker(MOTION, OBJECTS), analyzers=chosen) as hub:
        assert names(await hub.open_session(SessionRequest())) == ["motion"]
        assert names(await hub.open_session(SessionRequest(analyzers=("objects",)))) == ["objects"]
        assert hub.runners["objects"].reason == (
            "analyzer objects, option motion_gate: expected true, false, or seconds above 0 and up to 86400, got 'yes'"
            " (settings, [analyzers.objects])"
        )


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


# --- totals -----------------------------------------------------------------------------------------------------------


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


@simulated
async def test_options_are_small_and_flat_enough_to_travel_with_every_job() -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    async with engine(FakeWorker(FakeAnalyzer("objects", options={"score": {}}))) as hub:
        for value in (deep, "x" * 9000, 10**400):
            name = "fps" if isinstance(value, int) else "score"
            with pytest.raises(UnknownOption, match=r"deeper than 32|more than 8192|up to 1000"):
                await hub.open_session(SessionRequest(analyzers=("objects",), options={"objects": {name: value}}))
