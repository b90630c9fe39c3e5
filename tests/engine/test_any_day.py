"""Whatever happens in whatever order, every frame is accounted for and nothing is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.hub import Hub
from gateway.engine.picture import Variant
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from tests.clock import simulated
from tests.doubles import FakeAnalyzer, FakeWorker, account, breaks, engine, jpeg, nothing

NAMES = ("objects", "smoking", "light", "queue")
ACTIONS = st.one_of(
    st.tuples(st.just("open"), st.sets(st.sampled_from(NAMES))),
    st.tuples(st.just("put"), st.integers(0, 3)),
    st.tuples(st.just("put"), st.integers(0, 3)),
    st.tuples(st.just("watch"), st.integers(0, 3)),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.tuples(st.just("breaks"), st.sampled_from(NAMES)),
    st.tuples(st.just("hangs"), st.sampled_from(NAMES)),
    st.tuples(st.just("heals"), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 1.0, 10.0])),
)


@dataclass
class Day:
    """A hub with two workers, one of which needs the other's results, and what happens to it."""

    hub: Hub
    workers: tuple[FakeWorker, FakeWorker]
    sessions: list[Session] = field(default_factory=list)

    async def happens(self, what: str, which: object) -> None:
        match what, which:
            case "open", set(names):
                await self.open(tuple(sorted(names)))
            case "wait", float(seconds):
                await asyncio.sleep(seconds)
            case "die", int(index):
                self.workers[index].die()
            case (("breaks" | "hangs" | "heals"), str(name)):
                self.analyzer(name).look = breaks if what == "breaks" else nothing
                self.analyzer(name).call_s = 3600 if what == "hangs" else 0.05
            case _, int(index) if index < len(self.sessions):
                await self.to_stream(what, self.sessions[index])

    async def open(self, names: tuple[str, ...]) -> None:
        session = await self.hub.open_session(SessionRequest(analyzers=names))
        session.lease.join()
        await asyncio.sleep(0)  # its task begins
        self.sessions.append(session)

    async def to_stream(self, what: str, session: Session) -> None:
        if session.reason is not None:
            return
        if what == "put":
            session.put(jpeg())
        elif what == "watch":
            session.watch(Subscriber(messages=1), Variant(draw=True))
        else:
            await self.hub.end(session.id)

    def analyzer(self, name: str) -> FakeAnalyzer:
        return next(worker.analyzers[name] for worker in self.workers if name in worker.analyzers)

    async def calms_down(self) -> None:
        for name in NAMES:
            await self.happens("heals", name)
        await asyncio.sleep(200)


def workers() -> tuple[FakeWorker, FakeWorker]:
    near = FakeAnalyzer("objects", 0.05), FakeAnalyzer("smoking", 0.05, needs=("objects",))
    far = FakeAnalyzer("light", 0.05), FakeAnalyzer("queue", 0.05, needs=("smoking", "light"))
    return FakeWorker(*near, name="near"), FakeWorker(*far, name="far")


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=5, max_size=60), calm=st.booleans())
def test_every_frame_is_accounted_for_and_nothing_is_left(actions: list[tuple[str, object]], calm: bool) -> None:
    @simulated
    async def check() -> None:
        pair = workers()
        async with engine(*pair, analysis={"first_call_s": 5}) as hub:
            await asyncio.sleep(0.1)
            day = Day(hub, pair)
            for what, which in actions:
                await day.happens(what, which)
            if not calm:  # the hub is left in the middle of it all; `simulated` sees that no task survives
                return
            await day.calms_down()
            for session in day.sessions:
                in_flight = 1 if session.reason else 0  # the job that nobody waited for when the stream ended
                for name, accounted in account(session).items():
                    assert session.frames.total - in_flight <= accounted <= session.frames.total, name
            for session in day.sessions:
                if session.reason is None:
                    await hub.end(session.id)
            assert hub.sessions == {}

    check()
