"""What a JPEG says of itself, and what must go before it goes out."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadImage, ImageTooLarge
from gateway.jpeg import HeaderReader, JpegHeader, read_header, tidied, turned
from tests.doubles import jpeg

if TYPE_CHECKING:
    from gateway.frame import Pixels

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
HUFFMAN_END = b"\xff\xda"


def picture(width: int = 48, height: int = 32, *flags: int) -> bytes:
    """Something with edges and colours, so that a wrong decode shows."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 5 % 256, y * 7 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)
    done, data = cv2.imencode(".jpg", pixels, flags)
    assert done
    return data.tobytes()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + pack(">H", len(body) + 2) + body


def exif(orientation: int, order: str = ">") -> bytes:
    """APP1 with one directory of two entries, the second of which is the orientation."""
    mark = b"MM\0\x2a" if order == ">" else b"II\x2a\0"
    make = pack(order + "HHII", 0x010F, 2, 4, 0x61626300)
    turn = pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return segment(0xE1, b"Exif\0\0" + mark + pack(order + "I", 8) + pack(order + "H", 2) + make + turn + bytes(4))


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def without_huffman(data: bytes) -> bytes:
    """As motion-JPEG cameras send it."""
    parts, position = [data[:2]], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] != 0xC4:
            parts.append(data[position:end])
        position = end
    return b"".join([*parts, data[position:]])


FRAME = segment(0xC0, b"\x08\0\x20\0\x30\3\1\x22\0\2\x11\1\3\x11\1")  # as OpenCV writes it: 48 x 32, 4:2:0


def with_frame(
    *, precision: int = 8, height: int = 32, width: int = 48, components: int = 3, sampling: int = 0x22
) -> bytes:
    """A picture whose start of frame says something else."""
    data = picture()
    assert FRAME in data
    told = pack(">BHHB", precision, height, width, components) + bytes([1, sampling]) + FRAME[12:]
    return data.replace(FRAME, segment(0xC0, told))


