"""The latest picture: `GET /stream/{id}/snapshot.jpg`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.engine.picture import Variant
from gateway.errors import NoPicture
from gateway.frame import iso
from gateway.sinks.mjpeg import Form
from gateway.web import hub_of

router = APIRouter(tags=["streams"])


@router.get(
    "/stream/{stream_id}/snapshot.jpg",
    summary="The latest picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}},
        304: {"description": "The picture you have is still the latest"},
        503: {"description": "There is no picture, with the reason"},
    },
)
async def snapshot(
    request: Request,
    stream_id: str,
    form: Form,
    max_age: Annotated[float | None, Query(gt=0, description="No picture older than this, in s")] = None,
) -> Response:
    """The newest frame as it came, or drawn and scaled."""
    hub = hub_of(request)
    session = hub.get(stream_id)
    frame = session.latest
    if frame is not None and max_age is not None and hub.clock() - frame.received_at > max_age:
        raise NoPicture(f"the latest picture is older than {max_age:g} s", code="stale", retry_after_s=1)
    etag = _etag(stream_id, frame.seq if frame else -1, form)
    headers = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if frame is not None and _has(etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    shown, jpeg = await session.snapshot(form)
    headers |= {
        "ETag": _etag(stream_id, shown.seq, form),
        "X-Frame-Seq": str(shown.seq),
        "X-Stream-State": session.state,
    }
    if shown.captured_at is not None:
        headers["X-Capture-Time"] = iso(shown.captured_at) or ""
    return Response(jpeg, headers=headers, media_type="image/jpeg")


def _etag(stream_id: str, seq: int, variant: Variant) -> str:
    wish = f"{int(variant.draw)}{int(variant.zones)}-{variant.width or 0}-{variant.quality or 0}-{int(variant.mirror)}"
    return f'"{stream_id[:8]}-{seq}-{wish}"'


def _has(etag: str, known: str) -> bool:
    """If-None-Match (RFC 9110 section 13.1.2): `*`, or a list that is compared weakly."""
    return known.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
