"""ROC: shares of pairs at every threshold, and identification with each picture left out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gateway.evaluation.roc import Identification, Pairs, RocPoint, area, curve, equal_error, leave_one_out, pairs, roc


def at(degrees: float) -> np.ndarray:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], np.float32)


FOUR = [("anna", at(0)), ("anna", at(20)), ("ben", at(90)), ("ben", at(50))]  # Ben's second is nearer to Anna's


def test_every_two_pictures_are_a_pair_once() -> None:
    found = pairs(FOUR)
    assert sorted(found.same) == pytest.approx([math.cos(math.radians(40)), math.cos(math.radians(20))], abs=1e-6)
    assert sorted(found.different) == pytest.approx(
        [math.cos(math.radians(degrees)) for degrees in (90, 70, 50, 30)], abs=1e-6
    )


def test_a_pair_at_the_threshold_is_accepted() -> None:
    assert roc(Pairs((0.5, 0.9), (0.1, 0.5)), [0.0, 0.5, 0.6, 1.0]) == [
        RocPoint(0.0, 1.0, 0.0),
        RocPoint(0.5, 0.5, 0.0),
        RocPoint(0.6, 0.0, 0.5),
        RocPoint(1.0, 0.0, 1.0),
    ]


def test_a_curve_is_plain_json_and_nothing_where_there_is_none() -> None:
    found = curve(FOUR)
    assert found["pairs"] == {"same": 2, "different": 4}
    assert found["roc"][0] == {"threshold": 0.0, "false_accept": 1.0, "false_reject": 0.0}
    assert (len(found["roc"]), found["roc"][-1]["false_reject"]) == (21, 1.0)
    assert json.loads(json.dumps(found)) == found
    assert curve(FOUR[:2]) == {}


def test_no_pairs_are_no_errors() -> None:
    assert roc(Pairs((), ()), [0.5]) == [RocPoint(0.5, 0.0, 0.0)]
    assert pairs([]) == Pairs((), ())


def test_the_equal_error_lies_in_the_middle_of_the_gap() -> None:
    point = equal_error(Pairs((0.6, 0.9), (0.1, 0.4)))
    assert (round(point.threshold, 6), point.false_accept, point.false_reject) == (0.5, 0.0, 0.0)
    mixed = equal_error(Pairs((0.2, 0.9), (0.1, 0.4)))
    assert (mixed.false_accept, mixed.false_reject) == (0.5, 0.5)


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    assert area(Pairs((0.6, 0.9), (0.1, 0.4))) == 1.0
    assert area(Pairs((0.2, 0.9), (0.1, 0.4))) == 0.75
    assert area(Pairs((0.5,), (0.5,))) == 0.5


@pytest.mark.parametrize("found", [Pairs((), (0.1,)), Pairs((0.1,), ())])
def test_one_kind_of_pairs_has_no_curve(found: Pairs) -> None:
    with pytest.raises(ValueError, match="pairs of one person and of two"):
        equal_error(found)
    with pytest.raises(ValueError, match="pairs of one person and of two"):
        area(found)


def test_each_picture_is_asked_of_all_others_and_of_strangers() -> None:
    """Ben's second picture is nearest to Anna's, and so named Anna; as a stranger too."""
    cos = {degrees: math.cos(math.radians(degrees)) for degrees in (20, 25, 35, 45)}
    assert leave_one_out(FOUR, cos[25]) == Identification(cos[25], 4, 3, 2, 0, 2, 4, 0)
    assert leave_one_out(FOUR, cos[35]) == Identification(cos[35], 4, 3, 2, 1, 1, 4, 2)
    assert leave_one_out(FOUR, cos[45]) == Identification(cos[45], 4, 3, 3, 1, 0, 4, 2)


def test_who_has_one_picture_is_a_stranger_only() -> None:
    found = leave_one_out([*FOUR, ("cleo", at(180))], 0.9)
    assert (found.known, found.strangers) == (4, 5)
