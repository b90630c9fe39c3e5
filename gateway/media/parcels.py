"""Parcels: a camera's H.264 on its way to the gateway as it came, for clips; a few packets at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

SPAN_S = 0.5  # of one parcel
MOST_BYTES = 2**19
MOST_PACKET = 8 * 2**20  # larger ones are no video of a camera
SPS = 7  # type of a NAL unit (ITU-T H.264 table 7-1)
START = b"\x00\x00\x01"

Stamped = tuple[int, float, float, bool]  # size, time of decoding, time until shown (s), keyframe
Send = Callable[[tuple[Stamped, ...], bytes], None]


class Parcels:
    """Of one opening of a source. The first begins with a keyframe, and so does every one that has a keyframe in it.

    Packets go as annex B has them, with their parameters before each keyframe, so that a clip can begin at any.
    """

    def __init__(self, stream: Any, send: Send) -> None:
        self._send = send
        self._coded = stream.codec_context.name == "h264"
        self._stamps: list[Stamped] = []
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False
        extradata = bytes(stream.codec_context.extradata or b"")
        boxed = extradata[:1] == b"\x01"  # as in MP4: lengths instead of start codes
        self._parameters = b"" if boxed else extradata
        self._unboxed = BitStreamFilterContext("h264_mp4toannexb", stream) if boxed and self._coded else None

    def add(self, packet: Any, at: float, *, wanted: bool) -> None:
        """A packet, whose time of decoding is `at`."""
        if not (wanted and self._coded) or packet.size > MOST_PACKET:
            self._begun = False
            self.flush()
            return
        key = bool(packet.is_keyframe)
        if self._stamps and (key or at - self._stamps[0][1] >= SPAN_S or self._size >= MOST_BYTES):
            self.flush()
        self._begun = self._begun or key
        if self._begun:
            self._pack(self._annex_b(packet, key=key), at, _later(packet), key=key)

    def _pack(self, data: bytes, at: float, later: float, *, key: bool) -> None:
        self._stamps.append((len(data), round(at, 6), round(later, 6), key))
        self._data.append(data)
        self._size += len(data)

    def flush(self) -> None:
        """Send what is there."""
        stamps, data = tuple(self._stamps), b"".join(self._data)
        self._stamps, self._data, self._size = [], [], 0
        if stamps:
            self._send(stamps, data)

    def _annex_b(self, packet: Any, *, key: bool) -> bytes:
        data = bytes(packet)
        if self._unboxed is not None:  # it empties the packet it is given
            return b"".join(bytes(part) for part in self._unboxed.filter(av.Packet(data)))
        return self._parameters + data if key and not _has_parameters(data) else data


def _later(packet: Any) -> float:
    """How long after its decoding it is shown, in s."""
    if packet.pts is None or packet.dts is None:
        return 0.0
    return max(0.0, float((packet.pts - packet.dts) * packet.time_base))


def _has_parameters(data: bytes) -> bool:
    """Whether the parameters stand in the packet itself, as they do before its first slice."""
    head = data[:512]
    return any(part[:1] and part[0] & 31 == SPS for part in head.split(START)[1:])
