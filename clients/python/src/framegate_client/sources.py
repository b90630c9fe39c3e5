"""Where pictures come from: an OpenCV capture or a PyAV container. Both libraries are extras, imported when used.

A source is read by one thread from its beginning to its end. A file comes at its own rate, as a camera would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from framegate_client.errors import SourceFailed
from framegate_client.pictures import QUALITY, Picture, encoded


class OpenCV:
    """A `cv2.VideoCapture`, or what it opens: a device's number, a file, an address.

    `live`: its newest picture counts and others may be lost; unset, that is anything without a known end.
    A capture given open stays open; one made here is closed.
    """

    def __init__(self, capture: Any, *, live: bool | None = None, quality: int = QUALITY) -> None:
        """Needs `framegate-client[opencv]`. Raises `SourceFailed`."""
        import cv2

        self._owned = isinstance(capture, (int, str, Path))
        self._capture = (
            cv2.VideoCapture(capture if isinstance(capture, int) else str(capture)) if self._owned else capture
        )
        self._quality = quality
        if not self._capture.isOpened():
            raise SourceFailed(f"OpenCV cannot open {capture!r}", code="source")
        self.live = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0 if live is None else live
        self._position = cv2.CAP_PROP_POS_MSEC

    def __iter__(self) -> Iterator[Picture]:
        pace = _Pace()
        try:
            while True:
                read, pixels = self._capture.read()
                if not read:
                    return
                captured_at = datetime.now(UTC) if self.live else pace.keep(self._capture.get(self._position) / 1000)
                yield Picture(encoded(pixels, self._quality), captured_at)
        finally:
            if self._owned:
                self._capture.release()


class PyAV:
    """A PyAV container, or what `av.open` opens: a file, a device, an address. Its first video is sent.

    `live` as for `OpenCV`. A container given open stays open; one made here is closed. OpenCV is not needed.
    """

    def __init__(self, container: Any, *, live: bool | None = None, quality: int = QUALITY, **how: Any) -> None:
        """`how` goes to `av.open`. Needs `framegate-client[av]`. Raises `SourceFailed`."""
        import av

        self._owned = isinstance(container, (str, Path))
        try:
            self._container = av.open(str(container), **how) if self._owned else container
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceFailed(f"PyAV cannot open {container!r}: {error}", code="source") from None
        if not self._container.streams.video:
            raise SourceFailed(f"there is no video in {container!r}", code="source")
        self.live = self._container.duration is None if live is None else live
        self._encoder = JpegEncoder(quality)

    def __iter__(self) -> Iterator[Picture]:
        import av

        pace = _Pace()
        try:
            for frame in self._container.decode(video=0):
                captured_at = datetime.now(UTC) if self.live or frame.time is None else pace.keep(frame.time)
                yield Picture(self._encoder.encode(frame), captured_at)
        except av.FFmpegError as error:
            raise SourceFailed(f"PyAV cannot read on: {error}", code="source") from None
        finally:
            if self._owned:
                self._container.close()


class _Pace:
    """Waits until a picture of a file is due."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._began_at = datetime.now(UTC)

    def keep(self, due_s: float) -> datetime:
        """`due_s` by the file's clock; the moment this is on the wall."""
        if self._began is None:
            self._began, self._began_at = time.monotonic() - due_s, datetime.now(UTC) - timedelta(seconds=due_s)
        time.sleep(max(0.0, self._began + due_s - time.monotonic()))
        return self._began_at + timedelta(seconds=due_s)


class JpegEncoder:
    """Makes JPEG of decoded frames with FFmpeg's encoder, upright."""

    def __init__(self, quality: int) -> None:
        self._qscale = max(2, round(31 - 29 * quality / 100))  # FFmpeg counts from 31, the worst, to 2
        self._context: Any = None

    def encode(self, frame: Any) -> bytes:
        frame = _upright(frame)
        size = (frame.width, frame.height)
        if self._context is None or (self._context.width, self._context.height) != size:
            self._context = self._for(*size)
        whole = frame.reformat(format="yuvj420p")
        whole.pts = None
        return b"".join(bytes(packet) for packet in self._context.encode(whole))

    def _for(self, width: int, height: int) -> Any:
        import av

        context: Any = av.CodecContext.create("mjpeg", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
        context.time_base = Fraction(1, 1000)
        context.qmin = context.qmax = self._qscale
        return context


def _upright(frame: Any) -> Any:
    """Turned as the file says: phones store the turn beside the pictures."""
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    if not turns:
        return frame
    import av
    import numpy as np

    turned = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns))
    return av.VideoFrame.from_ndarray(turned, format="bgr24")
