"""For authors: run an analyzer over pictures as the gateway would, without a server, a worker or a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.analyzer import Analyzer, SessionInfo, check_analyzer, fill_options
from gateway.convert import to_result
from gateway.events import Event, EventMachine
from gateway.frame import Frame
from gateway.jpeg import read_header
from gateway.results import Result

if TYPE_CHECKING:
    from gateway.frame import Pixels

STREAM = "test"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a run: one result per picture, and every event in the order it was told, ends included."""

    results: tuple[Result, ...]
    events: tuple[Event, ...]


def frame_of(
    picture: Pixels | bytes, *, seq: int = 0, at: float = 0.0, results: Mapping[str, Result] | None = None
) -> Frame:
    """A frame of JPEG bytes, or of a (height, width, 3) uint8 BGR picture, which is encoded first as a camera would."""
    jpeg = picture if isinstance(picture, bytes) else _encoded(picture)
    header = read_header(jpeg)
    return Frame(seq, at, header.width, header.height, jpeg, at=at, results=results or {})


def analyze(
    cls: type[Analyzer],
    pictures: Iterable[Pixels | bytes | Frame],
    options: Mapping[str, Any] | None = None,
    *,
    fps: float = 10.0,
) -> Seen:
    """One session of an analyzer over pictures that come `fps` times a second.

    An analyzer with `needs` is given frames that hold the results of others: `frame_of(picture, results={...})`; they
    keep their own times. Raises what the gateway would report: `TypeError` for a class that breaks the contract,
    `UnknownOption` for options it does not have, and whatever the analyzer raises.
    """
    check_analyzer(cls)
    filled = fill_options(cls, options or {})
    analyzer = cls(filled)
    memory = analyzer.open(SessionInfo(STREAM, options=filled))
    machine = EventMachine(STREAM)
    results: list[Result] = []
    events: list[Event] = []
    try:
        for seq, picture in enumerate(pictures):
            frame = picture if isinstance(picture, Frame) else frame_of(picture, seq=seq, at=seq / fps)
            result = to_result(analyzer.analyze(frame, memory), frame, cls.labels)
            results.append(result)
            events += _told(machine, analyzer, frame, result)
    finally:
        analyzer.close()
    return Seen(tuple(results), (*events, *machine.finish()))


def _told(machine: EventMachine, analyzer: Analyzer, frame: Frame, result: Result) -> list[Event]:
    now, utc = frame.at, BEGIN + timedelta(seconds=frame.at)
    seen = machine.observe(analyzer.name, analyzer.version, result.sightings, now=now, utc=utc, seq=frame.seq)
    return [*machine.expire(now), *seen]


def _encoded(picture: Pixels) -> bytes:
    import cv2

    done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise ValueError(f"expected a (height, width, 3) uint8 picture, got shape {picture.shape} of {picture.dtype}")
    return jpeg.tobytes()