def decoded(data: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels  # type: ignore[return-value]


# --- the header ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (48, 32), (33, 1000)])
@pytest.mark.parametrize(
    "flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)], ids=["base", "prog", "rst"]
)
def test_the_size_is_read(size: tuple[int, int], flags: tuple[int, ...]) -> None:
    header = read_header(picture(*size, *flags))
    assert (header.width, header.height, header.orientation, header.huffman) == (*size, 1, True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [">", "<"])
def test_width_and_height_are_upright_as_opencv_sees_them(orientation: int, order: str) -> None:
    data = with_segments(picture(48, 32), exif(orientation, order))
    header = read_header(data)
    assert header.orientation == orientation
    assert (header.height, header.width) == decoded(data).shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_odd_orientation_is_upright(orientation: int) -> None:
    assert read_header(with_segments(picture(), exif(orientation))).orientation == 1


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    data = picture()
    assert read_header(data[:2] + b"\xff\xff\xff" + data[2:]).stored_width == 48


def test_bytes_behind_the_end_marker_are_forgiven() -> None:
    assert read_header(picture() + bytes(500)).stored_width == 48


@pytest.mark.parametrize(
    ("data", "complaint", "code"),
    [
        (b"", "expected a JPEG starting with FF D8, got nothing", "undecodable"),
        (b"\x89PNG", "expected a JPEG starting with FF D8, got 89 50", "undecodable"),
        (SOI, "the JPEG ends inside its header", "truncated"),
        (SOI + EOI, "the JPEG holds no picture", "undecodable"),
        (SOI + b"x" + EOI, "expected a JPEG marker at byte 2, got 0x78", "undecodable"),
        (SOI + b"\xff\xe0\0\1" + EOI, "a JPEG segment of 1 bytes at byte 4", "undecodable"),
        (SOI + b"\xff\xe0\xff\xff" + EOI, "the JPEG ends inside its header", "truncated"),
        (SOI + segment(0xDA, b"") + EOI, "the JPEG names no picture size before its data", "undecodable"),
        (
            SOI + segment(0xC9, bytes(8)),
            "JPEG coding 0xc9 (lossless, hierarchical or arithmetic) is not supported",
            "undecodable",
        ),
        (picture()[:-2], "the JPEG has no end marker; it was cut", "truncated"),
        (picture()[:-2] + bytes(5000), "the JPEG has no end marker; it was cut", "truncated"),
        (SOI + b"\xff" * 5000, "the JPEG has more than 500 segments before its data", "undecodable"),
        (SOI + segment(0xF7, bytes(8)), "the JPEG has a marker 0xf7 before its data", "undecodable"),
        (SOI + SOI, "the JPEG ends inside its header", "truncated"),
        (SOI + SOI + bytes(8), "a JPEG segment of 0 bytes at byte 4", "undecodable"),
        (with_frame(precision=12), "the JPEG has 12 bits a sample, expected 8", "undecodable"),
        (with_frame(height=0), "the JPEG names no picture size before its data", "undecodable"),
        (with_frame(width=0), "the JPEG names no picture size before its data", "undecodable"),
        (with_frame(components=2), "the JPEG has 2 components in 17 bytes, expected 1, 3 or 4", "undecodable"),
        (with_frame(components=255), "the JPEG has 255 components in 17 bytes, expected 1, 3 or 4", "undecodable"),
        (with_frame(sampling=0x05), "the JPEG has sampling factors 0x05", "undecodable"),
        (with_frame(sampling=0xF1), "the JPEG has sampling factors 0xf1", "undecodable"),
        (with_segments(picture(), FRAME), "the JPEG names its size twice", "undecodable"),
        (
            picture().replace(b"\xff\xda\0\x0c\3", b"\xff\xda\0\x0c\4"),
            "the JPEG's first scan has 4 components in 12 bytes",
            "undecodable",
        ),
        (
            picture(48, 32, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)[:-2] + b"\xff\xda\0\x08\1\1\0\0\0\0" * 100 + EOI,
            "the JPEG has more than 100 scans",
            "undecodable",
        ),
    ],
)
def test_what_is_no_jpeg_is_refused_with_the_reason(data: bytes, complaint: str, code: str) -> None:
    with pytest.raises(BadImage) as refused:
        read_header(data)
    assert (str(refused.value), refused.value.code) == (complaint, code)


def test_a_picture_larger_than_the_limit_is_refused_by_its_claim() -> None:
    forged = bytearray(jpeg())
    place = forged.index(b"\xff\xc0") + 5
    forged[place : place + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ImageTooLarge, match="claims 65535x65535 px, more than the limit of 33177600 px"):
        read_header(bytes(forged))


def test_the_limit_itself_is_allowed() -> None:
    assert read_header(picture(40, 25), max_pixels=1000).width == 40
    with pytest.raises(ImageTooLarge):
        read_header(picture(40, 26), max_pixels=1000)


RICH = with_segments(picture(), exif(6), segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(40)), segment(0xFE, b"hello"))


@given(
    cut=st.integers(0, len(RICH)),
    edits=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=8),
)
def test_any_bytes_give_a_header_or_a_refusal(cut: int, edits: list[tuple[int, int]]) -> None:
    data = bytearray(RICH)
    for place, value in edits:
        data[place] = value
    mutated = bytes(data[:cut] if cut % 3 else data)
    try:
        header = read_header(mutated)
    except (BadImage, ImageTooLarge):
        return
    assert header.width > 0
    assert header.height > 0
    tidied(mutated, header)


@given(st.binary(max_size=200))
def test_any_exif_is_survived(body: bytes) -> None:
    assert 1 <= read_header(with_segments(picture(), segment(0xE1, b"Exif\0\0" + body))).orientation <= 8


