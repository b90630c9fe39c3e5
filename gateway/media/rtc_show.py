"""Show: a channel's pictures as video, encoded once for all its viewers that take the codec, while there are any.

A channel has a thread, which takes the newest picture; viewers have tracks, which give aiortc packets that are encoded
already. A viewer that is new, or has lost something, gets a keyframe; one whose packets pile up starts anew with one.

A picture that the libraries do not take is left out, and the next one begins anew. Any other failure ends the channel's
viewers, who may come again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from threading import Condition, Thread
from typing import Any, cast

import av
import av.error
import cv2
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from gateway.media.messages import RtcTerms, Show, Shown

log = logging.getLogger(__name__)

RATE = 90_000
MOST_QUEUED = 30  # packets of a viewer, beyond which it starts anew
KEY_S = 0.5  # between two keyframes that viewers ask for
GOP = 600  # pictures between two keyframes that nobody asks for
REPEAT_S = 1.0  # nothing new: the last picture again, which costs little and mends what was lost of it
EARLY = 0.2  # of an interval that a picture may come before it is due
MOST_SIDE = 16_382  # px that both encoders take (VP8: 14 bits, RFC 6386 section 9.1; x264: 16384), even


class Track(MediaStreamTrack):
    """One viewer's packets. Touched on the loop's thread."""

    kind = "video"

    def __init__(self, channel: Channel, codec: str) -> None:
        super().__init__()
        self.codec = codec
        self.dropped = 0
        self.sent = 0
        self.wired: Callable[[Show, int], None] | None = None  # hears which picture has which RTP timestamp
        self.failed: Callable[[], None] | None = None  # hears that nothing will come any more
        self._given: Show | None = None
        self._channel = channel
        self._packets: deque[av.Packet[Any]] = deque()
        self._fresh = True  # needs a keyframe first
        self._came = asyncio.Event()

    def offer(self, packet: av.Packet[Any]) -> None:
        """The channel has encoded something."""
        if len(self._packets) >= MOST_QUEUED:
            self.dropped += len(self._packets)
            self._packets.clear()
            self._fresh = True
            self.ask()
        if self._fresh and not packet.is_keyframe:
            self.dropped += 1
            return
        self._fresh = False
        self._packets.append(packet)
        self._came.set()

    def ask(self) -> None:
        """The viewer needs a keyframe."""
        self._channel.ask()

    async def recv(self) -> Any:
        """The next packet. Raises `MediaStreamError` when the track has stopped."""
        while not self._packets:
            if self.readyState != "live":
                raise MediaStreamError
            self._came.clear()
            await self._came.wait()
        self.sent += 1
        packet = self._packets.popleft()
        self._given = cast(Show, packet.opaque)
        return packet

    def went(self, stamp: int) -> None:
        """The last packet is on its way, or about to be, under this RTP timestamp."""
        given, self._given = self._given, None
        if given is not None and self.wired is not None:
            self.wired(given, stamp)

    def stop(self) -> None:
        super().stop()
        self._came.set()


@dataclass(slots=True)
class _Slot:
    """What the thread is to do next. Guarded by `work`."""

    work: Condition = field(default_factory=Condition)
    picture: tuple[Show, bytes] | None = None
    keyframe: bool = False
    codecs: frozenset[str] = frozenset()
    over: bool = False


class Channel:
    """What the viewers of one channel see. `told` hears, on the loop's thread, that a picture was taken.

    `broken`: it shows nothing any more, and its viewers have been told.
    """

    def __init__(self, name: str, terms: RtcTerms, told: Callable[[Shown], None]) -> None:
        self.name = name
        self.encoded = 0
        self.broken = False
        self._terms = terms
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._tracks: set[Track] = set()
        self._slot = _Slot()
        self._asked_at = float("-inf")
        self._thread = Thread(target=self._run, name=f"show {name}", daemon=True)
        self._thread.start()

    # --- the loop's thread -------------------------------------------------------------------------------------------

    def join(self, codec: str) -> Track:
        """A new viewer, which is connected."""
        track = Track(self, codec)
        self._tracks.add(track)
        self._watched(keyframe=True)
        return track

    def leave(self, track: Track) -> None:
        self._tracks.discard(track)
        self._watched()

    def close(self) -> None:
        """Nobody watches any more."""
        with self._slot.work:
            self._slot.over = True
            self._slot.work.notify()

    def show(self, show: Show, jpeg: bytes) -> None:
        """The newest picture."""
        with self._slot.work:
            self._slot.picture = show, jpeg
            self._slot.work.notify()
        if not self._tracks:
            self._told(Shown(self.name, show.seq))  # it waits here for the first viewer

    def ask(self) -> None:
        """Some viewer needs a keyframe."""
        now = time.monotonic()
        if now - self._asked_at >= KEY_S:
            self._watched(keyframe=True)

    def _watched(self, *, keyframe: bool = False) -> None:
        if keyframe:
            self._asked_at = time.monotonic()
        with self._slot.work:
            self._slot.codecs = frozenset(track.codec for track in self._tracks)
            self._slot.keyframe = self._slot.keyframe or keyframe
            self._slot.work.notify()

    def _deliver(self, codec: str, packet: av.Packet[Any]) -> None:
        self.encoded += 1
        for track in self._tracks:
            if track.codec == codec:
                track.offer(packet)

    def _break(self) -> None:
        """Its thread has ended: nobody waits for it."""
        self.broken = True
        for track in list(self._tracks):
            if track.failed is not None:
                track.failed()
        if self._slot.picture is not None:
            self._told(Shown(self.name, self._slot.picture[0].seq))

    # --- its own thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            _Studio(self._slot, self._terms, self._shown, self._out).run()
        except Exception:
            log.exception("channel: broke")
            self._later(self._break)

    def _shown(self, seq: int) -> None:
        self._later(self._told, Shown(self.name, seq))

    def _out(self, codec: str, packet: av.Packet[Any]) -> None:
        self._later(self._deliver, codec, packet)

    def _later(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has closed: so does the process
            self._loop.call_soon_threadsafe(function, *arguments)


class _Studio:
    """A channel's thread: takes pictures out of the slot and makes video of them."""

    def __init__(
        self, slot: _Slot, terms: RtcTerms, shown: Callable[[int], None], out: Callable[[str, av.Packet[Any]], None]
    ) -> None:
        self._slot = slot
        self._terms = terms
        self._shown = shown
        self._out = out
        self._encoders: dict[str, Encoder] = {}
        self._frame: av.VideoFrame | None = None
        self._show: Show | None = None  # whose picture the frame is
        self._due = self._repeat_at = float("-inf")
        self._began = time.monotonic()
        self._stamp = -1
        self._failing = False

    def run(self) -> None:
        while (work := self._next()) is not None:
            codecs, picture, keyframe = work
            if picture is not None:
                self._shown(picture[0].seq)
            try:
                self._work(codecs, picture, keyframe=keyframe)
                self._failing = False
            except (av.error.FFmpegError, cv2.error, ValueError) as error:
                self._leave_out(error)

    def _leave_out(self, error: Exception) -> None:
        """The picture in hand; of several in a row the first is logged."""
        if not self._failing:
            log.warning("channel: a picture was left out: %r", error)
        self._failing = True
        self._frame = None
        self._encoders.clear()

    def _work(self, codecs: frozenset[str], picture: tuple[Show, bytes] | None, *, keyframe: bool) -> None:
        if picture is not None:
            self._take(*picture)
        if self._frame is not None:
            self._encode(codecs, keyframe=keyframe)

    def _take(self, show: Show, jpeg: bytes) -> None:
        if (frame := frame_of(jpeg)) is not None:
            self._frame, self._show = frame, show

    def _next(self) -> tuple[frozenset[str], tuple[Show, bytes] | None, bool] | None:
        slot = self._slot
        with slot.work:
            while not slot.over and (wait := self._wait()) != 0.0:
                slot.work.wait(wait)
            if slot.over:
                return None
            work = slot.codecs, slot.picture, slot.keyframe
            slot.picture, slot.keyframe = None, False
        now, interval = time.monotonic(), 1 / self._terms.fps
        self._due = max(self._due + interval, now + interval * (1 - EARLY))
        self._repeat_at = now + REPEAT_S
        return work

    def _wait(self) -> float | None:
        """Seconds until there is something to encode; None: until something changes."""
        slot = self._slot
        if not slot.codecs or not (slot.picture or self._frame):
            return None
        if slot.keyframe:
            return 0.0
        return max(0.0, (self._due if slot.picture else self._repeat_at) - time.monotonic())

    def _encode(self, codecs: frozenset[str], *, keyframe: bool) -> None:
        assert self._frame is not None
        self._stamp = max(self._stamp + 1, round((time.monotonic() - self._began) * RATE))
        for codec in set(self._encoders) - codecs:
            del self._encoders[codec]
        for codec in codecs:
            encoder = self._encoders.get(codec)
            if encoder is None or not encoder.fits(self._frame):
                encoder = self._encoders[codec] = Encoder(codec, self._frame, self._terms.bitrate_kbps)
            for packet in encoder.encode(self._frame, self._stamp, keyframe=keyframe):
                packet.opaque = self._show
                self._out(codec, packet)


