"""What a JPEG says of itself, read from its marker segments without decoding; and what must go before it goes out.

The gateway process never decodes a picture, so this is all it knows of one. The reader walks the segments (ITU-T T.81
annex B) up to the start of scan; it costs microseconds and allocates nothing but its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error

from gateway.errors import BadImage, ImageTooLarge

MAX_PIXELS = 33_177_600  # 7680 x 4320; a decoder that believes a forged header takes gigabytes

_SIZE = Struct(">HH")
_LENGTH = Struct(">H")

_SOF = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what every decoder reads
_SOF_OTHER = frozenset({0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_DHT, _SOS, _EOI = 0xC4, 0xDA, 0xD9
_APP1 = 0xE1
_METADATA = frozenset({*range(0xE1, 0xF0), 0xFE}) - {0xEE}  # all APPn and comments, but not JFIF nor Adobe's colours


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size in px as stored, EXIF orientation (1-8, 1 when absent), and where things stand in the file.

    `metadata` are the (start, end) bytes of segments that say something about the picture's origin; `scan` is where
    the start-of-scan marker begins; `huffman` is whether the file brings its own Huffman tables.
    """

    stored_width: int
    stored_height: int
    orientation: int = 1
    metadata: tuple[tuple[int, int], ...] = ()
    scan: int = 0
    huffman: bool = True

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
    if jpeg[:2] != b"\xff\xd8":
        raise BadImage(f"expected a JPEG starting with FF D8, got {jpeg[:2].hex(' ').upper() or 'nothing'}")
    try:
        header = _walk(jpeg)
    except (IndexError, struct_error):
        raise BadImage("the JPEG ends inside its header", code="truncated") from None
    pixels = header.stored_width * header.stored_height
    if pixels > max_pixels:
        size = f"{header.stored_width}x{header.stored_height}"
        raise ImageTooLarge(f"the JPEG claims {size} px, more than the limit of {max_pixels} px")
    _check_end(jpeg)
    return header


class HeaderReader:
    """Reads the headers of one stream's pictures, which mostly begin alike, byte for byte, up to the start of scan.

    Those need no second walk, which was the largest cost of a frame on its way through a session (3 of 7 µs).
    """

    def __init__(self, *, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._beginning = b""
        self._header: JpegHeader | None = None

    def read(self, jpeg: bytes) -> JpegHeader:
        """As `read_header`."""
        if self._header is not None and jpeg.startswith(self._beginning):
            _check_end(jpeg)
            return self._header
        header = read_header(jpeg, max_pixels=self._max_pixels)
        self._header, self._beginning = header, jpeg[: header.scan + 2]
        return header


def _check_end(jpeg: bytes) -> None:
    """Some cameras pad behind the end marker; a cut transfer has no marker at all."""
    if jpeg[-2:] != b"\xff\xd9" and b"\xff\xd9" not in jpeg[-4096:]:
        raise BadImage("the JPEG has no end marker; it was cut", code="truncated")


def tidied(jpeg: bytes, header: JpegHeader) -> bytes:
    """The same picture as it may go out: without metadata but its orientation, with Huffman tables.

    An EXIF thumbnail holds an end marker of its own, at which scanning readers stop; motion-JPEG cameras leave the
    standard tables out, which browsers do not forgive. A file that needs neither is returned as it is, uncopied.
    """
    if not header.metadata and header.huffman:
        return jpeg
    parts, position = [jpeg[:2]], 2
    if header.orientation != 1:
        parts.append(_orientation_segment(header.orientation))
    for start, end in header.metadata:
        parts.append(jpeg[position:start])
        position = end
    if not header.huffman:
        parts += [jpeg[position : header.scan], STANDARD_HUFFMAN]
        position = header.scan
    return b"".join([*parts, jpeg[position:]])


def _walk(jpeg: bytes) -> JpegHeader:
    position, orientation, huffman = 2, 1, False
    size: tuple[int, int] | None = None
    metadata: list[tuple[int, int]] = []
    while True:
        if jpeg[position] != 0xFF:
            raise BadImage(f"expected a JPEG marker at byte {position}, got {jpeg[position]:#04x}")
        marker = jpeg[position + 1]
        if marker == 0xFF:  # fill byte (B.1.1.2)
            position += 1
            continue
        position += 2
        if marker in _STANDALONE:
            continue
        if marker == _SOS:
            break
        if marker == _EOI:
            raise BadImage("the JPEG holds no picture")
        (length,) = _LENGTH.unpack_from(jpeg, position)
        if length < 2:
            raise BadImage(f"a JPEG segment of {length} bytes at byte {position}")
        if marker in _SOF:
            height, width = _SIZE.unpack_from(jpeg, position + 3)
            size = (width, height)
        elif marker == _DHT:
            huffman = True
        elif marker in _METADATA:
            metadata.append((position - 2, position + length))
            if marker == _APP1 and jpeg[position + 2 : position + 8] == b"Exif\0\0":
                orientation = _exif_orientation(jpeg[position + 8 : position + length])
        elif marker in _SOF_OTHER:
            raise BadImage(f"JPEG coding {marker:#04x} (lossless, hierarchical or arithmetic) is not supported")
        position += length
    if size is None or 0 in size:
        raise BadImage("the JPEG names no picture size before its data")
    return JpegHeader(*size, orientation, tuple(metadata), position - 2, huffman)


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
