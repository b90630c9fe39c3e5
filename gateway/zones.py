"""Zones as people send them: what a request may say, made shapes. Only the edges import this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.geometry import Anchor, Line, Shape, Zone, check_shapes

MOST_ZONES, MOST_POINTS = 32, 64  # of a stream, of a zone: they travel with every frame

Unit = Annotated[float, Field(ge=0, le=1)]
NAME = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"  # no controls, and nothing that turns text around


class ZoneWish(BaseModel):
    """A zone or a line in the picture of a stream."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, pattern=NAME, description="What results and events call it.")
    points: list[tuple[Unit, Unit]] = Field(
        min_length=2, max_length=MOST_POINTS, description="Corners in order, each x, y, 0-1 of the upright frame."
    )
    kind: Literal["area", "line"] = Field("area", description="A line is crossed; an area is entered and left.")
    anchor: Anchor = Field(
        "foot", description="What of a box must be inside: `foot` (middle of the lower edge), `center`, any `overlap`."
    )
    intrusion: bool = Field(False, description="Whoever is in it makes an `intrusion`.")
    loiter_s: float | None = Field(None, gt=0, le=86400, description="Stay, in s, that makes a `loitering` here.")
    crowd: int | None = Field(None, ge=2, le=1000, description="How many at once make a `crowd` here.")


def read_zones(wishes: Sequence[ZoneWish]) -> tuple[Shape, ...]:
    """Raises `BadZone` for a shape that is none. The first one loads shapely, some 100 ms: not on the event loop."""
    shapes = tuple(_shape(wish) for wish in wishes)
    check_shapes(shapes)
    return shapes


def _shape(wish: ZoneWish) -> Shape:
    points = tuple(wish.points)
    if wish.kind == "line":
        return Line(wish.name, points)
    return Zone(wish.name, points, wish.anchor, wish.intrusion, wish.loiter_s, wish.crowd)
