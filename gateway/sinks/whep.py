"""WHEP: watching by WebRTC. Pictures as video, and results as JSON text on a data channel that the viewer opens."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.calls import Call, Calls, Visitor
from gateway.engine.mailbox import Closed
from gateway.engine.picture import Picture, Variant
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.media.peers import Peer
from gateway.protocol import EPOCH
from gateway.sinks.mjpeg import Form
from gateway.web import hub_of
from gateway.webrtc import ANSWERS, OFFER_BODY, add_routes, calls_of, meet, visitor_of

log = logging.getLogger(__name__)

LAST_WORDS_S = 0.5

router = APIRouter(tags=["streams"])


class WhepViewer(Call):
    """A viewer of its session: the newest picture wins, messages go one by one."""

    direction = "out"
    word = "whep"

    def __init__(self, session: Session, visitor: Visitor, calls: Calls, variant: Variant) -> None:
        super().__init__(session, visitor, calls)
        self._variant = variant
        self._subscriber = Subscriber(messages=session.settings.stream.viewer_messages)

    @property
    def channel(self) -> str:
        """What it watches: all that watch the same are shown the same."""
        return f"{self.session.id} {self._variant}"

    def join(self) -> None:
        """Raises `AtCapacity`."""
        audience = self.session.audience
        audience.subscribe(self._subscriber)
        self.session.watch(self._subscriber, self._variant)
        audience.spawn(self._run())

    def leave(self) -> None:
        self._subscriber.close()
        self.session.audience.leave(self._subscriber)

    def part(self, peer: Peer) -> None:
        """Hang up when it has had time to take what it was told last."""
        self.parting = True
        asyncio.get_running_loop().call_later(LAST_WORDS_S, peer.close)

    async def _run(self) -> None:
        """A defect of ours costs this viewer its call, and nobody else the stream."""
        try:
            await self._watch()
        except Exception:
            log.exception("stream %s: whep broke", self.session.id)
            self.end("showing it failed; the log says why")
        finally:
            farewell = self._subscriber.farewell
            self.end(farewell[1] if farewell and farewell[1] else "the stream has ended")

    async def _watch(self) -> None:
        """Show and tell from the moment it is connected until it, or the session, is over."""
        try:
            await self.online.wait()
            await self._pour()
        except asyncio.CancelledError:
            if self._subscriber.farewell is not None:  # the session has ended: the last words wait already
                await self._pour()
            raise

    async def _pour(self) -> None:
        while True:
            try:
                item = await self._subscriber.next()
            except Closed:
                return
            if self.peer is None:
                continue
            if isinstance(item, str):
                self.peer.tell(item)
            else:
                self._show(item)

    def _show(self, picture: Picture) -> None:
        captured = picture.frame.captured_at
        micros = None if captured is None else round((captured - EPOCH).total_seconds() * 1e6)
        if self.peer is not None:
            self.peer.show(picture.jpeg, picture.frame.seq, micros)


@router.post(
    "/stream/{stream_id}/whep",
    status_code=201,
    summary="Watch by WebRTC",
    response_class=Response,
    responses=ANSWERS,
    openapi_extra=OFFER_BODY,
)
async def watch(request: Request, stream_id: str, form: Form) -> Response:
    """WHEP: an SDP offer that asks for video, answered with all candidates. Results, events and status come as JSON
    texts on a data channel `results`, if the offer opens one."""
    session = hub_of(request).get(stream_id)
    viewer = WhepViewer(session, visitor_of(request, session.id), calls_of(request), form)
    return await meet(request, viewer, channel=viewer.channel)


add_routes(router, WhepViewer)
