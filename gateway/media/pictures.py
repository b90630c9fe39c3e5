"""Pictures: what comes out of a source, of whatever kind: JPEG with the time it was taken.

Generators, driven by the thread of one `Pull`. None means: the source is alive, and nothing is wanted now.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import av

from gateway.errors import GatewayError
from gateway.jpeg import read_header
from gateway.media.encode import jpeg_of, transcoded
from gateway.media.errors import SourceError
from gateway.media.fetch import Answer, Web
from gateway.media.inputs import Cuts, Input, fault, open_input
from gateway.media.messages import Counters, Setup, Wish
from gateway.media.pace import Clock, Pace
from gateway.media.parcels import Parcels, Stamped
from gateway.media.sources import Source

MOST_AHEAD_S = 2.0  # a paced source that fell further behind goes on from now
STILLS = ("image/jpeg", "image/png", "image/webp", "image/jpg")


@dataclass(frozen=True, slots=True)
class Picture:
    """`at` in the source's time, s; `captured`: epoch s, None where nobody can say."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int
    at: float
    keyframe: bool
    captured: float | None
    codec: str


@dataclass(slots=True)
class Tally:
    """Counts of one stream over all its attempts."""

    packets: int = 0
    decoded: int = 0
    encoded: int = 0
    passed: int = 0
    corrupt: int = 0
    fps: float = 0.0

    def counters(self) -> Counters:
        return Counters(self.packets, self.decoded, self.encoded, self.passed, self.corrupt, fps=round(self.fps, 2))


class Reader(Protocol):
    """Who drives: says what is wished, and how long to wait."""

    wish: Wish
    tally: Tally
    time: Clock  # one for all attempts

    @property
    def cuts(self) -> Cuts: ...
    def expect(self, seconds: float) -> None: ...
    def parcel(self, stamps: tuple[Stamped, ...], data: bytes) -> None: ...
    def rest(self, seconds: float) -> bool: ...


def pictures(source: Source, setup: Setup, reader: Reader) -> Generator[Picture | None, None, None]:
    """A source's pictures in one attempt. Raises `SourceError`; a file that does not loop ends."""
    reader.expect(4 * setup.open_s + 2 * setup.read_s)
    if source.kind == "http":
        yield from _http(source, setup, reader)
    else:
        yield from _decoded(source, setup, reader)


# --- what libav reads ------------------------------------------------------------------------------------------------


def _decoded(source: Source, setup: Setup, reader: Reader, answer: Answer | None = None) -> Iterator[Picture | None]:
    while True:
        opened = open_input(source, setup, reader.cuts, answer)
        try:
            reading = Reading(opened, setup, reader)
            yield from reading.pictures()
            reading.parcels.flush()
        finally:
            opened.close()
        if opened.live:
            raise SourceError("ended", "the source ended")
        if not reading.fruitful:
            raise SourceError("file", "there is no picture in it")
        if not source.loop:
            return


