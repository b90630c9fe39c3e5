"""Events: the picture and the clip of each. Under /api, and at the root for older clients."""

from __future__ import annotations

import os
import re
from asyncio import to_thread
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from gateway.engine.picture import Variant
from gateway.errors import NotFound
from gateway.frame import Frame
from gateway.web import hub_of, problem

router = APIRouter(tags=["events"])

RANGE = re.compile(r"\s*(\d{0,18})-(\d{0,18})\s*")
HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


@router.get(
    "/events/{event_id}/snapshot.jpg",
    summary="The best picture of an event",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "The picture you have is still the best"}},
)
async def snapshot(
    request: Request,
    event_id: str,
    draw: Annotated[
        Literal["none", "boxes"], Query(description="boxes: with what the analyzers saw on it and the stream's zones")
    ] = "none",
) -> Response:
    """The frame that opened it, or in which it was seen best so far, as it came."""
    hub = hub_of(request)
    jpeg, record = await hub.clips.picture(event_id)
    headers = {**HEADERS, "ETag": f'"{event_id[:8]}-{record["seq"]}-{draw}"', "X-Frame-Seq": str(record["seq"])}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if draw == "boxes":
        frame = Frame(record["seq"], 0.0, record["width"], record["height"], jpeg)
        jpeg = await hub.painter.redraw(frame, Variant(draw=True, zones=True), record["overlay"])
    return Response(jpeg, headers=headers, media_type="image/jpeg")


@router.get(
    "/events/{event_id}/clip.mp4",
    summary="The clip of an event",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}}},
        206: {"description": "The ranges that were asked for"},
        304: {"description": "You have it"},
        416: {"description": "It is not that long"},
        503: {"description": "It is still being made; Retry-After says when to come back"},
    },
)
async def clip(request: Request, event_id: str) -> Response:
    """H.264 in MP4 with its index in front: browsers and players show it while it comes, and seek by ranges."""
    path = hub_of(request).clips.clip(event_id)
    try:
        about = await to_thread(os.stat, path)
    except FileNotFoundError:
        raise NotFound("there is no clip of this event", code="no_clip") from None
    headers = {**HEADERS, "ETag": f'"{path.parent.name[-8:]}-{about.st_size}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    fault = range_fault(request.headers.get("range"), about.st_size)
    if fault == "beyond":
        bounds = {"Content-Range": f"bytes */{about.st_size}"}
        return problem(request.scope, 416, "range", f"the clip has {about.st_size} bytes", headers=bounds)
    if fault == "none":
        request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    return FileResponse(path, headers=headers, media_type="video/mp4", stat_result=about)


def range_fault(wish: str | None, size: int) -> Literal["none", "beyond"] | None:
    """What is wrong with a Range header: it is none, which is passed over (RFC 9110 section 14.2), or is not there."""
    if wish is None:
        return None
    unit, _, text = wish.partition("=")
    parts = [RANGE.fullmatch(part) for part in text.split(",")]
    found = [(part[1], part[2]) for part in parts if part is not None]
    if unit.strip().lower() != "bytes" or len(found) < len(parts):
        return "none"
    if any(not first + last or (first and last and int(first) > int(last)) for first, last in found):
        return "none"
    beyond = (int(first) >= size if first else int(last) == 0 for first, last in found)
    return "beyond" if any(beyond) else None
