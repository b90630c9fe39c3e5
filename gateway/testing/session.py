"""Session: one analyzer and one stream of pictures, without a server."""

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


class Session:
    """One analyzer and one stream, a picture at a time. `memory` is what its `open()` returned.

    Raises what the gateway would report: `TypeError` for a class that breaks the contract, `UnknownOption` for options
    it does not have, and whatever the analyzer raises.
    """

    def __init__(
        self, cls: type[Analyzer], options: Mapping[str, Any] | None = None, *, stream_id: str = STREAM
    ) -> None:
        check_analyzer(cls)
        filled = fill_options(cls, options or {})
        self.analyzer = cls(filled)
        self.memory = self.analyzer.open(SessionInfo(stream_id, options=filled))
        self.events: list[Event] = []
        self._machine = EventMachine(stream_id)
        self._seq, self._at = -1, -0.1
        self._closed = False

    def push(
        self,
        picture: Pixels | bytes | Frame,
        *,
        at: float | None = None,
        results: Mapping[str, Result] | None = None,
    ) -> Result:
        """What the analyzer sees in one picture, `at` seconds after the stream began (0.1 s after the one before).

        `results` are what the analyzers in its `needs` saw in it. A `Frame` keeps its own time and results.
        """
        if not isinstance(picture, Frame):
            moment = self._at + 0.1 if at is None else at
            picture = frame_of(picture, seq=self._seq + 1, at=moment, results=results)
        self._seq, self._at = picture.seq, picture.at
        result = to_result(self.analyzer.analyze(picture, self.memory), picture, self.analyzer.labels)
        self.events += self._told(picture, result)
        return result

    def close(self) -> None:
        """Close the analyzer; what is still open among the events ends."""
        if not self._closed:
            self._closed = True
            self.events += self._machine.finish()
            self.analyzer.close()

    def _told(self, frame: Frame, result: Result) -> list[Event]:
        now, utc = frame.at, BEGIN + timedelta(seconds=frame.at)
        about = type(self.analyzer)
        seen = self._machine.observe(about.name, about.version, result.sightings, now=now, utc=utc, seq=frame.seq)
        return [*self._machine.expire(now), *seen]


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
    keep their own times. Raises as `Session` does.
    """
    session = Session(cls, options)
    try:
        results = tuple(session.push(picture, at=number / fps) for number, picture in enumerate(pictures))
    finally:
        session.close()
    return Seen(results, tuple(session.events))


def _encoded(picture: Pixels) -> bytes:
    import cv2

    done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise ValueError(f"expected a (height, width, 3) uint8 picture, got shape {picture.shape} of {picture.dtype}")
    return jpeg.tobytes()
