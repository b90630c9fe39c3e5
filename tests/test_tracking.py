"""A tracker keeps ids while things move, cross, hide and are missed, at any rate of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pytest

from bench.tracking import ours, overlap, played
from bench.walkers import Detector, Scene, crossing, looks, pillar, runner, square
from gateway import Box, Detection, Track, Tracker
from gateway.evaluation.mot import MotScores, mot_scores

RATES = (25.0, 10.0, 5.0, 2.0)
PERFECT = Detector(misses=0, weak=0, false=0, tremble=0, cut=0)


def person(x: float, score: float = 0.8, label: str = "person", y: float = 0.3) -> Detection:
    return Detection(label, score, Box.clipped(x, y, x + 0.08, y + 0.4))


def walk(
    tracker: Tracker, fps: float, seconds: float, xs: Sequence[float], speeds: Sequence[float], since: float = 0.0
) -> list[Track]:
    """Persons walk sideways from `xs`, `speeds` widths of the picture a second; the last tracks."""
    tracks: list[Track] = []
    for number in range(round(seconds * fps)):
        at = since + number / fps
        tracks = tracker.update([person(x + speed * at) for x, speed in zip(xs, speeds, strict=True)], at)
    return tracks


def ids(tracks: Iterable[Track]) -> list[int]:
    return [track.id for track in tracks]


def scored(scene: Scene, fps: float, detector: Detector, seeds: int = 2) -> MotScores:
    total = MotScores()
    for seed in range(seeds):
        seen = list(looks(scene, fps, detector, seed))
        total += mot_scores([look.truth for look in seen], played(ours(fps), seen))
    return total


# --- scenes with exact truth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25, 10, 5])
@pytest.mark.parametrize("scene", [crossing(), pillar(), runner()], ids=lambda scene: scene.name)
def test_where_nothing_is_missed_nobody_changes_his_id(scene: Scene, fps: float) -> None:
    """All that is lost is the moment until a track is confirmed, and while somebody is half in the picture."""
    scores = scored(scene, fps, PERFECT, seeds=1)
    assert (scores.switches, scores.false, scores.identified) == (0, 0, scores.matched)
    assert scores.matched > 0.85 * scores.truth


@pytest.mark.parametrize(
    ("fps", "idf1", "switches"), [(25.0, 0.75, 6), (10.0, 0.73, 6), (5.0, 0.68, 12), (2.0, 0.5, 20)]
)
def test_misses_errors_and_trembling_cost_little(fps: float, idf1: float, switches: int) -> None:
    """What is missed bounds IDF1 to about 0.9. Following by overlap has 0.5 at most: `python -m bench.tracking`."""
    total = MotScores()
    for scene in (crossing(), pillar(), runner(), *([square(seconds=10)] if fps < 25 else ())):
        total += scored(scene, fps, Detector(), seeds=2)
    assert total.idf1 >= idf1
    assert total.switches <= switches


@pytest.mark.parametrize("misses", [0.1, 0.3])
def test_missing_more_loses_boxes_not_ids(misses: float) -> None:
    scores = scored(pillar(), 10, Detector(misses=misses, weak=0, false=0, cut=0))
    assert scores.switches == 0
    assert scores.matched > (1 - misses) * 0.9 * scores.truth


def test_it_beats_following_by_overlap_at_every_rate() -> None:
    for fps in RATES:
        seen = list(looks(square(seconds=8), fps, Detector()))
        truth = [look.truth for look in seen]
        assert (
            mot_scores(truth, played(ours(fps), seen)).idf1 > mot_scores(truth, played(overlap(fps), seen)).idf1 + 0.1
        )


def test_the_same_pictures_give_the_same_tracks() -> None:
    seen = list(looks(square(seconds=8), 5, Detector()))
    assert played(ours(5), seen) == played(ours(5), seen)


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25, 5, 1])
def test_speed_is_per_second_whatever_the_rate(fps: float) -> None:
    (track,) = walk(Tracker(), fps, 6, [0.1], [0.1])
    assert track.velocity == pytest.approx((0.1, 0), abs=0.005)
    assert [track.started_at, track.unseen_s, track.age_s] == pytest.approx([0.0, 0.0, 6 - 1 / fps])


def test_whoever_is_hidden_is_where_he_should_be_and_keeps_his_id() -> None:
    tracker = Tracker(lost_s=3)
    walk(tracker, 10, 2, [0.1], [0.1])
    (hidden,) = tracker.update([], 3.4)
    assert (hidden.id, hidden.detection, hidden.seen_at) == (1, None, 1.9)
    assert hidden.unseen_s == pytest.approx(1.5)
    assert hidden.box.x1 == pytest.approx(0.1 + 0.34, abs=0.01)
    assert ids(tracker.update([person(0.1 + 0.36)], 3.6)) == [1]


def test_whoever_is_away_for_too_long_is_somebody_new() -> None:
    tracker = Tracker(lost_s=3)
    walk(tracker, 10, 2, [0.3], [0.0])
    assert ids(tracker.update([], 4.8)) == [1]
    assert ids(tracker.update([], 5.0)) == []
    assert ids(walk(tracker, 10, 1, [0.3], [0.0], since=5.1)) == [2]


def test_whoever_leaves_the_picture_is_gone_at_once() -> None:
    tracker = Tracker(lost_s=30)
    walk(tracker, 10, 3, [0.7], [0.1])
    assert ids(tracker.update([], 3.2)) == [1]
    assert ids(tracker.update([], 5.0)) == []


def test_after_a_gap_what_stands_where_it_stood_is_the_same() -> None:
    tracker = Tracker(lost_s=3)
    walk(tracker, 10, 2, [0.1, 0.6], [0.0, 0.0])
    assert ids(tracker.update([person(0.11), person(0.9)], 100.0)) == [1]


def test_times_that_repeat_or_go_back_disturb_nobody() -> None:
    tracker = Tracker()
    walk(tracker, 10, 2, [0.2, 0.6], [0.05, -0.05])
    for at in (1.9, 1.9, 0.5, 0.6, 0.7):
        tracks = tracker.update([person(0.3), person(0.5)], at)
        assert ids(tracks) == [1, 2]
        assert all(track.unseen_s == 0 and track.age_s >= 1.9 - 1e-6 for track in tracks)


@pytest.mark.parametrize("at", [math.nan, math.inf])
def test_a_time_that_is_none_is_refused(at: float) -> None:
    with pytest.raises(ValueError, match="a time is a finite number of seconds"):
        Tracker().update([], at)


# --- beginnings ------------------------------------------------------------------------------------------------------


def test_an_id_is_given_once_something_was_seen_again() -> None:
    tracker = Tracker(confirm_s=0.2)
    assert [ids(tracker.update([person(0.3)], at)) for at in (0.0, 0.1, 0.2, 0.3)] == [[], [], [1], [1]]


def test_what_is_seen_now_and_then_gets_no_id() -> None:
    tracker = Tracker()
    told = [ids(tracker.update([person(0.3)] if number % 4 == 0 else [], number / 10)) for number in range(40)]
    assert told == [[]] * 40


def test_ids_are_not_used_again() -> None:
    tracker = Tracker(lost_s=1)
    assert [ids(walk(tracker, 10, 1, [0.3], [0.0], since=at)) for at in (0, 1, 2)] == [[1], [1], [1]]
    tracker.update([], 4.1)
    tracker.update([], 4.2)
    assert ids(walk(tracker, 10, 1, [0.3], [0.0], since=5)) == [2]


def test_a_second_box_of_the_same_person_is_nobody() -> None:
    tracker = Tracker()
    for number in range(10):
        double = Detection("person", 0.5, Box(0.31, 0.32, 0.38, 0.7))
        tracks = tracker.update([person(0.3), double], number / 10)
    assert ids(tracks) == [1]


def test_somebody_whose_box_leaps_from_whole_to_half_keeps_his_id() -> None:
    """As of a person whom a table cuts off, now seen and now not."""
    tracker = Tracker()
    shapes = [Box(0.46, 0.2, 0.72, 1.0), Box(0.4, 0.5, 0.8, 1.0)]
    told = set[tuple[int, ...]]()
    for number in range(100):
        shape = shapes[number // 25 % 2]
        told.add(tuple(ids(tracker.update([Detection("person", 0.8, shape)], number / 25))))
    assert told == {(), (1,)}


# --- scores and kinds ------------------------------------------------------------------------------------------------


def test_the_weak_continue_and_never_begin() -> None:
    tracker = Tracker(strong=0.25)
    for number in range(20):
        assert tracker.update([person(0.6, score=0.1)], number / 10) == []
    walk(tracker, 10, 1, [0.3], [0.0], since=2)
    (track,) = tracker.update([person(0.3, score=0.1)], 3.0)
    assert (track.id, track.unseen_s, track.detection) == (1, 0.0, person(0.3, score=0.1))
    (track,) = tracker.update([], 3.1, faint=[person(0.3, score=0.9)])
    assert track.unseen_s == 0.0


def test_a_weak_box_is_not_taken_from_who_has_a_strong_one() -> None:
    tracker = Tracker()
    walk(tracker, 10, 1, [0.3], [0.0])
    strong, weak = person(0.32), person(0.3, score=0.1)
    (track,) = tracker.update([weak, strong], 1.0)
    assert track.detection is strong


def test_kinds_do_not_continue_each_other_unless_they_are_one_group() -> None:
    for groups, expected in (((), [1, 2]), ([("backpack", "suitcase")], [1])):
        tracker = Tracker(groups=groups)
        for number in range(20):
            bag = person(0.3, 0.8, "suitcase") if number % 2 else person(0.3, 0.7, "backpack")
            tracks = tracker.update([bag], number / 10)
        assert (ids(tracks), tracks[-1].label) == (expected, "suitcase")


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_no_more_tracks_are_held_than_allowed() -> None:
    tracker = Tracker(most=20, lost_s=100)
    places = [(0.1 * (n % 10), 0.2 * (n // 10)) for n in range(50)]
    crowd = [Detection("person", 0.8, Box(x, y, x + 0.05, y + 0.1)) for x, y in places]
    for number in range(10):
        tracks = tracker.update(crowd[:15] if number < 5 else crowd[15:30], number / 10)
    assert [len(tracks), sum(track.detection is not None for track in tracks)] == [20, 15]
    assert len(tracker.update(crowd, 1.0)) <= 20


def test_a_path_is_bounded_and_ends_where_the_foot_is() -> None:
    (track,) = walk(Tracker(), 25, 12, [0.1], [0.05])
    assert len(track.path) == 64
    assert track.path[-1] == pytest.approx((11.96, 0.14 + 0.05 * 11.96, 0.7))
    times = [at for at, _, _ in track.path]
    assert times == sorted(times)
    assert times[-1] - times[0] > 5


def test_a_turned_picture_is_another_one() -> None:
    tracker = Tracker(aspect=16 / 9)
    walk(tracker, 10, 1, [0.3], [0.0])
    tracker.aspect = 1920 / 1081  # rounded to whole pixels
    assert ids(tracker.update([person(0.3)], 1.0)) == [1]
    tracker.aspect = 9 / 16
    assert ids(walk(tracker, 10, 1, [0.3], [0.0], since=2)) == [2]
