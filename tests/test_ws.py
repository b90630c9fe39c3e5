"""The reader that frames are parsed from: the same frames as out of websockets' own, however they come, few at once."""

from __future__ import annotations

from random import Random

import pytest
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.ws import FrameReader
from tests.edge.raw import BINARY, CLOSE, PING, TEXT, frame


def protocol(reader: FrameReader | None = None) -> ServerProtocol:
    """One behind its handshake."""
    made = ServerProtocol(state=State.OPEN, max_size=2**20)
    if reader is not None:
        made.reader = reader
        made.parser = made.parse()
        next(made.parser)
    return made


def parsed(conn: ServerProtocol, pieces: list[bytes]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for piece in pieces:
        conn.receive_data(piece)
        found += taken(conn)
    return found


def taken(conn: ServerProtocol) -> list[tuple[int, bytes]]:
    return [(int(event.opcode), bytes(event.data)) for event in conn.events_received() if isinstance(event, Frame)]


def cut(stream: bytes, chance: Random, most: int) -> list[bytes]:
    pieces, start = [], 0
    while start < len(stream):
        end = start + chance.randint(1, most)
        pieces.append(stream[start:end])
        start = end
    return pieces


@pytest.mark.parametrize("most", [1, 3, 200, 70_000, 500_000])
def test_frames_are_the_same_however_they_are_cut(most: int) -> None:
    chance = Random(most)
    sizes = [0, 1, 63, 64, 65, 125, 126, 300] + ([65_535, 65_536, 70_000] * 3 if most > 3 else [])
    stream = b"".join(frame(chance.choice((TEXT, BINARY)), bytes([size % 251]) * size) for size in sizes)
    stream += frame(PING, b"?") + frame(CLOSE, b"\x03\xe8") + b"behind the end"
    reader = FrameReader()
    reader.left = 1000
    pieces = cut(stream, chance, most)
    assert parsed(protocol(reader), pieces) == parsed(protocol(), pieces)


def test_no_more_frames_are_parsed_than_may_be() -> None:
    reader = FrameReader()
    conn = protocol(reader)
    reader.left = 3
    assert len(parsed(conn, [frame(TEXT, b"x") * 5])) == 3
    assert reader.unread
    conn.receive_data(frame(TEXT, b"y"))
    assert taken(conn) == []
    reader.left = 10
    assert parsed(conn, [b""]) == [(TEXT, b"x")] * 2 + [(TEXT, b"y")]
    assert not reader.unread


def test_what_was_read_is_not_kept_once_it_is_parsed() -> None:
    reader = FrameReader()
    conn = protocol(reader)
    parsed(conn, [frame(BINARY, bytes(100_000))])
    assert (len(reader.buffer), reader.unread) == (0, False)


def test_a_message_that_comes_byte_by_byte_takes_no_more_than_it_has_bytes() -> None:
    reader = FrameReader()
    conn = protocol(reader)
    for byte in frame(BINARY, bytes(5_000))[:-1]:
        conn.receive_data(bytes([byte]))
    assert (len(reader.buffer), reader.unread) == (4_999, False)
