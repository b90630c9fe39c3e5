"""Timeline: the session's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.timeline import TRUST_S, Timeline

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def taken(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_without_capture_times_our_clock_decides() -> None:
    timeline = Timeline(1000.0)
    assert [timeline.place(None, now) for now in (1000.0, 1000.5, 1003.0)] == [0.0, 0.5, 3.0]


def test_the_senders_steps_count_and_not_the_networks_jitter() -> None:
    timeline = Timeline(1000.0)
    arrivals = [(0.0, 1001.0), (0.1, 1001.3), (0.2, 1001.31), (0.3, 1001.32)]
    placed = [timeline.place(taken(captured), now) for captured, now in arrivals]
    assert placed == pytest.approx([1.0, 1.1, 1.2, 1.3])


def test_a_senders_clock_that_jumps_is_anchored_anew() -> None:
    timeline = Timeline(1000.0)
    jumped = [timeline.place(taken(at), now) for at, now in [(0, 1001.0), (3600, 1002.0), (3601, 1003.0)]]
    assert jumped == pytest.approx([1.0, 2.0, 3.0])


def test_between_frames_time_goes_on() -> None:
    timeline = Timeline(1000.0)
    assert timeline.now(1004.0) == 4.0
    timeline.place(taken(0), 1005.0)
    assert timeline.now(1007.5) == 7.5


@given(
    frames=st.lists(
        st.tuples(st.floats(0, 10), st.one_of(st.none(), st.floats(-1e6, 1e6))),
        max_size=50,
    )
)
def test_time_never_goes_backwards_and_stays_near_ours(frames: list[tuple[float, float | None]]) -> None:
    timeline, now, last = Timeline(1000.0), 1000.0, 0.0
    for gap, captured in frames:
        now += gap
        at = timeline.place(None if captured is None else taken(captured), now)
        assert at >= last
        assert at <= now - 1000.0 + 2 * TRUST_S
        last = at
