"""Frames no RFC 6455 endpoint may send: reserved bits and opcodes, lengths, masks, fragments, close payloads, UTF-8."""

from __future__ import annotations

from random import Random

from bench.corpus.message import BINARY, TEXT, Message, cut, flipped, frame, noise, pick

CONTINUATION, CLOSE, PING, PONG = 0, 8, 9, 10
FIN = 0x80
CODES = (0, 1, 999, 1004, 1005, 1006, 1012, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
BAD_UTF8 = (
    b"\xff",
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",  # a surrogate
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x82",  # cut
    b"ok \x80 ok",
)
JSON = b'{"type":"ping"}'


def _reserved_bits(chance: Random) -> bytes:
    return frame(JSON, chance.choice((TEXT, BINARY, PING)), first=FIN | chance.choice((0x10, 0x20, 0x40, 0x50, 0x70)))


def _reserved_opcode(chance: Random) -> bytes:
    return frame(noise(chance, 20), chance.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)))


def _unmasked(chance: Random) -> bytes:
    return frame(JSON, chance.choice((TEXT, BINARY, PING, CLOSE)), masked=False)


def _longer_than_needed(chance: Random) -> bytes:
    return frame(JSON, chance.choice((TEXT, PING)), form=chance.choice((2, 8)))


def _length_of_64_bits(chance: Random) -> bytes:
    return frame(b"", chance.choice((TEXT, BINARY)), form=8, length=2**63 + chance.getrandbits(63))


def _length_beyond_the_limit(chance: Random) -> bytes:
    return frame(b"", chance.choice((TEXT, BINARY)), form=8, length=2 ** chance.randint(22, 62))


def _long_control(chance: Random) -> bytes:
    return frame(bytes(chance.randint(126, 4000)), chance.choice((CLOSE, PING, PONG)))


def _fragmented_control(chance: Random) -> bytes:
    return frame(b"x", chance.choice((CLOSE, PING, PONG)), first=0) + frame(b"y", CONTINUATION)


def _continuation_of_nothing(chance: Random) -> bytes:
    return frame(JSON, CONTINUATION, first=chance.choice((0, FIN)))


def _message_in_a_message(chance: Random) -> bytes:
    return frame(b"{", TEXT, first=0) + frame(JSON, chance.choice((TEXT, BINARY)))


def _close_of_one_byte(chance: Random) -> bytes:
    return frame(noise(chance, 1), CLOSE)


def _close_code(chance: Random) -> bytes:
    return frame(chance.choice(CODES).to_bytes(2) + b"bye" * chance.randint(0, 3), CLOSE)


def _close_reason(chance: Random) -> bytes:
    return frame(b"\x03\xe8" + chance.choice(BAD_UTF8), CLOSE)


def _after_close(chance: Random) -> bytes:
    return frame(b"\x03\xe8", CLOSE) + frame(JSON) * chance.randint(1, 5)


def _bad_utf8(chance: Random) -> bytes:
    return frame(b'{"a":"' + chance.choice(BAD_UTF8) + b'"}')


def _bad_utf8_in_pieces(chance: Random) -> bytes:
    text = b'{"a":"' + chance.choice(BAD_UTF8) + b'"}'
    at = chance.randrange(1, len(text))
    return frame(text[:at], TEXT, first=0) + frame(b"", PING) + frame(text[at:], CONTINUATION)


def _utf8_cut_between_pieces(chance: Random) -> bytes:
    text = '{"type":"ping","text":"Grüße, 世界 🌍"}'.encode()
    pieces = [text[at : at + 1] for at in range(len(text))]
    middle = b"".join(frame(piece, CONTINUATION, first=0) for piece in pieces[1:-1])
    return frame(pieces[0], TEXT, first=0) + middle + frame(pieces[-1], CONTINUATION)


def _empty_pieces(chance: Random) -> bytes:
    return frame(b"", TEXT, first=0) + frame(b"", CONTINUATION, first=0) * chance.randint(1, 300) + frame(JSON, 0)


def _pings(chance: Random) -> bytes:
    return b"".join(frame(noise(chance, 125), chance.choice((PING, PONG))) for _ in range(chance.randint(1, 50)))


def _flipped(chance: Random) -> bytes:
    return flipped(chance, frame(JSON), 4)


def _noise(chance: Random) -> bytes:
    return noise(chance)


def _http(chance: Random) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


WHOLE = (
    _reserved_bits,
    _reserved_opcode,
    _unmasked,
    _longer_than_needed,
    _length_of_64_bits,
    _length_beyond_the_limit,
    _long_control,
    _fragmented_control,
    _continuation_of_nothing,
    _message_in_a_message,
    _close_of_one_byte,
    _close_code,
    _close_reason,
    _after_close,
    _bad_utf8,
    _bad_utf8_in_pieces,
    _utf8_cut_between_pieces,
    _empty_pieces,
    _pings,
)
OPEN_ENDED = (_flipped, _noise, _http)  # the length they give, if any, is not what follows
CUT = 0.1  # of messages


def make(chance: Random) -> Message:
    kind, data = pick(chance, WHOLE + OPEN_ENDED)
    whole = kind not in {each.__name__.strip("_") for each in OPEN_ENDED}
    if chance.random() < CUT:
        kind, data, whole = f"{kind}, cut", cut(chance, data), False
    return Message("websocket", kind, data, on_socket=True, whole=whole, last=True)
