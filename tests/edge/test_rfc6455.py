"""Frames by the rules of RFC 6455 and against them: the gateway ends as the `websockets` library does, case by case."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.edge.raw import ANSWER, ASK, BINARY, CLOSE, PING, PONG, TEXT, frame, open_socket, upgrade, wire
from tests.server import Server, eventually

pytestmark = pytest.mark.e2e

MOST = 65536  # bytes of a message, for both
CONT = 0


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


LENGTHS = {f"binary-{n}": frame(BINARY, bytes(n)) for n in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 200_000)}
LENGTHS |= {f"text-{n}": frame(TEXT, b"*" * n) for n in (0, 1, 125, 126, 127, 128, 65535, 65536, 65537)}
LENGTHS |= {
    "length-in-2-bytes-where-7-bits-do": frame(TEXT, b"short", width=2),
    "length-in-8-bytes-where-7-bits-do": frame(TEXT, b"short", width=8),
    "length-of-64-bits": b"\x82\xff" + b"\xff" * 8 + b"\0" * 4,
    "length-of-63-bits": b"\x82\xff\x7f" + b"\xff" * 7 + b"\0" * 4,
    "length-beyond-the-limit-announced": b"\x82\xff" + (MOST + 1).to_bytes(8, "big") + b"\0" * 4,
}

CONTROL = {f"ping-{n}": frame(PING, bytes(n)) for n in (0, 1, 125, 126, 1000)}
CONTROL |= {f"pong-{n}": frame(PONG, bytes(n)) for n in (0, 125, 126)}
CONTROL |= {
    "ping-in-fragments": frame(PING, b"a", fin=False) + frame(CONT, b"b"),
    "pong-in-fragments": frame(PONG, b"a", fin=False) + frame(CONT, b"b"),
    "close-in-fragments": frame(CLOSE, b"\x03\xe8", fin=False) + frame(CONT, b"b"),
    "many-pings": frame(PING, b"again") * 10,
    "pong-that-nobody-asked-for": frame(PONG, b"hello"),
}

RESERVED = {
    f"rsv-{rsv}-in-opcode-{opcode}": frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"", rsv=rsv)
    for rsv in range(1, 8)
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
}
RESERVED |= {f"rsv-{rsv}-in-continuation": frame(TEXT, b"a", fin=False) + frame(CONT, b"b", rsv=rsv) for rsv in (1, 4)}

OPCODES = {f"opcode-{opcode}": frame(opcode, b"what") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
OPCODES |= {f"opcode-{opcode}-empty": frame(opcode) for opcode in (3, 7, 11, 15)}

MASKS = {
    f"unmasked-{name}": frame(opcode, payload, mask=None)
    for name, opcode, payload in [
        *(("text", TEXT, b"hi"), ("binary", BINARY, b"hi"), ("ping", PING, b""), ("pong", PONG, b"")),
        ("close", CLOSE, b"\x03\xe8"),
    ]
}
MASKS |= {
    "mask-of-zeros": frame(TEXT, b"hi", mask=bytes(4)),
    "mask-of-ones": frame(TEXT, b"hi", mask=b"\xff" * 4),
    "unmasked-continuation": frame(TEXT, b"a", fin=False) + frame(CONT, b"b", mask=None),
}

FRAGMENTS = {
    "two": frame(TEXT, b"a", fin=False) + frame(CONT, b"b"),
    "empty-ones": frame(TEXT, fin=False) + frame(CONT, fin=False) * 5 + frame(CONT),
    "one-byte-each": frame(BINARY, b"a", fin=False) + frame(CONT, b"a", fin=False) * 50 + frame(CONT, b"a"),
    "ping-between": frame(TEXT, b"a", fin=False) + frame(PING, b"x") + frame(CONT, b"b"),
    "pong-between": frame(TEXT, b"a", fin=False) + frame(PONG, b"x") + frame(CONT, b"b"),
    "close-between": frame(TEXT, b"a", fin=False) + close(1000) + frame(CONT, b"b"),
    "text-between": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b") + frame(CONT, b"c"),
    "binary-between": frame(BINARY, b"a", fin=False) + frame(BINARY, b"b", fin=False) + frame(CONT, b"c"),
    "end-without-a-beginning": frame(CONT, b"a"),
    "middle-without-a-beginning": frame(CONT, b"a", fin=False),
    "end-twice": frame(TEXT, b"a", fin=False) + frame(CONT, b"b") + frame(CONT, b"c"),
    "together-as-long-as-may-be": frame(BINARY, bytes(MOST // 2), fin=False) + frame(CONT, bytes(MOST // 2)),
    "together-too-long": frame(BINARY, bytes(MOST // 2), fin=False) + frame(CONT, bytes(MOST // 2 + 1)),
    "too-long-in-small-ones": frame(BINARY, bytes(8192), fin=False) + frame(CONT, bytes(8192), fin=False) * 8,
}

BAD_TEXT = {
    "continuation-byte": b"\x80",
    "five-of-them": b"\xbf\x80\xbf\x80\xbf",
    "first-byte-alone": b"\xc3",
    "cut-after-2-of-3": b"\xe2\x82",
    "cut-after-3-of-4": b"\xf0\x9f\x98",
    "impossible-fe": b"\xfe",
    "impossible-ff": b"\xff",
    "overlong-slash-2": b"\xc0\xaf",
    "overlong-slash-3": b"\xe0\x80\xaf",
    "overlong-slash-4": b"\xf0\x80\x80\xaf",
    "overlong-zero": b"\xc0\x80",
    "surrogate-d800": b"\xed\xa0\x80",
    "surrogate-dfff": b"\xed\xbf\xbf",
    "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond-10ffff": b"\xf4\x90\x80\x80",
    "of-five-bytes": b"\xf8\x88\x80\x80\x80",
    "of-six-bytes": b"\xfc\x84\x80\x80\x80\x80",
    "in-the-middle": b"good \xff bad",
    "latin-1": "Grüße".encode("latin-1"),
}
GOOD_TEXT = {
    "ascii": b"hello",
    "zero": b"\0",
    "two-bytes": "Grüße".encode(),
    "three-bytes": "€".encode(),
    "four-bytes": "😀".encode(),
    "last-of-all": "\U0010ffff".encode(),
    "noncharacter": "\ufffe".encode(),
    "greek": "κόσμε".encode(),
}
UTF8 = {f"bad-{name}": frame(TEXT, text) for name, text in BAD_TEXT.items()}
UTF8 |= {f"good-{name}": frame(TEXT, text) for name, text in GOOD_TEXT.items()}
UTF8 |= {
    f"good-{name}-cut-anywhere": frame(TEXT, text[:1], fin=False) + frame(CONT, text[1:])
    for name, text in GOOD_TEXT.items()
}
UTF8 |= {
    f"bad-{name}-cut-anywhere": frame(TEXT, text[:1], fin=False) + frame(CONT, text[1:])
    for name, text in BAD_TEXT.items()
}
UTF8 |= {"any-byte-in-binary": frame(BINARY, bytes(range(256)))}

CODES = (0, 999, *range(1000, 1017), 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65535)
CLOSES = {f"code-{code}": close(code) for code in CODES}
CLOSES |= {
    "without-a-code": frame(CLOSE),
    "half-a-code": frame(CLOSE, b"\x03"),
    "with-a-reason": close(1000, "Grüße".encode()),
    "longest-reason": close(1000, b"*" * 123),
    "reason-too-long": close(1000, b"*" * 124),
    "reason-that-is-no-text": close(1000, b"\xff\xfe"),
    "twice": close(1000) + close(1000),
    "then-text": close(1000) + frame(TEXT, b"more"),
    "then-ping": close(1000) + frame(PING, b"more"),
    "then-garbage": close(1000) + b"\xff" * 20,
}

GARBAGE = {
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303"),
    "lines": b"\r\n" * 20,
}

CASES = {
    f"{group}/{name}": data
    for group, cases in {
        "length": LENGTHS,
        "control": CONTROL,
        "reserved": RESERVED,
        "opcode": OPCODES,
        "mask": MASKS,
        "fragments": FRAGMENTS,
        "utf8": UTF8,
        "close": CLOSES,
        "garbage": GARBAGE,
    }.items()
    for name, data in cases.items()
}


@pytest.fixture(scope="module")
def oracle() -> Iterator[tuple[str, int]]:
    """The address of a plain `websockets` server that reads whatever comes, and answers one question."""

    def read(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for message in connection:
                if message == '{"type":"ping"}':
                    connection.send(ANSWER.decode())

    with serve(read, "127.0.0.1", 0, max_size=MOST, compression=None, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[:2]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def path(tight: Server) -> str:
    return f"/ws/stream/{tight.open(grace_s=600)}"


def ends(address: tuple[str, int], path: str, data: bytes) -> str:
    with open_socket(address, path) as connection:
        return connection.send(data).send(ASK).outcome()


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_the_reference_does(tight: Server, path: str, oracle: tuple[str, int], case: str) -> None:
    expected, found = ends(oracle, "/", CASES[case]), ends(tight.address, path, CASES[case])
    if "1009" in (expected, found) or expected == "end":  # unread bytes reset the connection, before the code is read
        assert {expected, found} <= {"1009", "end"}
    else:
        assert found == expected


def test_a_message_of_too_many_fragments_is_too_big(tight: Server, path: str) -> None:
    data = frame(TEXT, fin=False) + frame(CONT, fin=False) * 64
    assert ends(tight.address, path, data) == "1009"


def test_a_fault_ends_the_connection_and_is_counted(tight: Server, path: str) -> None:
    before = tight.metric("framegate_rejected_total", code="ws_protocol")
    with open_socket(tight.address, path) as connection:
        connection.send(frame(3, b"what"))
        assert connection.outcome() == "1002"
        assert connection.rest() == b""
    assert tight.metric("framegate_rejected_total", code="ws_protocol") == before + 1
    eventually(lambda: tight.metric("framegate_websockets_closed_total", close_code="1002") >= 1)


def test_frames_cut_into_single_bytes_are_read_all_the_same(tight: Server, path: str) -> None:
    with open_socket(tight.address, path) as connection:
        for byte in ASK:
            connection.send(bytes([byte]))
        assert connection.outcome() == "open"


def test_a_peer_that_ends_its_half_is_let_go(tight: Server) -> None:
    stream_id = tight.open(grace_s=60)
    with open_socket(tight.address, f"/ws/stream/{stream_id}") as connection:
        assert connection.send(ASK).outcome() == "open"
        assert tight.show(stream_id)["viewers"] == 1
        connection.socket.shutdown(socket.SHUT_WR)
        connection.rest()
        eventually(lambda: tight.show(stream_id)["viewers"] == 0)


def test_no_extension_is_agreed_on(tight: Server, path: str) -> None:
    with wire(tight) as connection:
        connection.send(upgrade(path, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
        head = connection.until(b"\r\n\r\n").lower()
    assert head.startswith(b"http/1.1 101 ")
    assert b"sec-websocket-extensions" not in head


def test_tiny_messages_do_not_pile_up_in_the_gateway(tight: Server, path: str) -> None:
    """A single read may hold 40,000 of them; all are looked at, and the connection ends as the protocol says."""
    with open_socket(tight.address, path) as connection:
        connection.send(frame(TEXT, b"{}") * 40_000 + frame(PING, b"still there?"))
        assert connection.outcome() in ("open", "4400", "4429")
