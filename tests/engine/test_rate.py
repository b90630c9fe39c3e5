"""Rates: how many per second there were, and how many there may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.rate import Allowance, Rate


def ticked(fps: float, seconds: float, *, start: float = 1000.3) -> Rate:
    rate = Rate()
    for number in range(round(fps * seconds)):
        rate.tick(start + number / fps)
    return rate


def test_nothing_ever_is_a_rate_of_zero() -> None:
    assert Rate().value(1000.0) == 0.0


@pytest.mark.parametrize("fps", [0.5, 1, 7, 30, 59.94])
def test_a_steady_rate_is_found(fps: float) -> None:
    assert ticked(fps, 60).value(1060.3) == pytest.approx(fps, rel=0.2 if fps < 1 else 0.05)


def test_a_young_rate_is_over_the_time_there_was() -> None:
    assert ticked(10, 2).value(1002.3) == pytest.approx(10)


def test_one_event_is_not_a_burst() -> None:
    rate = Rate()
    rate.tick(1000.0)
    assert rate.value(1000.0) == 1.0


def test_a_rate_falls_to_zero_when_nothing_comes() -> None:
    rate = ticked(30, 60)
    assert [rate.value(1060.3 + later) for later in (6, 60, 86400)] == [0.0, 0.0, 0.0]


def test_asking_changes_nothing() -> None:
    rate = ticked(30, 10)
    assert rate.value(1010.3) == rate.value(1010.3)


@given(gaps=st.lists(st.floats(0, 100), max_size=60))
def test_the_total_counts_all_and_the_rate_never_exceeds_what_came(gaps: list[float]) -> None:
    rate, now = Rate(), 1000.0
    for gap in gaps:
        now += gap
        rate.tick(now)
        assert 0 <= rate.value(now) <= rate.total
    assert rate.total == len(gaps)


# --- allowance -------------------------------------------------------------------------------------------------------


def allowed(allowance: Allowance, moments: list[float]) -> int:
    return sum(allowance.take(moment) for moment in moments)


@pytest.mark.parametrize("per_s", [0.5, 5, 30])
def test_on_average_no_more_than_allowed(per_s: float) -> None:
    moments = [1000 + number / 100 for number in range(100 * 60)]
    assert allowed(Allowance(per_s), moments) == pytest.approx(60 * per_s + max(1, per_s / 2), abs=1)


def test_who_keeps_to_the_rate_is_never_refused() -> None:
    assert allowed(Allowance(30), [1000 + number / 30 for number in range(3000)]) == 3000


def test_a_burst_of_half_a_second_is_no_reason_to_refuse() -> None:
    bursts = [1000.0 + second / 2 for second in range(20) for _ in range(15)]
    assert allowed(Allowance(30), bursts) == 300


@given(gaps=st.lists(st.floats(0, 5), max_size=200), per_s=st.floats(0.1, 120))
def test_never_more_than_the_rate_and_one_burst(gaps: list[float], per_s: float) -> None:
    moments = [1000.0]
    for gap in gaps:
        moments.append(moments[-1] + gap)
    assert allowed(Allowance(per_s), moments) <= (moments[-1] - moments[0]) * per_s + max(1.0, per_s / 2) + 1e-6
