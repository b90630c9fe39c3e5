"""Live changes: analyzers come, go and are tuned while frames are under way, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.answers import Answers
from gateway.engine.hub import Hub
from gateway.engine.session import Session
from gateway.engine.slot import Stage
from gateway.errors import NotFound, SessionEnded, UnknownOption
from tests.clock import about, now, simulated
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
    sees,
    stream,
)


def change(hub: Hub, session: Session, **given: Any) -> None:
    """What `PATCH /stream/{id}` does with this body."""
    hub.change(session.id, session.request.changed(given), said=given.get("options", {}))


def names(session: Session) -> list[str]:
    return [stage.name for stage in session.stages]


def four() -> FakeWorker:
    return FakeWorker(
        FakeAnalyzer("motion", 0.01),
        FakeAnalyzer("objects", 0.01, options={"score": {"type": "number", "minimum": 0}, "side": {"type": "integer"}}),
        FakeAnalyzer("smoking", 0.01, needs=("objects",)),
        FakeAnalyzer("falls", 0.01, needs=("objects",)),
    )


# --- which analyzers --------------------------------------------------------------------------------------------------


@simulated
async def test_an_analyzer_joins_a_live_stream_with_what_it_needs_and_leaves_with_it() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion")
        change(hub, session, analyzers=("motion", "smoking"))
        assert names(session) == ["motion", "objects", "smoking"]
        change(hub, session, analyzers=("motion", "smoking", "falls"))
        change(hub, session, analyzers=("motion", "falls"))
        assert names(session) == ["motion", "objects", "falls"]
        change(hub, session, analyzers=("motion",))
        assert names(session) == ["motion"]
        change(hub, session, analyzers=None)
        assert names(session) == ["motion", "objects", "falls", "smoking"]


@simulated
async def test_an_analyzer_that_joins_is_loaded_and_sees_the_frames_from_then_on() -> None:
    worker = four()
    async with engine(worker) as hub:
        session = await stream(hub, "motion")
        await play(session, fps=10, seconds=1)
        change(hub, session, analyzers=("motion", "objects"))
        await asyncio.sleep(0.001)
        await play(session, fps=10, seconds=1)
    assert worker.seqs("motion") == list(range(20))
    assert worker.seqs("objects") == list(range(10, 20))


@simulated
async def test_who_stays_keeps_its_counters_and_who_goes_is_forgotten_in_its_worker() -> None:
    worker = four()
    async with engine(worker) as hub:
        session = await stream(hub, "motion", "smoking")
        await play(session, fps=10, seconds=1)
        (motion, *_), before = session.stages, len(worker.forgotten)
        change(hub, session, analyzers=("motion", "falls"))
        assert (session.stages[0] is motion, motion.analyzed) == (True, 10)
        assert worker.forgotten[before:] == [(session.id, "smoking")]
        change(hub, session, options={"motion": {"fps": 5}})
        assert len(worker.forgotten) == before + 1


@simulated
async def test_counters_of_an_analyzer_that_comes_back_go_on() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion", "objects")
        await play(session, fps=10, seconds=1)
        change(hub, session, analyzers=("motion",))
        await play(session, fps=10, seconds=1)
        change(hub, session, analyzers=("motion", "objects"))
        await play(session, fps=10, seconds=1)
        assert {stage.name: stage.analyzed for stage in session.stages} == {"motion": 30, "objects": 20}


@simulated
async def test_frames_of_a_chain_elsewhere_are_not_lost() -> None:
    near = FakeWorker(FakeAnalyzer("motion", 0.01), FakeAnalyzer("objects", 0.01), name="near")
    far = FakeWorker(FakeAnalyzer("light", 1.0), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "motion", "light")
        session.put(jpeg())
        await asyncio.sleep(0.1)
        session.put(jpeg())  # waits for `light`
        change(hub, session, analyzers=("motion", "light", "objects"))
        await asyncio.sleep(20)
        assert far.seqs("light") == [0, 1]


# --- options ----------------------------------------------------------------------------------------------------------


@simulated
async def test_options_are_tuned_one_by_one_and_null_gives_the_default_back() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "objects", options={"objects": {"score": 0.5, "side": 320}})
        change(hub, session, options={"objects": {"score": 0.9}})
        assert session.stages[0].options == {"score": 0.9, "side": 320}
        change(hub, session, options={"objects": {"side": None}})
        assert session.request.options == {"objects": {"score": 0.9}}


@simulated
async def test_options_of_an_analyzer_that_left_are_gone_when_it_comes_back() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion", "objects", options={"objects": {"score": 0.5}})
        change(hub, session, analyzers=("motion",))
        change(hub, session, analyzers=("motion", "objects"))
        assert session.stages[1].options == {}


@simulated
async def test_a_new_pace_holds_at_once_and_nobody_elses_pace_begins_anew() -> None:
    worker = four()
    async with engine(worker) as hub:
        session = await stream(hub, "motion", "objects", options={"motion": {"fps": 1}, "objects": {"fps": 0.1}})
        await play(session, fps=10, seconds=2)
        change(hub, session, options={"motion": {"fps": 5}})
        await play(session, fps=10, seconds=2)
    assert (len(worker.seqs("motion")), len(worker.seqs("objects"))) == (2 + 10, 1)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"analyzers": ("motion", "objcts")}, "there is no analyzer 'objcts'; did you mean objects?"),
        ({"analyzers": (), "options": {"motion": {"fps": 1}}}, "options for motion, which is not among"),
        ({"options": {"objects": {"scor": 1}}}, "analyzer objects has no option scor; did you mean score?"),
        ({"options": {"objects": {"score": "high"}}}, "option score: expected a number, got 'high'"),
        ({"options": {"objects": {"score": -1}}}, "option score: expected 0 or more, got -1"),
        (
            {"options": {"motion": {"fps": 7}, "objects": {"side": 1.5}}},
            "option side: expected a whole number, got 1.5",
        ),
    ],
)
def test_a_wrong_change_changes_nothing(given: dict[str, Any], complaint: str) -> None:
    @simulated
    async def check() -> None:
        async with engine(four()) as hub:
            session = await stream(hub, "motion", "objects", options={"objects": {"score": 0.5}})
            before = session.request, names(session), list(session.lineup.places), session.status()
            with pytest.raises(UnknownOption, match=complaint.replace("?", r"\?")):
                change(hub, session, **{"name": "new", "paused": True, **given})
            assert (session.request, names(session), list(session.lineup.places), session.status()) == before
            assert session.stages[1].options == {"score": 0.5}

    check()


@simulated
async def test_name_pace_and_grace_of_the_stream_may_change() -> None:
    async with engine(four(), limits={"max_fps": 30}) as hub:
        session = await stream(hub, max_fps=10, grace_s=5)
        change(hub, session, name="door", max_fps=20, grace_s=1)
        assert (session.status()["name"], session.max_fps, session.lease.grace_s) == ("door", 20, 1)
        change(hub, session, max_fps=None, grace_s=None)
        assert (session.max_fps, session.lease.grace_s) == (30, 20)


@simulated
async def test_a_stream_that_has_ended_cannot_be_changed() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion")
        await hub.end(session.id)
        with pytest.raises(SessionEnded):
            change(hub, session, paused=True)
        with pytest.raises(NotFound):
            hub.change("nobody", session.request)


# --- who is told ------------------------------------------------------------------------------------------------------


@simulated
async def test_viewers_are_told_at_once() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion")
        viewer = listener(session)
        change(hub, session, analyzers=("motion", "objects"))
        (status, *_) = await heard(viewer, "status")
        assert [item["name"] for item in status["analyzers"]] == ["motion", "objects"]


@simulated
async def test_events_of_an_analyzer_that_goes_end_with_it() -> None:
    seeing = FakeAnalyzer("motion", look=sees("motion")), FakeAnalyzer("objects", look=sees("queue"))
    async with engine(FakeWorker(*seeing)) as hub:
        session = await stream(hub, "motion", "objects")
        viewer = listener(session)
        await play(session, fps=10, seconds=1)
        change(hub, session, analyzers=("motion",))
        told = [(event["event_type"], event["phase"]) for event in await heard(viewer, "event")]
        assert told == [("motion", "new"), ("queue", "new"), ("queue", "end")]
        assert [event.event_type for event in session.findings.open_events] == ["motion"]


@simulated
async def test_a_result_that_comes_after_its_analyzer_was_removed_is_not_told() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow", 1.0, look=sees("motion")))) as hub:
        session = await stream(hub, "slow")
        viewer = listener(session)
        with session.answers.expect(0, ["slow"]) as answer:
            session.put(jpeg())
            await asyncio.sleep(0.5)
            change(hub, session, analyzers=())
            began = now()
            await answer.complete(10)
        assert (answer.analyzers, now() - began) == ({"slow": {"state": "ready", "dropped": "changed"}}, about(0.5))
        assert await heard(viewer, "result", "event") == []


# --- pause ------------------------------------------------------------------------------------------------------------


@simulated
async def test_a_paused_stream_takes_frames_and_no_analyzer_sees_them() -> None:
    near = FakeWorker(FakeAnalyzer("objects", 0.05), name="near")
    far = FakeWorker(FakeAnalyzer("queue", 0.05, needs=("objects",)), name="far")
    async with engine(near, far) as hub:
        session = await stream(hub, "queue")
        viewer = listener(session)
        await play(session, fps=10, seconds=1)
        change(hub, session, paused=True)
        await play(session, fps=10, seconds=1)
        change(hub, session, paused=False)
        await play(session, fps=10, seconds=1)
        assert [message["paused"] for message in await heard(viewer, "status")].count(True) >= 1
        assert session.status()["frames_in"] == 30
        assert {stage.name: (stage.analyzed, dict(stage.dropped)) for stage in session.stages} == {
            "objects": (20, {"paused": 10}),
            "queue": (20, {"paused": 10}),
        }


@simulated
async def test_what_waits_when_a_stream_is_paused_goes_by_and_what_is_seen_is_told() -> None:
    async with engine(FakeWorker(FakeAnalyzer("slow", 1.0))) as hub:
        session = await stream(hub, "slow")
        session.put(jpeg())
        await asyncio.sleep(0.1)
        session.put(jpeg())
        change(hub, session, paused=True)
        await asyncio.sleep(5)
        (stage,) = session.stages
        assert (stage.analyzed, dict(stage.dropped)) == (1, {"paused": 1})


@simulated
async def test_who_waits_for_a_frame_of_a_paused_stream_is_answered_at_once() -> None:
    async with engine(four()) as hub:
        session = await stream(hub, "motion")
        change(hub, session, paused=True)
        with session.answers.expect(0, ["motion"]) as answer:
            session.put(jpeg())
            assert await answer.complete(0)
        assert answer.analyzers == {"motion": {"state": "ready", "dropped": "paused"}}


@simulated
async def test_nothing_is_said_to_go_on_while_nobody_looks() -> None:
    async with engine(FakeWorker(FakeAnalyzer("motion", look=sees("motion", linger_s=60)))) as hub:
        session = await stream(hub, "motion")
        viewer = listener(session)
        await play(session, fps=10, seconds=1)
        change(hub, session, paused=True)
        assert [event["phase"] for event in await heard(viewer, "event")] == ["new", "end"]


# --- reload -----------------------------------------------------------------------------------------------------------


@simulated
async def test_an_unknown_analyzer_cannot_be_loaded_anew() -> None:
    async with engine(four()) as hub:
        with pytest.raises(NotFound, match=r"no analyzer 'objekts'; did you mean objects\?") as refused:
            await hub.reload("objekts")
        assert (refused.value.status, refused.value.code) == (404, "unknown_analyzer")


# --- workers that come back different ---------------------------------------------------------------------------------


async def restart(worker: FakeWorker) -> None:
    worker.die()
    await asyncio.sleep(5)


@simulated
async def test_an_analyzer_that_a_restarted_worker_no_longer_has_is_failed_until_it_is_back() -> None:
    worker = four()
    async with engine(worker) as hub:
        session = await stream(hub, "motion", "objects")
        gone = worker.analyzers.pop("objects")
        await restart(worker)
        runner = hub.runners["objects"]
        assert (runner.state, runner.reason) == ("failed", "plugin fake no longer has it")
        worker.analyzers["objects"] = gone
        await restart(worker)
        await play(session, fps=10, seconds=1)
        assert (runner.state, session.stages[1].analyzed) == ("ready", 10)


@simulated
async def test_new_code_may_need_others_and_bring_others() -> None:
    worker = FakeWorker(FakeAnalyzer("objects"), FakeAnalyzer("smoking"))
    async with engine(worker) as hub:
        session = await stream(hub, "smoking")
        worker.analyzers["smoking"].needs = ("objects",)
        worker.analyzers["falls"] = FakeAnalyzer("falls")
        await restart(worker)
        assert names(session) == ["objects", "smoking"]
        change(hub, session, analyzers=("falls",))
        await asyncio.sleep(0.1)
        await play(session, fps=10, seconds=1)
        assert worker.seqs("falls") == list(range(10))


# --- whatever is changed when -----------------------------------------------------------------------------------------

NAMES = ("objects", "smoking", "light", "queue")
ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([0.0, 0.01, 0.06])),
    st.tuples(st.just("put"), st.sampled_from([0.0, 0.01, 0.06])),
    st.tuples(st.just("analyzers"), st.sets(st.sampled_from(NAMES))),
    st.tuples(st.just("analyzers"), st.sets(st.sampled_from(NAMES)).map(lambda names: names | {"queue"})),
    st.tuples(st.just("pace"), st.sampled_from([None, 0.5, 20])),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("refused"), st.sets(st.sampled_from(NAMES))),
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.tuples(st.just("breaks"), st.sampled_from(NAMES)),
    st.tuples(st.just("heals"), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.06, 0.3, 5.0])),
)


class Ledger(Answers):
    """Writes down each frame that settles for an analyzer."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: Counter[tuple[int, str]] = Counter()

    def settle(self, seq: int, name: str, outcome: dict[str, Any]) -> None:
        self.settled[seq, name] += 1
        super().settle(seq, name, outcome)


