"""WHIP: whoever speaks it publishes by WebRTC (RFC 9725): OBS, ffmpeg, GStreamer, browsers."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.calls import Call, Calls, Visitor
from gateway.connectors.pace import LEAST_FPS, most_fps, paces
from gateway.engine.session import Session
from gateway.errors import BadMessage, GatewayError
from gateway.media.messages import Shot, Wish
from gateway.protocol import LONGEST_TOKEN
from gateway.web import hub_of
from gateway.webrtc import ANSWERS, OFFER_BODY, add_routes, calls_of, meet, visitor_of

RESUME = "X-Resume-Token"

router = APIRouter(tags=["streams"])


class WhipPublisher(Call):
    """The publisher of its session, from its offer on."""

    direction = "in"
    word = "whip"
    asked_for_few = False  # never fewer than one a second

    def __init__(self, session: Session, visitor: Visitor, calls: Calls, *, resume: str | None = None) -> None:
        super().__init__(session, visitor, calls)
        self.token = self.id  # whoever knows its address may end it, so may take over too
        self._resume = resume

    def join(self) -> None:
        """Raises `SecondPublisher`."""
        self.session.check_place(self, resume=self._resume)

    def take(self) -> None:
        """Raises `SecondPublisher`, or `SessionEnded`."""
        self.session.check_live()
        self.session.claim(self, resume=self._resume)

    def leave(self) -> None:
        self.session.resign(self)

    def displaced(self) -> None:
        """Somebody else publishes now, or the session has ended."""
        self.end("another publisher took over" if self.session.reason is None else "the stream has ended")

    def picture(self, shot: Shot, jpeg: bytes) -> None:
        """A picture has come. One that the session does not take is counted there."""
        if self.over or self.session.reason is not None:
            return
        captured = None if shot.captured_us is None else datetime.fromtimestamp(shot.captured_us / 1e6, UTC)
        with suppress(GatewayError):
            self.session.put(jpeg, captured_at=captured)

    def wished(self, number: int) -> Wish:
        """As many pictures as analyzers, viewers and clips want, and never so few that it seems silent."""
        session = self.session
        wished = [LEAST_FPS, *paces(session)]
        if session.recorder.wanted:
            wished.append(session.settings.clips.fps)
        return Wish(number, fps=min(most_fps(session), max(wished)), side=session.settings.media.side)


@router.post(
    "/stream/{stream_id}/whip",
    status_code=201,
    summary="Publish by WebRTC",
    response_class=Response,
    responses={**ANSWERS, 409: {"description": "Somebody else is publishing"}},
    openapi_extra=OFFER_BODY,
)
async def publish(request: Request, stream_id: str) -> Response:
    """WHIP (RFC 9725): an SDP offer, answered with all candidates. `X-Resume-Token` takes over from a publisher whose
    resume token, or the end of whose `Location`, it is."""
    session = hub_of(request).get(stream_id)
    resume = request.headers.get(RESUME)
    if resume is not None and len(resume) > LONGEST_TOKEN:
        raise BadMessage(f"{RESUME} is the resume_token of an earlier hello, or the end of an earlier Location")
    return await meet(
        request, WhipPublisher(session, visitor_of(request, session.id), calls_of(request), resume=resume)
    )


add_routes(router, WhipPublisher)
