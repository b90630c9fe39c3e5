"""The tokens of a stream: who may view it or publish to it, without being anybody otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from gateway.credentials import Caller, StreamToken, Tokens
from gateway.frame import iso
from gateway.permissions import Scope
from gateway.web import PLAIN, credentials_of, hub_of

router = APIRouter(tags=["access"])


class TokenWish(BaseModel):
    """What a token is to be good for."""

    scope: Literal["view", "publish"] = Field("view", description="A publish token may view too.")
    name: str = Field("", max_length=64, pattern=PLAIN, description="For people: whose it is.")


@router.post("/stream/{stream_id}/tokens", status_code=201, summary="Make a token of a stream")
async def make_token(request: Request, stream_id: str, wish: Annotated[TokenWish | None, Body()] = None) -> Any:
    """The newest one of each scope is in the stream's addresses from now on; older ones hold until they are revoked."""
    hub_of(request).get(stream_id)
    wish = wish or TokenWish()
    token = credentials_of(request).tokens.issue(stream_id, wish.scope, wish.name)
    publish = token.secret if token.scope == "publish" else None
    root = request.scope.get("root_path", "")
    return {**describe_token(token), "token": token.secret, **addresses(root, publish, token.secret)}


@router.get("/stream/{stream_id}/tokens", summary="List the tokens of a stream")
async def list_tokens(request: Request, stream_id: str) -> dict[str, Any]:
    """Without their secrets."""
    hub_of(request).get(stream_id)
    found = credentials_of(request).tokens.of(stream_id)
    return {"items": [describe_token(token) for token in found], "next": None}


@router.delete("/stream/{stream_id}/tokens/{token_id}", status_code=204, summary="Revoke a token of a stream")
async def revoke_token(request: Request, stream_id: str, token_id: str) -> Response:
    """Sockets and pictures that were opened by it end at once: 4401."""
    hub_of(request).get(stream_id)
    credentials_of(request).tokens.revoke(stream_id, token_id)
    return Response(status_code=204)


def describe_token(token: StreamToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "stream_id": token.stream_id,
        "scope": token.scope,
        "name": token.name,
        "created_at": iso(token.created_at),
        "connections": len(token.holders),
    }


def secrets_for(caller: Caller, tokens: Tokens, stream_id: str) -> tuple[str | None, str]:
    """What the caller may know: what to publish by, if he may, and what to view by; ids where there is no token."""
    if caller.local:
        return stream_id, stream_id
    shown: dict[Scope, str] = {}
    for token in tokens.of(stream_id):
        if caller.may("publish", stream_id) or token in caller.credentials:
            shown[token.scope] = token.secret
    publish = shown.get("publish", stream_id) if caller.may("publish", stream_id) else None
    return publish, shown.get("view", stream_id)


def addresses(root: str, publish: str | None, view: str) -> dict[str, Any]:
    """The stream's addresses below the base path, each with a token or the id in its place."""
    viewer = f"viewer/{view}" if view.startswith("fg") else f"viewer?stream_id={view}"
    return {
        "websocket_url": f"{root}/ws/stream/{publish or view}",
        "video_url": f"{root}/stream/video/{view}",
        "viewer_url": f"{root}/{viewer}",
        "snapshot_url": f"{root}/stream/{view}/snapshot.jpg",
        "events_url": f"{root}/stream/{view}/events",
        "whip_url": f"{root}/stream/{publish}/whip" if publish else None,
        "whep_url": f"{root}/stream/{view}/whep",
    }
