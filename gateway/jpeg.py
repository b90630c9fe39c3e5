"""What a JPEG says of itself, read from its marker segments without decoding; and what must go before it goes out.

The gateway process never decodes a picture, so this is all it knows of one. The reader walks the segments (ITU-T T.81
annex B) up to the start of scan; it costs microseconds and allocates nothing but its answer. What it does not know it
refuses: the decoders behind it see only files of the plainest kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error

from gateway.errors import BadImage, ImageTooLarge

MAX_PIXELS = 33_177_600  # 7680 x 4320; a decoder that believes a forged header takes gigabytes
MOST_SEGMENTS = 500  # fill bytes included; cameras write about ten, a phone's largest files under a hundred
MOST_SCANS = 100  # each is a pass over the whole picture; encoders write about ten
PADDING = 4096  # bytes behind the end marker that are looked through for it

_SOI, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_FRAME = Struct(">BHHB")  # of a start of frame: precision, height, width, components
_LENGTH = Struct(">H")

_SOF = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what every decoder reads
_SOF_OTHER = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_PROGRESSIVE, _DHT, _EOI, _SOS, _DQT, _DRI = 0xC2, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn and comments
_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # in scan data: neither stuffing, restart nor fill
_ADOBE = b"\xff\xee\0\x0e"  # before version, flags and colour transform (Adobe TN 5116)
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size in px as stored, EXIF orientation (1-8, 1 when absent), and where things stand in the file.

    `metadata` are the (start, end) bytes of segments that say something about the picture's origin; `scan` is where
    the start-of-scan marker begins; `huffman` is whether the file brings its own Huffman tables, `jfif` whether its
    JFIF segment has to be written anew, without thumbnail, `adobe` what stays of an Adobe segment that holds more than
    colours; `several_scans` is true of progressive files, for one, and `followed` of those that announce another
    picture behind this one.
    """

    stored_width: int
    stored_height: int
    orientation: int = 1
    metadata: tuple[tuple[int, int], ...] = ()
    scan: int = 0
    huffman: bool = True
    jfif: bool = False
    adobe: bytes = b""
    several_scans: bool = False
    followed: bool = False

    @property
    def width(self) -> int:
        """Upright width in px."""
        return self.stored_height if self.orientation >= 5 else self.stored_width

    @property
    def height(self) -> int:
        """Upright height in px."""
        return self.stored_width if self.orientation >= 5 else self.stored_height


def read_header(jpeg: bytes, *, max_pixels: int = MAX_PIXELS) -> JpegHeader:
    """Read what a complete JPEG says of itself.

    Raises `BadImage` when the bytes are no JPEG, end early or use a coding no common decoder reads, and
    `ImageTooLarge` when the header claims more than `max_pixels`.
    """
    header = _header(jpeg, max_pixels)
    _end(jpeg, header)
    return header


