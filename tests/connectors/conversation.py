"""The stream socket's endpoint without a server: one client's half of the ASGI conversation, on any clock."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from gateway.connectors.websocket import StreamSocket
from gateway.credentials import Caller
from gateway.engine.hub import Hub

CALLER = Caller(local=True)


@dataclass
class Client:
    """One connection to a stream. What the endpoint sent is in `texts` and `pictures`; `code` is how it closed."""

    hub: Hub
    stream_id: str
    negotiates: bool = False
    query: bytes = b""
    status: int | None = None
    code: int | None = None
    texts: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    stuck: bool = False  # takes nothing more: every send waits until it is reset
    resets: int = 0

    def __post_init__(self) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._cut = asyncio.Event()
        self.closed = asyncio.Event()
        self._inbox.put_nowait({"type": "websocket.connect"})

    async def run(self) -> None:
        """The whole connection, until the endpoint is through with it."""
        scope: dict[str, Any] = {
            "type": "websocket",
            "app": SimpleNamespace(state=SimpleNamespace(hub=self.hub)),
            "path_params": {"stream_id": self.stream_id},
            "query_string": self.query,
            "headers": [],
            "subprotocols": ["framegate.v1"] if self.negotiates else [],
            "extensions": {"websocket.http.response": {}, "framegate.peer": {"peer": self}},
            "state": {"caller": CALLER},
        }
        await StreamSocket()(scope, self._inbox.get, self._take)

    async def _take(self, message: Any) -> None:
        if self.stuck:
            await self._cut.wait()
        if self._cut.is_set():
            raise OSError("the client has gone")
        match message:
            case {"type": "websocket.http.response.start", "status": status}:
                self.status = status
            case {"type": "websocket.accept"}:
                self.status = 101
            case {"type": "websocket.send", "text": text}:
                self.texts.append(json.loads(text))
            case {"type": "websocket.send", "bytes": picture}:
                self.pictures.append(picture)
            case {"type": "websocket.close", "code": code}:
                self.code = code
                self.closed.set()
                self._inbox.put_nowait({"type": "websocket.disconnect", "code": code})

    def say(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        self._inbox.put_nowait({"type": "websocket.receive", kind: message})

    def leave(self) -> None:
        """Close properly."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    def crash(self) -> None:
        """Be gone at once, in the middle of whatever is being sent."""
        self._cut.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        return [text for text in self.texts if text["type"] in kinds]

    # --- as the transport's peer -------------------------------------------------------------------------------------

    def progress(self) -> int | None:
        return 0 if self.stuck and not self._cut.is_set() else None

    def reset(self) -> None:
        self.resets += 1
        self.crash()
