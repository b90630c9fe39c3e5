"""Simulated time: an event loop whose clock jumps to the next timer when nothing is ready.

Ten minutes of an engine pass in as long as its steps take, and every run takes the same steps. Only timers are
simulated: a test that waits for a real socket or thread does not belong on this loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

import pytest

P = ParamSpec("P")

EPOCH_S = 1000.0  # as on a machine that has been up for a while; a clock at 0 would hide confusions with "never"


class _Jump(selectors.DefaultSelector):
    """Instead of sleeping until the next timer, moves the clock there."""

    now = EPOCH_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits and no timer runs: nothing would ever happen again")
        self.now += timeout
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop with `time()` of its own."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jump.now


def simulated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test on a simulated loop. A task that it leaves behind fails it."""

    @wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            runner.run(_alone(test(*arguments, **named)))

    return run


async def _alone(test: Coroutine[Any, Any, None]) -> None:
    await test
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


def about(seconds: float, *, within: float = 1e-6) -> Any:
    """A duration or moment, give or take; equal to what is near enough."""
    return pytest.approx(seconds, abs=within)


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()


async def until(moment: float) -> None:
    """Wait for a moment of `now()`."""
    await asyncio.sleep(moment - now())
