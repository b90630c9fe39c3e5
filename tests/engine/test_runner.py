"""Runner: whether an analyzer can be asked now, and how it fares."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.engine.plugins import Manifest
from gateway.engine.runner import Runner
from gateway.settings import Analysis


def make(state: str | None = "ready", **manifest: Any) -> Runner:
    runner = Runner(Manifest("a", "plugin", "framegate", "1", **manifest), Analysis())
    if state:
        runner.prepared(state)  # type: ignore[arg-type]
    return runner


def failed(times: int, *, now: float = 1000.0) -> Runner:
    runner = make()
    for _ in range(times):
        runner.failed("broke", now, "Traceback")
    return runner


@pytest.mark.parametrize("state", ["idle", "loading", "failed", "disabled"])
def test_one_that_is_not_ready_refuses_with_its_state(state: str) -> None:
    assert make(state).refusal(1000.0) == state


def test_one_that_is_ready_can_be_asked() -> None:
    assert make().refusal(1000.0) is None


@pytest.mark.parametrize("why", ["missing", "failed"])
def test_one_that_cannot_run_here_has_failed_from_the_start(why: str) -> None:
    runner = make(None, **{why: "no weights: framegate models pull yolox"})
    assert (runner.state, runner.reason) == ("failed", "no weights: framegate models pull yolox")


def test_four_failures_in_a_row_are_forgiven() -> None:
    assert (failed(4).state, failed(4).refusal(1000.0)) == ("ready", None)


def test_the_fifth_failure_opens_the_breaker_for_a_second() -> None:
    runner = failed(5)
    assert [runner.refusal(now) for now in (1000.0, 1000.99, 1001.0)] == ["open", "open", None]


def test_a_success_between_failures_starts_the_row_anew() -> None:
    runner = failed(4)
    runner.succeeded(10.0, 1000.0)
    for _ in range(4):
        runner.failed("broke", 1000.0)
    assert (runner.state, runner.failures) == ("ready", 8)


def test_each_failed_try_doubles_the_wait_up_to_a_minute() -> None:
    runner, now, waits = failed(5), 1000.0, []
    for _ in range(9):
        wait = next(seconds for seconds in range(1, 100) if runner.refusal(now + seconds) is None)
        waits.append(wait)
        now += wait
        runner.failed("broke", now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_successful_try_closes_the_breaker_and_forgets_the_waits() -> None:
    runner = failed(8)
    runner.succeeded(10.0, 2000.0)
    assert (runner.state, runner.reason, runner.traceback) == ("ready", None, None)
    for _ in range(5):
        runner.failed("broke", 2000.0)
    assert runner.refusal(2001.0) is None


def test_a_call_beyond_the_deadline_is_a_failure_that_came_back() -> None:
    runner = make()
    runner.succeeded(10.0, 1000.0)
    runner.succeeded(2500.0, 1000.0)
    assert (runner.calls, runner.failures) == (2, 1)
    assert runner.reason == "took 2500 ms, the deadline is 2000 ms"


def test_the_first_call_after_loading_may_be_slow() -> None:
    runner = make()
    assert runner.limit_s() == 60.0
    runner.succeeded(30_000.0, 1000.0)
    assert (runner.failures, runner.limit_s()) == (0, 5.0)
    runner.prepared("ready")
    assert runner.limit_s() == 60.0


def test_an_open_breaker_stays_open_over_a_restart_of_its_worker() -> None:
    runner = failed(5)
    runner.prepared("loading")
    runner.prepared("ready")
    assert (runner.state, runner.reason) == ("open", "broke")
    assert [runner.refusal(now) for now in (1000.5, 1001.0)] == ["open", None]


def test_the_mean_follows_recent_calls() -> None:
    runner = make()
    for _ in range(100):
        runner.succeeded(10.0, 1000.0)
    assert runner.mean_ms == pytest.approx(10.0)
    for _ in range(100):
        runner.succeeded(20.0, 1000.0)
    assert runner.mean_ms == pytest.approx(20.0, rel=1e-3)


# --- lives it costs ---------------------------------------------------------------------------------------------------


def test_one_that_costs_more_lives_than_5_within_a_minute_is_disabled() -> None:
    runner = make()
    for moment in range(5):
        runner.blamed("killed by SIGSEGV", 1000.0 + moment)
    assert (runner.state, runner.reason, runner.restarts) == ("ready", "killed by SIGSEGV", 5)
    runner.blamed("killed by SIGSEGV", 1060.0)
    assert (runner.state, runner.refusal(9999.0), runner.restarts) == ("disabled", "disabled", 6)
    assert runner.reason == "cost its worker its life 6 times in 60 s; the last time: killed by SIGSEGV"


def test_lives_over_a_longer_time_are_forgiven_if_calls_succeed_between() -> None:
    runner = make()
    for minute in range(20):
        runner.blamed("died", 1000.0 + 61 * minute)
        runner.succeeded(10.0, 1001.0 + 61 * minute)
    assert (runner.state, runner.restarts) == ("ready", 20)


def test_lives_in_a_row_are_not_forgiven_however_long_it_took() -> None:
    runner = make()
    for hour in range(6):
        runner.blamed("died", 1000.0 + 3600 * hour)
        runner.prepared("ready")
    assert (runner.state, "6 times in a row" in str(runner.reason)) == ("disabled", True)


def test_loading_at_last_forgives_the_lives_that_loading_cost() -> None:
    runner = make("loading")
    for hour in range(20):
        runner.blamed("died", 1000.0 + 3600 * hour, loading=True)
        runner.prepared("ready")
    assert (runner.state, runner.reason) == ("ready", None)


def test_one_that_is_disabled_stays_so_until_it_is_reset() -> None:
    runner = make()
    runner.disable("why")
    for state in ("ready", "failed", "loading"):
        runner.prepared(state, "else")
    assert (runner.state, runner.reason) == ("disabled", "why")
    runner.reset()
    assert (runner.state, runner.reason) == ("idle", None)


def test_a_reset_forgets_everything_but_what_only_grows() -> None:
    runner = failed(8)
    runner.succeeded(10.0, 2000.0)
    runner.blamed("died", 2000.0)
    runner.reset()
    runner.prepared("ready")
    assert (runner.calls, runner.failures, runner.restarts, runner.mean_ms) == (1, 8, 1, 0.0)
    assert (runner.state, runner.reason, runner.limit_s()) == ("ready", None, 60.0)
    for _ in range(4):
        runner.failed("broke", 2000.0)
    assert runner.state == "ready"


def test_every_change_of_state_is_told_with_its_reason_and_nothing_else_is() -> None:
    runner, told = make(None), []
    runner.on_change = lambda changed: told.append((changed.state, changed.reason))
    for state in ("loading", "loading", "ready"):
        runner.prepared(state)
    runner.succeeded(10.0, 1000.0)
    for _ in range(6):
        runner.failed("broke", 1000.0)
    runner.succeeded(10.0, 2000.0)
    runner.disable("enough")
    states = [("loading", None), ("ready", None), ("open", "broke"), ("ready", None), ("disabled", "enough")]
    assert told == states


# --- what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wished", "setting", "size"),
    [(0, 0, 1), (0, 8, 1), (1, 0, 1), (1, 8, 8), (4, 0, 4), (4, 8, 8), (4, 1, 1), (100_000, 0, 256)],
)
def test_the_operator_decides_on_batches_for_analyzers_that_can(wished: int, setting: int, size: int) -> None:
    runner = Runner(Manifest("a", "plugin", "framegate", "1"), Analysis(batch_size=setting))
    runner.prepared("ready", batch=wished)
    assert runner.batch_size == size


def test_only_weights_that_lack_are_looked_for_again_and_at_most_every_3_s() -> None:
    broken, lacking = make(), make(None, missing="no weights")
    broken.prepared("failed", "ValueError: no", "Traceback")
    assert [broken.may_be_loaded(now) for now in (1000.0, 2000.0)] == [False, False]
    assert [lacking.may_be_loaded(now) for now in (1000.0, 1002.9, 1003.0)] == [True, False, True]


def test_it_describes_itself_whole() -> None:
    runner = make(permissions=("network",), api=">=1,<2")
    runner.prepared("ready", batch=4, device="onnxruntime CPU")
    runner.quarantine = "/q/a-1"
    runner.blamed("died", 1000.0)
    assert runner.describe() == {
        "name": "a",
        "version": "1",
        "distribution": "framegate",
        "plugin": "plugin",
        "title": "",
        "state": "ready",
        "reason": "died",
        "traceback": None,
        "needs": [],
        "wants": [],
        "labels": [],
        "event_types": [],
        "options": {},
        "permissions": ["network"],
        "api": ">=1,<2",
        "device": "onnxruntime CPU",
        "batch": 4,
        "calls": 0,
        "failures": 0,
        "restarts": 1,
        "quarantine": "/q/a-1",
        "mean_ms": 0.0,
    }
