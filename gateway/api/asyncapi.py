"""The stream socket as an AsyncAPI 3.0 document, for who generates clients."""

from __future__ import annotations

from typing import Any

from gateway.protocol import SUBPROTOCOL, TOPICS
from gateway.version import __version__

_TEXT: dict[str, Any] = {"type": "string"}
_INT: dict[str, Any] = {"type": "integer"}
_NUMBER: dict[str, Any] = {"type": "number"}
_OBJECT: dict[str, Any] = {"type": "object"}
_LIST: dict[str, Any] = {"type": "array"}

# name -> (what it is, its fields)
CLIENT_MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "frame": ("A picture.", {"image": _TEXT, "seq": _INT, "ts": _NUMBER, "meta": _OBJECT}),
    "hello": (
        "Asks for acknowledgements, or takes over a publisher's place.",
        {"acks": {"type": "boolean"}, "resume": _TEXT},
    ),
    "subscribe": (
        "What to receive.",
        {
            "frames": {"enum": ["none", "binary", "base64"]},
            "topics": {"type": "array", "items": {"enum": list(TOPICS)}},
        },
    ),
    "ack": ("A publisher has seen results up to seq.", {"seq": _INT}),
    "message": ("Relayed to everybody else on the stream.", {"data": {}}),
    "ping": ("Answered with pong.", {}),
}
SERVER_MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "hello": (
        "The first message.",
        {
            "protocol": _TEXT,
            "version": _TEXT,
            "stream_id": _TEXT,
            "limits": _OBJECT,
            "next_seq": _INT,
            "resume_token": _TEXT,
            "analyzers": _LIST,
        },
    ),
    "result": (
        "What analyzers saw in one frame.",
        {
            "schema": _TEXT,
            "stream_id": _TEXT,
            "camera_id": _TEXT,
            "seq": _INT,
            "captured_at": _TEXT,
            "received_at": _TEXT,
            "width": _INT,
            "height": _INT,
            "analyzers": _OBJECT,
            "dropped": _OBJECT,
        },
    ),
    "event": (
        "Something began, went on or ended.",
        {"id": _TEXT, "phase": {"enum": ["new", "update", "end"]}, "event_type": _TEXT},
    ),
    "status": (
        "How the stream is doing.",
        {"state": _TEXT, "reason": _TEXT, "paused": {"type": "boolean"}, "publishers": _INT, "viewers": _INT},
    ),
    "message": ("Another client's message.", {"data": {}}),
    "frame": ("A picture, for who asked for base64.", {"seq": _INT, "captured_at": _TEXT, "image": _TEXT}),
    "subscribed": ("Confirms a subscribe.", {"frames": _TEXT, "topics": _LIST}),
    "ack": ("Frames up to seq were taken.", {"seq": _INT, "credits": _INT, "dropped": _INT}),
    "slow_down": ("The stream takes no more than this.", {"fps": _NUMBER}),
    "pong": ("The answer to ping.", {}),
    "error": ("A message could not be used.", {"code": _TEXT, "detail": _TEXT}),
    "bye": ("The last message.", {"reason": _TEXT, "retry_ms": _INT}),
}


def document() -> dict[str, Any]:
    """The whole document."""
    messages = {
        **{f"client_{name}": _message(name, *about) for name, about in CLIENT_MESSAGES.items()},
        **{f"server_{name}": _message(name, *about) for name, about in SERVER_MESSAGES.items()},
        "binary_frame": {
            "name": "binary frame",
            "summary": "A JPEG as it is, or behind the 24-byte framegate.v1 header.",
            "contentType": "image/jpeg",
            "payload": {"type": "string", "format": "binary"},
        },
        "text_frame": {
            "name": "text frame",
            "summary": "A data:image/jpeg;base64,... URL, or bare base64.",
            "contentType": "text/plain",
            "payload": _TEXT,
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Framegate stream socket", "version": __version__, "description": "Prose: /docs/protocol"},
        "channels": {
            "stream": {
                "address": "/ws/stream/{stream_id}",
                "description": f"One socket for publishers and viewers; subprotocol {SUBPROTOCOL} is optional.",
                "parameters": {"stream_id": {"description": "From POST /stream/request."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "publish": _operation("receive", [name for name in messages if not name.startswith("server_")]),
            "watch": _operation("send", [name for name in messages if not name.startswith(("client_", "text_"))]),
        },
        "components": {"messages": messages},
    }


def _message(name: str, summary: str, fields: dict[str, Any]) -> dict[str, Any]:
    payload = {"type": "object", "required": ["type"], "properties": {"type": {"const": name}, **fields}}
    return {"name": name, "summary": summary, "contentType": "application/json", "payload": payload}


def _operation(action: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in names],
    }
