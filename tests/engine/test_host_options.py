"""Options the host has for every analyzer: pace, motion gate, labels; and values checked against schemas."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.engine.plugins import Manifest
from gateway.engine.request import SessionRequest
from gateway.engine.schema import misfit
from gateway.engine.session import Session
from gateway.engine.terms import Terms, terms
from gateway.errors import UnknownOption
from gateway.results import Box, Detection, Result, Sighting
from tests.clock import simulated
from tests.doubles import FakeAnalyzer, FakeWorker, engine, heard, listener, nothing, play, stream

MOVING = Result((Detection("motion", 0.9, Box(0, 0, 1, 1)),))


def pair(**about: Any) -> tuple[FakeWorker, FakeAnalyzer]:
    """A worker with `motion`, and with `objects` to be gated."""
    motion = FakeAnalyzer("motion", **about)
    return FakeWorker(motion, FakeAnalyzer("objects")), motion


def fate(session: Session, name: str) -> tuple[int, dict[str, int]]:
    return next((stage.analyzed, dict(stage.dropped)) for stage in session.stages if stage.name == name)


# --- the motion gate --------------------------------------------------------------------------------------------------


@simulated
async def test_behind_a_gate_an_analyzer_sees_frames_while_something_moves_and_as_long_after_that_as_it_is_held() -> (
    None
):
    worker, motion = pair()
    async with engine(worker) as hub:
        session = await stream(hub, "objects", options={"objects": {"motion_gate": 2.05}})
        assert [stage.name for stage in session.stages] == ["motion", "objects"]
        await play(session, fps=10, seconds=3)
        assert fate(session, "objects") == (1, {"still": 29})  # the first one came before motion had said anything
        motion.look = lambda job: MOVING
        await play(session, fps=10, seconds=1)
        motion.look = nothing
        await play(session, fps=10, seconds=9)
        assert fate(session, "objects") == (1 + 9 + 20, {"still": 29 + 1 + 70})


@pytest.mark.parametrize(("gate", "hold_s"), [(True, 5.0), (0.5, 0.5), (False, None), (None, None)])
def test_a_gate_is_held_for_5_s_or_as_said(gate: object, hold_s: float | None) -> None:
    about = Manifest("objects", "plugin", "framegate", "1")
    assert terms(about, {}, {"motion_gate": gate}) == Terms({}, hold_s=hold_s)


@pytest.mark.parametrize("why", ["no word", "failed", "silent"])
def test_while_nobody_knows_whether_something_moves_the_gate_is_open(why: str) -> None:
    @simulated
    async def check() -> None:
        _, motion = pair(unfit="no eyes" if why == "failed" else None, load_s=100 if why == "no word" else 0)
        near = FakeWorker(motion, name="near")
        far = FakeWorker(FakeAnalyzer("objects"), name="far")
        async with engine(near, far) as hub:
            wishes = {"objects": {"motion_gate": 2}, "motion": {"fps": 0.1} if why == "silent" else {}}
            session = await stream(hub, "objects", options=wishes)
            await play(session, fps=10, seconds=10)
            assert fate(session, "objects")[1] == ({"still": 20} if why == "silent" else {})

    check()


@simulated
async def test_the_operator_may_gate_an_analyzer_and_a_stream_may_open_the_gate() -> None:
    worker, _ = pair()
    async with engine(worker, analyzers={"objects": {"motion_gate": True}}) as hub:
        gated = await stream(hub, "objects")
        free = await stream(hub, "objects", options={"objects": {"motion_gate": False}})
        assert [[stage.name for stage in each.stages] for each in (gated, free)] == [["motion", "objects"], ["objects"]]


@simulated
async def test_motion_goes_with_the_last_gate() -> None:
    worker, _ = pair()
    async with engine(worker) as hub:
        session = await stream(hub, "objects", options={"objects": {"motion_gate": True}})
        hub.change(session.id, session.request.changed({"options": {"objects": {"motion_gate": None}}}))
        assert [stage.name for stage in session.stages] == ["objects"]


@simulated
async def test_without_motion_only_a_streams_wish_for_a_gate_is_refused() -> None:
    async with engine(FakeWorker(FakeAnalyzer("objects")), analyzers={"objects": {"motion_gate": True}}) as hub:
        assert [stage.name for stage in (await stream(hub, "objects")).stages] == ["objects"]
        with pytest.raises(UnknownOption, match="there is no analyzer 'motion'"):
            await hub.open_session(SessionRequest(("objects",), options={"objects": {"motion_gate": 3}}))


# --- labels -----------------------------------------------------------------------------------------------------------

SEEN = Result(
    (Detection("person", 0.9, Box(0, 0, 1, 1)), Detection("dog", 0.8, Box(0, 0, 1, 1))),
    sightings=(Sighting("queue", label="person"), Sighting("walkies", label="dog")),
)


@simulated
async def test_only_what_has_one_of_the_labels_is_told_and_analyzers_that_need_it_get_everything() -> None:
    needs: list[Any] = []

    def note(job: Any) -> Result:
        needs.append(job)
        return Result()

    far = FakeWorker(FakeAnalyzer("far", needs=("objects",), look=note), name="far")
    async with engine(FakeWorker(FakeAnalyzer("objects", look=lambda job: SEEN)), far) as hub:
        session = await stream(hub, "far", options={"objects": {"labels": ["person"]}})
        viewer = listener(session)
        await play(session, fps=10, seconds=0.1)
        (result, *_) = await heard(viewer, "result")
        found = result["analyzers"]["objects"]["detections"]
        assert [detection["label"] for detection in found] == ["person"]
        assert [event.event_type for event in session.findings.events.values()] == ["queue"]
        assert [item["label"] for item in needs[0]["results"]["objects"]["detections"]] == ["person", "dog"]


@simulated
async def test_labels_an_analyzer_has_itself_are_its_own() -> None:
    objects = FakeAnalyzer("objects", options={"labels": {"type": "array"}}, look=lambda job: SEEN)
    async with engine(FakeWorker(objects)) as hub:
        session = await stream(hub, "objects", options={"objects": {"labels": ["person"]}})
        (stage,) = session.stages
        assert (stage.options, stage.terms.labels) == ({"labels": ["person"]}, None)


def test_labels_an_analyzer_never_reports_are_refused() -> None:
    about = Manifest("objects", "plugin", "framegate", "1", labels=("person", "dog"))
    assert terms(about, {"labels": ["dog"]}, {}).labels == frozenset({"dog"})
    for labels, complaint in ((["dogg"], "did you mean dog"), ("dog", "expected a list of texts"), ([1], "a list")):
        with pytest.raises(UnknownOption, match=complaint):
            terms(about, {}, {"labels": labels})


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wishes", "complaint"),
    [
        ("objects", {"motion_gate": "yes"}, "true, false, or seconds above 0 and up to 86400, got 'yes'"),
        ("objects", {"motion_gate": 0}, "seconds above 0"),
        ("objects", {"motion_gate": float("nan")}, "seconds above 0"),
        ("motion", {"motion_gate": True}, "it is what opens the gates of the others"),
        ("objects", {"fps": True}, "frames per second above 0 and up to 1000, got True"),
    ],
)
def test_wrong_host_options_are_refused(name: str, wishes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UnknownOption, match=complaint):
        terms(Manifest(name, "plugin", "framegate", "1"), {}, wishes)


SCHEMA: dict[str, Any] = {
    "properties": {
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "side": {"type": "integer", "exclusiveMinimum": 0},
        "names": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "mode": {"enum": ["fast", "exact"]},
        "limit": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "zone": {"$ref": "#/$defs/Zone"},
        "point": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2},
        "on": {"type": "boolean"},
    },
    "$defs": {"Zone": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("score", 0.5, None),
        ("score", 1, None),
        ("score", 1.5, "1 at most"),
        ("score", True, "a number"),
        ("score", float("inf"), "a number"),
        ("score", "0.5", "a number"),
        ("side", 320.0, None),
        ("side", 0, "more than 0"),
        ("names", ["a", "b"], None),
        ("names", ["a", 1], "a text at 1"),
        ("names", ["a", "b", "c"], "2 items at most"),
        ("names", "ab", "a list"),
        ("mode", "exact", None),
        ("mode", "slow", "one of fast, exact"),
        ("limit", None, None),
        ("limit", "x", "a number or null"),
        ("zone", {"name": "door"}, None),
        ("zone", {}, "an object with name"),
        ("zone", {"name": 1}, "a text at name"),
        ("point", [1, 2], None),
        ("point", [1], "2 items or more"),
        ("point", [1, "2"], "a number at 1"),
        ("on", 1, "true or false"),
    ],
)
def test_a_value_is_checked_against_its_schema(key: str, value: Any, expected: str | None) -> None:
    wrong = misfit(value, SCHEMA["properties"][key], SCHEMA)
    assert wrong == (f"expected {expected}, got {value!r}" if expected else None)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/A"}, {"enum": 5}, {"anyOf": 1}, {"minimum": "x"}, {"items": 1}])
def test_a_schema_that_makes_no_sense_refuses_nothing(schema: dict[str, Any]) -> None:
    assert misfit(3, schema, {"$defs": {"A": {"$ref": "#/$defs/A"}}}) is None


# --- what is out of use -----------------------------------------------------------------------------------------------


@simulated
async def test_frames_for_an_analyzer_whose_worker_is_down_go_by_at_once_under_its_state() -> None:
    worker = FakeWorker(FakeAnalyzer("objects"))
    async with engine(worker) as hub:
        session = await stream(hub, "objects")
        worker.stillborn = 2
        worker.die()
        await asyncio.sleep(0.1)
        with session.answers.expect(0, ["objects"]) as answer:
            await play(session, fps=10, seconds=0.2)
            assert await answer.complete(0)
        assert answer.analyzers == {"objects": {"state": "loading", "dropped": "loading"}}
        assert fate(session, "objects") == (0, {"loading": 2})


@simulated
async def test_a_stream_opened_while_its_worker_is_given_up_shows_that_and_is_answered_at_once() -> None:
    async with engine(FakeWorker(FakeAnalyzer("objects"))) as hub:
        await hub.introduced()
        hub.runners["objects"].disable("its worker was given up")
        session = await stream(hub, "objects")
        assert session.status()["analyzers"] == [
            {
                "name": "objects",
                "state": "disabled",
                "reason": "its worker was given up",
                "analyzed": 0,
                "dropped": {},
            }
        ]
        with session.answers.expect(0, ["objects"]) as answer:
            await play(session, fps=10, seconds=0.1)
            assert await answer.complete(0)
        assert answer.analyzers == {"objects": {"state": "disabled", "dropped": "disabled"}}
