"""What an analyzer saw: Box, Detection, Sighting, Result.

One coordinate system everywhere: floats 0-1 of the upright frame, origin top left. Everything is checked where it is
made, with a message that says what was expected and what came, so that nothing unclean (NaN, numpy scalars, boxes
outside the picture) ever reaches the wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


MAX_DEPTH = 32  # of JSON in results and options; readers give up at some depth, ours at 200


class Sized(Protocol):
    """Anything with a size in px, such as a Frame."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle as 0-1 floats of the upright frame, x1 <= x2 and y1 <= y2.

    Values up to 1e-6 outside are clipped; anything further raises `ValueError` (use `clipped` or `from_pixels` for
    boxes that may stick out of the picture).
    """

    x1: float
    y1: float
    x2: float
    y2: float

    def __post_init__(self) -> None:
        for name in ("x1", "y1", "x2", "y2"):
            value = float(getattr(self, name))
            if not -1e-6 <= value <= 1 + 1e-6:
                raise ValueError(f"box {name} must be 0-1 of the frame, got {value!r}; pixels go through from_pixels()")
            object.__setattr__(self, name, min(1.0, max(0.0, value)))
        if self.x1 > self.x2 or self.y1 > self.y2:
            raise ValueError(f"box corners must be top left, then bottom right, got {tuple(self)}")

    @classmethod
    def clipped(cls, x1: float, y1: float, x2: float, y2: float) -> Box:
        """The part of a rectangle that lies inside the frame."""
        x1, y1, x2, y2 = (min(1.0, max(0.0, float(value))) for value in (x1, y1, x2, y2))
        return cls(x1, y1, max(x1, x2), max(y1, y2))

    @classmethod
    def from_pixels(cls, x1: float, y1: float, x2: float, y2: float, frame: Sized) -> Box:
        """From px of the upright frame, clipped to it."""
        return cls.clipped(x1 / frame.width, y1 / frame.height, x2 / frame.width, y2 / frame.height)

    def to_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Rounded px in a picture of that size."""
        return round(self.x1 * width), round(self.y1 * height), round(self.x2 * width), round(self.y2 * height)

    def __iter__(self) -> Iterator[float]:
        return iter((self.x1, self.y1, self.x2, self.y2))

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def intersection(self, other: Box) -> float:
        """Common area, as a fraction of the frame."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return width * height if width > 0 and height > 0 else 0.0

    def iou(self, other: Box) -> float:
        """Intersection over union, 0-1."""
        common = self.intersection(other)
        union = self.area + other.area - common
        return common / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in one frame. `score` is 0-1; `track_id` is stable over frames or None; `attributes` is plain JSON."""

    label: str
    score: float
    box: Box
    track_id: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    person: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", check_label(self.label))
        object.__setattr__(self, "score", _score(self.score))
        object.__setattr__(self, "attributes", plain_json(self.attributes, "attributes"))
        object.__setattr__(self, "zones", tuple(_text(str(zone), "zones") for zone in self.zones))
        if self.track_id is not None:
            object.__setattr__(self, "track_id", int(self.track_id))


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event type's condition holds in this frame, for this `key` (a track, a zone, "scene").

    The host turns sightings into events: the first of a key opens one, later ones update it, and when a key has not
    been sighted for `linger_s` its event ends. The analyzer never counts, deduplicates or ends anything itself.
    """

    event_type: str
    key: str = "scene"
    score: float = 1.0
    label: str = ""
    box: Box | None = None
    severity: Severity = "info"
    linger_s: float = 2.0
    person_id: str | None = None
    bag_id: str | None = None
    zones: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_type", check_label(self.event_type))
        object.__setattr__(self, "key", _text(str(self.key), "key"))
        object.__setattr__(self, "zones", tuple(_text(str(zone), "zones") for zone in self.zones))
        object.__setattr__(self, "score", _score(self.score))
        object.__setattr__(self, "data", plain_json(self.data, "data"))
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be one of {', '.join(SEVERITIES)}, got {self.severity!r}")
        if not self.linger_s >= 0:
            raise ValueError(f"linger_s must be 0 or more seconds, got {self.linger_s!r}")


@dataclass(frozen=True, slots=True)
class Result:
    """What one analyzer saw in one frame. Empty means: looked and found nothing. `measures` are numbers by name.

    `faint` are detections too weak to be told: analyzers that need this one get them, viewers never do.
    """

    detections: tuple[Detection, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    sightings: tuple[Sighting, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    faint: tuple[Detection, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "detections", _all(self.detections, Detection, "detections"))
        object.__setattr__(self, "faint", _all(self.faint, Detection, "faint"))
        object.__setattr__(self, "sightings", _all(self.sightings, Sighting, "sightings"))
        object.__setattr__(self, "measures", plain_json(self.measures, "measures"))
        object.__setattr__(self, "data", plain_json(self.data, "data"))


def detection_to_wire(detection: Detection) -> dict[str, Any]:
    """The JSON object of one detection as api.md section 2 has it, but for the `id` it gets on its way out."""
    return {
        "track_id": detection.track_id,
        "label": detection.label,
        "score": round(detection.score, 4),
        "box": [round(value, 5) for value in detection.box],
        "zones": list(detection.zones),
        "attributes": dict(detection.attributes),
        "person": detection.person,
    }


def result_to_json(result: Result) -> dict[str, Any]:
    """A result as it travels between processes; `result_from_json` reads it back. `faint` is there if there is any."""
    wire = {
        "detections": [detection_to_wire(detection) for detection in result.detections],
        "measures": dict(result.measures),
        "data": dict(result.data),
        "sightings": [_sighting_to_json(sighting) for sighting in result.sightings],
    }
    if result.faint:
        wire["faint"] = [detection_to_wire(detection) for detection in result.faint]
    return wire


def result_from_json(wire: Mapping[str, Any]) -> Result:
    return Result(
        detections=tuple(_detection_from_json(item) for item in wire["detections"]),
        measures=wire["measures"],
        data=wire["data"],
        sightings=tuple(sighting_from_json(item) for item in wire["sightings"]),
        faint=tuple(_detection_from_json(item) for item in wire.get("faint", ())),
    )


def _detection_from_json(item: Mapping[str, Any]) -> Detection:
    parts = {**item, "box": Box(*item["box"]), "zones": tuple(item.get("zones", ()))}
    return Detection(**parts)


def _sighting_to_json(sighting: Sighting) -> dict[str, Any]:
    item = {name: getattr(sighting, name) for name in Sighting.__slots__}
    return {**item, "box": list(sighting.box) if sighting.box else None, "zones": list(sighting.zones)}


def sighting_from_json(item: Mapping[str, Any]) -> Sighting:
    box = Box(*item["box"]) if item["box"] else None
    return Sighting(**{**item, "box": box, "zones": tuple(item["zones"])})


def plain_json(value: Any, where: str, depth: int = MAX_DEPTH) -> Any:
    """A copy made of dict, list, str, int, float, bool and None only, nested at most `depth` deep.

    numpy scalars and arrays become Python numbers and lists. Raises `ValueError` for NaN, infinities, keys that are
    not text, lone surrogates and anything else JSON has no word for, naming the place.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} must be finite, got {value}")
        return float(value)
    if depth <= 0:
        raise ValueError(f"{where[:80]} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        if bad := next((key for key in value if not isinstance(key, str)), None):
            raise ValueError(f"{where} must have text keys, got {bad!r}")
        return {_text(key, where): plain_json(item, f"{where}.{key}", depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_json(item, f"{where}[{index}]", depth - 1) for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy scalar or array, without importing numpy
        return plain_json(value.tolist(), where, depth)
    raise ValueError(f"{where} must be plain JSON, got {type(value).__name__}")


def _all(items: Any, kind: type, where: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = tuple(items)
    for index, item in enumerate(found):
        if not isinstance(item, kind):
            raise TypeError(f"{where}[{index}] must be a {kind.__name__}, got {type(item).__name__}")
    return found


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} must be text that has a UTF-8 form, got {value[:40]!r}") from None
    return value


def check_label(value: object) -> str:
    """The text of a label or event type. Raises `ValueError` for one that is too long or cannot be printed."""
    text = str(value)
    if not text or len(text) > 64 or not text.isprintable():
        raise ValueError(f"a label is 1-64 printable characters, got {text[:80]!r}")
    return text


def _score(value: float) -> float:
    score = float(value)
    if not -1e-6 <= score <= 1 + 1e-6:
        raise ValueError(f"a score is 0-1, got {score!r}")
    return min(1.0, max(0.0, score))
