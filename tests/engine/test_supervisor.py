"""Supervisor: a worker is started again, whoever costs it too many lives is disabled, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from gateway.engine.host import Report
from gateway.engine.plugins import Manifest, manifest_json
from gateway.engine.process import WorkerDied
from gateway.engine.runner import Runner
from gateway.engine.supervisor import Supervisor
from gateway.engine.vitals import MIB, Vitals
from gateway.engine.wire import Header
from gateway.results import Result
from gateway.settings import Analysis
from tests.clock import about, now, simulated, until
from tests.doubles import FakeAnalyzer, FakeWorker, Look, account, engine, jpeg, play, stream

SEGFAULT = "the analyze worker has gone (killed by SIGSEGV)"


class Frail(FakeWorker):
    """A worker that dies of loading `fatal` analyzers, and that may be deaf."""

    def __init__(self, *analyzers: FakeAnalyzer, **how: Any) -> None:
        super().__init__(*analyzers, **how)
        self.fatal: set[str] = set()
        self.deaf = False
        self.death = "died"
        self.pinged: list[float] = []
        self.prepared: list[str] = []
        self.closed = 0
        self.reload_report: Report = {"state": "idle", "also": []}

    async def prepare(self, analyzer: str) -> Report:
        self.prepared.append(analyzer)
        report = await super().prepare(analyzer)
        if analyzer in self.fatal:
            self.death = SEGFAULT
            self.die()
            await asyncio.sleep(3600)
        return report

    async def start(self) -> Report:
        self.death = "died"
        return await super().start()

    async def listen(self) -> None:
        try:
            await super().listen()
        except WorkerDied:
            raise WorkerDied(self.death) from None

    async def ping(self) -> None:
        self.pinged.append(now())
        if self.deaf:
            await asyncio.sleep(3600)

    async def reload(self, analyzer: str) -> Report:
        self.reloaded.append(analyzer)
        return {"analyzer": analyzer, "manifest": None, "reason": None, "traceback": None, **self.reload_report}

    async def close(self) -> None:
        self.closed += 1
        await super().close()


def kills(job: Header) -> Result:
    raise WorkerDied(SEGFAULT)


def weighs(worker: FakeWorker, mib: int) -> Look:
    def look(job: Header) -> Result:
        worker.rss = mib * MIB
        return Result()

    return look


class Told:
    """What a supervisor told of its worker."""

    def __init__(self) -> None:
        self.rules = Analysis()
        self.errors: dict[str, str] = {}
        self.changes: list[tuple[str, str, str | None]] = []

    def introduce(self, supervisor: Supervisor, manifests: list[Manifest], failed: Mapping[str, str]) -> None:
        self.errors = dict(failed)
        for manifest in manifests:
            if manifest.name in supervisor.runners:
                supervisor.runners[manifest.name].manifest = manifest
            else:
                runner = supervisor.runners[manifest.name] = Runner(manifest, self.rules)
                runner.on_change = self._changed

    def _changed(self, runner: Runner) -> None:
        self.changes.append((runner.name, runner.state, runner.reason))


@asynccontextmanager
async def supervised(worker: FakeWorker, told: Told | None = None, **rules: Any) -> AsyncIterator[Supervisor]:
    """A worker under supervision, every analyzer wanted, until the block is left."""
    told = told or Told()
    told.rules = Analysis(**rules)
    supervisor = Supervisor("w", worker, told.rules, clock=now, introduce=told.introduce, plugins=["fake"])
    async with asyncio.TaskGroup() as tasks:
        life = tasks.create_task(supervisor.run())
        await asyncio.sleep(0.001)
        for runner in supervisor.runners.values():
            supervisor.want(runner)
        try:
            yield supervisor
        finally:
            supervisor.close()
            life.cancel()
    assert not worker.running


def states(supervisor: Supervisor) -> dict[str, str]:
    return {name: runner.state for name, runner in supervisor.runners.items()}


# --- starting again ---------------------------------------------------------------------------------------------------


@simulated
async def test_a_worker_that_cannot_start_is_tried_after_1_2_4_s_and_given_up_after_5_restarts() -> None:
    worker, told = Frail(), Told()
    worker.stillborn = 100
    async with supervised(worker, told) as supervisor:
        await asyncio.sleep(300)
        assert (supervisor.state, supervisor.restarts) == ("disabled", 5)
        assert told.errors == {"fake": "the worker was given up: died 6 times in 60 s; the last time: stillborn"}
    assert [later - earlier for earlier, later in pairwise(worker.starts)] == pytest.approx([1, 2, 4, 8, 16])


@simulated
async def test_pauses_grow_to_30_s_and_no_further() -> None:
    worker = Frail()
    worker.stillborn = 7
    async with supervised(worker, restarts=100):
        await asyncio.sleep(120)
    assert [later - earlier for earlier, later in pairwise(worker.starts)] == pytest.approx([1, 2, 4, 8, 16, 30, 30])


@simulated
async def test_a_worker_that_never_says_hello_is_given_up_however_long_that_takes() -> None:
    worker = Frail(hello_s=3600)
    async with supervised(worker) as supervisor:
        await asyncio.sleep(400)
        assert (supervisor.state, len(worker.starts)) == ("disabled", 6)
        assert supervisor.reason == "died 6 times in a row; the last time: no hello within 30 s"


@simulated
async def test_a_worker_that_dies_idle_again_and_again_is_given_up_with_all_its_analyzers() -> None:
    worker, told = Frail(FakeAnalyzer("a"), FakeAnalyzer("b", unfit="no such model")), Told()
    async with supervised(worker, told) as supervisor:
        for _ in range(6):
            await asyncio.sleep(0.5)
            worker.die()
            await asyncio.sleep(8.5 if supervisor.restarts == 3 else 0.5 + 2**supervisor.restarts)
        assert states(supervisor) == {"a": "disabled", "b": "failed"}
        reason = "died 6 times in 60 s; the last time: died"
        assert supervisor.runners["a"].reason == f"its worker was given up: {reason}"
        assert told.errors == {"fake": f"the worker was given up: {reason}"}
        assert [runner.restarts for runner in supervisor.runners.values()] == [0, 0]


@simulated
async def test_a_worker_that_lives_for_a_minute_between_its_deaths_is_never_given_up() -> None:
    worker = Frail(FakeAnalyzer("a"))
    async with supervised(worker) as supervisor:
        for _ in range(20):
            await asyncio.sleep(70)
            worker.die()
        await asyncio.sleep(2)
        assert (supervisor.state, supervisor.restarts) == ("running", 20)
    assert {round(later - earlier) for earlier, later in pairwise(worker.starts)} == {71, 70}


@simulated
async def test_a_worker_can_be_closed_in_each_of_its_states() -> None:
    for moment in (0.0, 0.5, 1.0, 2.0):
        worker = Frail(FakeAnalyzer("a", load_s=0.5), hello_s=0.4)
        async with supervised(worker) as supervisor:
            await asyncio.sleep(moment)
            worker.die()
        assert (worker.running, supervisor.restarts) == (False, 0)


# --- whose fault it was -----------------------------------------------------------------------------------------------


@simulated
async def test_an_analyzer_that_kills_its_worker_while_it_is_loaded_is_disabled_and_the_others_go_on() -> None:
    worker, told = Frail(FakeAnalyzer("deadly"), FakeAnalyzer("well")), Told()
    worker.fatal = {"deadly"}
    async with supervised(worker, told) as supervisor:
        await asyncio.sleep(120)
        assert states(supervisor) == {"deadly": "disabled", "well": "ready"}
        deadly = supervisor.runners["deadly"]
        assert deadly.reason == f"cost its worker its life 6 times in 60 s; the last time: {SEGFAULT}"
        assert (deadly.restarts, supervisor.restarts, supervisor.state) == (6, 6, "running")
        assert worker.prepared.count("deadly") == 6
    assert told.changes[-2:] == [("deadly", "disabled", deadly.reason), ("well", "ready", None)]


@simulated
async def test_deaths_in_a_row_while_loading_count_however_long_each_takes() -> None:
    worker = Frail(FakeAnalyzer("deadly", load_s=100))
    worker.fatal = {"deadly"}
    async with supervised(worker) as supervisor:
        await asyncio.sleep(1000)
        assert states(supervisor) == {"deadly": "disabled"}
        assert "6 times in a row" in str(supervisor.runners["deadly"].reason)


@simulated
async def test_one_that_dies_while_loading_says_why_until_it_is_ready() -> None:
    worker = Frail(FakeAnalyzer("shaky", load_s=1))
    worker.fatal = {"shaky"}
    async with supervised(worker) as supervisor:
        runner = supervisor.runners["shaky"]
        await asyncio.sleep(2.5)
        assert (runner.state, runner.reason, runner.restarts) == ("loading", SEGFAULT, 1)
        worker.fatal = set()
        await asyncio.sleep(2)
        assert (runner.state, runner.reason) == ("ready", None)


@simulated
async def test_a_model_that_is_not_loaded_in_time_costs_the_worker_its_life() -> None:
    worker = Frail(FakeAnalyzer("endless", load_s=3600), FakeAnalyzer("well"))
    async with supervised(worker, load_s=10, restarts=1) as supervisor:
        await asyncio.sleep(12)
        endless = supervisor.runners["endless"]
        assert (endless.restarts, endless.reason) == (1, "analyzer endless was not loaded within 10 s")
        await asyncio.sleep(15)
        assert states(supervisor) == {"endless": "disabled", "well": "ready"}
        assert worker.killed == 2


@simulated
async def test_an_analyzer_that_kills_its_worker_in_calls_is_disabled_and_the_others_go_on() -> None:
    worker = Frail(FakeAnalyzer("well"), FakeAnalyzer("deadly", look=kills))
    async with engine(worker) as hub:
        session = await stream(hub, "well", "deadly")
        frames = await play(session, fps=10, seconds=60)
        well, deadly = session.stages
        assert (well.runner.state, deadly.runner.state, deadly.runner.restarts) == ("ready", "disabled", 6)
        assert (deadly.analyzed, deadly.dropped["worker_died"]) == (0, 6)
        assert deadly.dropped["disabled"] > 400
        assert account(session) == {"well": frames, "deadly": frames}
        before = well.analyzed
        assert well.analyzed - before + await play(session, fps=10, seconds=10) == 100
    assert len(worker.starts) == 7


@simulated
async def test_where_a_frame_was_analysed_during_the_loading_nobody_is_blamed_and_the_suspect_loads_alone() -> None:
    worker = Frail(FakeAnalyzer("well", call_s=0.5), FakeAnalyzer("deadly", load_s=2))
    worker.fatal = {"deadly"}
    async with engine(worker, analysis={"restarts": 2}) as hub:
        session = await stream(hub, "well", "deadly")
        await play(session, fps=10, seconds=3)
        assert hub.supervisors[0].restarts == 1
        assert {name: runner.restarts for name, runner in hub.runners.items()} == {"well": 0, "deadly": 0}
        await play(session, fps=10, seconds=60)
        assert {name: runner.restarts for name, runner in hub.runners.items()} == {"well": 0, "deadly": 3}
        assert {name: runner.state for name, runner in hub.runners.items()} == {"well": "ready", "deadly": "disabled"}


@simulated
async def test_models_are_loaded_one_at_a_time() -> None:
    worker = Frail(FakeAnalyzer("a", load_s=2), FakeAnalyzer("b", load_s=2))
    async with supervised(worker) as supervisor:
        await asyncio.sleep(3)
        assert states(supervisor) == {"a": "ready", "b": "loading"}
        await asyncio.sleep(2)
        assert states(supervisor) == {"a": "ready", "b": "ready"}


# --- signs of life ----------------------------------------------------------------------------------------------------


@simulated
async def test_an_idle_worker_that_does_not_answer_is_ended() -> None:
    worker = Frail(FakeAnalyzer("a"))
    async with supervised(worker) as supervisor:
        await asyncio.sleep(12)
        began = worker.starts[0]
        assert [moment - began for moment in worker.pinged] == pytest.approx([5, 10])
        worker.deaf = True
        await asyncio.sleep(8.5)
        assert (supervisor.state, worker.killed) == ("waiting", 1)
        assert supervisor.reason == "the worker does not answer: no sign of life for 5 s"
        worker.deaf = False
        await asyncio.sleep(1)
        assert (supervisor.state, states(supervisor)) == ("running", {"a": "ready"})


@simulated
async def test_a_worker_is_not_pinged_while_it_loads_or_works() -> None:
    worker = Frail(FakeAnalyzer("slow", call_s=20, load_s=20))
    worker.deaf = True
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        await asyncio.sleep(20)
        session.put(jpeg())
        await asyncio.sleep(17)
        assert (worker.pinged, hub.supervisors[0].restarts) == ([], 0)


@simulated
async def test_a_ping_is_not_counted_against_a_worker_that_was_given_work_meanwhile() -> None:
    worker = Frail(FakeAnalyzer("slow", call_s=1))
    worker.deaf = True
    async with engine(worker) as hub:
        session = await stream(hub, "slow")
        await until(worker.starts[0] + 7)
        session.put(jpeg())
        await until(worker.starts[0] + 12)
        assert (len(worker.pinged), hub.supervisors[0].restarts) == (1, 0)


@simulated
async def test_a_ping_is_not_counted_against_a_worker_when_the_gateway_itself_stood_still() -> None:
    worker, slept = Frail(), 0.0
    worker.deaf = True
    vitals = Vitals(worker, Analysis(), clock=lambda: now() + slept, activity=lambda: 0)
    async with asyncio.TaskGroup() as tasks:
        pings = tasks.create_task(vitals.pings())
        await asyncio.sleep(7)
        slept = 60.0
        await asyncio.sleep(5)
        assert worker.killed == 0
        pings.cancel()


# --- memory -----------------------------------------------------------------------------------------------------------


@simulated
async def test_a_worker_that_holds_too_much_is_started_anew_at_once_after_its_frame() -> None:
    worker = Frail(FakeAnalyzer("leaky"))
    worker.analyzers["leaky"].look = weighs(worker, 101)
    async with engine(worker, analysis={"memory_mb": 100}) as hub:
        session = await stream(hub, "leaky")
        session.put(jpeg())
        await asyncio.sleep(0.01)
        supervisor, runner = hub.supervisors[0], hub.runners["leaky"]
        assert (supervisor.recycled, supervisor.restarts, runner.restarts, runner.failures) == (1, 0, 0, 0)
        assert (supervisor.state, runner.state) == ("running", "ready")
        assert session.stages[0].analyzed == 1
        worker.analyzers["leaky"].look = weighs(worker, 100)
        await play(session, fps=10, seconds=10)
        assert (supervisor.recycled, session.stages[0].analyzed) == (1, 101)


@simulated
async def test_a_worker_that_holds_too_much_again_and_again_is_given_up() -> None:
    worker = Frail(FakeAnalyzer("leaky"))
    worker.analyzers["leaky"].look = weighs(worker, 150)
    async with engine(worker, analysis={"memory_mb": 100}) as hub:
        session = await stream(hub, "leaky")
        await play(session, fps=10, seconds=10)
        reason = "had to be started anew 6 times in 60 s: it holds 150 MiB of memory, more than 100"
        assert (hub.supervisors[0].state, hub.supervisors[0].reason) == ("disabled", reason)
        assert hub.runners["leaky"].reason == f"its worker was given up: {reason}"
        assert hub.plugin_errors == {"fake": f"the worker was given up: {reason}"}


@simulated
async def test_no_limit_means_no_limit() -> None:
    worker = Frail(FakeAnalyzer("leaky"))
    worker.analyzers["leaky"].look = weighs(worker, 10**6)
    async with engine(worker, analysis={"memory_mb": 0}) as hub:
        session = await stream(hub, "leaky")
        await play(session, fps=10, seconds=2)
        assert (hub.supervisors[0].recycled, session.stages[0].analyzed) == (0, 20)


# --- reloading --------------------------------------------------------------------------------------------------------


@simulated
async def test_a_reload_makes_a_disabled_analyzer_as_new() -> None:
    worker = Frail(FakeAnalyzer("mended"))
    worker.fatal = {"mended"}
    async with supervised(worker) as supervisor:
        await asyncio.sleep(100)
        runner = supervisor.runners["mended"]
        assert runner.state == "disabled"
        worker.fatal = set()
        await supervisor.reload(runner)
        assert (runner.state, runner.reason, runner.restarts) == ("ready", None, 6)
        assert len(worker.starts) == 7


@simulated
async def test_a_reload_of_an_analyzer_that_nobody_asked_for_does_not_load_its_model() -> None:
    worker = Frail(FakeAnalyzer("asked"), FakeAnalyzer("unasked"))
    async with engine(worker) as hub:
        await stream(hub, "asked")
        await hub.supervisors[0].reload(hub.runners["unasked"])
        assert {name: runner.state for name, runner in hub.runners.items()} == {"asked": "ready", "unasked": "idle"}


@simulated
async def test_reloads_of_one_analyzer_at_the_same_time_are_one() -> None:
    worker = Frail(FakeAnalyzer("a", load_s=2))
    async with supervised(worker) as supervisor:
        await asyncio.sleep(3)
        began = now()
        await asyncio.gather(*(supervisor.reload(supervisor.runners["a"]) for _ in range(5)))
        assert (now() - began, worker.reloaded, states(supervisor)) == (about(2), ["a"], {"a": "ready"})


@simulated
async def test_a_reload_that_keeps_the_model_leaves_the_analyzer_ready() -> None:
    worker, told = Frail(FakeAnalyzer("a")), Told()
    async with supervised(worker, told) as supervisor:
        await asyncio.sleep(1)
        told.changes.clear()
        newer = manifest_json(Manifest("a", "fake", "framegate", "2"))
        worker.reload_report = {"state": "ready", "manifest": newer}
        await supervisor.reload(supervisor.runners["a"])
        assert (told.changes, supervisor.runners["a"].manifest.version) == ([], "2")


@simulated
async def test_code_that_is_refused_leaves_the_old_code_running_and_says_why() -> None:
    worker = Frail(FakeAnalyzer("a"))
    worker.reload_report = {"state": "refused", "reason": "a.py:3: SyntaxError", "traceback": "Traceback"}
    async with supervised(worker) as supervisor:
        await asyncio.sleep(1)
        runner = supervisor.runners["a"]
        await supervisor.reload(runner)
        described = (runner.state, runner.reason, runner.traceback)
        assert described == ("ready", "not reloaded: a.py:3: SyntaxError", "Traceback")


@pytest.mark.parametrize("how", ["distribution", "report"])
def test_what_cannot_be_reloaded_in_place_gets_a_new_worker_at_once(how: str) -> None:
    @simulated
    async def test() -> None:
        worker = Frail(FakeAnalyzer("a", distribution="theirs" if how == "distribution" else ""))
        worker.reload_report = {"state": "restart", "reason": "needs of a changed"}
        async with supervised(worker) as supervisor:
            await asyncio.sleep(1)
            await supervisor.reload(supervisor.runners["a"])
            assert (states(supervisor), supervisor.restarts, len(worker.starts)) == ({"a": "ready"}, 0, 2)
            assert worker.starts[1] - worker.starts[0] == about(1, within=0.01)

    test()


@simulated
async def test_a_reload_brings_a_worker_back_that_was_given_up_with_all_its_analyzers() -> None:
    worker = Frail(FakeAnalyzer("a"), FakeAnalyzer("b"))
    async with supervised(worker, restarts=0) as supervisor:
        await asyncio.sleep(1)
        worker.die()
        await asyncio.sleep(60)
        assert (supervisor.state, states(supervisor)) == ("disabled", {"a": "disabled", "b": "disabled"})
        await supervisor.reload(supervisor.runners["a"])
        await asyncio.sleep(0.01)
        assert (supervisor.state, states(supervisor)) == ("running", {"a": "ready", "b": "ready"})


@simulated
async def test_a_reload_while_the_worker_waits_starts_it_at_once() -> None:
    worker = Frail(FakeAnalyzer("a"))
    async with supervised(worker, restart_pause_s=20) as supervisor:
        await asyncio.sleep(1)
        worker.die()
        await asyncio.sleep(1)
        assert supervisor.state == "waiting"
        await supervisor.reload(supervisor.runners["a"])
        assert (states(supervisor), worker.starts[1] - worker.starts[0]) == ({"a": "ready"}, about(2, within=0.01))


@simulated
async def test_nobody_waits_for_a_reload_longer_than_loading_may_take() -> None:
    worker = Frail(FakeAnalyzer("a"))
    async with supervised(worker, load_s=10) as supervisor:
        await asyncio.sleep(1)
        worker.analyzers["a"].load_s, began = 3600, now()
        await supervisor.reload(supervisor.runners["a"])
        assert now() - began == about(10)


@simulated
async def test_nobody_waits_for_a_reload_when_the_gateway_closes() -> None:
    worker = Frail(FakeAnalyzer("a"))
    async with asyncio.TaskGroup() as tasks:
        async with supervised(worker) as supervisor:
            await asyncio.sleep(1)
            worker.analyzers["a"].load_s = 3600
            tasks.create_task(supervisor.reload(supervisor.runners["a"]))
            await asyncio.sleep(1)
        began = now()
    assert now() == began


# --- weights that come later ------------------------------------------------------------------------------------------


@simulated
async def test_weights_that_lacked_are_looked_for_when_somebody_asks_again() -> None:
    lacking = FakeAnalyzer("a", unfit="no weights", missing="no weights")
    worker = Frail(lacking)
    async with supervised(worker) as supervisor:
        runner = supervisor.runners["a"]
        await asyncio.sleep(1)
        assert (runner.state, worker.prepared) == ("failed", ["a"])
        supervisor.want(runner)
        assert runner.state == "failed"
        await asyncio.sleep(3)
        lacking.unfit = None
        supervisor.want(runner)
        await asyncio.sleep(0.01)
        assert (runner.state, runner.reason, worker.prepared) == ("ready", None, ["a", "a"])
