"""What is given up when memory runs short: in order, visibly, and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engine import overload as module
from gateway.engine.hub import Hub
from gateway.engine.metrics import exposition
from gateway.engine.overload import Overload, memory_limit
from gateway.engine.picture import Variant
from gateway.engine.subscriber import Subscriber
from gateway.errors import AtCapacity
from tests.clock import simulated
from tests.doubles import FakeAnalyzer, FakeWorker, account, engine, listener, play, stream

MOTION = FakeAnalyzer("motion")
OBJECTS = FakeAnalyzer("objects")
SMOKING = FakeAnalyzer("smoking", needs=("objects",))


class Memory:
    """Percent of what there is."""

    def __init__(self, hub: Hub) -> None:
        self.percent = 10
        self._overload = hub.overload = Overload(hub, hub.settings.limits, measure=self._used)

    def _used(self) -> int:
        return self._overload.limit * self.percent // 100

    def becomes(self, percent: int) -> list[str]:
        """The actions in effect then."""
        self.percent = percent
        self._overload.look()
        return [action for action, active in self._overload.active.items() if active]


@simulated
async def test_actions_begin_one_after_the_other_and_end_a_little_later_than_they_began() -> None:
    async with engine(FakeWorker(MOTION)) as hub:
        memory = Memory(hub)
        first, second, third = "refuse_streams", "rest_analyzers", "disconnect_viewers"
        assert [memory.becomes(percent) for percent in (79, 81, 91, 96)] == [
            [],
            [first],
            [first, second],
            [first, second, third],
        ]
        assert [memory.becomes(percent) for percent in (93, 91, 88, 86, 78, 76)] == [
            [first, second, third],
            [first, second],
            [first, second],
            [first],
            [first],
            [],
        ]


@simulated
async def test_new_streams_are_refused_and_sockets_of_live_ones_are_not() -> None:
    async with engine(FakeWorker(MOTION)) as hub:
        memory = Memory(hub)
        memory.becomes(81)
        with pytest.raises(AtCapacity) as refused:
            hub.admission.take("192.0.2.1", stream=True)
        assert (refused.value.code, refused.value.status) == ("overloaded", 503)
        assert 1 <= (refused.value.retry_after_s or 0) <= 30
        hub.admission.take("192.0.2.1", stream=False)
        memory.becomes(70)
        hub.admission.take("192.0.2.1", stream=True)


@simulated
async def test_analyzers_rest_but_those_that_are_kept_and_what_they_need() -> None:
    async with engine(FakeWorker(MOTION, OBJECTS, SMOKING), limits={"overload_keep": ["smoking"]}) as hub:
        memory = Memory(hub)
        session = await stream(hub, "motion", "smoking")
        memory.becomes(92)
        assert {name: runner.rests for name, runner in hub.runners.items()} == {
            "motion": True,
            "objects": False,
            "smoking": False,
        }
        sent = await play(session, fps=10, seconds=2)
        by_name = {stage.name: stage for stage in session.stages}
        assert by_name["motion"].dropped == {"overloaded": sent}
        assert by_name["smoking"].analyzed > 0
        memory.becomes(50)
        await play(session, fps=10, seconds=1)
        assert by_name["motion"].analyzed > 0
        assert account(session)


@simulated
async def test_the_newest_picture_viewers_are_disconnected_a_tenth_at_a_time() -> None:
    async with engine(FakeWorker(MOTION)) as hub:
        memory = Memory(hub)
        session = await stream(hub)
        publisher = listener(session)
        viewers = []
        for age in range(20):
            viewer = Subscriber(messages=4)
            viewer.since = 1000.0 + age
            session.watch(viewer, Variant())
            viewers.append(viewer)
        memory.becomes(96)
        assert [viewer.farewell for viewer in viewers[-2:]] == [(1013, "overloaded")] * 2
        assert [viewer.farewell for viewer in [publisher, *viewers[:-2]]] == [None] * 19
        for gone in viewers[-2:]:
            session.audience.leave(gone)
        memory.becomes(96)
        assert sum(viewer.farewell is not None for viewer in viewers) == 4
        assert hub.admission.refusals.counts == {"overloaded": 4}


@simulated
async def test_what_is_given_up_is_told() -> None:
    async with engine(FakeWorker(MOTION)) as hub:
        Memory(hub).becomes(91)
        text = exposition(hub)[0].decode()
    assert 'framegate_overload_action_active{action="refuse_streams"} 1.0' in text
    assert 'framegate_overload_action_active{action="rest_analyzers"} 1.0' in text
    assert 'framegate_overload_action_active{action="disconnect_viewers"} 0.0' in text


def test_the_limit_is_that_of_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    whole = memory_limit()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit() == whole
    (tmp_path / "memory.max").write_text("536870912\n")
    assert memory_limit() == 536870912
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000000\n")
    assert memory_limit() == 1000000