@dataclass
class Model:
    """One stream over two workers, what is done to it, and what must come of that."""

    hub: Hub
    session: Session
    workers: tuple[FakeWorker, FakeWorker]
    ledger: Ledger
    due: Counter[tuple[int, str]] = field(default_factory=Counter)
    stages: dict[str, Stage] = field(default_factory=dict)

    async def happens(self, what: str, which: Any) -> None:
        acts: dict[str, Callable[[Any], None]] = {
            "put": self.put,
            "analyzers": lambda chosen: change(self.hub, self.session, analyzers=tuple(sorted(chosen))),
            "pace": self.pace,
            "paused": lambda paused: change(self.hub, self.session, paused=paused),
            "refused": self.refused,
            "die": lambda index: self.workers[index].die(),
            "breaks": lambda name: self.look(name, breaks),
            "heals": lambda name: self.look(name, nothing),
        }
        if what in acts:
            acts[what](which)
        if what in ("put", "wait"):
            await asyncio.sleep(which)

    def put(self, _: float) -> None:
        self.stages.update({stage.name: stage for stage in self.session.stages})
        frame = self.session.put(jpeg())
        if frame is not None:
            self.due.update((frame.seq, stage.name) for stage in self.session.stages)

    def pace(self, fps: float | None) -> None:
        change(self.hub, self.session, options={name: {"fps": fps} for name in names(self.session)})

    def refused(self, chosen: set[str]) -> None:
        with pytest.raises(UnknownOption):
            change(self.hub, self.session, analyzers=(*chosen, "nobody"), paused=True)

    def look(self, name: str, look: Any) -> None:
        next(worker.analyzers[name] for worker in self.workers if name in worker.analyzers).look = look

    def counters(self) -> dict[tuple[str, str], int]:
        analysis = {("analysis", reason): count for reason, count in self.session.dropped()["analysis"].items()}
        seen = {("analyzed", name): stage.analyzed for name, stage in self.stages.items()}
        return {**analysis, **seen, ("lost", ""): self.session.lost}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=5, max_size=50), ahead=st.booleans())
