"""How long a source that failed is left alone."""

from __future__ import annotations

import pytest

from gateway.media.backoff import Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(30, 60, chance=lambda: 0.5)
    assert [backoff.after("refused") for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(("chance", "pauses"), [(0.0, [0.5, 1, 2]), (1.0, [1.5, 3, 6])])
def test_each_is_longer_or_shorter_by_half_at_most(chance: float, pauses: list[float]) -> None:
    backoff = Backoff(30, 60, chance=lambda: chance)
    assert [backoff.after("timeout") for _ in range(3)] == pauses


def test_none_is_longer_than_the_longest() -> None:
    backoff = Backoff(3, 60, chance=lambda: 1.0)
    assert [backoff.after("timeout") for _ in range(3)] == [1.5, 3, 3]


def test_who_was_online_for_a_while_begins_anew() -> None:
    backoff = Backoff(30, 60, chance=lambda: 0.5)
    pauses = [backoff.after("ended", online_s) for online_s in (0, 0, 0, 11, 0, 5)]
    assert pauses == [1, 2, 4, 1, 2, 4]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_refused_credential_is_tried_once_a_minute_at_most(chance: float) -> None:
    backoff = Backoff(30, 60, chance=lambda: chance)
    assert all(60 <= backoff.after("auth") <= 90 for _ in range(5))


def test_an_hour_without_a_camera_costs_at_most_150_attempts() -> None:
    backoff = Backoff(30, 60, chance=lambda: 0.5)
    passed, attempts = 0.0, 0
    while passed < 3600:
        passed += backoff.after("refused")
        attempts += 1
    assert attempts <= 150
