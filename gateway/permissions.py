"""Who may do what: one table of every route, for HTTP, WebSocket, MJPEG and snapshots alike.

A route without a row cannot be served at all. What the words mean is decided here and nowhere else; whose credential a
request carries is `gateway.credentials`' business, and asking both is `gateway.access`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "operator", "admin"]
Scope = Literal["view", "publish"]
Permission = Literal[
    "open",  # everybody, without a credential
    "any",  # whoever has a valid credential of any kind: pages, the API's description, tickets
    "read",  # how the gateway is doing, which streams there are
    "view",  # one stream: its pictures, results, status
    "publish",  # one stream: send frames to it, end it
    "operate",  # open streams, change them, hand out their tokens
    "admin",  # the gateway itself
]

_VIEWER: frozenset[Permission] = frozenset({"open", "any", "read", "view"})
_OPERATOR: frozenset[Permission] = _VIEWER | {"publish", "operate"}
ROLES: Mapping[Role, frozenset[Permission]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "admin": _OPERATOR | {"admin"},
}
# What the tokens of a single stream allow, on that stream.
SCOPES: Mapping[Scope, frozenset[Permission]] = {
    "view": frozenset({"open", "any", "view"}),
    "publish": frozenset({"open", "any", "view", "publish"}),
}

SOCKET = "WS"  # the method of a WebSocket in the table
MOUNT = "MOUNT"  # and of a folder of files


@dataclass(frozen=True, slots=True)
class Row:
    """What a route asks for. `local`: in open mode, callers of this machine need no credential for it."""

    permission: Permission
    local: bool = True


_SESSION = ("PATCH", "DELETE", "GET", "OPTIONS")  # of a WebRTC connection

# Routes that stand at the root only.
_ROOT: Mapping[str, Permission] = {
    "WS /ws/stream/{stream_id}": "view",  # who may not publish is stopped at the first frame
    "GET /stream/video/{stream_id}": "view",
    "POST /stream/request": "operate",
    "POST /stream/connect": "operate",  # files and devices of this machine: admins
    "GET /stream": "read",
    "GET /stream/{stream_id}": "view",
    "PATCH /stream/{stream_id}": "operate",
    "DELETE /stream/{stream_id}": "publish",
    "POST /stream/{stream_id}/pause": "operate",
    "POST /stream/{stream_id}/resume": "operate",
    "POST /stream/{stream_id}/start": "operate",
    "POST /stream/{stream_id}/stop": "operate",
    "POST /stream/{stream_id}/frame": "publish",
    "POST /stream/{stream_id}/frames": "publish",
    **{f"{method} /stream/{{stream_id}}/whip": "publish" for method in ("POST", "GET", "OPTIONS")},
    **{f"{method} /stream/{{stream_id}}/whip/{{call_id}}": "publish" for method in _SESSION},
    **{f"{method} /stream/{{stream_id}}/whep": "view" for method in ("POST", "GET", "OPTIONS")},
    **{f"{method} /stream/{{stream_id}}/whep/{{call_id}}": "view" for method in _SESSION},
    "GET /stream/{stream_id}/snapshot.jpg": "view",
    "GET /stream/{stream_id}/events": "view",
    "GET /stream/{stream_id}/stats": "view",
    "GET /stream/{stream_id}/tokens": "operate",
    "POST /stream/{stream_id}/tokens": "operate",
    "DELETE /stream/{stream_id}/tokens/{token_id}": "operate",
    "GET /": "any",
    "GET /viewer": "any",
    "GET /viewer/{stream_id}": "view",
    "MOUNT /viewer": "any",
    "GET /publish": "any",
    "MOUNT /publish": "any",
    "POST /publish/qr": "any",
    "MOUNT /client": "any",
    "GET /docs/protocol": "any",
    "GET /docs/assets/redoc.standalone.js": "any",
    "MOUNT /docs/assets": "any",
    "GET /asyncapi.json": "any",
    "GET /login": "open",
    "POST /login": "open",
    "POST /logout": "any",
}
# Routes of the control plane: under /api, and at the root for older clients.
_CONTROL: Mapping[str, Permission] = {
    "GET /health": "open",
    "GET /ready": "open",
    "GET /status": "read",
    "GET /metrics": "read",
    "GET /analyzers": "read",
    "POST /analyzers/{name}/reload": "admin",
    "GET /plugins": "read",
    "GET /models/status": "read",
    "POST /models/{name}/download": "admin",
    "GET /events/{event_id}/snapshot.jpg": "view",  # of the event's stream
    "GET /events/{event_id}/clip.mp4": "view",
    "GET /auth/me": "any",
    "POST /auth/ticket": "any",
    "GET /docs": "any",
    "GET /redoc": "any",
    "GET /openapi.json": "any",
}
# For these even this machine's own callers need a credential: users, keys, persons will stand here.
_NEVER_LOCAL: frozenset[str] = frozenset()


def _rows() -> Iterator[tuple[tuple[str, str], Row]]:
    both = {route.replace(" /", " /api/", 1): permission for route, permission in _CONTROL.items()}
    for route, permission in {**_ROOT, **_CONTROL, **both}.items():
        method, _, path = route.partition(" ")
        yield (method, path), Row(permission, local=route not in _NEVER_LOCAL)


TABLE: Mapping[tuple[str, str], Row] = dict(_rows())  # by method and the route's template


def row_for(method: str, template: str) -> Row | None:
    """The row of a route; a HEAD is asked as its GET is."""
    return TABLE.get(("GET" if method == "HEAD" else method, template))
