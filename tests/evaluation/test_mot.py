"""MOTA, IDF1 and switches of cases counted by hand, and as `motmetrics` counts them, where that is installed."""

from __future__ import annotations

import random

import pytest

from gateway.evaluation.mot import MotScores, Seen, mot_scores
from gateway.results import Box


def at(x: float) -> Box:
    return Box(x, 0.2, x + 0.2, 0.6)


A, B, FAR = at(0.0), at(0.4), at(0.75)


def test_the_truth_itself_is_perfect() -> None:
    truth = [[(1, A), (2, B)]] * 5
    scores = mot_scores(truth, [[(7, B), (9, A)]] * 5)
    assert (scores.mota, scores.idf1, scores.switches) == (1.0, 1.0, 0)


def test_nothing_told_is_all_missed_and_nothing_there_is_all_false() -> None:
    assert mot_scores([[(1, A)]] * 4, [[]] * 4) == MotScores(truth=4)
    assert (mot_scores([[(1, A)]] * 4, [[]] * 4).mota, mot_scores([[(1, A)]] * 4, [[]] * 4).idf1) == (0.0, 0.0)
    assert mot_scores([[]] * 4, [[(1, A)]] * 4) == MotScores(told=4)
    assert (mot_scores([[]], [[]]).mota, mot_scores([[]], [[(1, A)]]).mota) == (1.0, 0.0)


def test_an_id_that_changes_half_way_is_one_switch_and_half_identified() -> None:
    scores = mot_scores([[(1, A)]] * 10, [[(5, A)]] * 5 + [[(6, A)]] * 5)
    assert scores == MotScores(truth=10, told=10, matched=10, switches=1, identified=5)
    assert (scores.mota, scores.idf1) == (0.9, 0.5)


def test_two_that_swap_ids_are_two_switches() -> None:
    scores = mot_scores([[(1, A), (2, B)]] * 4, [[(5, A), (6, B)]] * 3 + [[(6, A), (5, B)]])
    assert scores == MotScores(truth=8, told=8, matched=8, switches=2, identified=6)


def test_a_pair_of_before_stays_together_though_another_box_fits_better() -> None:
    told: list[Seen] = [[(5, A)], [(5, at(0.05)), (6, A)]]
    assert mot_scores([[(1, A)]] * 2, told) == MotScores(truth=2, told=3, matched=2, switches=0, identified=2)


def test_an_id_that_comes_back_after_a_gap_is_no_switch_and_another_one_is() -> None:
    truth: list[Seen] = [[(1, A)]] * 3
    assert mot_scores(truth, [[(5, A)], [], [(5, A)]]).switches == 0
    assert mot_scores(truth, [[(5, A)], [], [(6, A)]]).switches == 1


def test_a_box_beside_is_false_and_leaves_a_miss() -> None:
    scores = mot_scores([[(1, A)]], [[(5, FAR)]])
    assert (scores.missed, scores.false, scores.mota) == (1, 1, -1.0)


def test_clips_add_up() -> None:
    one = mot_scores([[(1, A)]] * 4, [[(5, A)]] * 4)
    assert one + mot_scores([[(1, A)]] * 4, [[]] * 4) == MotScores(8, 4, 4, 0, 4)


def test_an_id_twice_in_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="an id stands twice"):
        mot_scores([[(1, A)]], [[(5, A), (5, B)]])


@pytest.mark.filterwarnings("ignore")
def test_any_case_counts_as_motmetrics_counts_it() -> None:
    motmetrics = pytest.importorskip("motmetrics")
    for seed in range(20):
        truth, told = _any_case(random.Random(seed))
        counter = motmetrics.MOTAccumulator(auto_id=True)
        for real, ours in zip(truth, told, strict=True):
            apart = [[1 - a.iou(b) if a.iou(b) >= 0.5 else float("nan") for _, b in ours] for _, a in real]
            counter.update([one for one, _ in real], [one for one, _ in ours], apart)
        names = ["mota", "idf1", "num_switches", "num_misses", "num_false_positives"]
        expected = motmetrics.metrics.create().compute(counter, metrics=names).iloc[0]
        scores = mot_scores(truth, told)
        counts = (scores.switches, scores.missed, scores.false)
        assert [scores.mota, scores.idf1, *counts] == pytest.approx([expected[name] for name in names])


def _any_case(chance: random.Random) -> tuple[list[Seen], list[Seen]]:
    """Five that tremble, are missed, and change ids more than any tracker would let them."""
    places = {one: [chance.random() * 0.7, chance.random() * 0.5] for one in range(5)}
    ids = {one: one + 10 for one in places}
    truth: list[Seen] = []
    told: list[Seen] = []
    for _ in range(40):
        real, ours = [], []
        for one, place in places.items():
            place[:] = [min(0.75, max(0.0, value + chance.uniform(-0.03, 0.03))) for value in place]
            if chance.random() < 0.9:
                real.append((one, Box.clipped(place[0], place[1], place[0] + 0.2, place[1] + 0.4)))
            if chance.random() < 0.1:
                ids[one] = chance.choice([new for new in range(10, 30) if new not in ids.values()])
            if chance.random() < 0.8:
                x, y = (value + chance.gauss(0, 0.02) for value in place)
                ours.append((ids[one], Box.clipped(x, y, x + 0.2, y + 0.4)))
        truth.append(real)
        told.append(ours)
    return truth, told
