"""Geometry: zones and lines that somebody drew into a camera's picture, and which of them a box is in.

Points are 0-1 floats of the upright frame, as boxes are. shapely does the measuring; it is loaded with the first zone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar, get_args

from gateway.errors import BadZone
from gateway.results import Box, Detection, Result, Sighting

Point = tuple[float, float]
Anchor = Literal["foot", "center", "overlap"]

LEAST_AREA = 1e-5  # of the frame; 3 x 3 px of 1280 x 720, smaller is a slip of the mouse
LEAST_LENGTH = 0.005  # of the frame's side
FOOT: Anchor = "foot"


@dataclass(frozen=True, slots=True)
class Zone:
    """An area. Something is in it by its `anchor`: the middle of its box's lower edge, the centre, or any part of it.

    `intrusion`: nobody has any business there. `loiter_s` and `crowd` are this zone's own limits, where it has some:
    seconds that one may stay, and how many may be there at once.
    """

    name: str
    points: tuple[Point, ...]
    anchor: Anchor = FOOT
    intrusion: bool = False
    loiter_s: float | None = None
    crowd: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line through its points, which is crossed from its left to its right, looking from the first point, or back."""

    name: str
    points: tuple[Point, ...]


Shape = Zone | Line
Placed = TypeVar("Placed", Detection, Sighting)


def check_shapes(shapes: Sequence[Shape]) -> None:
    """Raises `BadZone` for the first that is not what it should be, naming it."""
    for name, count in Counter(shape.name for shape in shapes).items():
        if count > 1:
            raise BadZone(f"{count} zones are called {name!r}; events tell them apart by name")
    for shape in shapes:
        if wrong := _wrong(shape):
            kind = "zone" if isinstance(shape, Zone) else "line"
            raise BadZone(f"{kind} {shape.name!r}: {wrong}")


def shape_to_json(shape: Shape) -> dict[str, Any]:
    """As a request has it, and as `shape_from_json` reads it back."""
    found = {field.name: getattr(shape, field.name) for field in fields(shape)}
    kind = "area" if isinstance(shape, Zone) else "line"
    return {**found, "kind": kind, "points": [list(point) for point in shape.points]}


def shape_from_json(item: Mapping[str, Any]) -> Shape:
    """Raises `KeyError` and `TypeError` for what no `shape_to_json` has written."""
    parts = {key: value for key, value in item.items() if key != "kind"}
    parts["points"] = tuple((float(x), float(y)) for x, y in item["points"])
    return Line(parts["name"], parts["points"]) if item["kind"] == "line" else Zone(**parts)


def anchor_of(box: Box, anchor: Anchor = FOOT) -> Point:
    """The point of a box that counts: the middle of its lower edge, or its centre."""
    x = (box.x1 + box.x2) / 2
    return (x, box.y2) if anchor == FOOT else (x, (box.y1 + box.y2) / 2)


class Areas:
    """Zones made ready to be asked often. Lines hold nothing."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._areas = [(shape, _polygon(shape)) for shape in shapes if isinstance(shape, Zone)]

    def __bool__(self) -> bool:
        return bool(self._areas)

    def of(self, boxes: Sequence[Box]) -> list[tuple[str, ...]]:
        """The names of the zones each box is in, in the order of the zones. What is on an edge is inside."""
        if not self._areas or not boxes:
            return [()] * len(boxes)
        inside = [(zone.name, _inside(zone, polygon, boxes)) for zone, polygon in self._areas]
        return [tuple(name for name, within in inside if within[index]) for index in range(len(boxes))]


def placed(result: Result, areas: Areas) -> Result:
    """The result with the zones its detections and sightings are in. Those that name zones themselves know better."""
    return replace(
        result,
        detections=_placed(result.detections, areas),
        faint=_placed(result.faint, areas),
        sightings=_placed(result.sightings, areas),
    )


def _placed(items: tuple[Placed, ...], areas: Areas) -> tuple[Placed, ...]:
    boxes = {index: item.box for index, item in enumerate(items) if item.box is not None and not item.zones}
    found = dict(zip(boxes, areas.of(list(boxes.values())), strict=True))
    return tuple(replace(item, zones=found[n]) if found.get(n) else item for n, item in enumerate(items))


def _inside(zone: Zone, polygon: Any, boxes: Sequence[Box]) -> list[bool]:
    import shapely

    if zone.anchor == "overlap":
        found = shapely.intersects(polygon, shapely.box(*zip(*boxes, strict=True)))
    else:
        found = shapely.intersects_xy(polygon, *zip(*(anchor_of(box, zone.anchor) for box in boxes), strict=True))
    within: list[bool] = found.tolist()
    return within


def _polygon(zone: Zone) -> Any:
    import shapely

    polygon = shapely.Polygon(zone.points)
    shapely.prepare(polygon)
    return polygon


def _wrong(shape: Shape) -> str | None:
    """What is wrong with it, if anything is."""
    if bad := next((point for point in shape.points if not all(0 <= value <= 1 for value in point)), None):
        return f"a point is x, y, each 0-1 of the frame, got {list(bad)}"
    return _wrong_area(shape) if isinstance(shape, Zone) else _wrong_line(shape)


def _wrong_area(zone: Zone) -> str | None:
    import shapely

    if zone.anchor not in get_args(Anchor):
        return f"anchor must be one of {', '.join(get_args(Anchor))}, got {zone.anchor!r}"
    if len(set(zone.points)) < 3:
        return f"an area has 3 corners or more, got {len(set(zone.points))}"
    polygon = shapely.Polygon(zone.points)
    if (area := polygon.convex_hull.area) < LEAST_AREA:
        return f"its area is {area:.2g} of the frame, less than {LEAST_AREA:g}; are its corners on one line?"
    if not polygon.is_valid:
        return f"its outline crosses or touches itself ({shapely.is_valid_reason(polygon)}); give the corners in order"
    return None


def _wrong_line(line: Line) -> str | None:
    import shapely

    if len(set(line.points)) < 2:
        return f"a line has 2 points or more, got {len(set(line.points))}"
    track = shapely.LineString(line.points)
    if track.length < LEAST_LENGTH:
        return f"its length is {track.length:.2g} of the frame, less than {LEAST_LENGTH:g}"
    if not track.is_simple:
        return "it crosses or touches itself, so it has no two sides"
    return None
