"""Zones in the engine: who is told of them, what is filled in, what is told of it, and what is never told at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import Manifest, PluginSpec
from gateway.engine.request import SessionRequest
from gateway.engine.slot import HEARTBEAT_S
from gateway.engine.terms import terms
from gateway.errors import UnknownOption
from gateway.geometry import Line, Zone, shape_to_json
from gateway.results import Box, Detection, Result, Sighting
from tests.clock import simulated
from tests.doubles import FakeAnalyzer, FakeWorker, engine, heard, jpeg, listener, nothing, play, stream

LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
RIGHT = Zone("right", ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)))
GATE = Line("gate", ((0.5, 0.0), (0.5, 1.0)))
HERE, THERE = Box(0.1, 0.2, 0.2, 0.8), Box(0.7, 0.2, 0.8, 0.8)

# What a worker says once its host has filled in the zones.
SEEN = Result(
    (Detection("person", 0.9, HERE, zones=("left",)), Detection("dog", 0.8, THERE, zones=("right",))),
    sightings=(
        Sighting("fall", box=HERE, zones=("left",)),
        Sighting("running", box=THERE, zones=("right",)),
        Sighting("camera_tampered"),
        Sighting("crowd", box=Box(0.4, 0.9, 0.6, 1.0)),
    ),
    faint=(Detection("ghost", 0.1, HERE),),
)


# --- what is told ----------------------------------------------------------------------------------------------------


@simulated
async def test_an_analyzer_restricted_to_zones_tells_only_what_is_inside_and_what_has_no_place() -> None:
    async with engine(FakeWorker(FakeAnalyzer("objects", look=lambda job: SEEN))) as hub:
        session = await stream(hub, "objects", zones=(LEFT, RIGHT), options={"objects": {"zones": ["left"]}})
        viewer = listener(session)
        await play(session, fps=10, seconds=0.1)
        (result, *_) = await heard(viewer, "result")
        assert [one["label"] for one in result["analyzers"]["objects"]["detections"]] == ["person"]
        told = [event.event_type for event in session.findings.events.values()]
        assert told == ["fall", "camera_tampered"]


@simulated
async def test_the_faint_reach_who_needs_them_and_no_viewer() -> None:
    needs: list[Any] = []

    def note(job: Any) -> Result:
        needs.append(job["results"]["objects"]["faint"])
        return Result()

    far = FakeWorker(FakeAnalyzer("far", needs=("objects",), look=note), name="far")
    async with engine(FakeWorker(FakeAnalyzer("objects", look=lambda job: SEEN)), far) as hub:
        session = await stream(hub, "far")
        viewer = listener(session)
        await play(session, fps=10, seconds=0.1)
        everything = json.dumps(await heard(viewer))
        assert "person" in everything
        assert "ghost" not in everything
        assert "faint" not in everything
        assert "ghost" not in json.dumps(session.findings.recent())
        assert [item["label"] for item in needs[0]] == ["ghost"]


# --- options ---------------------------------------------------------------------------------------------------------


def test_a_streams_wish_for_a_zone_it_has_not_is_refused_and_the_operators_is_passed_over() -> None:
    about = Manifest("objects", "plugin", "framegate", "1")
    assert terms(about, {}, {"zones": ["left"]}, ["left", "right"]).zones == frozenset({"left"})
    with pytest.raises(UnknownOption, match="the stream has no zone 'lefd'; did you mean left"):
        terms(about, {}, {"zones": ["lefd"]}, ["left"])
    with pytest.raises(UnknownOption, match="the stream has no zone 'left'; it has none"):
        terms(about, {}, {"zones": ["left"]})
    with pytest.raises(UnknownOption, match="expected a list of names of zones, got 'left'"):
        terms(about, {}, {"zones": "left"}, ["left"])
    assert terms(about, {"zones": ["left", "door"]}, {}, ["left"]).zones == frozenset({"left"})
    assert terms(about, {"zones": ["door"]}, {}, ["left"]).zones is None


@simulated
async def test_a_zone_that_an_option_names_is_not_taken_away() -> None:
    async with engine(FakeWorker(FakeAnalyzer("objects"))) as hub:
        session = await stream(hub, "objects", zones=(LEFT,), options={"objects": {"zones": ["left"]}})
        with pytest.raises(UnknownOption, match="the stream has no zone 'left'"):
            hub.change(session.id, session.request.changed({"zones": ()}))
        assert session.status()["zones"] == [shape_to_json(LEFT)]
        hub.change(session.id, session.request.changed({"zones": (), "options": {"objects": {"zones": None}}}))
        assert session.status()["zones"] == []


@simulated
async def test_the_analyzer_zones_comes_by_itself_where_some_are_drawn() -> None:
    worker = FakeWorker(FakeAnalyzer("motion"), FakeAnalyzer("tracks"), FakeAnalyzer("zones", needs=("tracks",)))
    async with engine(worker) as hub:
        for runner in hub.runners.values():
            object.__setattr__(runner.manifest, "distribution", "framegate")
        plain = await hub.open_session(SessionRequest())
        drawn = await hub.open_session(SessionRequest(zones=(LEFT,)))
        named = await hub.open_session(SessionRequest(("motion",), zones=(LEFT,)))
        assert [[stage.name for stage in session.stages] for session in (plain, drawn, named)] == [
            ["motion", "tracks"],
            ["motion", "tracks", "zones"],
            ["motion"],
        ]


@simulated
async def test_behind_a_closed_gate_a_frame_is_seen_now_and_then() -> None:
    motion = FakeAnalyzer("motion", look=nothing)
    async with engine(FakeWorker(motion, FakeAnalyzer("objects"))) as hub:
        session = await stream(hub, "objects", options={"objects": {"motion_gate": 2}})
        await play(session, fps=10, seconds=4 * HEARTBEAT_S)
        (stage,) = [stage for stage in session.stages if stage.name == "objects"]
        assert 4 <= stage.analyzed <= 6


# --- the worker's side -----------------------------------------------------------------------------------------------

SOURCE = '''
from gateway import Analyzer, Box, Detection, Result, Sighting, hookimpl

class Placer(Analyzer):
    """Sees one thing on the left and one on the right, and counts the frames since it was opened."""
    name = "placer"

    def open(self, session):
        return {"seen": 0, "zones": [zone.name for zone in session.zones]}

    def analyze(self, frame, memory):
        memory["seen"] += 1
        left, right = Box(0.1, 0.2, 0.2, 0.8), Box(0.7, 0.2, 0.8, 0.8)
        return Result(
            (Detection("a", 1, left), Detection("b", 1, right)),
            measures={"seen": memory["seen"]},
            sightings=(Sighting("fall", box=right),),
            data={"zones": memory["zones"]},
        )

class Keeper(Placer):
    name = "keeper"
    def configure(self, session, memory):
        return {**memory, "zones": [zone.name for zone in session.zones]}

class Reader(Analyzer):
    name = "reader"
    needs = ("placer",)
    def analyze(self, frame, memory):
        return Result(data={"zones": [one.zones for one in frame.results["placer"].detections]})

@hookimpl
def register_analyzers():
    return [Placer, Keeper, Reader]
'''


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AnalyzerHost]:
    file = tmp_path / "places.py"
    file.write_text(SOURCE)
    host = AnalyzerHost([PluginSpec("places", path=str(file))], {})
    for name in ("placer", "keeper", "reader"):
        assert host.prepare(name)["state"] == "ready"
    yield host
    host.close()


def look(host: AnalyzerHost, *names: str, zones: list[Any]) -> list[dict[str, Any]]:
    """What these analyzers say of one frame of the session."""
    frame = {"seq": 1, "received_at": 1.0, "at": 1.0, "width": 8, "height": 8, "captured_at": None}
    session = {"stream_id": "s", "camera_id": None, "name": "", "zones": zones}
    item = {"session": session, "frame": frame, "results": {}, "length": len(jpeg())}
    job = {"items": [item], "calls": [{"analyzer": name, "items": [{"item": 0, "options": {}}]} for name in names]}
    reports = [report for report in host.run(host.begin(job, [jpeg()])) if report["t"] == "call"]
    return [report["outcomes"][0]["result"] for report in reports]


def test_the_host_fills_in_the_zones_of_every_analyzers_finds(host: AnalyzerHost) -> None:
    zones = [shape_to_json(shape) for shape in (LEFT, GATE, RIGHT)]
    placer, reader = look(host, "placer", "reader", zones=zones)
    assert [one["zones"] for one in placer["detections"]] == [["left"], ["right"]]
    assert [one["zones"] for one in placer["sightings"]] == [["right"]]
    assert reader["data"] == {"zones": [["left"], ["right"]]}
    (plain,) = look(host, "placer", zones=[])
    assert [one["zones"] for one in plain["detections"]] == [[], []]


def test_changed_zones_are_told_to_who_can_take_them_and_nobody_forgets(host: AnalyzerHost) -> None:
    before, after = [shape_to_json(LEFT)], [shape_to_json(LEFT), shape_to_json(RIGHT)]
    for zones in (before, before, after):
        placer, keeper = look(host, "placer", "keeper", zones=zones)
    assert (placer["data"], placer["measures"]) == ({"zones": ["left"]}, {"seen": 3})
    assert (keeper["data"], keeper["measures"]) == ({"zones": ["left", "right"]}, {"seen": 3})
    assert [one["zones"] for one in placer["detections"]] == [["left"], ["right"]]
