"""Film: makes MP4s of JPEGs, or of packets of H.264 as they are. Runs in its own process, never in the gateway's."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from gateway.engine.wire import Header
from gateway.errors import GatewayError
from gateway.frame import Frame
from gateway.jpeg import read_header
from gateway.media.encode import fitted

if TYPE_CHECKING:
    from gateway.frame import Pixels

TICKS = 90_000  # per second, in what is made
CRF, PRESET = "26", "veryfast"
KEYFRAME_S = 2.0
SPS, PPS, IDR = 7, 8, 5  # types of NAL units (ITU-T H.264 table 7-1)


def make(order: Header, payload: bytes) -> tuple[Header, bytes]:
    """Do one order; the answer is an MP4 with its duration in s, or an error in the header."""
    try:
        if order["do"] == "encode":
            return _encode(order, list(_parts(payload, order["sizes"])))
        if order["do"] == "remux":
            return _remux(order["packets"], list(_parts(payload, [packet[0] for packet in order["packets"]])))
        return {"error": f"no such order: {order['do']}"}, b""
    except (GatewayError, av.FFmpegError, cv2.error, ValueError, MemoryError) as error:
        return {"error": f"the clip cannot be made: {type(error).__name__}"}, b""


def _parts(payload: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield payload[start : start + size]
        start += size


class _File(io.BytesIO):
    """An MP4 that is made in memory: libav wants a name to read it again, and moves the index to the front."""

    name = "clip.mp4"

    def close(self) -> None:
        """What was written is still wanted."""

    def again(self, _url: str, _flags: int, _options: Any) -> io.BytesIO:
        return io.BytesIO(self.getvalue())


def _container(file: _File) -> Any:
    return av.open(file, "w", format="mp4", options={"movflags": "+faststart"}, io_open=file.again)


# --- of pictures -----------------------------------------------------------------------------------------------------


def _encode(order: Header, jpegs: list[bytes]) -> tuple[Header, bytes]:
    """JPEGs with their times in s as H.264. What does not decode is left out; other sizes are fitted into the first."""
    size: tuple[int, int] | None = None
    file, times, skipped = _File(), [float(at) for at in order["times"]], 0
    with _container(file) as container:
        stream = container.add_stream("libx264", rate=Fraction(order["fps"]).limit_denominator(1000))
        for at, jpeg in zip(times, jpegs, strict=True):
            try:
                picture = _picture(jpeg, order["side"])
            except GatewayError:
                skipped += 1
                continue
            if size is None:
                size = _begin(stream, picture, order["fps"])
            frame = av.VideoFrame.from_ndarray(_onto(picture, size), format="bgr24")
            frame.pts, frame.time_base = round((at - times[0]) * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        if size is None:
            return {"error": "none of its pictures decodes"}, b""
        container.mux(stream.encode(None))
    told = {"pictures": len(jpegs) - skipped, "skipped": skipped, "width": size[0], "height": size[1]}
    return {**told, "duration_s": round(times[-1] - times[0], 3)}, file.getvalue()


def _begin(stream: Any, picture: Pixels, fps: float) -> tuple[int, int]:
    size = picture.shape[1] // 2 * 2 or 2, picture.shape[0] // 2 * 2 or 2
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS)
    stream.codec_context.thread_count = 1
    stream.options = {"preset": PRESET, "crf": CRF, "bf": "0", "g": str(max(1, round(KEYFRAME_S * fps)))}
    return size


def _picture(jpeg: bytes, side: int) -> Pixels:
    header = read_header(jpeg)
    frame = Frame(0, 0.0, header.width, header.height, jpeg)
    picture = frame.scaled(side)
    wanted = fitted(picture.shape[1], picture.shape[0], side)
    if wanted != picture.shape[1::-1]:
        picture = cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return picture


def _onto(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture of this size: cut where it is one pixel more, else scaled, with bars."""
    width, height = size
    if abs(picture.shape[1] - width) > 1 or abs(picture.shape[0] - height) > 1:
        scale = min(width / picture.shape[1], height / picture.shape[0])
        inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if picture.shape[1::-1] == size:
        return picture
    canvas: Pixels = np.zeros((height, width, 3), np.uint8)
    part = picture[:height, :width]
    top, left = (height - part.shape[0]) // 2, (width - part.shape[1]) // 2
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas


# --- of packets ------------------------------------------------------------------------------------------------------


def _remux(stamps: Sequence[Sequence[Any]], packets: list[bytes]) -> tuple[Header, bytes]:
    """Packets (size, time of decoding, time until shown, key; s) as they are, from the first keyframe on."""
    run = _longest_run(stamps, packets)
    if not run:
        return {"error": "no keyframe came in time"}, b""
    file = _File()
    with av.open(io.BytesIO(packets[run[0]]), format="h264") as probe, _container(file) as container:
        stream = container.add_stream_from_template(probe.streams.video[0])
        size = stream.codec_context.width, stream.codec_context.height
        began, last = float(stamps[run[0]][1]), -1
        for number in run:
            _, at, later, key = stamps[number]
            packet = av.Packet(packets[number])
            last = max(last + 1, round((float(at) - began) * TICKS))
            packet.stream, packet.time_base, packet.dts = stream, Fraction(1, TICKS), last
            packet.pts = last + max(0, round(float(later) * TICKS))
            packet.is_keyframe = bool(key)
            container.mux(packet)
    told = {"pictures": len(run), "skipped": len(packets) - len(run), "width": size[0], "height": size[1]}
    return {**told, "duration_s": round(float(stamps[run[-1]][1]) - began, 3)}, file.getvalue()


def _longest_run(stamps: Sequence[Sequence[Any]], packets: list[bytes]) -> range:
    """Packets from a keyframe on that share their parameters: an MP4 has one size."""
    starts, known = [], None
    for number, stamp in enumerate(stamps):
        if not stamp[3]:
            continue
        parameters = tuple(unit for unit in _units(packets[number]) if unit[0] & 31 in (SPS, PPS))
        if parameters and parameters != known:
            known = parameters
            starts.append(number)
    runs = [range(first, last) for first, last in pairwise([*starts, len(packets)])]
    return max(runs, key=len, default=range(0))


def _units(data: bytes) -> Iterator[bytes]:
    """NAL units of a packet (H.264 annex B), as far as the first that holds a picture."""
    for part in data.split(b"\x00\x00\x01")[1:]:
        unit = part.rstrip(b"\x00")
        if not unit or unit[0] & 31 in (1, IDR):
            return
        yield unit
