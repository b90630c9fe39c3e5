"""Zones: who enters, leaves, stays too long or where he must not be, how many there are, and who crosses a line.

Works on the tracks of the stream and on the zones and lines drawn into its picture; looks at no pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from analyzers._dwell import Crossings, Held, Point, Visits
from gateway import Analyzer, Box, Detection, Frame, Line, Result, SessionInfo, Sighting, Zone, hookimpl

MARGIN = 0.1  # of one's own height; nearer to a line nobody is on a side of it


@dataclass(frozen=True)
class ZonesOptions:
    labels: tuple[str, ...] = ("person",)  # whom zones and lines count
    loiter_s: float = 60.0  # s in a zone that make a `loitering`; 0: none but in zones with a limit of their own
    crowd: int = 10  # how many in a zone make a `crowd`; 0: as above
    crowd_s: float = 3.0  # s for which there must be so many
    intrusion_s: float = 0.5  # s in a zone marked so that make an `intrusion`
    linger_s: float = 2.0  # s after which an event ends whose condition holds no longer

    def __post_init__(self) -> None:
        for name in ("loiter_s", "crowd", "crowd_s", "intrusion_s", "linger_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.crowd == 1:
            raise ValueError("crowd must be 0 or at least 2, got 1")


@dataclass(slots=True)
class _Area:
    zone: Zone
    visits: Visits = field(default_factory=Visits)
    crowd: Held = field(default_factory=Held)


@dataclass(slots=True)
class _Gate:
    line: Line
    crossings: Crossings


@dataclass(slots=True)
class _Memory:
    options: ZonesOptions
    areas: list[_Area]
    gates: list[_Gate]
    aspect: float = 0.0  # for which the gates were made


class ZonesAnalyzer(Analyzer):
    """Counts per zone and line, and events where somebody does what he should not."""

    name = "zones"
    title = "Zones and lines"
    needs = ("tracks",)
    event_types = ("line_crossed", "loitering", "crowd", "intrusion")
    pixels = False
    Options = ZonesOptions

    def open(self, session: SessionInfo) -> _Memory:
        areas = [_Area(shape) for shape in session.zones if isinstance(shape, Zone)]
        gates = [_Gate(shape, Crossings(())) for shape in session.zones if isinstance(shape, Line)]
        return _Memory(session.options, areas, gates)

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        """Zones and lines that are where they were go on counting."""
        fresh = self.open(session)
        fresh.aspect = memory.aspect
        before = {area.zone.name: area for area in memory.areas}
        for area in fresh.areas:
            if (old := before.get(area.zone.name)) and old.zone.points == area.zone.points:
                area.visits, area.crowd = old.visits, old.crowd
        lines = {gate.line: gate for gate in memory.gates}
        fresh.gates = [lines.get(gate.line, _made(gate.line, memory.aspect)) for gate in fresh.gates]
        return fresh

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        tracks = frame.results["tracks"]
        seen = {one.track_id: one for one in tracks.detections if one.track_id and one.label in memory.options.labels}
        hidden = {one.track_id for one in tracks.faint if one.track_id}
        if memory.aspect != (aspect := frame.width / frame.height):
            memory.aspect, memory.gates = aspect, [_made(gate.line, aspect) for gate in memory.gates]
        results = [_watched(area, seen, hidden, frame.at, memory.options) for area in memory.areas]
        results += [_crossed(gate, seen, hidden, aspect) for gate in memory.gates]
        return Result(
            measures={key: value for result in results for key, value in result.measures.items()},
            sightings=tuple(sighting for result in results for sighting in result.sightings),
            data=_joined(results),
        )


def _made(line: Line, aspect: float) -> _Gate:
    """Ready to count, in heights of the picture, in which a margin is the same in all directions."""
    return _Gate(line, Crossings(tuple((x * aspect, y) for x, y in line.points)))


def _joined(results: Iterable[Result]) -> dict[str, list[object]]:
    joined: dict[str, list[object]] = {}
    for result in results:
        for key, items in result.data.items():
            joined.setdefault(key, []).extend(items)
    return joined


# --- areas -----------------------------------------------------------------------------------------------------------


def _watched(
    area: _Area, seen: Mapping[int, Detection], hidden: Collection[int], at: float, options: ZonesOptions
) -> Result:
    """One zone after a frame. `data`: who came and went now."""
    name, visits = area.zone.name, area.visits
    came, went = visits.update({id_: name in one.zones for id_, one in seen.items()}, hidden, at)
    moved = {"entered": came, "left": went}
    longest = max((visits.dwell(one, at) for one in visits.since), default=0.0)
    return Result(
        measures={
            f"{name}.count": len(visits.since),
            f"{name}.entered": visits.entered,
            f"{name}.left": visits.left,
            f"{name}.dwell_s": round(longest, 2),
        },
        sightings=(*_alone(area, seen, at, options), *_together(area, at, options)),
        data={key: [{"zone": name, "track_id": one} for one in ids] for key, ids in moved.items() if ids},
    )


def _alone(area: _Area, seen: Mapping[int, Detection], at: float, options: ZonesOptions) -> Iterator[Sighting]:
    """Whoever stays too long, or should not be here at all."""
    zone = area.zone
    loiter_s = options.loiter_s if zone.loiter_s is None else zone.loiter_s
    for id_ in area.visits.since:
        dwell_s, detection = area.visits.dwell(id_, at), seen.get(id_)
        data = {"zone": zone.name, "dwell_s": round(dwell_s, 2)}
        if zone.intrusion and dwell_s >= options.intrusion_s:
            yield _sighting("intrusion", zone, id_, detection, options, data)
        if loiter_s and dwell_s >= loiter_s:
            yield _sighting("loitering", zone, id_, detection, options, data)


def _sighting(
    kind: str, zone: Zone, id_: int, detection: Detection | None, options: ZonesOptions, data: Mapping[str, object]
) -> Sighting:
    """Of one track; without a box while it is hidden."""
    return Sighting(
        kind,
        key=f"{zone.name}:{id_}",
        score=detection.score if detection else 1.0,
        label=detection.label if detection else "",
        box=detection.box if detection else None,
        severity="critical" if kind == "intrusion" else "warning",
        linger_s=options.linger_s,
        person_id=f"person-{id_}",
        zones=(zone.name,),
        data={**data, "track_id": id_},
    )


def _together(area: _Area, at: float, options: ZonesOptions) -> Iterator[Sighting]:
    """Too many at once."""
    zone, count = area.zone, len(area.visits.since)
    limit = options.crowd if zone.crowd is None else zone.crowd
    held_s = area.crowd.update(bool(limit) and count >= limit, at)
    if held_s and held_s >= options.crowd_s:
        data = {"zone": zone.name, "count": count, "limit": limit}
        yield Sighting(
            "crowd", key=zone.name, severity="warning", linger_s=options.linger_s, zones=(zone.name,), data=data
        )


# --- lines -----------------------------------------------------------------------------------------------------------


def _crossed(gate: _Gate, seen: Mapping[int, Detection], hidden: Collection[int], aspect: float) -> Result:
    """One line after a frame. Each crossing is an event of its own, which begins and ends."""
    name, crossings = gate.line.name, gate.crossings
    feet = {id_: (_foot(one.box, aspect), MARGIN * one.box.height) for id_, one in seen.items()}
    told = [
        _crossing(name, f"{name}:{id_}:{crossings.rightwards + crossings.leftwards}", seen[id_], direction)
        for id_, direction in crossings.update(feet, hidden)
    ]
    counts = {f"{name}.left_to_right": crossings.rightwards, f"{name}.right_to_left": crossings.leftwards}
    return Result(measures=counts, sightings=tuple(told))


def _crossing(name: str, key: str, who: Detection, direction: str) -> Sighting:
    return Sighting(
        "line_crossed",
        key=key,
        score=who.score,
        label=who.label,
        box=who.box,
        linger_s=0.0,
        person_id=f"person-{who.track_id}",
        zones=(name,),
        data={"line": name, "direction": direction, "track_id": who.track_id},
    )


def _foot(box: Box, aspect: float) -> Point:
    return (box.x1 + box.x2) / 2 * aspect, box.y2


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [ZonesAnalyzer]
