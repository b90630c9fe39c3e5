"""MJPEG for VLC, browsers, ffmpeg, go2rtc, Home Assistant: `GET /stream/video/{id}`.

The bytes follow what those readers insist on: the body begins with a boundary line; every part has a Content-Length;
and the next boundary line is sent at once after a picture, since Blink shows it only then. A part is built once per
picture, whatever the number of viewers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.engine.picture import Picture, Variant
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.frame import iso
from gateway.sinks.body import SubscriberBody
from gateway.web import hub_of

BOUNDARY = "frame"
HEADERS = {
    "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_LINE = f"--{BOUNDARY}\r\n".encode()

router = APIRouter(tags=["streams"])


async def form_of(
    request: Request,
    draw: Annotated[str, Query(description="`boxes` burns the results in, `zones` the zones; with a comma both")] = "",
    width: Annotated[int | None, Query(ge=16, description="Scaled to the next of a few shared widths")] = None,
    quality: Annotated[int | None, Query(ge=10, le=95, description="JPEG quality, to the next ten")] = None,
    mirror: Annotated[bool, Query(description="As in a mirror")] = False,
) -> Variant:
    """The shared form nearest to a viewer's wish: widths rounded up to the settings' list, quality to tens.

    Always upright: VLC, ffmpeg and many others pass over the orientation in a file.
    """
    widths = sorted(hub_of(request).settings.mjpeg.widths)
    wider = [offered for offered in widths if width is not None and offered >= width]
    return Variant(
        draw="boxes" in draw.split(","),
        zones="zones" in draw.split(","),
        width=wider[0] if wider else None,
        quality=None if quality is None else min(95, round(quality, -1)),
        mirror=mirror,
        upright=True,
    )


Form = Annotated[Variant, Depends(form_of)]


@router.get(
    "/stream/video/{stream_id}",
    summary="Watch as MJPEG",
    response_class=Response,
    responses={
        200: {"content": {"multipart/x-mixed-replace": {}}, "description": "An endless stream of JPEG pictures"}
    },
)
async def mjpeg(
    request: Request,
    stream_id: str,
    form: Form,
    fps: Annotated[float | None, Query(gt=0, le=120, description="At most so many pictures per second")] = None,
    dual: Annotated[bool, Query(description="Each picture twice, for readers that are one behind")] = False,
) -> Response:
    """For `<img>`, VLC, ffmpeg and whoever else reads motion JPEG. A slow reader loses pictures and slows nobody."""
    hub = hub_of(request)
    return follow(hub.get(stream_id), form, clock=hub.clock, fps=fps, dual=dual)


def follow(
    session: Session, form: Variant, *, clock: Callable[[], float], fps: float | None = None, dual: bool = False
) -> SubscriberBody:
    """A session's pictures as the body of an answer. Raises `AtCapacity` when it has its most viewers."""
    subscriber = Subscriber(messages=1, topics=(), fill=True)
    session.watch(subscriber, form)
    session.lease.readers += 1
    session.changed.set()

    def end() -> None:
        session.audience.leave(subscriber)
        session.lease.readers -= 1
        session.changed.set()

    return SubscriberBody(
        subscriber,
        _twice if dual else _wrapped,
        opening=_LINE,
        headers=HEADERS,
        clock=clock,
        on_end=end,
        gap=1.0 / fps if fps else 0.0,
    )


def _wrapped(item: str | Picture) -> bytes:
    return item.once("mjpeg", _part) if isinstance(item, Picture) else b""


def _twice(item: str | Picture) -> bytes:
    return item.once("mjpeg-dual", _part_twice) if isinstance(item, Picture) else b""


def _part_twice(picture: Picture) -> bytes:
    return picture.once("mjpeg", _part) * 2


def _part(picture: Picture) -> bytes:
    frame = picture.frame
    age = time.monotonic() - frame.received_at
    head = (
        f"Content-Type: image/jpeg\r\n"
        f"Content-Length: {len(picture.jpeg)}\r\n"
        f"X-Timestamp: {time.time() - age:.6f}\r\n"
        f"X-Frame-Seq: {frame.seq}\r\n"
        f"X-Stream-State: {picture.state}\r\n"
    )
    if frame.captured_at is not None:
        head += f"X-Capture-Time: {iso(frame.captured_at)}\r\n"
    return b"".join([head.encode(), b"\r\n", picture.jpeg, b"\r\n", _LINE])
