"""Which packets are decoded and which pictures are wanted, at 15 fps with a keyframe every second."""

from __future__ import annotations

import pytest

from gateway.media.messages import Wish
from gateway.media.pace import Clock, Pace

FPS, GOP = 15, 15


def run(wish: Wish, seconds: int = 20, *, gop: int = GOP) -> tuple[float, float]:
    """Packets decoded and pictures wanted per second, after the first 5 s."""
    pace, decoded, wanted, held = Pace(wish), 0, 0, 0
    for number in range(seconds * FPS):
        at, keyframe = number / FPS, number % gop == 0
        way = pace.packet(at, keyframe=keyframe)
        held = held + 1 if way == "hold" else 0 if keyframe else held
        if way == "decode":
            counted = at >= 5
            decoded += counted * (1 + held)
            wanted += pace.picture(at) and counted
            held = 0
    return decoded / (seconds - 5), wanted / (seconds - 5)


@pytest.mark.parametrize(
    ("fps", "decoded", "wanted"),
    [(15, 15, 15), (30, 15, 15), (5, 13, 5), (1, 1, 1), (0.5, 1, 0.5)],
)
def test_what_keyframes_make_superfluous_is_not_decoded(fps: float, decoded: float, wanted: float) -> None:
    got = run(Wish(1, fps=fps))
    assert got[0] == pytest.approx(decoded, abs=0.1)
    assert got[1] == pytest.approx(wanted, abs=0.2)


def ways(keys: set[int], count: int, fps: float = 5) -> list[str]:
    """What becomes of each packet of a source that is wished so often."""
    pace, found = Pace(Wish(1, fps=fps)), list[str]()
    for number in range(count):
        found.append(pace.packet(number / FPS, keyframe=number in keys))
        if found[-1] == "decode":
            pace.picture(number / FPS)
    return found


def test_a_keyframe_that_does_not_come_when_it_was_foretold_holds_up_nothing() -> None:
    """Cameras make them come later while nothing moves."""
    found = ways({0, 15, 30, 45}, 75)
    assert found[45:60] == ["decode"] * 13 + ["hold"] * 2
    assert set(found[61:]) == {"decode"}


def test_keyframes_without_rule_are_not_foretold() -> None:
    assert set(ways({0, 15, 35, 45, 70}, 90)) == {"decode"}


def test_a_pace_that_does_not_divide_the_sources_is_kept_on_average() -> None:
    assert run(Wish(1, fps=4), 60)[1] == pytest.approx(4, abs=0.1)
    assert run(Wish(1, fps=10), 60)[1] == pytest.approx(10, abs=0.3)


def test_a_source_that_nobody_looks_at_costs_its_keyframes() -> None:
    assert run(Wish(1, wanted=False)) == pytest.approx((1, 1), abs=0.1)


def test_frames_that_none_refers_to_are_skipped_where_every_second_one_would_do() -> None:
    plans = {}
    for fps in (15, 8, 5):
        pace = Pace(Wish(1, fps=fps))
        for number in range(60):
            pace.packet(number / FPS, keyframe=number == 0)
        plans[fps] = pace.plan
    assert plans == {15: "all", 8: "references", 5: "references"}


def test_nothing_is_decoded_before_the_first_keyframe_nor_after_one_was_left_out() -> None:
    pace = Pace(Wish(1, fps=15))
    assert [pace.packet(n / FPS, keyframe=n == 3) for n in range(6)] == ["drop"] * 3 + ["decode"] * 3
    pace.wish = Wish(1, wanted=False)
    assert pace.packet(6 / FPS, keyframe=False) == "drop"
    pace.wish = Wish(1, fps=15)
    assert [pace.packet(n / FPS, keyframe=n == 9) for n in range(7, 12)] == ["drop"] * 2 + ["decode"] * 3


def times(stamps: list[float | None], step: float = 0.1) -> list[float]:
    clock = Clock()
    return [round(clock.at(stamp, 100 + number * step), 3) for number, stamp in enumerate(stamps)]


def test_time_begins_at_zero_and_follows_the_timestamps() -> None:
    assert times([7.0, 7.04, 7.08, 7.5]) == [0, 0.04, 0.08, 0.5]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([7, 7.1, 2, 2.1], [0, 0.1, 0.2, 0.3]),  # back
        ([7, 7.1, 5000, 5000.1], [0, 0.1, 0.2, 0.3]),  # forward
        ([95443.7, 95443.7, 0.0, 0.1], [0, 0.1, 0.2, 0.3]),  # the 33-bit wrap of 90 kHz, after one that stands still
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),  # zeros
        ([None, None, None, None], [0, 0.1, 0.2, 0.3]),
        ([7, None, 7.2, 7.3], [0, 0.1, 0.2, 0.3]),
    ],
)
def test_time_goes_on_where_timestamps_do_not(stamps: list[float | None], expected: list[float]) -> None:
    assert times(stamps) == pytest.approx(expected, abs=0.11)
    assert times(stamps) == sorted(times(stamps))


def test_another_opening_of_the_source_goes_on_where_the_last_one_ended() -> None:
    clock = Clock()
    before = [clock.at(stamp, 100 + stamp) for stamp in (0, 0.1, 0.2)]
    clock.begin_anew()
    after = [clock.at(stamp, 100.3 + stamp) for stamp in (0, 0.1, 0.2)]
    assert before + after == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_pictures_stored_out_of_order_never_step_back() -> None:
    assert times([0, 0.12, 0.04, 0.08, 0.24]) == [0, 0.12, 0.12, 0.12, 0.24]
