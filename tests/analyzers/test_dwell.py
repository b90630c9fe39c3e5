"""Rules over tracks: visits, conditions that hold, and lines that are crossed, by time and without being shaken."""

from __future__ import annotations

import math
import random

import pytest

from analyzers._dwell import Crossings, Held, Point, Visits

UPRIGHT: tuple[Point, ...] = (
    (0.5, 0.0),
    (0.5, 1.0),
)  # looking down along it, the left half of the picture is on its right


# --- visits ----------------------------------------------------------------------------------------------------------


def test_a_visit_counts_once_it_has_lasted_and_from_its_beginning() -> None:
    visits = Visits(settle_s=0.4)
    assert [visits.update({1: True}, (), at) for at in (0.0, 0.2, 0.4)] == [([], []), ([], []), ([1], [])]
    assert (visits.dwell(1, 10.0), visits.entered) == (10.0, 1)


def test_stepping_on_the_edge_is_neither_coming_nor_going() -> None:
    visits = Visits(settle_s=0.4)
    moves = [visits.update({1: number % 4 != 0}, (), number / 10) for number in range(4, 100)]
    assert [came for came, _ in moves if came] == []  # never 0.4 s inside at a stretch
    visits = Visits(settle_s=0.4)
    for number in range(10):
        visits.update({1: True}, (), number / 10)
    for number in range(10, 100):
        assert visits.update({1: number % 4 != 0}, (), number / 10) == ([], [])
    assert visits.dwell(1, 9.9) == 9.9


def test_who_goes_is_told_and_so_is_who_vanishes() -> None:
    visits = Visits(settle_s=0.4)
    for at in (0.0, 0.5):
        visits.update({1: True, 2: True, 3: True}, (), at)
    assert visits.update({1: False}, {2}, 1.0) == ([], [3])
    assert visits.update({1: False}, {2}, 1.5) == ([], [1])
    assert (list(visits.since), visits.entered, visits.left) == ([2], 3, 2)


def test_at_two_pictures_a_second_it_takes_two() -> None:
    visits = Visits(settle_s=0.4)
    assert [visits.update({1: True}, (), at) for at in (0.0, 0.5)] == [([], []), ([1], [])]


# --- held ------------------------------------------------------------------------------------------------------------


def test_a_condition_holds_through_a_short_gap_and_begins_anew_after_a_long_one() -> None:
    held = Held(slack_s=1.0)
    assert [held.update(True, at) for at in (0.0, 2.0)] == [0.0, 2.0]
    assert [held.update(False, at) for at in (2.5, 3.0)] == [2.5, 3.0]
    assert held.update(False, 3.1) == 0.0
    assert [held.update(True, at) for at in (4.0, 5.0)] == [0.0, 1.0]


# --- lines -----------------------------------------------------------------------------------------------------------


def walk(crossings: Crossings, *feet: Point, margin: float = 0.02) -> list[str]:
    return [direction for foot in feet for _, direction in crossings.update({1: (foot, margin)}, ())]


@pytest.mark.parametrize("fps", [25, 5, 2])
def test_a_crossing_counts_once_and_has_a_direction(fps: int) -> None:
    """Looking from the first point of a line to its second, which is down here, the left half is on the right."""
    xs = [0.2 + 0.15 * number / fps for number in range(4 * fps + 1)]
    there, back = [(x, 0.5) for x in xs], [(x, 0.5) for x in reversed(xs)]
    crossings = Crossings(UPRIGHT)
    assert walk(crossings, *there) == ["right_to_left"]
    assert walk(crossings, *back) == ["left_to_right"]
    assert (crossings.leftwards, crossings.rightwards) == (1, 1)
    assert walk(Crossings(UPRIGHT[::-1]), *there) == ["left_to_right"]


def test_trembling_beside_and_on_a_line_crosses_nothing() -> None:
    chance = random.Random(1)
    for centre in (0.47, 0.5, 0.53):
        feet = [(centre + chance.gauss(0, 0.015), 0.5) for _ in range(500)]
        assert walk(Crossings(UPRIGHT), *feet, margin=0.06) == []


def test_one_box_cut_short_crosses_nothing() -> None:
    level = ((0.0, 0.5), (1.0, 0.5))
    feet = [(0.5, 0.3) if number % 10 == 5 else (0.5, 0.7) for number in range(100)]
    assert walk(Crossings(level), *feet) == []


def test_around_the_end_of_a_line_is_not_across() -> None:
    """Half a circle around its lower end, then back through it."""
    short = ((0.5, 0.2), (0.5, 0.5))
    around = [
        (0.5 + 0.2 * math.cos(angle / 20 * math.pi), 0.5 + 0.2 * math.sin(angle / 20 * math.pi)) for angle in range(21)
    ]
    crossings = Crossings(short)
    assert walk(crossings, (0.7, 0.4), *around, (0.3, 0.4)) == []
    assert walk(crossings, (0.35, 0.35), (0.45, 0.35), (0.55, 0.35), (0.65, 0.35)) == ["right_to_left"]


def test_whoever_crosses_while_hidden_has_crossed_and_whoever_is_gone_is_forgotten() -> None:
    crossings = Crossings(UPRIGHT)
    walk(crossings, (0.3, 0.5), (0.4, 0.5))
    crossings.update({}, {1})
    assert walk(crossings, (0.6, 0.5), (0.65, 0.5)) == ["right_to_left"]
    crossings.update({}, ())
    assert walk(crossings, (0.3, 0.5), (0.25, 0.5)) == []


def test_a_bent_line_has_two_sides_everywhere() -> None:
    bent = ((0.2, 0.2), (0.2, 0.8), (0.8, 0.8))
    assert walk(Crossings(bent), (0.1, 0.5), (0.15, 0.5), (0.3, 0.5), (0.4, 0.5)) == ["right_to_left"]
    assert walk(Crossings(bent), (0.5, 0.6), (0.5, 0.7), (0.5, 0.9), (0.5, 0.95)) == ["left_to_right"]