def test_every_frame_settles_once_for_each_analyzer_that_was_there_when_it_came(
    actions: list[tuple[str, Any]], ahead: bool
) -> None:
    @simulated
    async def check() -> None:
        near = FakeAnalyzer("objects", 0.05), FakeAnalyzer("smoking", 0.05, needs=("objects",))
        far = FakeAnalyzer("light", 0.05), FakeAnalyzer("queue", 0.05, needs=("smoking", "light"))
        pair = FakeWorker(*near, name="near"), FakeWorker(*far, name="far")
        async with engine(*pair, analysis={"restarts": 1000, "ahead": ahead, "quarantine": False}) as hub:
            session = await stream(hub, "queue")
            session.answers = ledger = Ledger()
            model, before = Model(hub, session, pair, ledger), dict[tuple[str, str], int]()
            for what, which in actions:
                await model.happens(what, which)
                after = model.counters()
                assert all(after[key] >= count for key, count in before.items()), what
                before = after
            await asyncio.sleep(300)
            assert ledger.settled == model.due
            per_name = Counter(name for _, name in model.due)
            totals = {name: stage.analyzed + stage.dropped.total() for name, stage in model.stages.items()}
            assert totals == {name: per_name[name] for name in model.stages}
            assert account(session).keys() == set(names(session))

    check()
