"""Frames: RTP packets put together to encoded pictures, in order, without waiting longer than a picture is worth.

Pure: told of packets and of the time. aiortc's jitter buffer hands a picture out when the next one begins, and after a
lost packet it waits for hundreds more; here the marker bit ends a picture (RFC 6184 section 5.1, RFC 7741 section 4.1),
and what is still missing after `GAP_S` is given up: then only a keyframe goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GAP_S = 0.25  # for a retransmission to come
MOST_PACKETS = 1024  # in wait behind a gap
MOST_BYTES = 8 * 2**20  # of one encoded picture; larger ones are no video of a camera
MOST_PARTS = 8192  # packets of one
MOST_UNITS = 1024  # NAL units before its first slice
ASK_S = 1.0  # between two requests for a keyframe
START = b"\x00\x00\x01"
SLICE, IDR, SPS, DELIMITER = 1, 5, 7, 9  # kinds of NAL units
VP8_START = b"\x9d\x01\x2a"


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet's own part, without codec descriptors. `empty` ones pad; they hold nothing."""

    seq: int  # 16 bits
    stamp: int  # 32 bits, at 90 kHz
    marker: bool
    data: bytes = field(repr=False)
    came: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """One encoded picture. `stamp` is not cut to 32 bits; `came` is when its first packet did, in s of the clock."""

    data: bytes = field(repr=False)
    codec: str
    stamp: int
    keyframe: bool
    came: float


class Assembler:
    """One codec's stream of packets. `lost` counts gaps that were given up, and pictures without an end."""

    def __init__(self) -> None:
        self.codec = ""
        self.lost = 0
        self._starved = True  # only a keyframe goes on
        self._refused = False  # a picture came that was none
        self._next: int | None = None  # the number that has to come
        self._torn: int | None = None  # stamp of a picture whose beginning is missing
        self._waiting: dict[int, Packet] = {}
        self._parts: list[Packet] = []
        self._size = 0  # bytes of them
        self._stamp: int | None = None
        self._asked_at = float("-inf")

    def add(self, packet: Packet) -> list[Encoded]:
        """A packet has come; the pictures that are complete now."""
        if self._next is None:
            self._go_on_with(packet)
        elif (behind := (self._next - packet.seq) & 0xFFFF) and behind < 0x8000:
            if behind < MOST_PACKETS:  # a second copy, or too late
                return []
            self._waiting.clear()  # its sender has begun anew
            self._give_up(packet)
        self._waiting[packet.seq] = packet
        found = self._in_order()
        if self._waiting and self._too_late(packet.came):
            self._give_up(min(self._waiting.values(), key=self._distance))
            found += self._in_order()
        return found

    def ask(self, now: float) -> bool:
        """Whether to ask the sender for a keyframe now."""
        if not (self._starved and self._refused) or now - self._asked_at < ASK_S:
            return False
        self._asked_at = now
        return True

    def starve(self) -> None:
        """What comes is of no use before the next keyframe; one is to be asked for."""
        self._starved = self._refused = True

    # --- order -------------------------------------------------------------------------------------------------------

    def _in_order(self) -> list[Encoded]:
        found: list[Encoded] = []
        while self._next is not None and (packet := self._waiting.pop(self._next, None)) is not None:
            self._next = (self._next + 1) & 0xFFFF
            found += self._taken(packet)
        return found

    def _taken(self, packet: Packet) -> list[Encoded]:
        found: list[Encoded] = []
        if self._parts and packet.stamp != self._parts[0].stamp:
            found = self._complete()  # its marker bit was not set
        if packet.stamp == self._torn:
            return found
        self._torn = None
        if packet.data:
            self._parts.append(packet)
            self._size += len(packet.data)
        if self._size > MOST_BYTES or len(self._parts) > MOST_PARTS:
            self._drop()
            self._torn = packet.stamp
            return found
        return found + (self._complete() if packet.marker else [])

    def _distance(self, packet: Packet) -> int:
        return (packet.seq - (self._next or 0)) & 0xFFFF

    def _too_late(self, now: float) -> bool:
        return len(self._waiting) >= MOST_PACKETS or now - min(p.came for p in self._waiting.values()) > GAP_S

    def _give_up(self, packet: Packet) -> None:
        """Go on behind a gap."""
        self._drop()
        self._go_on_with(packet)

    def _drop(self) -> None:
        """What was put together comes to nothing."""
        self.lost += 1
        self._parts, self._size = [], 0
        self.starve()

    def _go_on_with(self, packet: Packet) -> None:
        self._next = packet.seq
        self._torn = None if begins_keyframe(self.codec, packet.data) else packet.stamp

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _complete(self) -> list[Encoded]:
        parts, self._parts, self._size = self._parts, [], 0
        if not parts:
            return []
        data = b"".join(part.data for part in parts)
        keyframe = stands_alone(self.codec, data)
        if self._starved and not keyframe:
            self._refused = True
            return []
        self._starved = self._refused = False
        return [Encoded(data, self.codec, self._unwrapped(parts[0].stamp), keyframe, parts[0].came)]

    def _unwrapped(self, stamp: int) -> int:
        """The stamp nearest to the one before, of those that end in these 32 bits."""
        if self._stamp is None:
            self._stamp = stamp
        step = (stamp - self._stamp) & 0xFFFFFFFF
        self._stamp += step if step < 0x80000000 else step - 0x100000000
        return self._stamp


def stands_alone(codec: str, data: bytes) -> bool:
    """Whether an encoded picture is a keyframe: it has an IDR slice (H.264), or says so (VP8, RFC 6386 section 9.1)."""
    if codec == "VP8":
        return bool(data) and not data[0] & 1
    at = data.find(START)
    for _ in range(MOST_UNITS):
        if not 0 <= at < len(data) - 3:
            break
        kind = data[at + 3] & 0x1F
        if kind == IDR:
            return True
        if kind == SLICE:  # of another picture type: there is no IDR slice beside it
            return False
        at = data.find(START, at + 3)
    return False


def begins_keyframe(codec: str, data: bytes) -> bool:
    """Whether this is a keyframe's first packet, for all we know."""
    if codec == "VP8":
        return data[3:6] == VP8_START and not data[0] & 1
    return data[:4] == b"\0" + START and len(data) > 4 and data[4] & 0x1F in (SPS, DELIMITER)