class Reading:
    """One container, read packet by packet to its end."""

    def __init__(self, opened: Input, setup: Setup, reader: Reader) -> None:
        self._opened = opened
        self._setup = setup
        self._reader = reader
        self._pace = Pace(reader.wish)
        self._last_at = 0.0
        rate = opened.stream.average_rate
        self._step = 0.0 if opened.live else 1 / float(rate or 25)
        self._codec = str(opened.stream.codec_context.name)
        self._began: float | None = None
        self.fruitful = False  # whether a picture has come of it
        self._good_at = time.monotonic()
        self.parcels = Parcels(opened.stream, reader.parcel)
        self._held: list[tuple[Any, float, float | None]] = []  # packets that the next keyframe makes superfluous
        reader.time.begin_anew()

    def pictures(self) -> Iterator[Picture | None]:
        packets = self._opened.container.demux(self._opened.stream)
        while True:
            self._reader.expect(self._opened.read_s + self._setup.no_frame_s)
            packet = self._next(packets)
            if packet is None:
                return
            self._opened.seen()
            yield from self._from(packet)
            yield None  # it may have been closed, whatever came of this one
            self._watch()

    def _next(self, packets: Iterator[Any]) -> Any:
        """The next packet; None at the end. Raises `SourceError`."""
        try:
            return next(packets, None)
        except SourceError:
            raise
        except av.error.EOFError:
            return None
        except (av.FFmpegError, OSError, ValueError) as error:
            self.parcels.flush()
            raise (self._opened.verdict() or fault(error)) from None

    def _have(self) -> None:
        """A picture has come."""
        self.fruitful, self._good_at = True, time.monotonic()

    def _watch(self) -> None:
        if time.monotonic() - self._good_at > self._setup.no_frame_s:
            raise SourceError("no_frames", f"it sends, but no picture came of it for {self._setup.no_frame_s:g} s")

    def _from(self, packet: Any) -> Iterator[Picture | None]:
        tally, pace = self._reader.tally, self._pace
        pace.wish = self._reader.wish
        captured = time.time() if self._opened.live else None
        if packet.size:
            tally.packets += 1
            at = self._time_of(packet)
            way = pace.packet(at, keyframe=packet.is_keyframe)
            tally.fps = pace.fps
            held, self._held = self._held, []
            if self._opened.paced and not self._paced(at):
                return
            self.parcels.add(packet, at, wanted=self._reader.wish.packets)
            if way != "decode":
                self._held = [*held, (packet, at, captured)] if way == "hold" else []
                self._good_at = time.monotonic() if way == "hold" or pace.plan == "keyframes" else self._good_at
                yield None
                return
            for each in () if packet.is_keyframe else held:
                yield from self._frames(*each)
            if self._codec == "mjpeg" and (passed := self._passed(bytes(packet), at, captured)) is not None:
                yield passed if passed.jpeg else None
                return
        else:
            at = self._last_at
        yield from self._frames(packet, at, captured)

    def _time_of(self, packet: Any) -> float:
        ticks = packet.pts if packet.dts is None else packet.dts  # in the order of decoding, in which packets come
        stamp = None if ticks is None else float(ticks * packet.time_base)
        self._last_at = self._reader.time.at(stamp, time.monotonic(), self._step)
        return self._last_at

    def _paced(self, at: float) -> bool:
        """Wait until a picture of this time is due; whether to go on."""
        now = time.monotonic()
        if self._began is None or now - self._began - at > MOST_AHEAD_S:
            self._began = now - at
        wait = self._began + at - now
        return wait <= 0 or self._reader.rest(wait)

    def _passed(self, jpeg: bytes, at: float, captured: float | None) -> Picture | None:
        """A JPEG that can go as it is; one without data if it is not wanted; None if it has to be made anew."""
        try:
            header = read_header(jpeg)
        except GatewayError:
            return None
        if max(header.width, header.height) > self._reader.wish.side or b"\xff\xc4" not in jpeg[:4096]:
            return None
        self._have()
        wanted = self._pace.picture(at)
        self._reader.tally.passed += wanted
        return Picture(jpeg if wanted else b"", header.width, header.height, at, True, captured, self._codec)

    def _frames(self, packet: Any, at: float, captured: float | None) -> Iterator[Picture | None]:
        context, tally = self._opened.stream.codec_context, self._reader.tally
        context.skip_frame = "NONREF" if self._pace.plan == "references" else "DEFAULT"
        try:
            frames = packet.decode()
            if self._pace.plan == "keyframes":  # a decoder that waits for pictures between them would hold them back
                frames += context.decode(None)
                context.flush_buffers()
        except (av.FFmpegError, ValueError):
            tally.corrupt += 1
            return
        for behind, frame in enumerate(frames):  # at the end there are several
            tally.decoded += 1
            if frame.is_corrupt:
                tally.corrupt += 1
                continue
            self._have()
            due = at + behind * self._step
            yield self._encoded(frame, due, captured) if self._pace.picture(due) else None

    def _encoded(self, frame: Any, at: float, captured: float | None) -> Picture:
        if frame.width * frame.height > self._setup.max_pixels:
            raise SourceError("codec", f"its pictures are {frame.width}x{frame.height} px, more than limits.max_pixels")
        jpeg, width, height = jpeg_of(frame, self._reader.wish.side, self._setup.quality)
        self._reader.tally.encoded += 1
        return Picture(jpeg, width, height, at, bool(frame.key_frame), captured, self._codec)


# --- HTTP ------------------------------------------------------------------------------------------------------------


def _http(source: Source, setup: Setup, reader: Reader) -> Iterator[Picture | None]:
    """What the answer says it is: single pictures are asked for again and again, all else is read by libav."""
    web = Web(source, setup, reader.cuts)
    with closing(web.get()) as answer:
        if answer.kind in STILLS:
            yield from _stills(web, answer, setup, reader)
        else:
            yield from _decoded(source, setup, reader, answer)


def _stills(web: Web, answer: Answer, setup: Setup, reader: Reader) -> Iterator[Picture | None]:
    began = due = time.monotonic()
    while True:
        with closing(answer):
            picture = answer.whole(setup.max_bytes)
        reader.tally.packets += 1
        reader.cuts.check()
        yield still(picture, time.monotonic() - began, time.time(), reader, setup)
        due = max(due + max(setup.snapshot_s, 1 / reader.wish.fps), time.monotonic())
        if not reader.rest(due - time.monotonic()):
            return
        reader.expect(4 * setup.open_s + 2 * setup.read_s)
        answer = web.get()


def still(image: bytes, at: float, captured: float, reader: Reader, setup: Setup) -> Picture:
    """A picture that came alone, as JPEG no larger than wished. Raises `SourceError`."""
    if image[:2] == b"\xff\xd8":
        try:
            header = read_header(image)
        except GatewayError as error:
            raise SourceError("codec", f"the source's picture cannot be read: {error}") from None
        if max(header.width, header.height) <= reader.wish.side:
            reader.tally.passed += 1
            return Picture(image, header.width, header.height, at, True, captured, "jpeg")
    jpeg, width, height = transcoded(image, reader.wish.side, setup.quality, setup.max_pixels)
    reader.tally.encoded += 1
    return Picture(jpeg, width, height, at, True, captured, "jpeg")
