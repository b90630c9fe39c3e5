"""What a pool makes of children that die and of receivers that break. Its children here never come up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.engine.plugins import PluginSpec
from gateway.engine.process import ChildProcess, WorkerDied
from gateway.media.errors import SourceError
from gateway.media.messages import Answer, Offer, Ping, Told, Wish
from gateway.media.pool import MediaPool, setup_of
from gateway.media.sources import Source, parse
from gateway.media.worker import Kind, MediaWorker
from tests.media.pulling import Watcher, settings

HANG = ("hang", "reading the source hung beyond every deadline")
DIED = ("media_child", "the process that read the source died")


class Childless(MediaPool):
    """`begun` are the children that it would have."""

    def __init__(self, home: Path, **media: Any) -> None:
        self.chosen = settings(home, **media)
        super().__init__(self.chosen)
        self.begun: list[MediaWorker] = []

    def _begin(self, kind: Kind, plugins: object = ()) -> MediaWorker:
        name = f"media-{len(self.begun)}"
        worker = MediaWorker(name, kind, setup_of(self.chosen), environment={}, nice=0, ping_s=1)
        self.begun.append(worker)
        self.workers.append(worker)
        return worker

    async def lose(self, worker: MediaWorker, *stuck: int) -> None:
        """It has died; what it read is opened anew."""
        worker.stuck = stuck
        self.workers.remove(worker)
        await self._bring_back(worker, "killed")


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Childless:
    monkeypatch.setattr("gateway.media.pool.MAX_PAUSE_S", 0)
    monkeypatch.setattr("gateway.media.pool.MOVE_S", 0.1)
    monkeypatch.setattr("gateway.media.pool.TICK_S", 0)
    return Childless(tmp_path)


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_stream_of_a_child_that_dies_while_its_streams_move_is_opened_once(
    pool: Childless, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, int]] = []
    monkeypatch.setattr(
        MediaWorker, "order", lambda self, said: opened.append((self.name, said.number)) if said.t == "open" else None
    )
    first, second = (pool.open(parse("rtsp://192.168.1.9/"), Watcher()) for _ in range(2))
    (old,) = pool.begun
    old.retiring = True
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pool._recycle(old))
        await soon(lambda: first.worker is not old)
        tasks.create_task(pool.lose(old))
    assert opened == [("media-0", 1), ("media-0", 2), ("media-1", 1), ("media-1", 2)]
    assert [list(worker.feeds.values()) for worker in pool.begun] == [[], [first, second]]


async def test_of_a_child_in_which_one_stream_hung_only_that_one_is_to_blame(pool: Childless) -> None:
    guilty, other = Watcher(), Watcher()
    hung, fine = (pool.open(parse("rtsp://192.168.1.9/"), watcher) for watcher in (guilty, other))
    for _ in range(2):
        await pool.lose(pool.workers[-1], hung.number)
    assert [(told.code, told.detail) for told in guilty.tolds] == [HANG] * 2
    assert [(told.code, told.detail) for told in other.tolds] == [DIED] * 2
    assert (len(hung.deaths), len(fine.deaths)) == (2, 0)
    assert [list(worker.feeds) for worker in pool.workers if worker.feeds] == [[hung.number], [fine.number]]
    await pool.lose(next(worker for worker in pool.workers if fine.worker is worker))
    assert len(fine.deaths) == 1  # nobody else was named


async def test_a_receiver_that_breaks_loses_its_feed_and_nobody_else_anything(pool: Childless) -> None:
    class Broken(Watcher):
        breaks = False

        def wish(self, number: int) -> Wish | None:
            if self.breaks:
                raise ZeroDivisionError
            return super().wish(number)

    class Deaf(Watcher):
        def told(self, told: Told) -> None:
            raise ZeroDivisionError

    broken, deaf, fine = Broken(), Deaf(), Watcher()
    async with pool.running():
        feeds = [pool.open(parse("rtsp://192.168.1.9/"), watcher) for watcher in (broken, deaf, fine)]
        broken.breaks = True
        await soon(lambda: len(pool.begun[0].feeds) == 2)
        assert [(told.state, told.code) for told in broken.tolds] == [("ended", "internal")]
        await pool.lose(pool.begun[0])
        assert list(pool.begun[1].feeds.values()) == [feeds[2]]
        fine.fps = 3.0
        await soon(lambda: feeds[2].wish.fps == 3.0)  # it is still asked
    assert fine.codes == ["media_child"]


async def test_a_receiver_that_breaks_is_hung_up_and_the_others_hear_that_their_child_died(pool: Childless) -> None:
    class Broken(Watcher):
        def told(self, told: Told) -> None:
            raise ZeroDivisionError

    receivers = [Broken(), Watcher()]
    calls = [asyncio.create_task(pool.offer(Offer("in", "v=0"), receiver)) for receiver in receivers]
    await soon(lambda: pool.peers == 2)
    (worker,) = pool.begun
    for number in (1, 2):
        worker.switchboard.answered(Answer(number, "v=0"))
    await asyncio.gather(*calls)
    assert worker.switchboard.died(over=False) == 2
    assert receivers[1].codes == ["media_child"]


async def test_a_source_whose_connector_comes_later_is_read_then(pool: Childless) -> None:
    watcher, known = Watcher(), dict[str, list[PluginSpec]]()
    pool.connectors = lambda: known
    async with pool.running():
        feed = pool.open(Source("plugin", connector="late"), watcher)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (watcher.codes, pool.begun) == (["connector"], [])  # told once
        known["late"] = [PluginSpec("late", path="late.py", version="file")]
        await soon(lambda: feed.worker is not None)
    assert watcher.codes == ["connector"]


async def test_nobody_waits_for_a_stream_to_move_once_the_pool_is_over(
    pool: Childless, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.media.pool.MOVE_S", 1000)
    feed = pool.open(parse("rtsp://192.168.1.9/"), Watcher())
    pool._over.set()
    monkeypatch.setattr(pool, "_clock", iter([0.0, *[1.0] * 5]).__next__)
    await pool._back(feed)


# --- offers ----------------------------------------------------------------------------------------------------------


async def died(pool: Childless) -> None:
    """The child that has the offer is gone."""
    await soon(lambda: pool.workers)
    pool.workers.pop().switchboard.died(over=False)


async def test_an_offer_whose_child_died_before_its_answer_is_answered_by_another_one(pool: Childless) -> None:
    call = asyncio.create_task(pool.offer(Offer("in", "v=0"), Watcher()))
    await died(pool)
    await soon(lambda: pool.workers)
    pool.workers[0].switchboard.answered(Answer(2, "an answer"))
    peer = await call
    assert (peer.answer, peer.worker, len(pool.begun)) == ("an answer", pool.begun[1], 2)


async def test_an_offer_that_costs_two_children_is_refused(pool: Childless) -> None:
    call = asyncio.create_task(pool.offer(Offer("in", "v=0"), Watcher()))
    await died(pool)
    await died(pool)
    with pytest.raises(SourceError) as refused:
        await call
    assert (refused.value.code, len(pool.begun), pool.peers) == ("media_child", 2, 0)


# --- what is said to the dead ----------------------------------------------------------------------------------------


async def pinged(child: ChildProcess) -> None:
    """Until it takes no more."""
    async with asyncio.timeout(10):
        while True:
            child.send({"t": "ping"})
            await asyncio.sleep(0)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_what_is_said_to_a_child_that_has_gone_is_no_defect(
    pool: Childless, monkeypatch: pytest.MonkeyPatch, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    monkeypatch.setattr("gateway.engine.process.python", lambda: [sys.executable, "-c", "pass"])

    async def scene() -> None:
        child = ChildProcess("media", environment={}, nice=0)
        await child.start()
        with pytest.raises(WorkerDied):
            await pinged(child)
        worker = pool._begin("network")
        worker._child, worker._up = child, True
        worker.order(Ping())
        assert worker.retiring  # who comes now goes elsewhere
        await child.close({"t": "bye"})
        assert child.pid is None

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())
