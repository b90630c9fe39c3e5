"""What an attacker sends, and how it is put on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from struct import pack

STREAM = b"@STREAM@"
HOST = b"@HOST@"
TEXT, BINARY = 1, 2


@dataclass(frozen=True, slots=True)
class Message:
    """`data` goes out as it is: behind a handshake if `on_socket`, else on a connection of its own.

    `whole`: an answer can be expected without sending more. `last`: what comes behind it on the same socket could be
    taken for a part of it.
    """

    family: str
    kind: str
    data: bytes
    on_socket: bool
    whole: bool = True
    last: bool = False


Kind = Callable[[Random], bytes]


def pick(chance: Random, kinds: Sequence[Kind]) -> tuple[str, bytes]:
    """One of them: its name, and what it makes."""
    kind = chance.choice(kinds)
    return kind.__name__.strip("_"), kind(chance)


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    first: int = 0x80,
    masked: bool = True,
    form: int | None = None,
    length: int | None = None,
) -> bytes:
    """A frame of RFC 6455 section 5.2. `first` holds FIN and RSV, `form` the length's size in bytes, `length` a lie."""
    told = len(payload) if length is None else length
    form = form if form is not None else (0 if told < 126 else 2 if told < 2**16 else 8)
    flag = 0x80 if masked else 0
    head = bytes([first | opcode])
    if form == 0:
        head += bytes([flag | min(told, 125)])
    elif form == 2:
        head += pack(">BH", flag | 126, told & 0xFFFF)
    else:
        head += pack(">BQ", flag | 127, told & 0xFFFF_FFFF_FFFF_FFFF)
    return head + (bytes(4) if masked else b"") + payload


def request(
    method: bytes, path: bytes, body: bytes = b"", headers: Sequence[bytes] = (), version: bytes = b"HTTP/1.1"
) -> bytes:
    """A request that ends its connection, with a length if it has a body."""
    lines = [b"%b %b %b" % (method, path, version), b"Host: " + HOST, b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def flipped(chance: Random, data: bytes, most: int = 16) -> bytes:
    """The same with some bits the other way round."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, most)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(chance: Random, data: bytes) -> bytes:
    """A beginning of it, never all; of a single byte nothing is left."""
    return data[: chance.randrange(min(1, len(data) - 1), len(data))]


def noise(chance: Random, most: int = 200) -> bytes:
    return chance.randbytes(chance.randint(1, most))
