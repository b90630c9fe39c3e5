"""What the gateway says, as values.

Each keeps the JSON it came from in `raw`, so that keys this client does not know yet are not lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Dropped = Mapping[str, Mapping[str, int]]  # frames that went by, by stage of their way and reason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Box(NamedTuple):
    """Corners of a rectangle, each 0-1 of the upright picture, whatever its size."""

    x1: float
    y1: float
    x2: float
    y2: float

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The same in a picture of this size."""
        return round(self.x1 * width), round(self.y1 * height), round(self.x2 * width), round(self.y2 * height)


@dataclass(frozen=True, slots=True)
class Message:
    """Anything the gateway says. One of a `type` unknown here is just this, with everything in `raw`."""

    type: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gateway takes; None where it did not say."""

    max_message_bytes: int | None = None
    max_pixels: int | None = None
    max_fps: float | None = None
    credits: int | None = None


@dataclass(frozen=True, slots=True)
class AnalyzerState:
    """How an analyzer of the stream is: `idle`, `loading`, `ready`, `failed`, `open` or `disabled`, and why."""

    name: str
    state: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """The first message of a connection. A publisher numbers from `next_seq`; `resume_token` takes its place back."""

    protocol: str | None
    version: str | None
    stream_id: str | None
    limits: Limits
    next_seq: int
    resume_token: str | None
    analyzers: tuple[AnalyzerState, ...]


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing in one frame. `track_id` is stable over frames, or None."""

    label: str
    score: float
    box: Box
    id: str | None = None
    track_id: int | None = None
    zones: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    person: str | None = None


@dataclass(frozen=True, slots=True)
class AnalyzerResult:
    """What one analyzer made of a frame. `detections`: empty if it looked and found nothing, None if it did not."""

    state: str
    detections: tuple[Detection, ...] | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    latency_ms: float | None = None
    age_ms: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Result(Message):
    """An analyzer has seen a frame. Several may carry the same `seq`, one per analyzer."""

    stream_id: str
    camera_id: str | None
    seq: int
    captured_at: datetime | None
    received_at: datetime | None
    width: int
    height: int
    analyzers: Mapping[str, AnalyzerResult]
    dropped: Dropped

    @property
    def detections(self) -> tuple[Detection, ...]:
        """Those of all analyzers in it."""
        return tuple(found for result in self.analyzers.values() for found in result.detections or ())


@dataclass(frozen=True, slots=True)
class Event(Message):
    """Something began (`phase` "new"), went on ("update") or ended ("end"); one `id` from beginning to end."""

    id: str
    phase: str
    event_type: str
    severity: str
    label: str
    score: float
    stream_id: str | None
    camera_id: str | None
    box: Box | None
    seq: int | None
    started_at: datetime | None
    ended_at: datetime | None
    zones: tuple[str, ...]
    person_id: str | None
    bag_id: str | None
    snapshot_url: str | None
    clip_url: str | None
    acknowledged: bool
    analyzer: str | None
    version: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Status(Message):
    """How the stream is doing: `waiting`, `live`, `stale` or `ended`, and why."""

    state: str
    reason: str | None
    paused: bool
    publishers: int
    viewers: int
    fps_in: float
    fps_analyzed: float
    analyzers: tuple[AnalyzerState, ...]
    dropped: Dropped


@dataclass(frozen=True, slots=True)
class Relay(Message):
    """What another client of the stream said to everybody (`"type": "message"` on the wire)."""

    data: Any


@dataclass(frozen=True, slots=True)
class Frame(Message):
    """A picture. Its `seq` is the one of its results; `captured_us` is µs since 1970 in UTC."""

    seq: int
    captured_us: int | None
    jpeg: bytes = field(repr=False)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def captured_at(self) -> datetime | None:
        try:
            return None if self.captured_us is None else EPOCH + timedelta(microseconds=self.captured_us)
        except OverflowError:  # the header has room for the year 586512
            return None


@dataclass(frozen=True, slots=True)
class Subscribed(Message):
    """From now on these come."""

    frames: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack(Message):
    """Frames up to `seq` were taken, `credits` more may be on the way beyond it, `dropped` of all were lost."""

    seq: int
    credits: int | None
    dropped: int | None


@dataclass(frozen=True, slots=True)
class SlowDown(Message):
    """Frames come faster than the stream takes them; send at most `fps` from now on."""

    fps: float


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """The answer to a ping."""


@dataclass(frozen=True, slots=True)
class ErrorMessage(Message):
    """A message of ours could not be used; the socket stays open."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Bye(Message):
    """The last word before the gateway closes. With `retry_ms`, coming back makes sense, but not sooner."""

    reason: str
    retry_ms: float | None = None