def answer(read: Callable[[bytes], object], data: bytes) -> object:
    try:
        return read(data)
    except (BadImage, ImageTooLarge) as error:
        return str(error)


VARIED = [RICH, RICH[:-2], RICH[:300], picture(), picture(40, 40), picture(400, 400), jpeg(), b"", b"\xff\xd8"]


@given(pictures=st.lists(st.sampled_from(VARIED) | st.binary(max_size=20).map(RICH.__add__), max_size=12))
def test_a_streams_gate_finds_in_every_picture_what_a_fresh_look_finds(pictures: list[bytes]) -> None:
    reader = HeaderReader(max_pixels=10_000)

    def fresh(data: bytes) -> tuple[JpegHeader, bytes]:
        header = read_header(data, max_pixels=10_000)
        return header, tidied(data, header)

    assert [answer(reader.admit, data) for data in pictures] == [answer(fresh, data) for data in pictures]
    assert [answer(reader.read, data) for data in pictures] == [answer(lambda d: fresh(d)[0], d) for d in pictures]


MARKERS = st.sampled_from([0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xD8, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xFF, 0x01])
PIECES = st.one_of(
    st.builds(segment, MARKERS, st.binary(max_size=30)),
    st.builds(lambda marker, length: bytes([0xFF, marker]) + pack(">H", length), MARKERS, st.integers(0, 65535)),
    st.sampled_from([FRAME, EOI, SOI, b"\xff", b"\xff\0", b"JFIF\0", b"Exif\0\0", picture()[20:], RICH[2:]]),
    st.binary(max_size=12),
)


@settings(max_examples=400)
@given(pieces=st.lists(PIECES, max_size=8), exact=st.booleans())
def test_whatever_is_let_through_is_plain_the_second_time(pieces: list[bytes], exact: bool) -> None:
    """No sequence of segments raises anything but our errors, and what goes out needs no further look."""
    data = SOI + b"".join(pieces)
    try:
        clean = tidied(data, read_header(data), exact=exact)
    except (BadImage, ImageTooLarge):
        return
    header = read_header(clean)
    assert tidied(clean, header, exact=exact) == clean
    assert clean.endswith(EOI)
    assert [clean[start + 1] for start, _ in header.metadata] in ([], [0xE1])


# --- tidied ----------------------------------------------------------------------------------------------------------


def tidy(data: bytes) -> bytes:
    return tidied(data, read_header(data))


def test_a_tidy_picture_is_passed_on_uncopied() -> None:
    data = picture()
    assert tidy(data) is data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [">", "<"])
def test_a_tidied_picture_decodes_to_the_same_pixels(orientation: int, order: str) -> None:
    thumbnail = segment(0xE1, b"Exif\0\0" + b"MM\0\x2a" + pack(">IH", 8, 0) + bytes(4) + picture(16, 12))
    data = with_segments(
        picture(), exif(orientation, order), segment(0xED, b"Photoshop"), segment(0xFE, b"where I live")
    )
    assert np.array_equal(decoded(tidy(data)), decoded(data))
    assert np.array_equal(decoded(tidy(with_segments(picture(), thumbnail))), decoded(picture()))


def test_a_picture_without_huffman_tables_gets_the_standard_ones() -> None:
    camera = without_huffman(picture())
    assert not read_header(camera).huffman
    assert read_header(tidy(camera)).huffman
    assert np.array_equal(decoded(tidy(camera)), decoded(picture()))


def test_without_tables_and_with_metadata_both_are_put_right() -> None:
    camera = with_segments(without_huffman(picture()), exif(8), segment(0xFE, b"AVI1"))
    assert np.array_equal(decoded(tidy(camera)), decoded(with_segments(picture(), exif(8))))


def test_nothing_of_where_it_was_taken_is_left() -> None:
    secret = b"52.5200 N 13.4050 E"
    data = with_segments(picture(), exif(6), *(segment(marker, secret) for marker in (0xE1, 0xE2, 0xED, 0xEF, 0xFE)))
    assert secret in data
    assert secret not in tidy(data)
    assert read_header(tidy(data)).orientation == 6


