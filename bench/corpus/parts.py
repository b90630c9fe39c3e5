"""Bodies of `multipart/x-mixed-replace` that are none: boundaries, part headers, lengths, ends."""

from __future__ import annotations

from random import Random

from bench.corpus.message import STREAM, Message, cut, flipped, noise, request
from bench.corpus.pictures import sound_jpeg

BOUNDARIES = (
    b"frame",
    b'"frame"',
    b'"fr ame"',
    b"",
    b'""',
    b"x" * 71,
    b"x" * 20_000,
    b"--frame",
    b"\xff\xfe",
    b"a;b",
    b'"frame',
    b"frame; charset=utf-8",
)
TYPES = (
    b"multipart/x-mixed-replace",
    b"multipart/form-data",
    b"multipart/mixed",
    b"MULTIPART/X-MIXED-REPLACE",
    b"multipart/",
    b"text/plain",
)
LENGTHS = (b"0", b"1", b"-1", b"+5", b"0x10", b"99999999", b"18446744073709551616", b"1e3", b"", b"5, 6", b"\xb2")
HEADERS = (
    b"Content-Type: image/jpeg",
    b"Content-Type: text/html",
    b"Content-Type",
    b": nothing",
    b"X: " + b"y" * 70_000,
    b"X\0Y: z",
    b" folded: line",
    b"\xff\xff: \xff",
    b'Content-Disposition: form-data; name="image"; filename="../../x"',
    b"Content-Transfer-Encoding: base64",
)


def _part(chance: Random, name: bytes) -> bytes:
    """One part, with one or another thing wrong with it."""
    end = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"))
    lines = [chance.choice(HEADERS) for _ in range(chance.choice((0, 1, 1, 2, 200)))]
    if sum(map(len, lines)) > 500_000:
        lines = lines[:3]
    if chance.random() < 0.6:
        length = chance.choice(LENGTHS) if chance.random() < 0.6 else b"%d" % len(sound_jpeg())
        lines += [b"Content-Length: " + length] * chance.choice((1, 1, 2))
    picture = chance.choice((sound_jpeg(), sound_jpeg(), flipped(chance, sound_jpeg()), noise(chance), b""))
    blank = end if chance.random() < 0.9 else b""
    return b"--" + name + end + b"".join(line + end for line in lines) + blank + picture + end


def _body(chance: Random, name: bytes) -> bytes:
    many = chance.choice((0, 1, 1, 2, 5, 40))
    body = b"".join(_part(chance, name) for _ in range(many))
    if chance.random() < 0.3:
        body = noise(chance, 5000) + body  # a preamble
    ending = chance.choice((b"--" + name + b"--\r\n", b"--" + name, b"", b"--" + name + b"--" + noise(chance)))
    return (body + ending)[:1_500_000] or b"-"


def make(chance: Random) -> Message:
    boundary = chance.choice(BOUNDARIES) if chance.random() < 0.5 else b"frame"
    told = boundary if chance.random() < 0.85 else b"other"
    type_ = TYPES[0] if chance.random() < 0.7 else chance.choice(TYPES)
    name = boundary.strip(b'"')[:200]
    kind = "parts" if (boundary, told, type_) == (b"frame", b"frame", TYPES[0]) else "boundary"
    body = _body(chance, name)
    header = b"Content-Type: " + type_ + (b";boundary=" + told if chance.random() < 0.95 else b"")
    data = request(b"POST", b"/stream/" + STREAM + b"/frames", body, [header])
    if chance.random() < 0.1:
        return Message("multipart", f"{kind}, cut", cut(chance, data), on_socket=False, whole=False)
    return Message("multipart", kind, data, on_socket=False)
