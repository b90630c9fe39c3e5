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


@pytest.mark.parametrize("state", ["idle", "loading", "failed"])
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
