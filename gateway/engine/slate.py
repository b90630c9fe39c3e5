"""Slate: what idle picture viewers of one session are shown: the last picture again, or why there is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.engine.picture import Painter, Picture
from gateway.errors import GatewayError
from gateway.frame import Frame

if TYPE_CHECKING:
    from gateway.engine.session import Session

log = logging.getLogger(__name__)

_WORDS = {"waiting": "waiting for the first frame", "stale": "no frames are coming in"}


class Slate:
    """Drawn once for as long as its reason, the state and the last frame, stays."""

    def __init__(self, session: Session, painter: Painter) -> None:
        self._session = session
        self._painter = painter
        self._reason: tuple[str, Frame | None] | None = None
        self._picture: Picture | None = None
        self._drawn = False

    def fill(self, now: float) -> None:
        """Show idle viewers the last picture again, or a slate with the reason when the stream is not live."""
        session = self._session
        idle = session.audience.idle(now, session.settings.mjpeg.idle_repeat_s)
        if not idle or session.reason is not None:
            return
        live = session.state == "live"
        if not live and not self._ready((session.state, session.latest), now):
            return
        for viewer in idle:
            session.audience.show_again(viewer, None if live else self._picture, now)

    def _ready(self, reason: tuple[str, Frame | None], now: float) -> bool:
        """Whether the slate for this reason is there; else it is being drawn."""
        if self._reason != reason:
            self._reason, self._picture, self._drawn = reason, None, False
            self._session.audience.spawn(self._draw(reason, now))
        return self._drawn

    async def _draw(self, reason: tuple[str, Frame | None], now: float) -> None:
        """A picture that says why there is none; without one the last picture must do."""
        state, latest = reason
        frame = latest or Frame(0, now, 640, 360, b"")
        slate = None
        try:
            lines = [self._session.name or self._session.id[:8], _WORDS.get(state, state)]
            slate = Picture(frame, await self._painter.slate(lines, frame.width, frame.height), state)
        except GatewayError as error:
            log.debug("stream %s: no slate: %s", self._session.id, error)
        if self._reason == reason:
            self._picture, self._drawn = slate, True
