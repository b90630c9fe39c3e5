"""The event loop's pulse: its lag, and a hang that is told of while it lasts."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import httpx2
import pytest

from gateway.app import create_app
from gateway.engine.pulse import Pulse
from gateway.settings import Settings


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_lag_is_the_worst_of_the_last_ten_seconds(clock: Clock) -> None:
    pulse = Pulse(1.0, 60.0, clock=clock)
    seen = []
    for step in (0.1, 0.3, 0.15, 5.0, 5.2):
        clock.now += step
        pulse.beat()
        seen.append(round(pulse.lag_s, 3))
    assert seen == [0.0, 0.2, 0.2, 4.9, 5.1]
    clock.now += 10.1
    assert pulse.lag_s == 0.0


def test_after_a_hang_it_is_degraded_for_a_while(clock: Clock) -> None:
    pulse = Pulse(1.0, 60.0, clock=clock)
    seen = []
    for step in (1.09, 1.2, 30.0, 90.2):
        clock.now += step
        if step < 30:
            pulse.beat()
        seen.append(pulse.degraded)
    assert seen == [False, True, True, False]


def block_the_loop(for_s: float) -> None:
    time.sleep(for_s)


async def test_a_hang_is_logged_once_with_the_stack_that_holds_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    pulse = Pulse(0.2, 60.0)
    with caplog.at_level(logging.ERROR, "gateway.engine.pulse"):
        async with pulse.running():
            block_the_loop(0.8)
            told = [record.getMessage() for record in caplog.records]  # while it lasts, not afterwards
            pulse.beat()
    assert len(told) == 1
    assert told[0].startswith("the event loop stands still for 0.")
    assert "block_the_loop" in told[0]
    assert "time.sleep(for_s)" in told[0]
    assert (pulse.hangs, pulse.degraded) == (1, True)


async def test_health_says_that_it_is_degraded(tmp_path: Path, clock: Clock) -> None:
    app = create_app(Settings(home=tmp_path))
    pulse = app.state.hub.pulse = Pulse(1.0, 60.0, clock=clock)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as client:
        said = [(await client.get("/health")).json()]
        clock.now += 2.0
        pulse.beat()
        said.append((await client.get("/health")).json())
    assert said == [{"status": "ok", "database": "none"}, {"status": "degraded", "database": "none"}]
