"""Recording: what an analyzer saw in a clip, kept as JSON lines; and how two of them differ.

The first line is the header, then one line per frame, then one per event. The same clip, plugin and options give the
same bytes: no moment of the run, no path and no random id is in it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.events import Event, EventMachine
from gateway.results import Result, result_from_json, sighting_from_json
from gateway.testing.difference import DEFAULT, Difference, Tolerance, differences

FORMAT = "framegate-replay-1"
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_NEAR_S = 5.0  # two events of one type whose beginnings are further apart are two

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """A run. Rows are `{"seq", "at", "result"}` or `{"seq", "at", "error"}`; events have times in s of the clip."""

    header: Mapping[str, Any]
    rows: tuple[Row, ...]
    events: tuple[Row, ...]

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Raises `ValueError` for a file that is none."""
        try:
            header, *lines = [json.loads(line) for line in path.read_text().splitlines()]
            known = header["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise ValueError(f"{path} is no recording of `framegate plugin replay`")
        rows = tuple(line for line in lines if "event" not in line)
        return cls(header, rows, tuple(line["event"] for line in lines if "event" in line))


def event_rows(rows: Iterable[Row]) -> list[Row]:
    """The events that the host would make of the sightings, in the order of their beginnings."""
    machine, told, at = EventMachine("replay"), [], 0.0
    for row in rows:
        at = row["at"]
        utc = _BEGIN + timedelta(seconds=at)
        sightings = [sighting_from_json(item) for item in row.get("result", {}).get("sightings", ())]
        told += machine.expire(at)
        told += machine.observe("replay", "", sightings, now=at, utc=utc, seq=row["seq"])
    told += machine.finish()
    last: dict[str, Event] = {}
    for event in told:
        last[event.id] = event
    return [_event_row(event) for event in last.values()]


def _event_row(event: Event) -> Row:
    ended = (event.ended_at or event.started_at) - _BEGIN
    return {
        "event_type": event.event_type,
        "label": event.label,
        "severity": event.severity,
        "score": round(event.score, 4),
        "start": round((event.started_at - _BEGIN).total_seconds(), 3),
        "end": round(ended.total_seconds(), 3),
    }


@dataclass(slots=True)
class Comparison:
    """How one recording differs from another: by frame, and by event."""

    frames: dict[int, list[Difference]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    at: dict[int, float] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        return not self.frames and not self.events

    @property
    def counts(self) -> Counter[str]:
        """Differences by kind."""
        return Counter(one.kind for found in self.frames.values() for one in found)


def compare(base: Recording, new: Recording, tolerance: Tolerance = DEFAULT) -> Comparison:
    """What is different in `new`. Raises `ValueError` if the two are not of one clip."""
    if base.header["clip"]["sha256"] != new.header["clip"]["sha256"] or len(base.rows) != len(new.rows):
        raise ValueError(
            f"the base is of another clip or rate: {base.header['clip']['name']}, {len(base.rows)} frames at "
            f"{base.header['fps'] or 'all'} fps; this is {new.header['clip']['name']}, {len(new.rows)} frames"
        )
    found = Comparison(header=_header(base.header, new.header))
    for old, row in zip(base.rows, new.rows, strict=True):
        if changes := list(_row(old, row, tolerance)):
            found.frames[row["seq"]] = changes
            found.at[row["seq"]] = row["at"]
    found.events = list(_events(base.events, new.events, tolerance))
    return found


def _header(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = ("analyzer", "plugin", "version", "options", "needs")
    return [f"{key}: {base[key]} -> {new[key]}" for key in keys if base[key] != new[key]]


def _row(old: Row, new: Row, tolerance: Tolerance) -> Iterator[Difference]:
    if "error" in old or "error" in new:
        if old.get("error") != new.get("error"):
            yield Difference("error", f"error: {old.get('error', 'none')} -> {new.get('error', 'none')}")
        return
    yield from differences(_result(old), _result(new), tolerance)


def _result(row: Row) -> Result:
    return result_from_json(row["result"])


def _events(base: Sequence[Row], new: Sequence[Row], tolerance: Tolerance) -> Iterator[str]:
    """Each old event is met by the nearest new one of its type and label, if that is near enough."""
    rest = list(new)
    for old in base:
        alike = [one for one in rest if (one["event_type"], one["label"]) == (old["event_type"], old["label"])]
        near = min(alike, key=lambda one: abs(one["start"] - old["start"]), default=None)
        if near is None or abs(near["start"] - old["start"]) > _NEAR_S:
            yield f"lost: {_told(old)}"
            continue
        rest.remove(near)
        shifts = {part: near[part] - old[part] for part in ("start", "end")}
        if any(abs(shift) > tolerance.seconds + 1e-9 for shift in shifts.values()):
            yield f"shifted: {_told(old)}: start {shifts['start']:+.2f} s, end {shifts['end']:+.2f} s"
        elif abs(near["score"] - old["score"]) > tolerance.score + 1e-9 or near["severity"] != old["severity"]:
            change = f"score {old['score']:.3f} -> {near['score']:.3f}, {old['severity']} -> {near['severity']}"
            yield f"changed: {_told(old)}: {change}"
    yield from (f"gained: {_told(one)}" for one in rest)


def _told(event: Row) -> str:
    label = f" {event['label']}" if event["label"] else ""
    return f"{event['event_type']}{label} {event['start']:.2f}-{event['end']:.2f} s"
