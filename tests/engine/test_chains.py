"""Analyzers that need each other's results, in one worker and across several."""

from __future__ import annotations

import asyncio

import pytest

from tests.clock import simulated
from tests.doubles import (
    FakeAnalyzer,
    FakeWorker,
    account,
    breaks,
    engine,
    jpeg,
    play,
    stream,
)


@simulated
async def test_a_need_is_seen_first_and_for_the_same_frame() -> None:
    worker = FakeWorker(FakeAnalyzer("smoking", 0.05, needs=("objects",)), FakeAnalyzer("objects", 0.1))
    async with engine(worker) as hub:
        await play(await stream(hub, "smoking"), fps=10, seconds=5)
    looks = [(call.analyzer, call.seq) for call in worker.calls]
    assert looks[::2] == [("objects", seq) for seq in worker.seqs("objects")]
    assert looks[1::2] == [("smoking", seq) for seq in worker.seqs("objects")][: len(looks) // 2]


@simulated
async def test_a_need_in_another_worker_is_seen_first_and_for_the_same_frame() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 0.1), name="near")
    far = FakeWorker(FakeAnalyzer("queue", 0.3, needs=("objects",)), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "queue")
        frames = await play(session, fps=30, seconds=30)
        await asyncio.sleep(1)
        assert account(session) == {"objects": frames, "queue": frames}
    assert set(far.seqs("queue")) < set(near.seqs("objects"))
    assert len(far.calls) == pytest.approx(100, abs=2)


@simulated
async def test_what_needs_nothing_waits_for_nobody_in_another_worker() -> None:
    near = FakeWorker(FakeAnalyzer("objects", load_s=3600), name="near")
    far = FakeWorker(FakeAnalyzer("light"), FakeAnalyzer("queue", needs=("objects",)), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "queue", "light")
        await play(session, fps=10, seconds=10)
        assert len(far.seqs("light")) == 100


@simulated
async def test_workers_that_need_each_other_both_work() -> None:
    one = FakeWorker(FakeAnalyzer("a"), FakeAnalyzer("d", needs=("b",)), name="one")
    two = FakeWorker(FakeAnalyzer("b", needs=("a",)), name="two")
    async with engine(one, two) as hub:
        session = await stream(hub, "d")
        await play(session, fps=10, seconds=5)
        assert account(session) == {"a": 50, "b": 50, "d": 50}
    assert one.seqs("d") == two.seqs("b") == one.seqs("a") == list(range(50))


@simulated
async def test_needs_in_two_workers_are_seen_one_after_the_other() -> None:
    one, two = FakeWorker(FakeAnalyzer("a", 0.05), name="one"), FakeWorker(FakeAnalyzer("b", 0.05), name="two")
    both = FakeWorker(FakeAnalyzer("c", needs=("a", "b")), name="both")
    async with engine(one, two, both) as hub:
        session = await stream(hub, "c")
        await play(session, fps=5, seconds=5)
        assert both.seqs("c") == list(range(25))


@pytest.mark.parametrize(
    ("objects", "reason", "then"),
    [
        (FakeAnalyzer("objects", load_s=250), "loading", "loading"),  # its own model is loaded after that
        (FakeAnalyzer("objects", unfit="no memory"), "failed", "needs"),
        (FakeAnalyzer("objects", look=breaks), "error", "needs"),
    ],
    ids=["loading", "failed", "broken"],
)
def test_a_frame_whose_need_was_not_met_is_counted_so(objects: FakeAnalyzer, reason: str, then: str) -> None:
    @simulated
    async def check() -> None:
        async with engine(FakeWorker(FakeAnalyzer("smoking", needs=("objects",)), objects)) as hub:
            session = await stream(hub, "smoking")
            session.put(jpeg())
            await asyncio.sleep(0.1)
            assert {stage.name: dict(stage.dropped) for stage in session.stages} == {
                "objects": {reason: 1},
                "smoking": {then: 1},
            }

    check()


@simulated
async def test_a_frame_lost_on_its_way_to_another_worker_is_counted_there_as_lost_upstream() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 1.0), name="near")
    far = FakeWorker(FakeAnalyzer("queue", needs=("objects",)), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "queue")
        frames = await play(session, fps=10, seconds=10)
        await asyncio.sleep(2)
        objects, queue = session.stages
        assert account(session) == {"objects": frames, "queue": frames}
        assert queue.dropped == {"upstream": objects.dropped["replaced"]}


@simulated
async def test_what_is_wanted_is_seen_first_if_the_stream_has_it_and_nobody_waits_for_it_else() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 0.1), name="near")
    far = FakeWorker(FakeAnalyzer("caption", 0.05, wants=("objects", "bags")), name="far")
    async with engine(near, far) as hub:
        with_it = await stream(hub, "caption", "objects")
        await play(with_it, fps=5, seconds=5)
        assert account(with_it) == {"objects": 25, "caption": 25}
        assert [(c.seq, c.began) for c in far.calls] == [(c.seq, c.ended) for c in near.calls]
        far.calls.clear()
        alone = await stream(hub, "caption")
        await play(alone, fps=5, seconds=5)
        assert account(alone) == {"caption": 25}
        assert far.seqs("caption") == list(range(25))


@simulated
async def test_a_wish_puts_nobody_behind_another() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 0.1), FakeAnalyzer("bags", needs=("objects",)), name="near")
    slow = FakeWorker(FakeAnalyzer("scene", load_s=3600), name="slow")
    far = FakeWorker(FakeAnalyzer("caption", wants=("scene", "objects", "bags")), name="far")
    async with engine(near, slow, far) as hub:
        session = await stream(hub, "scene", "caption", "bags")
        await play(session, fps=5, seconds=5)
        assert far.seqs("caption") == near.seqs("bags") == list(range(25))


@simulated
async def test_analyzers_that_want_each_other_both_work() -> None:
    one, two = FakeWorker(FakeAnalyzer("a", wants=("b",)), name="one"), FakeWorker(FakeAnalyzer("b", wants=("a",)))
    async with engine(one, two) as hub:
        session = await stream(hub, "a", "b")
        await play(session, fps=5, seconds=5)
        assert account(session) == {"a": 25, "b": 25}
