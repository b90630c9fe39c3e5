"""Zones and lines: which are refused and why, and what is in them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway import Box, Detection, Line, Result, Sighting, Zone
from gateway.errors import BadZone
from gateway.geometry import Anchor, Areas, Point, check_shapes, placed, shape_from_json, shape_to_json
from gateway.zones import ZoneWish, read_zones

LEFT: tuple[Point, ...] = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
L_SHAPED: tuple[Point, ...] = ((0.0, 0.0), (0.9, 0.0), (0.9, 0.2), (0.2, 0.2), (0.2, 0.9), (0.0, 0.9))


def standing(x: float, y: float) -> Box:
    """A box whose foot is there."""
    return Box.clipped(x - 0.05, y - 0.3, x + 0.05, y)


@pytest.mark.parametrize("shape", [Zone("a", LEFT, "overlap", True, 5.0, 3), Zone("b", L_SHAPED), Line("c", LEFT[:3])])
def test_a_shape_survives_the_wire(shape: Zone | Line) -> None:
    check_shapes([shape])
    assert shape_from_json(shape_to_json(shape)) == shape


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (((0, 0), (1, 1), (1, 0), (0, 1)), r"zone 'z': its outline crosses or touches itself \(Self-intersection"),
        (((0, 0), (0.5, 0.5), (1, 1)), "its area is 0 of the frame, less than 1e-05; are its corners on one line?"),
        (((0, 0), (1, 1), (0, 0)), "an area has 3 corners or more, got 2"),
        (((0, 0), (0.001, 0), (0.001, 0.001)), "its area is 5e-07 of the frame"),
        (((0, 0), (1, 0), (1, 1.2)), r"a point is x, y, each 0-1 of the frame, got \[1, 1.2\]"),
    ],
)
def test_an_area_that_is_none_is_refused_with_the_reason(points: tuple[Point, ...], complaint: str) -> None:
    with pytest.raises(BadZone, match=complaint):
        check_shapes([Zone("z", points)])


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (((0, 0), (1, 1), (1, 0), (0, 1)), "line 'l': it crosses or touches itself, so it has no two sides"),
        (((0.5, 0.5), (0.5, 0.5)), "a line has 2 points or more, got 1"),
        (((0.5, 0.5), (0.5, 0.501)), "its length is 0.001 of the frame"),
    ],
)
def test_a_line_that_is_none_is_refused_with_the_reason(points: tuple[Point, ...], complaint: str) -> None:
    with pytest.raises(BadZone, match=complaint):
        check_shapes([Line("l", points)])


def test_a_name_stands_for_one_zone() -> None:
    with pytest.raises(BadZone, match="2 zones are called 'door'"):
        check_shapes([Zone("door", LEFT), Line("door", LEFT[:2])])


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": [[0, 0]]},
        {"points": [[0, 0], [0, float("nan")], [1, 1]]},
        {"points": [[0.1, 0.1]] * 65},
        {"name": ""},
        {"name": "a\nb"},
        {"kind": "circle"},
        {"anchor": "head"},
        {"loiter_s": 0},
        {"crowd": 1},
        {"colour": "red"},
    ],
)
def test_what_is_no_zone_at_all_is_refused_by_its_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ZoneWish(**{"name": "door", "points": list(LEFT), **wrong})
    assert caught.value.errors()[0]["loc"][0] == next(iter(wrong))


def test_wishes_become_shapes() -> None:
    area = ZoneWish(name="hall", points=list(LEFT), anchor="center", intrusion=True, loiter_s=5, crowd=3)
    line = ZoneWish(name="gate", points=list(LEFT[:2]), kind="line")
    assert read_zones([area, line]) == (Zone("hall", LEFT, "center", True, 5.0, 3), Line("gate", LEFT[:2]))


# --- what is inside --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("anchor", "inside"),
    [("foot", [True, False, True, False]), ("center", [True, True, False, False]), ("overlap", [True] * 3 + [False])],
)
def test_a_box_is_in_a_zone_by_its_anchor(anchor: Anchor, inside: list[bool]) -> None:
    areas = Areas([Zone("low", ((0.2, 0.4), (0.8, 0.4), (0.8, 0.8), (0.2, 0.8)), anchor)])
    boxes = [Box(0.4, 0.4, 0.5, 0.7), Box(0.4, 0.5, 0.5, 0.9), Box(0.4, 0.0, 0.5, 0.5), Box(0.85, 0.4, 0.9, 0.7)]
    assert [bool(names) for names in areas.of(boxes)] == inside


def test_an_edge_belongs_to_the_zone_so_feet_at_the_edge_of_the_picture_are_in_it() -> None:
    areas = Areas([Zone("all", ((0, 0), (1, 0), (1, 1), (0, 1)))])
    assert areas.of([Box(0.4, 0.5, 0.5, 1.0), Box(0.0, 0.5, 0.0, 1.0)]) == [("all",), ("all",)]


def test_zones_may_overlap_and_be_bent() -> None:
    areas = Areas([Zone("bent", L_SHAPED), Line("gate", LEFT[:2]), Zone("left", LEFT)])
    feet = [standing(0.1, 0.5), standing(0.4, 0.5), standing(0.8, 0.1), standing(0.8, 0.5)]
    assert areas.of(feet) == [("bent", "left"), ("left",), ("bent",), ()]


def test_a_result_is_told_where_its_things_are_but_for_those_that_know_better() -> None:
    areas = Areas([Zone("left", LEFT)])
    inside, outside = standing(0.2, 0.5), standing(0.8, 0.5)
    result = Result(
        detections=(Detection("person", 1, inside), Detection("person", 1, outside)),
        faint=(Detection("person", 0.1, inside),),
        sightings=(Sighting("fall", box=inside), Sighting("fall"), Sighting("crowd", box=inside, zones=("own",))),
    )
    found = placed(result, areas)
    assert [one.zones for one in found.detections] == [("left",), ()]
    assert [one.zones for one in found.faint] == [("left",)]
    assert [one.zones for one in found.sightings] == [("left",), (), ("own",)]
    assert placed(Result(), areas) == Result()
