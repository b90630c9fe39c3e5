"""Streams: request, list, look, end. `/stream*` stands at the root only."""

from __future__ import annotations

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from gateway.api.tokens import addresses, secrets_for
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.terms import nearest
from gateway.errors import UnknownOption
from gateway.frame import iso
from gateway.geometry import Shape
from gateway.permissions import SCOPES
from gateway.web import PLAIN, caller_of, credentials_of, hub_of
from gateway.zones import MOST_ZONES, ZoneWish, read_zones

router = APIRouter(tags=["streams"])


class StreamRequest(BaseModel):
    """What a client may wish for; everything has a default."""

    model_config = ConfigDict(extra="ignore")  # older clients send more

    analyzers: list[str] | None = Field(
        None, max_length=32, description="Analyzers to run; null: the default set; []: none."
    )
    name: str = Field("", max_length=64, pattern=PLAIN, description="A name for people.")
    options: dict[str, dict[str, Any]] = Field({}, description="Options per analyzer, for this stream.")
    grace_s: float | None = Field(None, ge=0, le=86400, description="Life after the last client left, in s.")
    max_fps: float | None = Field(None, gt=0, description="Frames per second to take at most.")
    zones: list[ZoneWish] = Field([], max_length=MOST_ZONES, description="Zones and lines in its picture.")


class StreamChange(BaseModel):
    """What may be changed while a stream runs; what is not named stays as it is."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})  # see `_given`

    analyzers: list[str] | None = Field(
        None, max_length=32, description="All the stream is to have from now on; null: the default set; []: none."
    )
    options: dict[str, dict[str, Any]] = Field(
        {}, description="Options per analyzer; those named are changed, null gives the default back."
    )
    name: str | None = Field(None, max_length=64, pattern=PLAIN, description="A name for people.")
    grace_s: float | None = Field(None, ge=0, le=86400, description="Life after the last client left; null: default.")
    max_fps: float | None = Field(None, gt=0, description="Frames per second to take at most; null: the default.")
    paused: bool = Field(False, description="Take frames and show them, but let no analyzer see them.")
    zones: list[ZoneWish] | None = Field(
        None, max_length=MOST_ZONES, description="All the zones and lines it is to have from now on; null: none."
    )


@router.post("/stream/request", summary="Open a stream")
async def request_stream(request: Request, wish: Annotated[StreamRequest | None, Body()] = None) -> dict[str, Any]:
    """Push frames to `websocket_url`, show people `viewer_url`. The first six keys are the older client's."""
    return describe_access(request, await open_stream(request, wish or StreamRequest()))


async def open_stream(request: Request, wish: StreamRequest) -> Session:
    """A new stream as it is wished, with its tokens. Raises as `Hub.open_session`."""
    session = await hub_of(request).open_session(
        SessionRequest(
            analyzers=None if wish.analyzers is None else tuple(wish.analyzers),
            name=wish.name,
            options=wish.options,
            grace_s=wish.grace_s,
            max_fps=wish.max_fps,
            zones=await _shapes(wish.zones),
        )
    )
    if not caller_of(request.scope).local:
        for scope in SCOPES:
            credentials_of(request).tokens.issue(session.id, scope)
    return session


def describe_access(request: Request, session: Session) -> dict[str, Any]:
    """How to reach a stream. In open mode the four ids are the same string; else the addresses hold its tokens."""
    deadline = session.lease.deadline()
    publish, view = secrets_for(caller_of(request.scope), credentials_of(request).tokens, session.id)
    reach = addresses(request.scope.get("root_path", ""), publish, view)
    return {
        "stream_token": publish,
        "stream_id": session.id,
        "video_uuid": session.id,
        "video_id": session.id,
        "websocket_url": reach.pop("websocket_url"),
        "status": "active",
        **reach,
        "expires_at": iso(session.utc_of(deadline)) if deadline is not None else None,
        "analyzers": [stage.name for stage in session.stages],
    }


@router.get("/stream", summary="List live streams")
async def list_streams(request: Request) -> dict[str, Any]:
    return {"items": [session.status() for session in hub_of(request).sessions.values()], "next": None}


@router.get("/stream/{stream_id}", summary="How a stream is doing")
async def show_stream(request: Request, stream_id: str) -> dict[str, Any]:
    """State, publishers, viewers, rates, drops by stage and reason, analyzers and their state."""
    return _describe(request, hub_of(request).get(stream_id))


@router.get("/stream/{stream_id}/stats", summary="What is counted on a stream now")
async def stream_stats(request: Request, stream_id: str) -> dict[str, Any]:
    """Faces, identified persons, bags, and bags that have an owner near: each from its analyzer's last result."""
    return hub_of(request).get(stream_id).measures()


def _describe(request: Request, session: Session) -> dict[str, Any]:
    return {**describe_access(request, session), **session.status(), "options": session.request.options}


@router.patch("/stream/{stream_id}", summary="Switch and tune a live stream")
async def change_stream(request: Request, stream_id: str, change: StreamChange) -> dict[str, Any]:
    """All of it happens or nothing. Analyzers that stay keep what they remember, their counters and their events."""
    given = _given(change)
    if "zones" in given:
        given["zones"] = await _shapes(change.zones)
    return _describe(request, _changed(request, stream_id, given))


@router.post("/stream/{stream_id}/pause", summary="Let no analyzer see its frames")
async def pause_stream(request: Request, stream_id: str) -> dict[str, Any]:
    """Frames are taken and shown all the same; their drops are counted as `paused`."""
    return _describe(request, _changed(request, stream_id, {"paused": True}))


@router.post("/stream/{stream_id}/resume", summary="Let analyzers see its frames again")
async def resume_stream(request: Request, stream_id: str) -> dict[str, Any]:
    return _describe(request, _changed(request, stream_id, {"paused": False}))


async def _shapes(wishes: list[ZoneWish] | None) -> tuple[Shape, ...]:
    """Raises `BadZone`."""
    return await to_thread(read_zones, wishes) if wishes else ()


def _given(change: StreamChange) -> dict[str, Any]:
    """The fields that were named, for a `SessionRequest`. Raises `UnknownOption`."""
    for key in change.model_extra or {}:
        names = list(StreamChange.model_fields)
        raise UnknownOption(
            f"a stream has no {key[:64]!r} to change; {nearest(key, names, 'it has ' + ', '.join(names))}"
        )
    given: dict[str, Any] = {name: getattr(change, name) for name in change.model_fields_set}
    if given.get("analyzers") is not None:
        given["analyzers"] = tuple(given["analyzers"])
    if "name" in given:
        given["name"] = given["name"] or ""
    return given


def _changed(request: Request, stream_id: str, given: dict[str, Any]) -> Session:
    hub = hub_of(request)
    wish = hub.get(stream_id).request.changed(given)
    return hub.change(stream_id, wish, said=given.get("options", {}))


@router.delete("/stream/{stream_id}", status_code=204, summary="End a stream")
async def end_stream(request: Request, stream_id: str) -> Response:
    """In any state; everybody on it is told."""
    await hub_of(request).end(stream_id)
    return Response(status_code=204)
