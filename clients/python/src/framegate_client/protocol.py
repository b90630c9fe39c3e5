"""The wire protocol `framegate.v1`, seen from a client and without a socket: what a message means, what bytes to send.

docs/protocol.md tells it for people, tests/vectors/ pin it for every language. Nothing here waits or reads a clock.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Literal, TypeVar

from framegate_client.messages import (
    EPOCH,
    Ack,
    AnalyzerResult,
    AnalyzerState,
    Box,
    Bye,
    Detection,
    ErrorMessage,
    Event,
    Frame,
    Hello,
    Limits,
    Message,
    Pong,
    Relay,
    Result,
    SlowDown,
    Status,
    Subscribed,
)

SUBPROTOCOL = "framegate.v1"
HEADER = Struct(">2sBBHHIIQ")  # magic, version, type, header length, flags, seq, zero, capture time in µs
MAGIC, VERSION, TYPE_JPEG = b"FG", 1, 1
META_BYTES = 0xFFFF - HEADER.size  # the header's length field counts both

Pictures = Literal["none", "binary", "base64"]
Topic = Literal["results", "events", "status", "messages"]
Json = Mapping[str, Any]
T = TypeVar("T")


def read_message(data: str | bytes) -> Message | None:
    """What the gateway said, or None for what this client cannot read: it is passed over, never an error.

    A message of a type unknown here, or whose fields do not fit its type, comes as a plain `Message`.
    """
    if isinstance(data, bytes):
        return unpack_frame(data)
    raw = _object(data)
    if raw is None or not isinstance(kind := raw.get("type"), str):
        return None
    reader = _READERS.get(kind, Message)
    try:
        return reader(kind, raw)
    except (LookupError, TypeError, ArithmeticError, ValueError, AttributeError):
        return None if kind == "frame" else Message(kind, raw)


# --- pictures --------------------------------------------------------------------------------------------------------


def pack_frame(jpeg: bytes, seq: int, captured_us: int | None = None, meta: Json | None = None) -> bytes:
    """One binary message: header, JSON meta if any, JPEG. Raises `ValueError` for meta beyond 65,511 bytes."""
    extra = json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode() if meta else b""
    if len(extra) > META_BYTES:
        raise ValueError(f"meta must be at most {META_BYTES} bytes of JSON, got {len(extra)}")
    length = HEADER.size + len(extra)
    return HEADER.pack(MAGIC, VERSION, TYPE_JPEG, length, 0, seq, 0, captured_us or 0) + extra + jpeg


def unpack_frame(data: bytes) -> Frame | None:
    """The parts of a binary message, or None if it is none of ours."""
    if len(data) < HEADER.size:
        return None
    magic, version, kind, length, _, seq, _, captured_us = HEADER.unpack_from(data)
    if (magic, version, kind) != (MAGIC, VERSION, TYPE_JPEG) or not HEADER.size <= length <= len(data):
        return None
    meta = _object(data[HEADER.size : length]) if length > HEADER.size else None
    return Frame("frame", {}, seq, captured_us or None, data[length:], meta or {})


def micros_of(moment: datetime) -> int:
    """µs since 1970. A time without a zone is the local one, as everywhere in `datetime`. Raises `ValueError`."""
    micros = (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
    if micros < 0:
        raise ValueError(f"a picture was taken in 1970 or later, got {moment.isoformat()}")
    return micros


# --- what a client says ----------------------------------------------------------------------------------------------


def hello(*, acks: bool = True, resume: str | None = None) -> str:
    return _text({"type": "hello", "acks": acks, **({"resume": resume} if resume else {})})


def subscribe(frames: Pictures = "none", topics: Sequence[Topic] | None = None) -> str:
    return _text({"type": "subscribe", "frames": frames, **({} if topics is None else {"topics": list(topics)})})


def relay(data: Any) -> str:
    return _text({"type": "message", "data": data})


def ping() -> str:
    return _text({"type": "ping"})


def _text(message: Json) -> str:
    return json.dumps(message, ensure_ascii=False, allow_nan=False)


# --- what each type means --------------------------------------------------------------------------------------------


def read_result(kind: str, raw: Json) -> Result:
    """Also what `POST /stream/{id}/frame?wait=1` answers. Raises what `read_message` catches."""
    return Result(
        kind,
        raw,
        stream_id=str(raw["stream_id"]),
        camera_id=raw.get("camera_id"),
        seq=int(raw["seq"]),
        captured_at=time_of(raw.get("captured_at")),
        received_at=time_of(raw.get("received_at")),
        width=int(raw["width"]),
        height=int(raw["height"]),
        analyzers={name: _analyzer_result(result) for name, result in raw["analyzers"].items()},
        dropped=raw.get("dropped") or {},
    )


def _analyzer_result(raw: Json) -> AnalyzerResult:
    detections = raw.get("detections")
    return AnalyzerResult(
        state=str(raw["state"]),
        detections=None if detections is None else tuple(_detection(each) for each in detections),
        measures=raw.get("measures") or {},
        data=raw.get("data") or {},
        version=raw.get("version"),
        latency_ms=raw.get("latency_ms"),
        age_ms=raw.get("age_ms"),
        reason=raw.get("reason"),
    )


def _detection(raw: Json) -> Detection:
    return Detection(
        label=str(raw["label"]),
        score=float(raw["score"]),
        box=_box(raw["box"]),
        id=raw.get("id"),
        track_id=raw.get("track_id"),
        zones=tuple(raw.get("zones") or ()),
        attributes=raw.get("attributes") or {},
        person=raw.get("person"),
    )


def _event(kind: str, raw: Json) -> Event:
    box = raw.get("box")
    return Event(
        kind,
        raw,
        id=str(raw["id"]),
        phase=str(raw["phase"]),
        event_type=str(raw["event_type"]),
        severity=str(raw.get("severity", "info")),
        label=str(raw.get("label", "")),
        score=float(raw.get("score") or 0.0),
        stream_id=raw.get("stream_id"),
        camera_id=raw.get("camera_id"),
        box=None if box is None else _box(box),
        seq=raw.get("seq"),
        started_at=time_of(raw.get("started_at")),
        ended_at=time_of(raw.get("ended_at")),
        zones=tuple(raw.get("zones") or ()),
        person_id=raw.get("person_id"),
        bag_id=raw.get("bag_id"),
        snapshot_url=raw.get("snapshot_url"),
        clip_url=raw.get("clip_url"),
        acknowledged=bool(raw.get("acknowledged")),
        analyzer=raw.get("analyzer"),
        version=raw.get("version"),
        data=raw.get("data") or {},
    )


def _status(kind: str, raw: Json) -> Status:
    return Status(
        kind,
        raw,
        state=str(raw["state"]),
        reason=raw.get("reason"),
        paused=bool(raw.get("paused")),
        publishers=int(raw.get("publishers", 0)),
        viewers=int(raw.get("viewers", 0)),
        fps_in=float(raw.get("fps_in", 0.0)),
        fps_analyzed=float(raw.get("fps_analyzed", 0.0)),
        analyzers=analyzer_states(raw.get("analyzers")),
        dropped=raw.get("dropped") or {},
    )


def _hello(kind: str, raw: Json) -> Hello:
    limits = raw.get("limits") or {}
    return Hello(
        kind,
        raw,
        protocol=raw.get("protocol"),
        version=raw.get("version"),
        stream_id=raw.get("stream_id"),
        limits=Limits(
            max_message_bytes=_maybe(int, limits.get("max_message_bytes")),
            max_pixels=_maybe(int, limits.get("max_pixels")),
            max_fps=_maybe(float, limits.get("max_fps")),
            credits=_maybe(int, limits.get("credits")),
        ),
        next_seq=int(raw.get("next_seq", 0)),
        resume_token=raw.get("resume_token"),
        analyzers=analyzer_states(raw.get("analyzers")),
    )


def analyzer_states(raw: Sequence[Json] | None) -> tuple[AnalyzerState, ...]:
    """Raises `KeyError` or `AttributeError` if it is not a list of them."""
    return tuple(AnalyzerState(each["name"], each["state"], each.get("reason")) for each in raw or ())


def _frame(kind: str, raw: Json) -> Frame:
    _, _, data = raw["image"].rpartition(",")  # a data URL
    captured_at = time_of(raw.get("captured_at"))
    captured_us = None if captured_at is None else micros_of(captured_at)
    return Frame(kind, raw, int(raw["seq"]), captured_us, base64.b64decode(data, validate=True))


def _slow_down(kind: str, raw: Json) -> SlowDown:
    if (fps := float(raw["fps"])) <= 0:
        raise ValueError(f"fps must be above 0, got {fps:g}")
    return SlowDown(kind, raw, fps)


def _bye(kind: str, raw: Json) -> Bye:
    return Bye(kind, raw, str(raw.get("reason", "ended")), _maybe(float, raw.get("retry_ms")))


_READERS: dict[str, Callable[[str, Json], Message]] = {
    "hello": _hello,
    "result": read_result,
    "event": _event,
    "status": _status,
    "message": lambda kind, raw: Relay(kind, raw, raw["data"]),
    "frame": _frame,
    "subscribed": lambda kind, raw: Subscribed(kind, raw, str(raw["frames"]), tuple(raw["topics"])),
    "ack": lambda kind, raw: Ack(
        kind, raw, int(raw["seq"]), _maybe(int, raw.get("credits")), _maybe(int, raw.get("dropped"))
    ),
    "slow_down": _slow_down,
    "pong": Pong,
    "error": lambda kind, raw: ErrorMessage(kind, raw, str(raw["code"]), str(raw.get("detail", ""))),
    "bye": _bye,
}


def _maybe(kind: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else kind(value)


def _box(raw: Sequence[float]) -> Box:
    x1, y1, x2, y2 = raw
    return Box(float(x1), float(y1), float(x2), float(y2))


def time_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
