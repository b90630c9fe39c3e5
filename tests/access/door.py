"""What tests of access share: the static token, headers, what stands in a stream's answer."""

from __future__ import annotations

import base64
from typing import Any

from tests.server import Server
from tests.sockets import socket_to

TOKEN = "a-static-token-of-these-tests-7"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def view_token(stream: dict[str, Any]) -> str:
    return str(stream["video_url"].rpartition("/")[2])


def publish_token(stream: dict[str, Any]) -> str:
    return str(stream["stream_token"])


def make(server: Server, stream: dict[str, Any], scope: str, name: str = "") -> dict[str, Any]:
    """A further token of the stream."""
    path = f"/stream/{stream['stream_id']}/tokens"
    answer = server.http.post(path, json={"scope": scope, "name": name}, headers=bearer(TOKEN))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def revoke(server: Server, token: dict[str, Any]) -> None:
    path = f"/stream/{token['stream_id']}/tokens/{token['id']}"
    assert server.http.delete(path, headers=bearer(TOKEN)).status_code == 204


__all__ = ["TOKEN", "basic", "bearer", "make", "publish_token", "revoke", "socket_to", "view_token"]