def test_what_says_how_to_decode_stays() -> None:
    data = picture()
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    assert adobe in tidy(with_segments(data, adobe, segment(0xFE, b"comment")))


def test_of_an_adobe_segment_stays_what_says_how_colours_are_coded() -> None:
    data = picture()
    adobe = b"Adobe\0\x64\0\0\0\0\1"
    assert tidy(with_segments(data, segment(0xEE, adobe + b"who took it"))) == tidy(
        with_segments(data, segment(0xEE, adobe))
    )
    assert tidy(with_segments(data, segment(0xEE, b"Adobe\0\x64"))) == tidy(data)


SECOND = picture(24, 24)


@pytest.mark.parametrize(
    ("announced", "behind"),
    [
        (b"", b"PK\3\4" + bytes(30)),
        (b"", bytes(4000)),
        (segment(0xE2, b"MPF\0" + bytes(40)), SECOND),
        (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), SECOND),
    ],
    ids=["archive", "padding", "multi-picture", "depth map"],
)
@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=["base", "prog"])
def test_nothing_behind_the_picture_goes_out(announced: bytes, behind: bytes, flags: tuple[int, ...]) -> None:
    data = picture(48, 32, *flags)
    assert tidy(with_segments(data, announced) + behind) == data


@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=["base", "prog"])
def test_a_file_hidden_behind_a_picture_is_found_by_an_exact_look(flags: tuple[int, ...]) -> None:
    data = picture(48, 32, *flags)
    hidden = data + b"<script>alert(1)</script>" + EOI
    assert tidied(hidden, read_header(hidden), exact=True) == data


def test_metadata_between_scans_is_refused_by_an_exact_look() -> None:
    data = picture(48, 32, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    second = data.index(HUFFMAN_END, data.index(HUFFMAN_END) + 2)
    hidden = data[:second] + segment(0xFE, b"where I live") + data[second:]
    with pytest.raises(BadImage, match="a marker 0xfe between its scans"):
        tidied(hidden, read_header(hidden), exact=True)


def test_a_jfif_segment_loses_its_thumbnail_and_the_colours_stay() -> None:
    data = picture()
    assert data[2:20] == b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    thumbnail = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + b"secret pixel")
    extended = segment(0xE0, b"JFXX\0\x10" + picture(8, 8))
    assert tidy(data[:2] + thumbnail + extended + data[20:]) == data


def test_only_a_turned_picture_is_called_turned() -> None:
    assert [turned(tidy(with_segments(picture(), exif(way)))) for way in range(1, 9)] == [False] + [True] * 7


def test_a_tidied_picture_has_one_end_marker() -> None:
    """Readers that scan for it stop at the first."""
    thumbnail = segment(0xE1, b"Exif\0\0" + b"MM\0\x2a" + pack(">IH", 8, 0) + bytes(4) + picture(16, 12))
    assert tidy(with_segments(picture(), thumbnail)).count(EOI) == 1


@given(
    orientation=st.integers(1, 8),
    segments=st.lists(
        st.tuples(st.sampled_from([0xE1, 0xE2, 0xE5, 0xEE, 0xEF, 0xFE]), st.binary(max_size=40)), max_size=5
    ),
    bare=st.booleans(),
)
def test_tidying_twice_changes_nothing_more_than_once(
    orientation: int, segments: list[tuple[int, bytes]], bare: bool
) -> None:
    base = without_huffman(picture()) if bare else picture()
    data = with_segments(base, exif(orientation), *(segment(*each) for each in segments))
    assert tidy(tidy(data)) == tidy(data)


def test_a_header_is_a_plain_value() -> None:
    data = picture()
    assert read_header(data) == JpegHeader(48, 32, scan=data.index(HUFFMAN_END))
