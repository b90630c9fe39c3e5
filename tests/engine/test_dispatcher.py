"""Dispatcher: fair turns, the newest frame, each analyzer's pace; a worker that dies is started again."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.clock import now, simulated
from tests.doubles import (
    FakeAnalyzer,
    FakeWorker,
    account,
    breaks,
    engine,
    heard,
    jpeg,
    listener,
    nothing,
    play,
    play_all,
    sees_rubbish,
    stream,
)

# --- turns ------------------------------------------------------------------------------------------------------------


@simulated
async def test_sixteen_streams_get_the_same_number_of_turns() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        sessions = [await stream(hub, "slow") for _ in range(16)]
        await play_all(sessions, fps=30, seconds=60)
        turns = worker.turns()
    assert set(turns) == {session.id for session in sessions}
    assert max(turns.values()) - min(turns.values()) <= 1


@simulated
async def test_a_stream_with_few_frames_is_not_crowded_out_by_a_fast_one() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        fast, calm = await stream(hub, "slow"), await stream(hub, "slow")
        async with asyncio.TaskGroup() as cameras:
            cameras.create_task(play(fast, fps=50, seconds=20))
            cameras.create_task(play(calm, fps=1, seconds=20))
        assert worker.turns()[calm.id] == 20


@simulated
async def test_the_frame_of_a_turn_is_the_newest_there_is() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        await play(session, fps=47, seconds=10)
    began = worker.calls[0].began
    assert worker.seqs("slow") == [int((call.began - began) * 47) for call in worker.calls]


@simulated
async def test_a_frame_that_had_no_turn_is_counted_as_replaced() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 1.0))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        for _ in range(4):  # the first is looked at, the last waits
            session.put(jpeg())
            await asyncio.sleep(0.1)
        (stage,) = session.stages
        assert (stage.dropped, session.lost) == ({"replaced": 2}, 2)


@pytest.mark.parametrize("fps", [1, 4, 7.5, 25])
def test_an_analyzer_keeps_its_pace_exactly(fps: float) -> None:
    @simulated
    async def check() -> None:
        worker = FakeWorker(FakeAnalyzer("paced", 0.001))
        async with engine(worker) as hub:
            session = await stream(hub, "paced", options={"paced": {"fps": fps}})
            frames = await play(session, fps=30, seconds=60)
            (stage,) = session.stages
        assert stage.analyzed == pytest.approx(60 * fps, abs=1)
        assert stage.dropped == {"paced": frames - stage.analyzed}

    check()


@simulated
async def test_a_pace_is_not_made_up_for_after_a_pause() -> None:
    worker = FakeWorker(FakeAnalyzer("paced"))
    async with engine(worker) as hub:
        session = await stream(hub, "paced", options={"paced": {"fps": 1}})
        await play(session, fps=10, seconds=2)
        await asyncio.sleep(60)
        worker.calls.clear()
        await play(session, fps=10, seconds=2)
        assert len(worker.calls) == 2


@simulated
async def test_the_operators_pace_holds_unless_a_stream_asks_for_another() -> None:
    worker = FakeWorker(FakeAnalyzer("paced"))
    async with engine(worker, analyzers={"paced": {"fps": 2}}) as hub:
        usual, wishing = await stream(hub, "paced"), await stream(hub, "paced", options={"paced": {"fps": 5}})
        await play_all([usual, wishing], fps=30, seconds=10)
        assert worker.turns() == {usual.id: 20, wishing.id: 50}


# --- loading ----------------------------------------------------------------------------------------------------------


@simulated
async def test_an_analyzer_that_loads_delays_nobody() -> None:
    worker = FakeWorker(FakeAnalyzer("heavy", load_s=30), FakeAnalyzer("light"))
    async with engine(worker) as hub:
        await stream(hub, "light")
        session = await stream(hub, "heavy", "light")
        await play(session, fps=10, seconds=40)
        heavy, light = session.stages
    assert light.analyzed == 400
    assert (heavy.analyzed, heavy.dropped) == (100, {"loading": 300})


@simulated
async def test_results_name_the_analyzers_that_are_still_loading() -> None:
    worker = FakeWorker(FakeAnalyzer("heavy", load_s=30), FakeAnalyzer("light"))
    async with engine(worker) as hub:
        await stream(hub, "light")
        session = await stream(hub, "heavy", "light")
        viewer = listener(session)
        session.put(jpeg())
        await asyncio.sleep(0.1)
        (result,) = await heard(viewer, "result")
        assert result["analyzers"]["heavy"] == {"state": "loading"}
        assert result["analyzers"]["light"]["state"] == "ready"


@simulated
async def test_while_nobody_can_look_the_reasons_are_told_once_a_second() -> None:
    async with engine(FakeWorker(FakeAnalyzer("heavy", load_s=3600))) as hub:
        session = await stream(hub, "heavy")
        viewer = listener(session)
        await play(session, fps=20, seconds=10)
        told = [result["analyzers"] for result in await heard(viewer, "result")]
        assert told == [{"heavy": {"state": "loading"}}] * 10


@simulated
async def test_a_model_is_loaded_when_somebody_first_asks_for_it() -> None:
    async with engine(FakeWorker(FakeAnalyzer("asked", load_s=1), FakeAnalyzer("unasked"))) as hub:
        await stream(hub, "asked")
        states = [{name: runner.state for name, runner in hub.runners.items()}]
        await asyncio.sleep(2)
        states.append({name: runner.state for name, runner in hub.runners.items()})
    assert states == [{"asked": "loading", "unasked": "idle"}, {"asked": "ready", "unasked": "idle"}]


# --- workers that die -------------------------------------------------------------------------------------------------


@simulated
async def test_a_worker_that_dies_during_a_job_is_started_again_and_the_stream_goes_on() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2, load_s=0.5))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        await play(session, fps=10, seconds=5)
        seen = len(worker.calls)
        worker.die()
        frames = session.frames.total + await play(session, fps=10, seconds=5)
        await asyncio.sleep(1)
        assert account(session) == {"slow": frames}
        assert session.stages[0].dropped["worker_died"] == 1
        assert (session.state, hub.supervisors[0].restarts) == ("live", 1)
    assert len(worker.starts) == 2
    assert len(worker.calls) - seen == pytest.approx((5 - 1.0 - 0.5) / 0.2, abs=1)


@simulated
async def test_while_a_worker_is_down_its_analyzers_say_loading() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        worker.die()
        await asyncio.sleep(0.5)
        session.put(jpeg())
        states = [hub.runners["slow"].state]
        await asyncio.sleep(1)
        assert [*states, hub.runners["slow"].state] == ["loading", "ready"]
        assert session.stages[0].dropped == {"loading": 1}


@simulated
async def test_a_worker_that_dies_just_when_the_hub_closes_holds_nothing_up() -> None:
    worker = FakeWorker(FakeAnalyzer("slow"))
    async with engine(worker):
        await asyncio.sleep(1)
        worker.die()
    assert (len(worker.starts), worker.running) == (1, False)


@simulated
async def test_a_worker_that_says_no_hello_in_30_s_is_given_up() -> None:
    worker = FakeWorker(FakeAnalyzer("slow"), hello_s=3600)
    async with engine(worker):
        await asyncio.sleep(32)
    assert [began - worker.starts[0] for began in worker.starts] == pytest.approx([0, 31])


@simulated
async def test_a_call_that_hangs_costs_the_worker_its_life_after_5_s() -> None:
    hanging = FakeAnalyzer("slow", 0.1)
    worker = FakeWorker(hanging)
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        await play(session, fps=10, seconds=1)
        hanging.call_s = 3600
        began = now()
        await play(session, fps=10, seconds=5.5)
        assert session.stages[0].dropped["worker_died"] == 1
        assert hub.runners["slow"].reason == "analyzer slow gave no answer within 5 s"
        await asyncio.sleep(1)
    assert worker.starts[1] - began == pytest.approx(6.0, abs=0.3)


@simulated
async def test_the_first_call_after_every_start_may_take_a_minute() -> None:
    warming = FakeAnalyzer("slow", 30)
    worker = FakeWorker(warming)
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        for _ in range(2):
            session.put(jpeg())
            await asyncio.sleep(31)
            worker.die()
            await asyncio.sleep(2)
        assert (session.stages[0].analyzed, hub.runners["slow"].failures) == (2, 0)


@simulated
async def test_the_analyzer_that_took_the_worker_along_is_blamed_and_not_those_behind_it() -> None:
    hanging = FakeAnalyzer("first")
    worker = FakeWorker(hanging, FakeAnalyzer("second"))
    async with engine(worker) as hub:
        session = await stream(hub, "first", "second")
        session.put(jpeg())
        await asyncio.sleep(0.1)
        hanging.call_s = 3600
        session.put(jpeg())
        await asyncio.sleep(10)
        assert {name: runner.failures for name, runner in hub.runners.items()} == {"first": 1, "second": 0}
        assert [dict(stage.dropped) for stage in session.stages] == [{"worker_died": 1}] * 2


@simulated
async def test_an_analyzer_that_hangs_every_time_is_left_alone_in_the_end() -> None:
    worker = FakeWorker(FakeAnalyzer("hanging", 3600), FakeAnalyzer("well"))
    async with engine(worker, analysis={"first_call_s": 5, "restarts": 100}) as hub:
        session = await stream(hub, "hanging", "well")
        await play(session, fps=5, seconds=60)
        assert hub.runners["hanging"].state == "open"
        before = session.stages[1].analyzed
        await play(session, fps=5, seconds=300)
        assert session.stages[1].analyzed - before > 300 * 5 * 0.6


# --- the breaker ------------------------------------------------------------------------------------------------------


@simulated
async def test_an_analyzer_that_fails_5_times_in_a_row_is_tried_again_after_1_2_4_to_60_s() -> None:
    worker = FakeWorker(FakeAnalyzer("broken", look=breaks))
    async with engine(worker) as hub:
        session = await stream(hub, "broken")
        await play(session, fps=50, seconds=200)
        (stage,) = session.stages
    moments = [call.began for call in worker.calls]
    assert moments[4] - moments[0] == pytest.approx(4 / 50)
    waits = [later - earlier for earlier, later in pairwise(moments[4:])]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.03)
    assert stage.dropped == {"error": len(moments), "open": 200 * 50 - len(moments)}


@simulated
async def test_one_success_closes_the_breaker() -> None:
    broken = FakeAnalyzer("broken", look=breaks)
    async with engine(FakeWorker(broken)) as hub:
        session = await stream(hub, "broken")
        await play(session, fps=10, seconds=1)
        broken.look = nothing
        await play(session, fps=10, seconds=5)
        assert (hub.runners["broken"].state, hub.runners["broken"].reason) == ("ready", None)
        assert session.stages[0].dropped == {"error": 5, "open": 10 - 1}


@simulated
async def test_a_picture_that_does_not_decode_is_not_held_against_the_analyzer() -> None:
    worker = FakeWorker(FakeAnalyzer("sharp", 0.01, look=sees_rubbish))
    async with engine(worker) as hub:
        session = await stream(hub, "sharp")
        await play(session, fps=5, seconds=4)
        (stage,) = session.stages
        assert (stage.dropped, stage.analyzed) == ({"undecodable": 20}, 0)
        assert (hub.runners["sharp"].state, hub.runners["sharp"].failures) == ("ready", 0)


@simulated
async def test_a_broken_analyzer_hurts_no_other() -> None:
    async with engine(FakeWorker(FakeAnalyzer("broken", look=breaks), FakeAnalyzer("well"))) as hub:
        session = await stream(hub, "broken", "well")
        await play(session, fps=10, seconds=30)
        assert session.stages[1].analyzed == 300
