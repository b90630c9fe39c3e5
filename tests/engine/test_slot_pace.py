"""Whose pace lets it see which frame: an analyzer's, of frames that come at about that pace or much faster."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.engine.runner import Runner
from gateway.engine.slot import Stage
from gateway.engine.terms import Terms


def seen(fps: float, times: list[float]) -> int:
    """How many frames that come at these times it sees."""
    stage, count = Stage(cast(Runner, None), Terms(fps=fps)), 0
    for at in times:
        if stage.due(at) and stage.due(at + 1e-3):  # it is asked twice about a frame
            stage.taken(at)
            count += 1
        stage.offered(at)
    return count


@pytest.mark.parametrize("early", [0.0, 0.02, 0.1])
def test_of_frames_that_come_at_its_pace_none_is_left_out_for_coming_a_little_early(early: float) -> None:
    times = [100 + number / 2 - early * (number % 3) / 2 for number in range(40)]
    assert seen(2, times) == 40


def test_of_frames_that_come_faster_it_sees_what_its_pace_allows_and_no_more() -> None:
    times = [100 + number / 30 for number in range(300)]
    assert seen(2, times) == 20
    assert seen(5, times) == 50
