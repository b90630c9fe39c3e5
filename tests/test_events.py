"""Events: every one is new, then updated perhaps, then ended, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.events import Event, EventMachine
from gateway.results import Box, Sighting

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def observe(machine: EventMachine, sighting: Sighting, at: float, *, analyzer: str = "motion") -> list[Event]:
    return machine.observe(analyzer, "1", [sighting], now=at, utc=NOON + timedelta(seconds=at), seq=int(at * 10))


class EventModel(RuleBasedStateMachine):
    """In whatever order things are sighted, expire and end: new, updates, end, one id for each."""

    @initialize()
    def open(self) -> None:
        self.machine = EventMachine("stream")
        self.now = 0.0
        self.phases: dict[str, list[str]] = {}

    def tell(self, events: list[Event]) -> None:
        for event in events:
            told = self.phases.setdefault(event.id, [])
            told.append(event.phase)
            assert (event.phase == "new") == (len(told) == 1)
            assert "end" not in told[:-1]
            assert (event.ended_at is not None) == (event.phase == "end")

    @rule(
        analyzer=st.sampled_from(["motion", "smoking"]),
        kind=st.sampled_from(["motion", "smoking"]),
        key=st.sampled_from(["scene", "1"]),
        score=st.floats(0, 1),
        linger_s=st.sampled_from([0.0, 1.0, 10.0]),
    )
    def sight(self, analyzer: str, kind: str, key: str, score: float, linger_s: float) -> None:
        self.tell(observe(self.machine, Sighting(kind, key, score, linger_s=linger_s), self.now, analyzer=analyzer))

    @rule(seconds=st.sampled_from([0.1, 2.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        for analyzer in ("motion", "smoking"):
            self.tell(self.machine.expire(self.now, analyzer=analyzer))

    @rule()
    def expire_all(self) -> None:
        self.tell(self.machine.expire(self.now))

    @rule()
    def finish(self) -> None:
        self.tell(self.machine.finish())
        self.all_ended()

    def all_ended(self) -> None:
        assert self.machine.open_events == []
        assert all(told[-1] == "end" for told in self.phases.values())

    def teardown(self) -> None:
        self.finish()


TestEventModel = EventModel.TestCase


def test_the_same_thing_sighted_again_is_the_same_event() -> None:
    machine = EventMachine("stream")
    (new,) = observe(machine, Sighting("motion"), 0.0)
    assert observe(machine, Sighting("motion"), 1.0) == []
    assert machine.open_events == [new]


OTHERS = [("motion", Sighting("motion", "2")), ("motion", Sighting("fall")), ("smoking", Sighting("motion"))]


@pytest.mark.parametrize(("analyzer", "sighting"), OTHERS)
def test_another_key_type_or_analyzer_is_another_event(analyzer: str, sighting: Sighting) -> None:
    machine = EventMachine("stream")
    (first,) = observe(machine, Sighting("motion"), 0.0)
    (other,) = observe(machine, sighting, 0.0, analyzer=analyzer)
    assert (other.phase, other.id != first.id) == ("new", True)


def test_an_update_is_told_when_the_score_rose_by_a_twentieth() -> None:
    machine = EventMachine("stream")
    scores = [0.5, 0.54, 0.55, 0.56, 0.3, 0.61]
    told = [len(observe(machine, Sighting("motion", score=score), index / 10)) for index, score in enumerate(scores)]
    assert told == [1, 0, 1, 0, 0, 1]


def test_an_update_is_told_every_5_s_while_it_lasts() -> None:
    machine = EventMachine("stream")
    told = [second for second in range(21) if observe(machine, Sighting("motion"), float(second))]
    assert told == [0, 5, 10, 15, 20]


def test_an_update_keeps_the_best_that_was_seen_and_adds_what_is_new() -> None:
    machine = EventMachine("stream")
    best = Sighting("smoking", "7", 0.9, "cigarette", Box(0, 0, 0.5, 0.5), data={"hand": "left"})
    worse = Sighting("smoking", "7", 0.4, "smoke", Box(0, 0, 1, 1), "warning", person_id="ann", data={"puffs": 2})
    (new,) = observe(machine, best, 0.0)
    (update,) = observe(machine, worse, 6.0)
    assert (update.id, update.started_at, update.seq) == (new.id, new.started_at, new.seq)
    assert (update.score, update.label, update.box) == (0.9, "cigarette", best.box)
    assert (update.severity, update.person_id, update.data) == ("warning", "ann", {"hand": "left", "puffs": 2})


def test_an_event_ends_when_it_was_not_sighted_for_its_linger() -> None:
    machine = EventMachine("stream")
    (new,) = observe(machine, Sighting("motion", linger_s=2.0), 1.0)
    assert machine.expire(3.0, analyzer="motion") == []
    (end,) = machine.expire(3.1, analyzer="motion")
    assert (end.id, end.phase, end.ended_at) == (new.id, "end", NOON + timedelta(seconds=1))
    assert machine.expire(100.0, analyzer="motion") == []


def test_what_one_analyzer_does_not_see_ends_no_event_of_another() -> None:
    machine = EventMachine("stream")
    observe(machine, Sighting("motion"), 0.0)
    assert machine.expire(100.0, analyzer="smoking") == []
    assert [event.analyzer for event in machine.open_events] == ["motion"]


def test_what_comes_back_after_its_end_is_a_new_event() -> None:
    machine = EventMachine("stream")
    (first,) = observe(machine, Sighting("motion"), 0.0)
    machine.expire(10.0, analyzer="motion")
    (again,) = observe(machine, Sighting("motion"), 10.0)
    assert (again.phase, again.id != first.id) == ("new", True)


def test_the_end_of_a_session_ends_every_event_at_its_last_sighting() -> None:
    machine = EventMachine("stream")
    for second, key in enumerate("abc"):
        observe(machine, Sighting("motion", key), float(second))
    ends = machine.finish()
    assert sorted(end.ended_at for end in ends if end.ended_at) == [NOON + timedelta(seconds=at) for at in range(3)]
    assert machine.finish() == []


def test_on_the_wire_an_event_has_every_key_of_the_contract() -> None:
    machine = EventMachine("stream", camera_id="door")
    sighting = Sighting(
        "abandoned",
        "3",
        0.123456,
        "bag",
        Box(0.1, 0.2, 0.3, 0.323456789),
        "critical",
        person_id="ann",
        bag_id="bag-3",
        zones=("hall",),
        data={"n": 1},
    )
    (event,) = observe(machine, sighting, 1.5, analyzer="bags")
    assert event.to_wire() == {
        "type": "event",
        "id": event.id,
        "phase": "new",
        "event_type": "abandoned",
        "camera_id": "door",
        "stream_id": "stream",
        "severity": "critical",
        "label": "bag",
        "score": 0.1235,
        "started_at": "2026-11-21T12:00:01.500Z",
        "ended_at": None,
        "box": [0.1, 0.2, 0.3, 0.32346],
        "person_id": "ann",
        "bag_id": "bag-3",
        "zones": ["hall"],
        "seq": 15,
        "snapshot_url": None,
        "clip_url": None,
        "acknowledged": False,
        "analyzer": "bags",
        "version": "1",
        "data": {"n": 1},
    }
