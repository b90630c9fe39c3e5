"""Event, and the pure machine that turns sightings into events: new, update, end.

The machine knows no clock and no transport: it is given the time and answers with what is to be announced. It belongs
to one session, so ids, deduplication and endings cannot leak from one camera into another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from gateway.frame import iso
from gateway.results import Box, Severity, Sighting

Phase = Literal["new", "update", "end"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something with a beginning and perhaps an end, under one stable id."""

    id: str
    phase: Phase
    event_type: str
    stream_id: str
    severity: Severity
    started_at: datetime
    analyzer: str
    version: str
    label: str = ""
    score: float = 1.0
    camera_id: str | None = None
    ended_at: datetime | None = None
    box: Box | None = None
    person_id: str | None = None
    bag_id: str | None = None
    zones: tuple[str, ...] = ()
    seq: int | None = None
    snapshot_url: str | None = None
    clip_url: str | None = None
    acknowledged: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """The JSON object of api.md section 2. `seq` is the frame that opened or last raised it."""
        return {
            "type": "event",
            "id": self.id,
            "phase": self.phase,
            "event_type": self.event_type,
            "camera_id": self.camera_id,
            "stream_id": self.stream_id,
            "severity": self.severity,
            "label": self.label,
            "score": round(self.score, 4),
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "box": [round(value, 5) for value in self.box] if self.box else None,
            "person_id": self.person_id,
            "bag_id": self.bag_id,
            "zones": list(self.zones),
            "seq": self.seq,
            "snapshot_url": self.snapshot_url,
            "clip_url": self.clip_url,
            "acknowledged": self.acknowledged,
            "analyzer": self.analyzer,
            "version": self.version,
            "data": dict(self.data),
        }


@dataclass(slots=True)
class _Open:
    event: Event
    seen_at: float
    told_at: float
    seen_utc: datetime
    linger_s: float


class EventMachine:
    """Sightings of one session in, events out.

    An update is announced when the score rose by at least 0.05 or `update_s` seconds went by since the last word. An
    event's `ended_at` is the moment of its last sighting, not the moment the wait was over.
    """

    def __init__(self, stream_id: str, *, camera_id: str | None = None, update_s: float = 5.0) -> None:
        self._stream_id = stream_id
        self._camera_id = camera_id
        self._update_s = update_s
        self._open: dict[tuple[str, str, str], _Open] = {}

    @property
    def open_events(self) -> list[Event]:
        return [entry.event for entry in self._open.values()]

    def observe(
        self, analyzer: str, version: str, sightings: Iterable[Sighting], *, now: float, utc: datetime, seq: int | None
    ) -> list[Event]:
        """Take what one analyzer sighted in the frame `seq`, at `now` seconds of the session's clock."""
        told: list[Event] = []
        for sighting in sightings:
            key = (analyzer, sighting.event_type, sighting.key)
            entry = self._open.get(key)
            if entry is None:
                event = self._begin(analyzer, version, sighting, utc, seq)
                self._open[key] = _Open(event, now, now, utc, sighting.linger_s)
                told.append(event)
            elif update := self._update(entry, sighting, now, utc, seq):
                told.append(update)
        return told

    def expire(self, now: float, *, analyzer: str | None = None) -> list[Event]:
        """End what has not been sighted for its `linger_s`; of all analyzers, or of one that has looked until `now`."""
        late = [
            key
            for key, entry in self._open.items()
            if analyzer in (None, key[0]) and now - entry.seen_at > entry.linger_s
        ]
        return [self._end(self._open.pop(key)) for key in late]

    def finish(
        self, which: Callable[[Event], bool] = lambda event: True, *, utc: datetime | None = None
    ) -> list[Event]:
        """End these events, or all: the session is over, or who sighted them looks no more. `utc`: they went on until
        then.
        """
        over = [key for key, entry in self._open.items() if which(entry.event)]
        return [self._end(self._open.pop(key), utc) for key in reversed(over)]

    def _begin(self, analyzer: str, version: str, sighting: Sighting, utc: datetime, seq: int | None) -> Event:
        return Event(
            id=uuid4().hex,
            phase="new",
            event_type=sighting.event_type,
            stream_id=self._stream_id,
            camera_id=self._camera_id,
            severity=sighting.severity,
            started_at=utc,
            analyzer=analyzer,
            version=version,
            label=sighting.label,
            score=sighting.score,
            box=sighting.box,
            person_id=sighting.person_id,
            bag_id=sighting.bag_id,
            zones=sighting.zones,
            seq=seq,
            data=sighting.data,
        )

    def _update(self, entry: _Open, sighting: Sighting, now: float, utc: datetime, seq: int | None) -> Event | None:
        entry.seen_at, entry.seen_utc, entry.linger_s = now, utc, sighting.linger_s
        rose = sighting.score >= entry.event.score + 0.05
        if not rose and now - entry.told_at < self._update_s:
            return None
        best = sighting if sighting.score >= entry.event.score else None
        entry.event = replace(
            entry.event,
            phase="update",
            score=max(entry.event.score, sighting.score),
            box=best.box if best else entry.event.box,
            label=best.label if best else entry.event.label,
            seq=seq if best else entry.event.seq,
            severity=sighting.severity,
            person_id=sighting.person_id or entry.event.person_id,
            bag_id=sighting.bag_id or entry.event.bag_id,
            zones=sighting.zones or entry.event.zones,
            data={**entry.event.data, **sighting.data},
        )
        entry.told_at = now
        return entry.event

    @staticmethod
    def _end(entry: _Open, utc: datetime | None = None) -> Event:
        return replace(entry.event, phase="end", ended_at=utc or entry.seen_utc)
