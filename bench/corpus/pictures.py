"""Pictures that are none, or not what they say: headers, tables, sizes, cut and flipped data, several files in one."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from random import Random
from struct import pack

from bench.corpus.message import BINARY, STREAM, TEXT, Message, cut, flipped, frame, noise, pick, request

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF, DHT, DQT, SOS, DRI, COM, APP1 = 0xC0, 0xC4, 0xDB, 0xDA, 0xDD, 0xFE, 0xE1


@cache
def sound_jpeg() -> bytes:
    """A small sound one, with everything a camera's has."""
    import cv2
    import numpy as np

    across = np.add.outer(np.arange(48) * 3, np.arange(64) * 2)
    picture = np.stack([across, across[::-1], across.T[:48, :48].repeat(2, 1)[:, :64]], 2)
    _, data = cv2.imencode(".jpg", (picture % 256).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return data.tobytes()


def _segments() -> list[tuple[int, bytes]]:
    """Marker and payload up to the scan, whose data is the payload of the last."""
    data, at, found = sound_jpeg(), 2, []
    while data[at + 1] != SOS:
        length = int.from_bytes(data[at + 2 : at + 4])
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*found, (SOS, data[at + 2 :])]


def _joined(segments: list[tuple[int, bytes]]) -> bytes:
    head = b"".join(_segment(marker, payload) for marker, payload in segments if marker != SOS)
    return SOI + head + b"".join(b"\xff\xda" + payload for marker, payload in segments if marker == SOS)


def _segment(marker: int, payload: bytes, length: int | None = None) -> bytes:
    told = min(len(payload) + 2, 0xFFFF) if length is None else length
    return bytes([0xFF, marker]) + told.to_bytes(2) + payload


def _without(*markers: int) -> bytes:
    return _joined([each for each in _segments() if each[0] not in markers])


def _with_sof(marker: int, payload: bytes) -> bytes:
    return _joined([(marker, payload) if each[0] == SOF else each for each in _segments()])


def _sof() -> bytes:
    return next(payload for marker, payload in _segments() if marker == SOF)


def _cut(chance: Random) -> bytes:
    return cut(chance, sound_jpeg())


def _flipped(chance: Random) -> bytes:
    return flipped(chance, sound_jpeg(), 24)


def _size(chance: Random) -> bytes:
    height, width = (chance.choice((0, 1, 47, 5_000, 32_000, 65_500, 65_535)) for _ in range(2))
    return _with_sof(SOF, _sof()[:1] + pack(">HH", height, width) + _sof()[5:])


def _process(chance: Random) -> bytes:
    """Progressive, lossless, arithmetic and what there is not, over a baseline scan."""
    return _with_sof(chance.choice((0xC1, 0xC2, 0xC3, 0xC5, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCF)), _sof())


def _components(chance: Random) -> bytes:
    count = chance.choice((0, 1, 2, 4, 5, 255))
    return _with_sof(SOF, _sof()[:5] + bytes([count]) + (_sof()[6:] * 100)[: chance.choice((3 * count, 9))])


def _sampling(chance: Random) -> bytes:
    sof = bytearray(_sof())
    for at in (7, 10, 13):
        sof[at] = chance.choice((0x00, 0x10, 0x01, 0x44, 0xF1, 0xFF))
    sof[0] = chance.choice((8, 8, 12, 16, 0))
    return _with_sof(SOF, bytes(sof))


def _two_headers(chance: Random) -> bytes:
    huge = _sof()[:1] + pack(">HH", 30_000, 30_000) + _sof()[5:]
    segments = _segments()
    segments.insert(chance.randrange(len(segments)), (chance.choice((SOF, 0xC2)), huge))
    return _joined(segments)


def _no_table(chance: Random) -> bytes:
    return _without(*chance.choice(((DHT,), (DQT,), (SOF,), (SOS,), (DHT, DQT), (SOF, SOS))))


def _broken_table(chance: Random) -> bytes:
    marker = chance.choice((DHT, DQT))
    return _joined([(each[0], flipped(chance, each[1])) if each[0] == marker else each for each in _segments()])


def _segment_length(chance: Random) -> bytes:
    lie = chance.choice((0, 1, 2, 3, 0x7FFF, 0xFFFF))
    return SOI + _segment(chance.choice((COM, APP1, DQT, DHT, DRI, 0xE0)), noise(chance), lie) + sound_jpeg()[2:]


def _many_segments(chance: Random) -> bytes:
    return SOI + _segment(COM, b"") * chance.randint(500, 20_000) + sound_jpeg()[2:]


def _fill_bytes(chance: Random) -> bytes:
    return SOI + b"\xff" * chance.randint(2, 50_000) + sound_jpeg()[3:]


def _restart_interval(chance: Random) -> bytes:
    return SOI + _segment(DRI, chance.choice((b"\0\0", b"\0\1", b"\xff\xff", b"\1"))) + sound_jpeg()[2:]


