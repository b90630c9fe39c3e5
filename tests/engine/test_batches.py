"""Batches across sessions: several frames in one call, in fair turns, each session in order and none for another."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.engine.wire import Header
from gateway.results import Result
from tests.clock import now, simulated
from tests.doubles import FakeAnalyzer, FakeWorker, Look, account, engine, jpeg, play, play_all, stream


@simulated
async def test_sixteen_streams_share_batches_of_eight_evenly() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2, batch=8))
    async with engine(worker) as hub:
        sessions = [await stream(hub, "slow") for _ in range(16)]
        await play_all(sessions, fps=30, seconds=60)
        turns = worker.turns()
    assert set(turns) == {session.id for session in sessions}
    assert max(turns.values()) - min(turns.values()) <= 1
    assert set(Counter(map(len, worker.batches[1:]))) == {8}
    assert sum(turns.values()) == pytest.approx(60 / 0.2 * 8, rel=0.03)


@simulated
async def test_a_stream_has_one_frame_in_a_batch_and_its_frames_stay_in_order() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.1, batch=4))
    async with engine(worker, analysis={"ahead": True}) as hub:
        sessions = [await stream(hub, "slow") for _ in range(6)]
        await play_all(sessions, fps=30, seconds=20)
    assert all(len(set(streams)) == len(streams) for streams in worker.batches)
    for session in sessions:
        seqs = [call.seq for call in worker.calls if call.stream_id == session.id]
        assert seqs == sorted(set(seqs))


@simulated
async def test_every_frame_of_a_batch_is_the_newest_when_it_is_sent() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.5, batch=4))
    async with engine(worker) as hub:
        sessions = [await stream(hub, "slow") for _ in range(4)]
        began = now()
        await play_all(sessions, fps=10, seconds=10)
    late = [call for call in worker.calls if call.began > began + 0.01]
    assert late, "no call began after the first round"
    assert all((call.began - began) * 10 - call.seq < 1 + 1e-6 for call in late)


@simulated
async def test_who_does_not_share_the_analyzer_is_not_taken_along_and_keeps_its_turn() -> None:
    worker = FakeWorker(FakeAnalyzer("many", 0.1, batch=8), FakeAnalyzer("one", 0.1))
    async with engine(worker) as hub:
        many = [await stream(hub, "many") for _ in range(4)]
        one = await stream(hub, "one")
        await play_all([*many, one], fps=30, seconds=30)
        turns = worker.turns()
    assert max(turns.values()) - min(turns.values()) <= 1
    assert not any(one.id in streams for streams in worker.batches if len(streams) > 1)


@pytest.mark.parametrize(("setting", "size"), [(0, 8), (1, 1), (3, 3)])
def test_the_operator_may_set_the_size(setting: int, size: int) -> None:
    @simulated
    async def check() -> None:
        worker = FakeWorker(FakeAnalyzer("slow", 0.2, batch=8))
        async with engine(worker, analysis={"batch_size": setting}) as hub:
            sessions = [await stream(hub, "slow") for _ in range(12)]
            await play_all(sessions, fps=30, seconds=5)
        assert max(map(len, worker.batches)) == size

    check()


@simulated
async def test_a_larger_job_is_cut_into_calls_of_the_size_of_each_analyzer() -> None:
    worker = FakeWorker(
        FakeAnalyzer("big", 0.1, batch=6), FakeAnalyzer("small", 0.1, batch=2), FakeAnalyzer("one", 0.01)
    )
    async with engine(worker, analysis={"batch_wait_ms": 5}) as hub:
        sessions = [await stream(hub, "big", "small", "one") for _ in range(6)]
        for session in sessions:
            session.put(jpeg())
        await asyncio.sleep(3)
        sizes = [len(streams) for streams in worker.batches]
        assert sizes == [6, 2, 2, 2, 1, 1, 1, 1, 1, 1]
        assert {tuple(account(session).values()) for session in sessions} == {(1, 1, 1)}


# --- waiting for company ---------------------------------------------------------------------------------------------


async def batches_of_two(wait_ms: float, apart_s: float) -> list[int]:
    """Two streams, each with a frame, the second so much later."""
    worker = FakeWorker(FakeAnalyzer("slow", 0.1, batch=8))
    async with engine(worker, analysis={"batch_wait_ms": wait_ms}) as hub:
        sessions = [await stream(hub, "slow") for _ in range(2)]
        for session in sessions:  # so that both are known to send
            session.put(jpeg())
        await asyncio.sleep(1)
        worker.batches.clear()
        for session in sessions:
            session.put(jpeg())
            await asyncio.sleep(apart_s)
        await asyncio.sleep(1)
    return [len(streams) for streams in worker.batches]


@pytest.mark.parametrize(("wait_ms", "apart_s", "sizes"), [(0, 0.01, [1, 1]), (50, 0.01, [2]), (50, 0.06, [1, 1])])
def test_a_batch_waits_as_long_as_it_is_told(wait_ms: float, apart_s: float, sizes: list[int]) -> None:
    @simulated
    async def check() -> None:
        assert await batches_of_two(wait_ms, apart_s) == sizes

    check()


@simulated
async def test_a_batch_does_not_wait_for_more_streams_than_there_are() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.1, batch=8))
    async with engine(worker, analysis={"batch_wait_ms": 1000}) as hub:
        session = await stream(hub, "slow")
        await play(session, fps=5, seconds=4)
        assert len(worker.calls) == 20


# --- failures --------------------------------------------------------------------------------------------------------


def breaks_for(poisoned: list[str]) -> Look:
    """Fails on the frames of these streams."""

    def look(item: Header) -> Result:
        if item["session"]["stream_id"] in poisoned:
            raise RuntimeError("a poisoned frame")
        return Result()

    return look


@simulated
async def test_only_the_frame_that_fails_is_lost() -> None:
    poisoned: list[str] = []
    worker = FakeWorker(FakeAnalyzer("slow", 0.09, look=breaks_for(poisoned), batch=4))
    async with engine(worker) as hub:
        sessions = [await stream(hub, "slow") for _ in range(4)]
        poisoned.append(sessions[2].id)
        await play_all(sessions, fps=10, seconds=5)
        analyzed, failed = [[s.stages[0].analyzed for s in sessions], [s.stages[0].dropped["error"] for s in sessions]]
        assert (analyzed[2], failed[:2], failed[3]) == (0, [0, 0], 0)
        assert failed[2] == pytest.approx(analyzed[0], abs=1)
        assert (hub.runners["slow"].state, hub.runners["slow"].failures) == ("ready", failed[2])


@simulated
async def test_a_need_that_failed_for_one_frame_skips_only_that_one() -> None:
    poisoned: list[str] = []
    worker = FakeWorker(
        FakeAnalyzer("objects", 0.1, look=breaks_for(poisoned), batch=2), FakeAnalyzer("smoking", needs=("objects",))
    )
    async with engine(worker, analysis={"batch_wait_ms": 5}) as hub:
        well, ill = [await stream(hub, "smoking") for _ in range(2)]
        poisoned.append(ill.id)
        for session in (well, ill):
            session.put(jpeg())
        await asyncio.sleep(1)
        seen = {s.id: {stage.name: (stage.analyzed, dict(stage.dropped)) for stage in s.stages} for s in (well, ill)}
    assert seen == {
        well.id: {"objects": (1, {}), "smoking": (1, {})},
        ill.id: {"objects": (0, {"error": 1}), "smoking": (0, {"needs": 1})},
    }


@simulated
async def test_a_batch_that_costs_the_worker_its_life_costs_each_stream_that_frame() -> None:
    hanging = FakeAnalyzer("slow", 0.1, batch=4)
    worker = FakeWorker(hanging)
    async with engine(worker) as hub:
        sessions = [await stream(hub, "slow") for _ in range(4)]
        await play_all(sessions, fps=10, seconds=1)
        await asyncio.sleep(1)
        hanging.call_s = 3600
        for session in sessions:
            session.put(jpeg())
        await asyncio.sleep(1)
        hanging.call_s = 0.1
        await asyncio.sleep(20)
        assert sum(session.stages[0].dropped["worker_died"] for session in sessions) in (1, 4)
        assert hub.runners["slow"].failures == 1
        assert worker.killed == 1


# --- one more job in flight ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [False, True])
def test_turns_are_fair_with_and_without_a_job_ahead(ahead: bool) -> None:
    @simulated
    async def check() -> None:
        worker = FakeWorker(FakeAnalyzer("slow", 0.2))
        async with engine(worker, analysis={"ahead": ahead}) as hub:
            sessions = [await stream(hub, "slow") for _ in range(5)]
            await play_all(sessions, fps=30, seconds=30)
            turns = worker.turns()
        assert max(turns.values()) - min(turns.values()) <= 1
        assert sum(turns.values()) == pytest.approx(150, abs=2)

    check()


@simulated
async def test_the_job_that_was_only_sent_is_nobodys_failure() -> None:
    hanging, well = FakeAnalyzer("hanging", 0.1), FakeAnalyzer("well", 0.1)
    worker = FakeWorker(hanging, well)
    async with engine(worker, analysis={"ahead": True, "first_call_s": 5}) as hub:
        one, other = await stream(hub, "hanging"), await stream(hub, "well")
        hanging.call_s = 3600
        one.put(jpeg())
        other.put(jpeg())
        await asyncio.sleep(7)
        assert {name: runner.failures for name, runner in hub.runners.items()} == {"hanging": 1, "well": 0}
        assert [dict(session.stages[0].dropped) for session in (one, other)] == [{"worker_died": 1}] * 2


@simulated
async def test_the_time_of_a_job_sent_ahead_begins_when_the_one_before_is_done() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 4.0))
    async with engine(worker, analysis={"ahead": True, "deadline_s": 10, "first_call_s": 5}) as hub:
        sessions = [await stream(hub, "slow") for _ in range(3)]
        for session in sessions:
            session.put(jpeg())
        await asyncio.sleep(13)
        assert [session.stages[0].analyzed for session in sessions] == [1, 1, 1]
        assert len(worker.starts) == 1


@simulated
async def test_a_stream_has_no_second_frame_in_flight() -> None:
    worker = FakeWorker(FakeAnalyzer("slow", 0.2))
    async with engine(worker, analysis={"ahead": True}) as hub:
        session = await stream(hub, "slow")
        await play(session, fps=47, seconds=10)
    began = worker.calls[0].began
    assert worker.seqs("slow") == [int((call.began - began) * 47) for call in worker.calls]
