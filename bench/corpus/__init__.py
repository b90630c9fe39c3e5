"""A corpus of malformed messages, the same for a seed whoever makes it: message i depends on the seed and i alone.

Five families in equal shares: WebSocket frames, JSON documents, JPEG and other pictures, multipart bodies, HTTP
requests. Each has a dozen or two of kinds, and a kind has numbers and bytes of its own that chance chooses. Some
messages are legal after all, as chance has it; what the gateway promises is only that its answer is a documented one.

`STREAM` stands for the stream an attacker has, in paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from random import Random

from bench.corpus import documents, frames, parts, pictures, requests
from bench.corpus.message import HOST, STREAM, Message

__all__ = ["FAMILIES", "HOST", "STREAM", "Message", "digest", "message"]

FAMILIES: Mapping[str, Callable[[Random], Message]] = {
    "websocket": frames.make,
    "json": documents.make,
    "jpeg": pictures.make,
    "multipart": parts.make,
    "http": requests.make,
}
_NAMES = tuple(FAMILIES)


def message(seed: int, index: int) -> Message:
    """The message of this number."""
    chance = Random(f"{seed}:{index}")
    return FAMILIES[_NAMES[index % len(_NAMES)]](chance)


def digest(index: int, data: bytes) -> int:
    """Of one message. Those of a corpus are joined by XOR, so that parts of it may be made in any order."""
    return int.from_bytes(hashlib.sha256(b"%d:%b" % (index, data)).digest()[:16])
