"""Frames by plain HTTP: one image a request, or an endless multipart body (`ffmpeg -f mpjpeg`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from gateway.connectors.multipart import PictureParts
from gateway.engine.session import Session
from gateway.errors import BadMessage, GatewayError
from gateway.frame import Frame
from gateway.protocol import BAD_IMAGES_TOLERATED, FrameIn, RelayIn, parse_frame, parse_text, parse_time, sniffed
from gateway.web import hub_of

WAIT_S = 10.0  # how long ?wait=1 waits for the slowest analyzer

router = APIRouter(tags=["streams"])


class HttpPublisher:
    """Whoever posts to a stream, for as long as the request lasts."""

    asked_for_few = False

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(16)
        self.place = asyncio.timeout(None)

    def displaced(self) -> None:
        """Somebody else publishes now, or the stream has ended: whatever the request waits for is over."""
        self.place.reschedule(asyncio.get_running_loop().time())


_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": _IMAGE,
            "image/png": _IMAGE,
            "image/webp": _IMAGE,
            "application/json": {"schema": {"type": "object", "properties": {"image": {"type": "string"}}}},
        },
    }
}


@router.post("/stream/{stream_id}/frame", summary="Push one image", openapi_extra=_BODY)
async def post_frame(
    request: Request,
    stream_id: str,
    wait: Annotated[bool, Query(description="Answer with what the analyzers saw in it")] = False,
    ts: Annotated[str | None, Query(description="Capture time: epoch s or ms, or ISO 8601")] = None,
) -> Response:
    """An image as body, or JSON `{"image": data URL or base64, "seq", "ts"}`."""
    hub = hub_of(request)
    session = hub.get(stream_id)
    body = await _whole_body(request)
    event = _read_image(request.headers.get("content-type", ""), body)
    captured_at = event.captured_at or parse_time(_number(ts))
    names = [stage.name for stage in session.stages] if wait else []
    with session.answers.expect(session.seq_for(event.seq), names) as answer:
        frame = await _put(session, event, captured_at)
        session.lease.posted(hub.clock())
        session.changed.set()
        if frame is None or not wait:
            return _taken(session, frame)
        await answer.complete(WAIT_S)
        return JSONResponse({"type": "result", **session.result(frame, answer.analyzers)})


async def _put(session: Session, event: FrameIn, captured_at: datetime | None) -> Frame | None:
    """Publish for a moment: the next post may come from anybody, a socket that is sending keeps its place."""
    publisher = HttpPublisher()
    session.claim(publisher)
    try:
        if event.kind == "jpeg":
            return session.put(event.image, seq=event.seq, captured_at=captured_at)
        session.resign(publisher)  # others need not wait for the picture worker
        return await session.put_foreign(publisher, event.image, seq=event.seq, captured_at=captured_at)
    finally:
        session.resign(publisher)


def _taken(session: Session, frame: Frame | None) -> Response:
    if frame is None:
        return JSONResponse({"accepted": False, "reason": "max_fps", "max_fps": session.max_fps}, 202)
    return JSONResponse({"accepted": True, "seq": frame.seq, "width": frame.width, "height": frame.height})


async def _whole_body(request: Request) -> bytes:
    """No more than `limits.max_message_bytes`: the body was counted on its way here."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise BadMessage("the client went away before its body was complete", code="body_cut") from None


def _read_image(content_type: str, body: bytes) -> FrameIn:
    """The picture in a body: as it is, as a data URL or base64, or in a JSON object. Raises `BadMessage`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("application/json", "text/plain") or body[:5] == b"data:":
        event = parse_text(body.decode("utf-8", "replace"))
        if isinstance(event, RelayIn) and isinstance(event.data, dict):  # no "type": the route says what it is
            event = parse_frame(event.data)
        if not isinstance(event, FrameIn):
            raise BadMessage('expected {"image": data URL or base64}')
        return event
    return sniffed(body)


def _number(text: str | None) -> object:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


@router.post(
    "/stream/{stream_id}/frames",
    summary="Push a multipart stream of JPEG parts",
    openapi_extra={"requestBody": {"content": {"multipart/x-mixed-replace": _IMAGE}}},
)
async def post_frames(request: Request, stream_id: str) -> Response:
    """`ffmpeg -re -i FILE -f mpjpeg URL`, GStreamer's multipartmux, or any camera that posts multipart."""
    hub = hub_of(request)
    session = hub.get(stream_id)
    publisher = HttpPublisher()
    session.claim(publisher)
    session.lease.join()
    session.changed.set()
    accepted = errors = 0
    try:
        most = session.settings.limits.max_message_bytes
        async with publisher.place, aclosing(_images(request, most)) as images:
            async for image in images:
                try:
                    accepted += session.put(image) is not None
                except GatewayError:
                    errors += 1
                    if errors >= BAD_IMAGES_TOLERATED:
                        raise
                else:
                    errors = 0
    except (ClientDisconnect, TimeoutError):  # it has gone, or its place has
        pass
    finally:
        session.resign(publisher)
        session.lease.leave(hub.clock())
        session.changed.set()
    return JSONResponse({"accepted": accepted, "next_seq": session.next_seq})


async def _images(request: Request, most: int) -> AsyncGenerator[bytes]:
    """The bodies of the parts as they become complete. Raises `BadMessage` or `BodyTooLarge`."""
    parts = PictureParts(request.headers.get("content-type"), most=most)
    async for chunk in request.stream():
        for image in parts.feed(chunk):
            yield image
