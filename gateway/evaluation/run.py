"""Run: what the pipeline made of one clip: the analyzers' answers to every frame, and events, in times of the clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.evaluation.variants import Variant
from gateway.results import Box


@dataclass(frozen=True, slots=True)
class Row:
    """One frame: when it was taken, and what each analyzer answered, as the stream socket tells it."""

    at: float
    analyzers: Mapping[str, Mapping[str, Any]]

    def detections(self, analyzer: str) -> list[Mapping[str, Any]]:
        """What it found; nothing if it did not look."""
        return list(self.analyzers.get(analyzer, {}).get("detections", ()))

    def measures(self, analyzer: str) -> Mapping[str, float]:
        found: Mapping[str, float] = self.analyzers.get(analyzer, {}).get("measures", {})
        return found


@dataclass(frozen=True, slots=True)
class Told:
    """An event: `at` the frame that opened it, `until` the one in which it was last sighted; s of the clip."""

    id: str
    event_type: str
    analyzer: str
    at: float
    until: float
    score: float = 1.0
    label: str = ""
    box: Box | None = None
    person_id: str | None = None
    bag_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def overlaps(self, begin: float, end: float) -> bool:
        return self.at <= end and self.until >= begin


@dataclass(frozen=True, slots=True)
class Run:
    """`states`: analyzers that could not be asked, and why; `versions` of all."""

    rows: tuple[Row, ...]
    events: tuple[Told, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def begin(self) -> float:
        return self.rows[0].at if self.rows else 0.0

    @property
    def end(self) -> float:
        return self.rows[-1].at if self.rows else 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def of(self, event_type: str) -> list[Told]:
        return [event for event in self.events if event.event_type == event_type]

    def series(self, analyzer: str) -> Iterator[tuple[float, list[Mapping[str, Any]]]]:
        """An analyzer's detections over time, in the frames it looked at."""
        for row in self.rows:
            if "detections" in row.analyzers.get(analyzer, {}):
                yield row.at, row.detections(analyzer)

    def unseen(self, analyzer: str) -> int:
        """Frames it did not look at."""
        return sum("detections" not in row.analyzers.get(analyzer, {}) for row in self.rows)

    def in_clip(self, variant: Variant) -> Run:
        """With boxes in the clip's own coordinates."""
        if not variant.mirrored:
            return self
        rows = (
            replace(row, analyzers={name: _turned(found, variant) for name, found in row.analyzers.items()})
            for row in self.rows
        )
        events = (replace(one, box=variant.box_in_clip(one.box) if one.box else None) for one in self.events)
        return replace(self, rows=tuple(rows), events=tuple(events))


def _turned(found: Mapping[str, Any], variant: Variant) -> Mapping[str, Any]:
    if "detections" not in found:
        return found
    turned = [{**item, "box": list(variant.box_in_clip(Box(*item["box"])))} for item in found["detections"]]
    return {**found, "detections": turned}
