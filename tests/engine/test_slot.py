"""Slot: whose frames an analyzer sees, when its needs live in other workers."""

from __future__ import annotations

import pytest

from gateway.engine.clips import Clips
from gateway.engine.plugins import Manifest
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.session import Session
from gateway.engine.slot import Slot, Stage, in_line
from gateway.settings import Analysis
from tests.doubles import FakePainter, settings


@pytest.fixture
def session() -> Session:
    return Session(
        "stream", SessionRequest(), settings(), painter=FakePainter(), clips=Clips(settings()), clock=lambda: 1000.0
    )


def slot(session: Session, *names: str, source: Slot | None = None) -> Slot:
    runners = [Runner(Manifest(name, "plugin", "framegate", "1"), Analysis()) for name in names]
    made = Slot(session, [Stage(runner) for runner in runners])
    if source:
        made.follow(source)
    return made


def test_a_slot_knows_what_was_seen_on_the_way_to_it(session: Session) -> None:
    first = slot(session, "a", "b")
    second = slot(session, "c", source=first)
    assert (first.known, second.known, second.line) == ({"a", "b"}, {"a", "b", "c"}, [second, first])


def test_side_by_side_becomes_one_behind_the_other(session: Session) -> None:
    one, two, three = (slot(session, name) for name in "abc")
    last = in_line([one, two, three])
    assert last.known == {"a", "b", "c"}
    assert [len(each.feeds) for each in last.line] == [0, 1, 1]


def test_who_already_follows_is_left_there(session: Session) -> None:
    first = slot(session, "a")
    second = slot(session, "b", source=first)
    assert in_line([first, second]) is in_line([second, first]) is second
    assert (first.source, second.source) == (None, first)


def test_two_followers_of_one_are_put_in_line(session: Session) -> None:
    root = slot(session, "a")
    one, two = slot(session, "b", source=root), slot(session, "c", source=root)
    last = in_line([one, two])
    assert last.known == {"a", "b", "c"}
    assert root.feeds == [last.source]


def test_followers_of_different_ones_cannot_be_put_in_line(session: Session) -> None:
    one, two = slot(session, "b", source=slot(session, "a")), slot(session, "d", source=slot(session, "c"))
    with pytest.raises(ValueError, match="follow somebody else"):
        in_line([one, two])