class Encoder:
    """H.264 (constrained baseline) or VP8, each picture at once, keyframes when asked for."""

    def __init__(self, codec: str, frame: av.VideoFrame, kbps: int) -> None:
        self._context: Any = av.CodecContext.create("libx264" if codec == "H264" else "libvpx", "w")
        context = self._context
        context.width, context.height = frame.width, frame.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, RATE)
        context.framerate = Fraction(30, 1)
        context.bit_rate = kbps * 1000
        context.gop_size = GOP
        context.thread_count = 1 if frame.width * frame.height < 10**6 else 2
        context.options = {**(_X264 if codec == "H264" else _VPX), "maxrate": f"{kbps}k", "bufsize": f"{kbps}k"}
        if codec == "H264":
            context.profile = "Baseline"

    def fits(self, frame: av.VideoFrame) -> bool:
        return bool(self._context.width == frame.width and self._context.height == frame.height)

    def encode(self, frame: av.VideoFrame, stamp: int, *, keyframe: bool) -> list[av.Packet[Any]]:
        """One picture's packets, of this time at 90 kHz."""
        frame.pts, frame.time_base = stamp, self._context.time_base
        kinds = av.video.frame.PictureType
        frame.pict_type = kinds.I if keyframe else kinds.NONE
        return [packet for packet in self._context.encode(frame) if packet.size]


_X264 = {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1", "crf": "23"}
_VPX = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0", "static-thresh": "1", "crf": "20"}


def frame_of(jpeg: bytes) -> av.VideoFrame | None:
    """A JPEG as a frame that encoders take: 4:2:0, sides even and not longer than `MOST_SIDE`. None if it is none."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is not None and max(picture.shape[:2]) > MOST_SIDE:
        picture = _smaller(picture)
    if picture is None or min(picture.shape[:2]) < 2:
        return None
    even: Any = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
    return av.VideoFrame.from_ndarray(even, format="bgr24").reformat(format="yuv420p")


def _smaller(picture: Any) -> Any:
    """Its longer side is `MOST_SIDE` then, the other one 2 at least."""
    height, width = picture.shape[:2]
    scale = MOST_SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
