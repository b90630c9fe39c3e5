"""Decode: what a publisher sends as JPEG, as many and as large as wished. One thread for each publisher.

Packets come on the loop's thread, which never waits for this one: whoever decodes too slowly loses what has piled up
and goes on with the next keyframe.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Any

import av
import av.error

from gateway.media.encode import jpeg_of
from gateway.media.errors import SourceError
from gateway.media.messages import Counters, Setup, Shot, Wish
from gateway.media.pace import Clock, Pace
from gateway.media.rtc_frames import ASK_S, Assembler, Encoded, Packet
from gateway.media.rtc_time import SenderTime

log = logging.getLogger(__name__)

RATE = 90_000  # of every video codec's stamps, Hz
MOST_BEHIND = 60  # encoded pictures in wait
CATCH_UP = 3  # of them, beyond which pictures are decoded, but not made JPEG
LEAST_S = 1.0  # unless nothing was for this long
RARE_S = 2.0  # pictures that are wished no more often are asked for as keyframes, and nothing else is decoded
DECODERS = {"H264": "h264", "VP8": "vp8"}

Deliver = Callable[[Shot, bytes, str], None]  # with the codec's name
Fail = Callable[[SourceError | None], None]  # None: its sender has said goodbye


class Decoding:
    """From a publisher's packets to pictures. `deliver` and `fail` are called by its thread."""

    def __init__(self, number: int, wish: Wish, setup: Setup, deliver: Deliver, fail: Fail) -> None:
        self.number = number
        self.wish = wish
        self._sender_time = SenderTime()
        self.good_at = time.monotonic()
        self._setup = setup
        self._deliver = deliver
        self._fail = fail
        self._assembler = Assembler()
        self._pace = Pace(wish)
        self._clock = Clock()
        self._decoder: Any = None
        self._line: deque[Encoded] = deque()
        self._work = Condition()
        self._over = False
        self._skipping = False  # until a keyframe
        self._shown_at = float("-inf")
        self._ask = False  # for a keyframe, at the next packet
        self._blind = False  # what was decoded last was broken
        self._asked_at = self._key_at = time.monotonic()
        self._packets = self._decoded = self._encoded = self._corrupt = self._dropped = 0
        self._thread = Thread(target=self._run, name=f"decode {number}", daemon=True)

    def counters(self, malformed: int) -> Counters:
        return Counters(
            packets=self._packets,
            decoded=self._decoded,
            encoded=self._encoded,
            corrupt=self._corrupt + self._assembler.lost,
            fps=self._pace.fps,
            dropped=self._dropped,
            malformed=malformed,
        )

    # --- the loop's thread -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        with self._work:
            self._over = True
            self._work.notify()

    def report(self, stamp: int, ntp: int) -> None:
        """A sender report: this RTP timestamp and this NTP time are one moment."""
        self._sender_time.note(stamp, ntp)

    def put(self, item: object) -> None:
        """As aiortc tells a decoder's queue: None when the sender has gone."""
        if item is None and not self._over:
            self.stop()
            self._fail(None)

    def add(self, packet: Packet, codec: str) -> bool:
        """A packet has come; whether to ask the sender for a keyframe."""
        self._packets += 1
        self._assembler.codec = codec
        if self._blind:
            self._blind = False
            self._assembler.starve()
        for encoded in self._assembler.add(packet):
            self._line_up(encoded)
        ask, self._ask = self._ask, False
        return self._assembler.ask(packet.came) or ask

    def _line_up(self, encoded: Encoded) -> None:
        with self._work:
            if len(self._line) >= MOST_BEHIND:
                self._dropped += len(self._line)
                self._line.clear()
                self._skipping = True
                self._assembler.starve()
            if self._skipping and not encoded.keyframe:
                self._dropped += 1
                return
            self._skipping = False
            self._line.append(encoded)
            self._work.notify()

    # --- its own thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (encoded := self._next()) is not None:
                self._take(encoded)
        except SourceError as error:
            self._fail(error)
        except Exception:
            log.exception("peer %d: broke", self.number)
            self._fail(SourceError("internal", "decoding its pictures failed; the log says why"))

    def _next(self) -> Encoded | None:
        with self._work:
            self._work.wait_for(lambda: self._line or self._over)
            return None if self._over else self._line.popleft()

    def _take(self, encoded: Encoded) -> None:
        pace, now = self._pace, time.monotonic()
        pace.wish = self.wish
        at = self._clock.at(encoded.stamp / RATE, now)
        wanted = pace.packet(at, keyframe=encoded.keyframe) != "drop"  # nothing is held: keyframes come when asked for
        self._ask_in_time(encoded, now, blind=not wanted and pace.plan != "keyframes")
        if not wanted:
            self.good_at = now if pace.plan == "keyframes" else self.good_at
            return
        for frame in self._frames(encoded):
            self._decoded += 1
            self.good_at = now
            if pace.picture(at) and not self._behind(now):
                self._show(frame, at, encoded)
                self._shown_at = now

    def _behind(self, now: float) -> bool:
        """Whether to leave a picture out to catch up."""
        late = len(self._line) > CATCH_UP and now - self._shown_at < LEAST_S
        self._dropped += late
        return late

    def _ask_in_time(self, encoded: Encoded, now: float, *, blind: bool) -> None:
        """Senders make keyframes when asked, else hardly ever."""
        if encoded.keyframe:
            self._key_at = now
        due = self._pace.interval
        rare = due >= RARE_S and now - self._key_at > 0.85 * due
        if (blind or rare) and now - self._asked_at > ASK_S:
            self._asked_at, self._ask = now, True

    def _frames(self, encoded: Encoded) -> list[Any]:
        decoder = self._fitting(encoded.codec)
        decoder.skip_frame = "NONREF" if self._pace.plan == "references" else "DEFAULT"
        try:
            frames = decoder.decode(av.Packet(encoded.data))
            if self._pace.plan == "keyframes":
                frames += decoder.decode(None)
                decoder.flush_buffers()
        except (av.error.FFmpegError, ValueError):
            frames = []
            self._spoilt()
        if any(frame.is_corrupt for frame in frames):
            self._spoilt()
        return [frame for frame in frames if not frame.is_corrupt]

    def _spoilt(self) -> None:
        self._corrupt += 1
        self._blind = True

    def _fitting(self, codec: str) -> Any:
        """The codec's decoder, which waits for no later picture."""
        if self._decoder is None or self._decoder.name != DECODERS[codec]:
            self._decoder = av.CodecContext.create(DECODERS[codec], "r")
            self._decoder.thread_count = 1
            self._decoder.flags |= av.codec.context.Flags.low_delay
            self._decoder.options = {"max_pixels": str(4 * self._setup.max_pixels)}  # beyond, it is not even decoded
        return self._decoder

    def _show(self, frame: Any, at: float, encoded: Encoded) -> None:
        if frame.width * frame.height > self._setup.max_pixels:
            raise SourceError("codec", f"its pictures are {frame.width}x{frame.height} px, more than limits.max_pixels")
        jpeg, width, height = jpeg_of(frame, self.wish.side, self._setup.quality)
        self._encoded += 1
        arrived = time.time() - (time.monotonic() - encoded.came)
        captured = round(self._sender_time.at(encoded.stamp, arrived) * 1e6)
        shot = Shot(self.number, round(at, 6), width, height, bool(frame.key_frame), captured)
        self._deliver(shot, jpeg, encoded.codec.lower())
