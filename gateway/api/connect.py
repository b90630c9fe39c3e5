"""Connect: cameras that the gateway pulls. What may be pulled is checked here, before anything is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any, Literal, Protocol

from fastapi import APIRouter, Request
from pydantic import Field

from gateway.api.streams import StreamRequest, describe_access, open_stream
from gateway.engine.connectors import ConnectorManifest
from gateway.engine.hub import Hub
from gateway.engine.place import Camera
from gateway.engine.session import Session
from gateway.errors import BadSource, NotFound
from gateway.media.dial import looked_up, own_addresses
from gateway.media.errors import SourceError
from gateway.media.sources import Rules, Source, parse
from gateway.settings import Settings
from gateway.web import PLAIN, caller_of, hub_of

router = APIRouter(tags=["streams"])


class ConnectRequest(StreamRequest):
    """A source, and what a stream may wish for."""

    stream_url: Any = Field(
        description="rtsp://, rtsps://, http:// or https:// with `user:password@`; what plugins bring, as `demo:`; for"
        " admins `file:///path` and the number of a camera at this machine. Never shown again.",
        json_schema_extra={"type": "string", "writeOnly": True},
    )
    stream_url_sub: Any = Field(
        None,
        description="The smaller stream of the same camera, if it offers one: it is analysed, `stream_url` is read only"
        " while somebody watches. Never shown again.",
        json_schema_extra={"type": "string", "writeOnly": True},
    )
    stream_name: str = Field("", max_length=64, pattern=PLAIN, description="A name for people.")
    transport: Literal["tcp", "udp"] = Field("tcp", description="How RTSP brings its media.")
    loop: bool = Field(False, description="A file begins anew at its end.")


class Connect(Protocol):
    """What makes a session's camera of a source."""

    def __call__(self, session: Session, source: Source, sub: Source | None) -> Camera: ...


@router.post("/stream/connect", summary="Pull a camera")
async def connect(request: Request, wish: ConnectRequest) -> dict[str, Any]:
    """Answers as `/stream/request` does, at once: whether the camera is there, `GET /stream/{id}` says in `camera`."""
    source = await _checked(request, wish, wish.stream_url)
    sub = None if wish.stream_url_sub is None else await _checked(request, wish, wish.stream_url_sub)
    session = await open_stream(request, wish.model_copy(update={"name": wish.stream_name or wish.name}))
    make: Connect = request.app.state.connect
    session.camera = make(session, source, sub)
    session.camera.start()
    return {**describe_access(request, session), "camera": session.camera.describe()}


async def _checked(request: Request, wish: ConnectRequest, url: object) -> Source:
    """What is to be pulled, if it may be. Raises `BadSource`, and `AtCapacity` while a plugin may still bring it."""
    hub = hub_of(request)
    admin = caller_of(request.scope).may("admin")
    await hub.introduced()
    source = replace(_parsed(url, hub), udp=wish.transport == "udp", loop=wish.loop)
    if source.connector:
        _check_connector(hub.connectors()[source.connector][0], admin=admin)
    elif source.local:
        return await asyncio.to_thread(_local, source, hub.settings, admin=admin)
    elif source.host:
        await _check_address(source, hub.settings)
    return source


def _parsed(url: object, hub: Hub) -> Source:
    try:
        return parse(url, hub.connectors())
    except BadSource as error:
        if error.code == "source_scheme" and isinstance(url, str):
            raise hub.unless_early(error) from None
        raise


@router.post("/stream/{stream_id}/start", summary="Pull its camera again")
async def start(request: Request, stream_id: str) -> dict[str, Any]:
    camera = _camera(request, stream_id)
    camera.start()
    return camera.describe()


@router.post("/stream/{stream_id}/stop", summary="Pull its camera no more")
async def stop(request: Request, stream_id: str) -> dict[str, Any]:
    """The stream stays, with its viewers and what its analyzers remember, until it is started again or deleted."""
    camera = _camera(request, stream_id)
    camera.stop()
    return camera.describe()


def _camera(request: Request, stream_id: str) -> Camera:
    camera = hub_of(request).get(stream_id).camera
    if camera is None:
        raise NotFound("nothing is pulled for this stream: its pictures are pushed", code="no_camera")
    return camera


def _check_connector(manifest: ConnectorManifest, *, admin: bool) -> None:
    """Raises `BadSource` where it cannot run here, or not for this caller."""
    if manifest.failed:
        raise BadSource(manifest.failed, code="source_scheme")
    if manifest.admin and not admin:
        raise BadSource(f"{manifest.scheme}: is pulled for admins only", code="source_scheme")


def _local(source: Source, settings: Settings, *, admin: bool) -> Source:
    """A file or device of this machine by its real path. Raises `BadSource`."""
    if not admin:
        raise BadSource("files and devices are pulled for admins only", code="source_scheme")
    if source.kind == "file":
        path = Path(source.path).resolve()
        if not any(path.is_relative_to(folder.expanduser().resolve()) for folder in settings.media.folders):
            raise BadSource("files are pulled from the folders in media.folders only", code="source_address")
        return replace(source, path=str(path))
    return source


async def _check_address(source: Source, settings: Settings) -> None:
    """The child checks again when it connects; here it is an answer. Raises `BadSource`."""
    media = settings.media
    rules = Rules(tuple(media.networks), tuple(media.endpoints), settings.port, own_addresses)
    try:
        rules.check_all(await _addresses(source.host, source.port), source.port)
    except SourceError as error:
        raise BadSource(error.detail, code="source_address") from None


async def _addresses(host: str, port: int) -> Sequence[str]:
    """What a name stands for now; nothing if nobody knows: it may be known later, and the camera is tried all the same.

    By a thread of its own: a resolver may hang, and everybody else needs the few that the loop has.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def tell(addresses: Sequence[str]) -> None:
        if not found.done():
            found.set_result(addresses)

    def look() -> None:
        try:
            addresses = looked_up(host, port)
        except SourceError:
            addresses = []
        with suppress(RuntimeError):  # the gateway has stopped meanwhile
            loop.call_soon_threadsafe(tell, addresses)

    Thread(target=look, name="lookup", daemon=True).start()
    return await found
