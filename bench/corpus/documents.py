"""JSON that is none, or not what was asked for: depth, numbers, keys, surrogates, types, cut and flipped texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from bench.corpus.message import STREAM, Message, cut, flipped, frame, noise, pick, request

PIXEL = "data:image/jpeg;base64,/9j/4AAQSkZJRgD/2Q=="
SAMPLES: tuple[Mapping[str, Any], ...] = (
    {"type": "frame", "image": PIXEL, "seq": 7, "ts": 1.8e9, "meta": {"a": 1}},
    {"type": "hello", "acks": True, "resume": "x" * 32},
    {"type": "subscribe", "frames": "binary", "topics": ["results", "events"]},
    {"type": "ack", "seq": 3},
    {"type": "message", "data": {"a": [1, 2, {"b": None}]}},
    {"type": "ping"},
    {"analyzers": [], "name": "door", "options": {}, "grace_s": 1, "max_fps": 5},
    {"image": PIXEL, "seq": 1, "ts": "2026-11-21T06:49:09.123Z"},
    {"paused": False, "analyzers": None},
)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    10**300,
    1.5,
    -0.0,
    "",
    "\0",
    "\u202e",
    "x" * 5000,
    [],
    [[]],
    {},
    {"": None},
    "__proto__",
    "../../etc/passwd",
    "\r\nX: y",
    "<script>alert(1)</script>",
    "{0.__class__}",
    "%n%s",
)


def _sample(chance: Random) -> dict[str, Any]:
    return dict(chance.choice(SAMPLES))


def _deep(chance: Random) -> bytes:
    """Closed or not; deeper than a recursive parser's stack, as often as not."""
    depth = chance.choice((50, 200, 1_100, 5_000, 30_000))
    opening, inner, closing = chance.choice(((b"[", b"", b"]"), (b'{"a":', b"1", b"}")))
    text = opening * depth + inner + closing * (depth if chance.random() < 0.7 else 0)
    return b'{"type":"message","data":' + text + b"}"


def _not_a_number(chance: Random) -> bytes:
    word = chance.choice((b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999", b"0x10", b"01", b"1.", b".5", b"+1"))
    return chance.choice((b'{"type":"ack","seq":%b}', b'{"type":"message","data":[%b]}', b'{"max_fps":%b}')) % word


def _huge_number(chance: Random) -> bytes:
    digits = b"9" * chance.choice((20, 400, 4_299, 4_301, 100_000))
    return b'{"type":"ack","seq":%b}' % digits


def _same_key_twice(chance: Random) -> bytes:
    first, second = _sample(chance), _sample(chance)
    return json.dumps(first).encode()[:-1] + b"," + json.dumps(second).encode()[1:]


def _lone_surrogate(chance: Random) -> bytes:
    half = chance.choice((b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\\ud83d\\u0041"))
    return chance.choice((b'{"type":"message","data":"%b"}', b'{"%b":1}', b'{"name":"%b"}', b'{"type":"%b"}')) % half


def _odd_value(chance: Random) -> bytes:
    document = _sample(chance)
    document[chance.choice(sorted(document))] = chance.choice(ODD)
    return json.dumps(document).encode()


def _odd_key(chance: Random) -> bytes:
    return json.dumps({**_sample(chance), chance.choice(("", "\0", "x" * 10_000, "type ", "TYPE")): 1}).encode()


def _key_left_out(chance: Random) -> bytes:
    document = _sample(chance)
    del document[chance.choice(sorted(document))]
    return json.dumps(document).encode()


def _not_an_object(chance: Random) -> bytes:
    return json.dumps(chance.choice((*ODD, [SAMPLES[0]]))).encode()


def _many_keys(chance: Random) -> bytes:
    return json.dumps({f"k{chance.getrandbits(20)}": index for index in range(chance.randint(100, 3000))}).encode()


def _nearly_json(chance: Random) -> bytes:
    return chance.choice(
        (
            b"{'type':'ping'}",
            b'{"type":"ping",}',
            b'{"type":"ping"} {}',
            b'{"type" "ping"}',
            b"{type:1}",
            b"/**/{}",
            b"",
        )
    )


def _control_characters(chance: Random) -> bytes:
    return b'{"type":"message","data":"' + bytes([chance.randrange(32)]) + b'"}'


def _byte_order_mark(chance: Random) -> bytes:
    return b"\xef\xbb\xbf" + json.dumps(_sample(chance)).encode()


def _other_encoding(chance: Random) -> bytes:
    return json.dumps(_sample(chance)).encode(chance.choice(("utf-16", "utf-32", "utf-16-be", "utf-7")))


def _cut(chance: Random) -> bytes:
    return cut(chance, json.dumps(_sample(chance)).encode())


def _flipped(chance: Random) -> bytes:
    return flipped(chance, json.dumps(_sample(chance)).encode(), 4)


def _noise(chance: Random) -> bytes:
    return noise(chance, 60)


def _bad_base64(chance: Random) -> bytes:
    return chance.choice((b"QQ", b"data:image/jpeg;base64,***", b"data:text/html,x", b"/9j/" * chance.randint(1, 99)))


KINDS = (
    _deep,
    _not_a_number,
    _huge_number,
    _same_key_twice,
    _lone_surrogate,
    _odd_value,
    _odd_value,
    _odd_value,
    _odd_key,
    _key_left_out,
    _not_an_object,
    _many_keys,
    _nearly_json,
    _control_characters,
    _byte_order_mark,
    _other_encoding,
    _cut,
    _flipped,
    _noise,
    _bad_base64,
)
ROUTES = (
    (b"POST", b"/stream/request"),
    (b"PATCH", b"/stream/" + STREAM),
    (b"POST", b"/stream/" + STREAM + b"/frame"),
)
ON_SOCKET = 0.7  # of documents; the others are bodies


def make(chance: Random) -> Message:
    kind, text = pick(chance, KINDS)
    if chance.random() < ON_SOCKET:
        return Message("json", kind, frame(text), on_socket=True)
    method, path = chance.choice(ROUTES)
    data = request(method, path, text, [b"Content-Type: application/json"])
    return Message("json", kind, data, on_socket=False)
