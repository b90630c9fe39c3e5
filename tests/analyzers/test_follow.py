"""Following by overlap keeps ids while people walk, cross over gaps and are missed for a while."""

from __future__ import annotations

from analyzers._follow import Follower
from gateway import Box


def at(x: float, y: float = 0.2) -> Box:
    return Box(x, y, x + 0.2, y + 0.6)


def test_a_walker_keeps_his_id() -> None:
    follower = Follower()
    assert [follower.follow([at(0.1 * step)], step / 2) for step in range(8)] == [[1]] * 8


def test_two_keep_theirs_in_whatever_order_they_come() -> None:
    follower = Follower()
    assert follower.follow([at(0.0), at(0.7)], 0.0) == [1, 2]
    assert follower.follow([at(0.68), at(0.03)], 0.2) == [2, 1]


def test_the_best_overlap_wins() -> None:
    follower = Follower()
    follower.follow([at(0.3)], 0.0)
    assert follower.follow([at(0.4), at(0.31)], 0.2) == [2, 1]


def test_who_was_missed_briefly_is_the_same() -> None:
    follower = Follower()
    follower.follow([at(0.3)], 0.0)
    assert follower.follow([], 1.0) == []
    assert follower.follow([at(0.32)], 2.9) == [1]


def test_who_was_away_too_long_is_somebody_new() -> None:
    follower = Follower()
    follower.follow([at(0.3)], 0.0)
    assert follower.follow([at(0.3)], 3.1) == [2]
    assert list(follower.followed) == [2]
