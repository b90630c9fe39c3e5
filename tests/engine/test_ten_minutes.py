"""30 frames a second into an analyzer that takes 200 ms, for ten minutes: nothing grows old or large or gets lost."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from tests.clock import SimulatedLoop, now
from tests.doubles import FakeAnalyzer, FakeWorker, Look, engine, heard, listener, play, sees, stream

FPS, CALL_S, SECONDS = 30, 0.2, 600
ROUNDING_S = 0.001


@dataclass
class TenMinutes:
    """What one run showed."""

    frames: int = 0
    status: dict[str, object] = field(default_factory=dict)
    analyzed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    ages: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)


async def live_through() -> TenMinutes:
    worker, run = FakeWorker(FakeAnalyzer("slow", CALL_S, look=now_and_then())), TenMinutes()
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        viewer = listener(session)
        for _ in range(10):
            run.frames += await play(session, fps=FPS, seconds=SECONDS / 10)
            run.ages += await heard_ages(viewer)
            run.waiting.append(unaccounted(session))
            run.calls += len(worker.calls)
            worker.calls.clear()  # the double's own memory
            gc.collect()
            run.objects.append(len(gc.get_objects()))
        (stage,) = session.stages
        run.status, run.analyzed, run.dropped = session.status(), stage.analyzed, stage.dropped.copy()
        run.ages += await heard_ages(viewer)  # of a call that ended while we were looking
    return run


async def heard_ages(viewer: Subscriber) -> list[float]:
    """Seconds, of each result since the last time."""
    return [result["analyzers"]["slow"]["age_ms"] / 1e3 for result in await heard(viewer, "result")]


def now_and_then() -> Look:
    """Sights something for four seconds out of ten, so that events come and go too."""
    seeing, blind = sees("passer-by", linger_s=1.0), sees()
    return lambda job: seeing(job) if now() % 10 < 4 else blind(job)


def unaccounted(session: Session) -> int:
    """Frames neither analysed nor dropped so far."""
    (stage,) = session.stages
    return session.frames.total - stage.analyzed - stage.dropped.total()


@pytest.fixture(scope="module")
def run() -> Iterator[TenMinutes]:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        yield runner.run(live_through())


def test_no_result_is_older_than_a_call_and_a_frame(run: TenMinutes) -> None:
    assert max(run.ages) <= CALL_S + 1 / FPS + ROUNDING_S


def test_the_analyzer_is_never_idle(run: TenMinutes) -> None:
    assert run.calls == pytest.approx(SECONDS / CALL_S, rel=0.01)


def test_every_frame_is_analysed_or_dropped_for_a_reason(run: TenMinutes) -> None:
    waiting = run.frames - run.analyzed - run.dropped["replaced"]
    assert set(run.dropped) == {"replaced"}
    assert run.status["frames_in"] == run.frames == FPS * SECONDS
    assert 0 <= waiting <= 2  # one in the slot, one in flight


def test_at_most_one_frame_waits_and_one_is_looked_at(run: TenMinutes) -> None:
    assert max(run.waiting) <= 2


def test_every_result_is_told(run: TenMinutes) -> None:
    assert len(run.ages) == run.analyzed


def test_memory_is_flat(run: TenMinutes) -> None:
    """A leak of one object in a hundred frames would be 18 a minute."""
    growth = (run.objects[-1] - run.objects[4]) / (len(run.objects) - 5)
    assert growth < 18