def _exif(chance: Random) -> bytes:
    """Orientations that there are not, offsets that go in circles or out, counts beyond the file."""
    order, form = chance.choice(((b"II*\0", "<"), (b"MM\0*", ">")))
    entries = chance.choice((0, 1, 2, 65_535))
    entry = pack(form + "HHIHH", 0x112, chance.choice((3, 2, 0)), chance.choice((1, 0, 2**31)), chance.randrange(12), 0)
    tiff = order + pack(form + "IH", chance.choice((8, 0, 4, 2**31)), entries) + entry * min(entries, 2)
    return (
        SOI + _segment(APP1, b"Exif\0\0" + tiff + pack(form + "I", chance.choice((0, 8, 2**32 - 1)))) + sound_jpeg()[2:]
    )


def _two_files_in_one(chance: Random) -> bytes:
    other = chance.choice(
        (b"GIF89a", b"PK\3\4", b"<html><script>alert(1)</script>", b"%PDF-1.7", b"#!/bin/sh\nid\n", SOI)
    )
    if chance.random() < 0.5:
        return sound_jpeg() + other + noise(chance, 2000)
    return SOI + _segment(COM, other) + sound_jpeg()[2:]


def _begins_only(chance: Random) -> bytes:
    return chance.choice((SOI, SOI + b"\xff", SOI + EOI, SOI * 50, SOI + noise(chance, 500), SOI + bytes(500)))


def _scan(chance: Random) -> bytes:
    *head, (_, scan) = _segments()
    rubbish = chance.choice((noise(chance, 3000), scan[:12] + b"\xff\0" * 500, b"\xff\xd0" * 400, b""))
    return _joined([*head, (SOS, scan[:12] + rubbish)]) + chance.choice((EOI, b""))


def _png(chance: Random) -> bytes:
    side = chance.choice((1, 0, 2_000, 70_000, 2**31 - 1, 2**32 - 1))
    header = pack(">IIBBBBB", side, side, chance.choice((8, 16, 1, 3)), chance.choice((2, 6, 3, 7)), 0, 0, 0)
    pixels = zlib.compress(bytes(chance.choice((4, 1_000, 1_000_000))))
    made = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return flipped(chance, made, 3) if chance.random() < 0.3 else made


def _chunk(kind: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))


def _webp(chance: Random) -> bytes:
    kind = chance.choice((b"VP8 ", b"VP8L", b"VP8X", b"ANIM"))
    lie = chance.choice((0, 10, 2**32 - 1))
    return b"RIFF" + pack("<I", lie) + b"WEBP" + kind + pack("<I", chance.choice((0, 10, 2**32 - 1))) + noise(chance)


def _header(chance: Random) -> bytes:
    """`FG` and what should follow, with one of the numbers wrong."""
    meta = chance.choice((b"", b"{}", b"[1]", b"{", b'{"a":NaN}', b"\xff\xfe", b"{" * 2_000))
    length = chance.choice((24 + len(meta), 0, 23, 24, 25, 65_535))
    version, kind = chance.choice((1, 1, 0, 2, 255)), chance.choice((1, 1, 0, 2, 255))
    seq, at = chance.choice((0, 1, 2**32 - 1)), chance.choice((0, 2**63, 2**64 - 1))
    head = b"FG" + pack(">BBHHIIQ", version, kind, length, chance.getrandbits(16), seq, chance.getrandbits(32), at)
    return head + meta + chance.choice((sound_jpeg(), b"", noise(chance)))


KINDS = (
    _cut,
    _flipped,
    _flipped,
    _size,
    _process,
    _components,
    _sampling,
    _two_headers,
    _no_table,
    _broken_table,
    _segment_length,
    _many_segments,
    _fill_bytes,
    _restart_interval,
    _exif,
    _two_files_in_one,
    _begins_only,
    _scan,
    _png,
    _webp,
    _header,
)


def make(chance: Random) -> Message:
    """Half of them as binary messages, the others as posted bodies and as text."""
    kind, data = pick(chance, KINDS)
    way = chance.random()
    if way < 0.5:
        return Message("jpeg", kind, frame(data, BINARY), on_socket=True)
    if way < 0.75:
        type_ = chance.choice((b"image/jpeg", b"image/png", b"application/octet-stream"))
        posted = request(b"POST", b"/stream/" + STREAM + b"/frame", data, [b"Content-Type: " + type_])
        return Message("jpeg", kind, posted, on_socket=False)
    text = b"data:image/jpeg;base64," + base64.b64encode(data)
    if way < 0.9:
        text = json.dumps({"type": "frame", "image": text.decode(), "seq": chance.getrandbits(33)}).encode()
    return Message("jpeg", kind, frame(text, TEXT), on_socket=True)