class HeaderReader:
    """The gate of one stream, whose pictures mostly begin alike, byte for byte, up to the start of scan.

    Those need no second walk, which was the largest cost of a frame on its way through a session (3 of 7 µs).
    """

    def __init__(self, *, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._beginning = b""
        self._header: JpegHeader | None = None
        self._tidy: bytes | None = None

    def read(self, jpeg: bytes) -> JpegHeader:
        """As `read_header`."""
        header = self._known(jpeg)
        _end(jpeg, header)
        return header

    def admit(self, jpeg: bytes) -> tuple[JpegHeader, bytes]:
        """The header of a picture, and the picture as `tidied` has it. Raises as `read_header`."""
        header = self._known(jpeg)
        return header, _joined(jpeg, header, self._tidy, _end(jpeg, header))

    def _known(self, jpeg: bytes) -> JpegHeader:
        if self._header is not None and jpeg.startswith(self._beginning):
            return self._header
        header = _header(jpeg, self._max_pixels)
        (length,) = _LENGTH.unpack_from(jpeg, header.scan + 2)
        self._header, self._beginning = header, jpeg[: header.scan + 2 + length]
        self._tidy = _tidy_beginning(jpeg, header)
        return header


def tidied(jpeg: bytes, header: JpegHeader, *, exact: bool = False) -> bytes:
    """The same picture as it may go out: without metadata but its orientation, with Huffman tables, and nothing behind.

    An EXIF thumbnail holds an end marker of its own, at which scanning readers stop; motion-JPEG cameras leave the
    standard tables out, which browsers do not forgive. A file that needs neither is returned as it is, uncopied.
    `exact` looks for the end marker from the front (1 to 10 µs per KB): a file of another kind may hide behind it.
    """
    return _joined(jpeg, header, _tidy_beginning(jpeg, header), _end(jpeg, header, exact=exact))


def turned(tidy: bytes) -> bool:
    """Whether a picture that `tidied` returned is stored other than upright."""
    return tidy[2:4] == b"\xff\xe1"


def _joined(jpeg: bytes, header: JpegHeader, beginning: bytes | None, end: int) -> bytes:
    if beginning is not None:
        return b"".join((beginning, memoryview(jpeg)[header.scan : end]))
    return jpeg if end == len(jpeg) else jpeg[:end]


def _tidy_beginning(jpeg: bytes, header: JpegHeader) -> bytes | None:
    """All up to the start of scan as it may go out; None if that is how it is."""
    if not header.metadata and header.huffman:
        return None
    parts, position = [_SOI], 2
    if header.orientation != 1:
        parts.append(_orientation_segment(header.orientation))
    if header.jfif:
        parts.append(_JFIF)
    if header.adobe:
        parts.append(_ADOBE + header.adobe)
    for start, end in header.metadata:
        parts.append(jpeg[position:start])
        position = end
    parts.append(jpeg[position : header.scan])
    if not header.huffman:
        parts.append(STANDARD_HUFFMAN)
    return b"".join(parts)


# --- where a picture ends --------------------------------------------------------------------------------------------


def _end(jpeg: bytes, header: JpegHeader, *, exact: bool = False) -> int:
    """Where it ends. Some cameras pad behind the end marker; a cut transfer has no marker at all. Raises `BadImage`.

    A plain file is asked at its end only: looking through all of it would cost more than everything else here. One
    from a phone says that previews or depth maps stand behind the picture.
    """
    if header.several_scans and jpeg.count(_SCAN, header.scan) > MOST_SCANS:
        raise BadImage(f"the JPEG has more than {MOST_SCANS} scans")
    if header.followed or exact:
        if header.several_scans:
            return _end_of_scans(jpeg, header.scan)
        found = jpeg.find(_END, header.scan)
    elif jpeg.endswith(_END):
        return len(jpeg)
    else:
        found = jpeg.rfind(_END, max(header.scan, len(jpeg) - PADDING))
    if found < 0:
        raise BadImage("the JPEG has no end marker; it was cut", code="truncated")
    return found + 2


def _end_of_scans(jpeg: bytes, position: int) -> int:
    """Where the picture itself ends, past all its scans. Raises `BadImage` for what has no business between them."""
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(jpeg, position)
        if found is None:
            raise BadImage("the JPEG has no end marker; it was cut", code="truncated")
        marker, position = jpeg[found.end() - 1], found.end()
        if marker == _EOI:
            return position
        if marker not in (_SOS, _DHT, _DQT, _DRI):
            raise BadImage(f"the JPEG has a marker {marker:#04x} between its scans")
        position += _length(jpeg, position)
    raise BadImage(f"the JPEG has more than {MOST_SEGMENTS} segments between its scans")


def _length(jpeg: bytes, position: int) -> int:
    (length,) = _LENGTH.unpack_from(jpeg, position) if position + 2 <= len(jpeg) else (0,)
    if length < 2:
        raise BadImage(f"a JPEG segment of {length} bytes at byte {position}")
    return int(length)


# --- what stands before the first scan -------------------------------------------------------------------------------


def _header(jpeg: bytes, max_pixels: int) -> JpegHeader:
    if jpeg[:2] != _SOI:
        raise BadImage(f"expected a JPEG starting with FF D8, got {jpeg[:2].hex(' ').upper() or 'nothing'}")
    try:
        header = _walk(jpeg)
    except (IndexError, struct_error):
        raise BadImage("the JPEG ends inside its header", code="truncated") from None
    if header.stored_width * header.stored_height > max_pixels:
        size = f"{header.stored_width}x{header.stored_height}"
        raise ImageTooLarge(f"the JPEG claims {size} px, more than the limit of {max_pixels} px")
    return header


def _walk(jpeg: bytes) -> JpegHeader:
    position, seen = 2, _Seen()
    for _ in range(MOST_SEGMENTS):
        if jpeg[position] != 0xFF:
            raise BadImage(f"expected a JPEG marker at byte {position}, got {jpeg[position]:#04x}")
        marker = jpeg[position + 1]
        if marker == 0xFF:  # fill byte (B.1.1.2)
            position += 1
            continue
        position += 2
        if marker in _STANDALONE:
            continue
        if marker == _EOI:
            raise BadImage("the JPEG holds no picture")
        (length,) = _LENGTH.unpack_from(jpeg, position)
        if length < 2:
            raise BadImage(f"a JPEG segment of {length} bytes at byte {position}")
        if marker == _SOS:
            return seen.header(jpeg, position, length)
        seen.note(marker, jpeg, position, length)
        position += length
    raise BadImage(f"the JPEG has more than {MOST_SEGMENTS} segments before its data")


class _Seen:
    """What the segments have said so far. `position` is where a segment's length stands."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self.components = 0
        self.orientation = 1
        self.huffman = self.jfif = self.progressive = self.followed = False
        self.adobe = b""
        self.metadata: list[tuple[int, int]] = []

    def note(self, marker: int, jpeg: bytes, position: int, length: int) -> None:
        if marker in _SOF:
            self._frame(marker, jpeg, position, length)
        elif marker == _DHT:
            self.huffman = True
        elif marker in _METADATA:
            self._origin(marker, jpeg, position, length)
        elif marker in _SOF_OTHER:
            raise BadImage(f"JPEG coding {marker:#04x} (lossless, hierarchical or arithmetic) is not supported")
        elif marker not in (_DQT, _DRI):
            raise BadImage(f"the JPEG has a marker {marker:#04x} before its data")

    def _frame(self, marker: int, jpeg: bytes, position: int, length: int) -> None:
        """A start of frame (B.2.2)."""
        precision, height, width, components = _FRAME.unpack_from(jpeg, position + 2)
        if self.size is not None:
            raise BadImage("the JPEG names its size twice")
        if precision != 8:
            raise BadImage(f"the JPEG has {precision} bits a sample, expected 8")
        if components not in (1, 3, 4) or length != 8 + 3 * components:
            raise BadImage(f"the JPEG has {components} components in {length} bytes, expected 1, 3 or 4")
        for factors in jpeg[position + 9 : position + length : 3]:
            if not (1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4):
                raise BadImage(f"the JPEG has sampling factors {factors:#04x}")
        self.size, self.components, self.progressive = (width, height), components, marker == _PROGRESSIVE

    def _origin(self, marker: int, jpeg: bytes, position: int, length: int) -> None:
        """Metadata goes, but what says how colours are coded stays: a plain JFIF segment, and Adobe's."""
        body = jpeg[position + 2 : position + 8]
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            if length == 16:
                return
            self.jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe"):
            if length == 14:
                return
            self.adobe = jpeg[position + 2 : position + 14] if length > 14 else b""  # decoders pass a shorter one over
        elif marker == _APP1 and body == b"Exif\0\0":
            self.orientation = _exif_orientation(jpeg[position + 8 : position + length])
        elif marker == _APP1 or body.startswith(b"MPF\0"):  # XMP, or the index of a multi-picture file
            self.followed = True
        self.metadata.append((position - 2, position + length))

    def header(self, jpeg: bytes, position: int, length: int) -> JpegHeader:
        """All that is to be known, at the start of the first scan (B.2.3)."""
        if self.size is None or 0 in self.size:
            raise BadImage("the JPEG names no picture size before its data")
        scanned = jpeg[position + 2]
        if not 1 <= scanned <= self.components or length != 6 + 2 * scanned:
            raise BadImage(f"the JPEG's first scan has {scanned} components in {length} bytes")
        return JpegHeader(
            *self.size,
            self.orientation,
            tuple(self.metadata),
            position - 2,
            self.huffman,
            self.jfif,
            self.adobe,
            self.progressive or scanned < self.components,
            self.followed,
        )


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory (TIFF 6.0, EXIF 2.3); 1 for anything absent or odd."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    entry = Struct(order + "HHIHH")
    try:
        (offset,) = Struct(order + "I").unpack_from(tiff, 4)
        (count,) = Struct(order + "H").unpack_from(tiff, offset)
        for index in range(min(count, 64)):
            tag, _kind, _n, value, _ = entry.unpack_from(tiff, offset + 2 + 12 * index)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct_error:
        return 1
    return 1


def _orientation_segment(orientation: int) -> bytes:
    """The smallest EXIF segment: one directory with one entry."""
    entry = Struct(">HHIHH").pack(0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0\x2a" + Struct(">I").pack(8) + Struct(">H").pack(1) + entry + bytes(4)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + _LENGTH.pack(len(body) + 2) + body


def _huffman_table(kind: int, counts: str, values: bytes) -> bytes:
    body = bytes([kind]) + bytes.fromhex(counts) + values
    return b"\xff\xc4" + _LENGTH.pack(len(body) + 2) + body


# ITU-T T.81 tables K.3 to K.6: counts of codes per length 1-16, then the values.
_DC_VALUES = bytes(range(12))
_LUMINANCE_AC = bytes.fromhex(
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a"
    "434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9"
    "aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)
_CHROMINANCE_AC = bytes.fromhex(
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a3536373839"
    "3a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7"
    "a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
STANDARD_HUFFMAN = (
    _huffman_table(0x00, "00010501010101010100000000000000", _DC_VALUES)
    + _huffman_table(0x10, "0002010303020403050504040000017d", _LUMINANCE_AC)
    + _huffman_table(0x01, "00030101010101010101010000000000", _DC_VALUES)
    + _huffman_table(0x11, "00020102040403040705040400010277", _CHROMINANCE_AC)
)
