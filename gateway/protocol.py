"""The stream socket's wire protocol `framegate.v1`, without a socket: messages in, events out.

A `StreamProtocol` is one connection's state. The caller feeds it each WebSocket message and gets back what it means,
or a `GatewayError` with the close code the peer may be given; it never blocks, reads a clock or sends. The functions
below it make the server's messages. docs/protocol.md tells the same for people; tests/vectors/ pins both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Literal

import pybase64

from gateway import strictjson
from gateway.errors import BadImage, BadMessage, GatewayError

SUBPROTOCOL = "framegate.v1"
SCHEMA = "1.0"
HEADER = Struct(">2sBBHHIIQ")  # magic, version, type, header length, flags, seq, zero, capture time in µs
MAGIC, VERSION, TYPE_JPEG = b"FG", 1, 1
META_BYTES = 0xFFFF - HEADER.size  # the header's length field counts both
SEQS = 2**32
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CLOSE_NORMAL, CLOSE_INTERNAL, CLOSE_RESTART, CLOSE_OVERLOADED = 1000, 1011, 1012, 1013

FAULTS_TOLERATED = 5  # bad messages within FAULT_WINDOW_S before the socket is closed
FAULT_WINDOW_S = 10.0
BAD_IMAGES_TOLERATED = 10  # in a row
LONGEST_TOKEN = 200  # characters of a resume token

Pictures = Literal["none", "binary", "base64"]
Topic = Literal["results", "events", "status", "messages"]
TOPICS: tuple[Topic, ...] = ("results", "events", "status", "messages")


# --- what a message from a client means ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameIn:
    """A picture to publish. `image` is a JPEG unless `kind` says otherwise; `captured_at` is the sender's claim."""

    image: bytes = field(repr=False)
    kind: Literal["jpeg", "png", "webp"] = "jpeg"
    seq: int | None = None
    captured_at: datetime | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HelloIn:
    """What a client says of itself. `acks` asks for acknowledgements; `resume` takes over a publisher's place."""

    acks: bool = False
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class SubscribeIn:
    pictures: Pictures = "none"
    topics: tuple[Topic, ...] = TOPICS


@dataclass(frozen=True, slots=True)
class AckIn:
    """A publisher acknowledges results up to `seq`; from then on it is told acks and credits too."""

    seq: int


@dataclass(frozen=True, slots=True)
class RelayIn:
    """JSON for everybody on the stream."""

    data: Any


@dataclass(frozen=True, slots=True)
class PingIn:
    pass


ClientEvent = FrameIn | HelloIn | SubscribeIn | AckIn | RelayIn | PingIn


class StreamProtocol:
    """One stream socket, seen from the server."""

    def __init__(self, *, negotiated: bool = False) -> None:
        self.negotiated = negotiated
        self.publishing = False
        self.wants_acks = negotiated
        self._faults: list[float] = []
        self._bad_images = 0

    def receive(self, message: str | bytes) -> ClientEvent:
        """What the message means. Raises `BadMessage` or `BadImage`."""
        event = parse_text(message) if isinstance(message, str) else parse_binary(message)
        if isinstance(event, FrameIn):
            self.publishing = True
        elif isinstance(event, AckIn) or (isinstance(event, HelloIn) and event.acks):
            self.wants_acks = True
        return event

    def image_accepted(self) -> None:
        """The last picture was readable: the run of bad ones, if any, is over."""
        self._bad_images = 0

    def fault(self, error: GatewayError, now: float) -> int | None:
        """Count a peer's mistake made at `now` (s); the close code when it was one too many, else None."""
        if isinstance(error, BadMessage):
            self._faults = [at for at in self._faults if now - at < FAULT_WINDOW_S] + [now]
            return error.close_code if len(self._faults) >= FAULTS_TOLERATED else None
        self._bad_images += 1
        return error.close_code if self._bad_images >= BAD_IMAGES_TOLERATED else None


# --- parsing ---------------------------------------------------------------------------------------------------------


def parse_text(text: str) -> ClientEvent:
    """Data URL, bare base64 or one JSON object: told apart by how it begins."""
    if text.startswith("data:"):
        return _data_url(text)
    if text[:1] in ("{", "[", " ", "\n", "\t", "\r"):
        return _json(text)
    return sniffed(_base64(text))


def parse_binary(data: bytes) -> FrameIn:
    """A JPEG as it is, or one behind the 24-byte `framegate.v1` header."""
    if data[:2] == b"\xff\xd8":
        return FrameIn(data)
    if data[:2] == MAGIC:
        seq, captured_at, meta, image = unpack_frame(data)
        return FrameIn(image, seq=seq, captured_at=captured_at, meta=meta)
    if (frame := sniffed(data)).kind != "jpeg":
        return frame
    raise BadMessage(f"a binary message begins with FF D8 (JPEG) or 'FG', got {data[:2].hex(' ').upper() or 'nothing'}")


def sniffed(image: bytes, **known: Any) -> FrameIn:
    """A picture that came without a type: PNG and WebP say what they are, everything else must prove to be a JPEG."""
    if image[:4] == b"\x89PNG":
        return FrameIn(image, "png", **known)
    return FrameIn(image, "webp" if image[:4] == b"RIFF" else "jpeg", **known)


def _data_url(text: str, **known: Any) -> FrameIn:
    comma = text.find(",", 0, 128)
    kind = _KINDS.get(text[5:comma].replace(" ", "").lower()) if comma > 0 else None
    if kind is None:
        raise BadMessage(f"expected data:image/jpeg;base64,... (or png, webp), got {text[:40]!r}", code="bad_image_url")
    return FrameIn(_base64(text[comma + 1 :]), kind, **known)


_KINDS: dict[str, Literal["jpeg", "png", "webp"]] = {
    "image/jpeg;base64": "jpeg",
    "image/jpg;base64": "jpeg",
    "image/png;base64": "png",
    "image/webp;base64": "webp",
    "application/octet-stream;base64": "jpeg",  # a canvas blob of an old browser names no type
}


def _base64(text: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    try:  # line breaks are legal in MIME base64 (RFC 2045); strict for the rest, or junk would decode to pictures
        return pybase64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadMessage(f"expected base64 of a picture, got {text[:24]!r}", code="bad_base64") from None


def _json(text: str) -> ClientEvent:
    try:
        value = strictjson.parse(text)
    except ValueError as error:
        raise BadMessage(f"not the JSON it should be: {error}", code="bad_json") from None
    if not isinstance(value, dict):
        raise BadMessage(f"expected one JSON object, got {type(value).__name__}", code="bad_json")
    kind = value.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    return reader(value) if reader else RelayIn(value)


def parse_frame(value: dict[str, Any]) -> FrameIn:
    """A JSON frame: `image` (data URL or base64), `seq`, `ts`, `meta`. Raises `BadMessage`."""
    image = value.get("image", value.get("data"))
    if not isinstance(image, str):
        raise BadMessage('a frame needs "image": a data URL or base64')
    known: dict[str, Any] = {"seq": _seq(value.get("seq")), "captured_at": parse_time(value.get("ts"))}
    if (meta := value.get("meta")) is not None:
        if not isinstance(meta, dict):
            raise BadMessage(f'"meta" must be an object, got {type(meta).__name__}')
        if len(to_text(meta).encode()) > META_BYTES:
            raise BadMessage(f'"meta" must be at most {META_BYTES} bytes of JSON')
        known["meta"] = meta
    return _data_url(image, **known) if image.startswith("data:") else sniffed(_base64(image), **known)


def _hello(value: dict[str, Any]) -> HelloIn:
    resume = value.get("resume")
    if resume is not None and not (isinstance(resume, str) and len(resume) <= LONGEST_TOKEN):
        raise BadMessage('"resume" must be the resume_token of an earlier hello')
    return HelloIn(acks=value.get("acks") is True, resume=resume)


def _subscribe(value: dict[str, Any]) -> SubscribeIn:
    topics = value.get("topics", list(TOPICS))
    if not isinstance(topics, list) or any(topic not in TOPICS for topic in topics):
        raise BadMessage(f'"topics" must be a list of {", ".join(TOPICS)}')
    return SubscribeIn(parse_pictures(value.get("frames", "none")), tuple(topics))


def parse_pictures(value: object) -> Pictures:
    """The word after `frames`: none, binary or base64. Raises `BadMessage`."""
    match value:
        case "none" | "binary" | "base64":
            return value
    raise BadMessage(f'"frames" must be none, binary or base64, got {_shown(value)}')


def _ack(value: dict[str, Any]) -> AckIn:
    seq = _seq(value.get("seq"))
    if seq is None:
        raise BadMessage('an ack needs "seq"')
    return AckIn(seq)


def _relay(value: dict[str, Any]) -> RelayIn:
    return RelayIn(value.get("data"))


def _shown(value: object) -> str:
    """A peer's value in an answer, never all of a long one."""
    return repr(value)[:40]


def _ping(value: dict[str, Any]) -> PingIn:
    return PingIn()


_READERS: Mapping[str, Callable[[dict[str, Any]], ClientEvent]] = {
    "frame": parse_frame,
    "hello": _hello,
    "subscribe": _subscribe,
    "ack": _ack,
    "message": _relay,
    "ping": _ping,
}


def _seq(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return value
    raise BadMessage(f'"seq" must be a whole number from 0 to 4294967295, got {_shown(value)}')


def parse_time(value: object) -> datetime | None:
    """A sender's capture time: epoch seconds, epoch milliseconds (above 1e11) or ISO 8601. Raises `BadMessage`."""
    if value is None:
        return None
    try:
        moment = _moment(value)
    except (ValueError, OverflowError, OSError):
        moment = None
    if moment is None or moment < EPOCH:  # the header's capture time is unsigned
        raise BadMessage(f'"ts" must be epoch milliseconds, epoch seconds or ISO 8601, got {_shown(value)}')
    return moment


def _moment(value: object) -> datetime | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


# --- the binary header, both ways ------------------------------------------------------------------------------------


def pack_frame(
    jpeg: bytes, seq: int, captured_at: datetime | None = None, meta: Mapping[str, Any] | None = None
) -> bytes:
    """One binary message: header, JSON meta if any (at most `META_BYTES`), JPEG. After 2^32 - 1 `seq` begins at 0."""
    extra = to_text(meta).encode() if meta else b""
    micros = (captured_at - EPOCH) // timedelta(microseconds=1) if captured_at else 0
    return HEADER.pack(MAGIC, VERSION, TYPE_JPEG, HEADER.size + len(extra), 0, seq % SEQS, 0, micros) + extra + jpeg


def unpack_frame(data: bytes) -> tuple[int, datetime | None, dict[str, Any], bytes]:
    """seq, capture time, meta and JPEG of one binary message. Raises `BadMessage` or `BadImage`."""
    if len(data) < HEADER.size:
        raise BadMessage(f"a {SUBPROTOCOL} header has {HEADER.size} bytes, got {len(data)}", code="bad_header")
    _, version, kind, length, _flags, seq, _, micros = HEADER.unpack_from(data)
    if version != VERSION or kind != TYPE_JPEG:
        raise BadMessage(f"expected header version 1, type 1 (JPEG), got {version}, {kind}", code="bad_header")
    if not HEADER.size <= length <= len(data):
        raise BadMessage(f"header length {length} in a message of {len(data)} bytes", code="bad_header")
    if data[length : length + 2] != b"\xff\xd8":
        raise BadImage("no JPEG behind the header")
    return seq, _from_micros(micros), _meta(data[HEADER.size : length]), data[length:]


def _from_micros(micros: int) -> datetime | None:
    try:
        return EPOCH + timedelta(microseconds=micros) if micros else None
    except OverflowError:
        raise BadMessage(f"capture time {micros} µs is no date", code="bad_header") from None


def _meta(extra: bytes) -> dict[str, Any]:
    if not extra:
        return {}
    try:
        meta = strictjson.parse(extra.decode())
    except ValueError as error:
        raise BadMessage(f"the header's meta is not the JSON it should be: {error}", code="bad_header") from None
    if not isinstance(meta, dict):
        raise BadMessage("the header's meta must be a JSON object", code="bad_header")
    return meta


# --- the server's messages -------------------------------------------------------------------------------------------


def to_text(value: Any) -> str:
    """Compact JSON; NaN is a bug of ours and raises."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def message(kind: str, **fields: Any) -> str:
    """One server message as text: `{"type": kind, ...}`."""
    return to_text({"type": kind, **fields})


def error_message(error: GatewayError) -> str:
    return message("error", code=error.code, detail=error.detail)


def bye_message(reason: str, *, retry_ms: int | None = None) -> str:
    return message("bye", reason=reason) if retry_ms is None else message("bye", reason=reason, retry_ms=retry_ms)
