"""A camera that the gateway reads itself: the publisher of its session, over a feed of the media pool."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.connectors.pace import LEAST_FPS, most_fps, paces
from gateway.engine.ring import Stamp
from gateway.engine.session import Session
from gateway.errors import GatewayError
from gateway.frame import iso
from gateway.media.messages import CameraState, Packets, Shot, Told, Wish
from gateway.media.pool import MediaPool
from gateway.media.sources import Source
from gateway.media.worker import Feed

log = logging.getLogger(__name__)

State = CameraState | Literal["stopped"]


class Pull:
    """One pulled source for one session. It holds the session's lease as a client does, until the source has ended."""

    def __init__(self, session: Session, source: Source, *, pool: MediaPool, clock: Callable[[], float]) -> None:
        self.token = secrets.token_urlsafe(16)
        self.state: State = "stopped"
        self._session = session
        self._title = f"camera {session.camera_id}" if session.camera_id else f"stream {session.id}: camera"
        self._source = source
        self._pool = pool
        self._clock = clock
        self._feed: Feed | None = None
        self._told: Told | None = None
        self._since = datetime.now(UTC)
        self._joined = False
        self._out_since: float | None = None  # it gave no picture after that
        self._missed: str | None = None  # the error that the open event `camera_lost` was told with

    @property
    def asked_for_few(self) -> bool:
        """It is there, though nobody may look, and its keyframes be far between."""
        return self.state == "online"

    # --- what people do ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Pull, if it does not."""
        if self._feed is None and self._session.reason is None:
            self._hold()
            self._change("connecting")
            self._told = None
            self._out_since = self._clock()
            self._feed = self._pool.open(self._source, self)

    def stop(self) -> None:
        """Pull no more; the session stays as it is."""
        self._close_feed()
        self._told = None
        self._change("stopped")

    def close(self) -> None:
        """The session is over."""
        self._close_feed()

    def displaced(self) -> None:
        """Somebody else publishes now, or the session has ended."""
        if self._session.reason is None:
            log.warning("stream %s: somebody else publishes; its camera is stopped", self._session.id)
            self.stop()
        else:
            self.close()

    def _close_feed(self) -> None:
        feed, self._feed = self._feed, None
        self._found()
        if feed is not None:
            self._pool.close(feed)
            self._session.resign(self)

    def _hold(self) -> None:
        if not self._joined:
            self._joined = True
            self._session.lease.join()

    def _release(self) -> None:
        if self._joined:
            self._joined = False
            self._session.lease.leave(self._clock())
            self._session.changed.set()

    # --- what the pool tells -----------------------------------------------------------------------------------------

    def picture(self, shot: Shot, jpeg: bytes) -> None:
        """A picture has come. One that the session does not take is counted there."""
        session = self._session
        if self._feed is None or session.reason is not None:
            return
        captured = None if shot.captured_us is None else datetime.fromtimestamp(shot.captured_us / 1e6, UTC)
        try:
            session.claim(self)
            session.put(jpeg, captured_at=captured)
        except GatewayError as error:
            if error.code == "second_publisher":
                session.ingest_dropped[error.code] += 1

    def packets(self, packets: Packets, data: bytes) -> None:
        """H.264 as the camera sends it, for clips."""
        if self._feed is not None:
            self._session.recorder.packets(data, [Stamp(*stamp) for stamp in packets.stamps])

    def told(self, told: Told) -> None:
        """The source is in another state."""
        if self._feed is None:
            return
        before, self._told = self._told, told
        if (before and (before.state, before.code)) != (told.state, told.code):
            log.log(
                logging.INFO if told.code is None else logging.WARNING,
                "%s %s%s",
                self._title,
                told.state,
                f": {told.detail}" if told.detail else "",
            )
        self._change(told.state)
        if told.state == "online":
            self._found()
        elif self._out_since is None:
            self._out_since = self._clock()
        if told.state == "ended":
            self._close_feed()
            self._release()

    def wish(self, number: int) -> Wish | None:
        """What analyzers and viewers want of it now."""
        session = self._session
        if session.reason is not None:
            return None
        self._miss()
        most, wished = most_fps(session), paces(session)
        fps = min(most, max([LEAST_FPS, *wished])) if wished else most
        side = session.settings.media.side
        return Wish(number, fps=fps, side=side, wanted=bool(wished), packets=session.recorder.wanted)

    def _miss(self) -> None:
        """An event is open while the camera has been away for longer than the operator bears."""
        since, told = self._out_since, self._told
        if since is None or told is None or told.code is None or told.code == self._missed:
            return
        if self._missed or self._clock() - since >= self._session.settings.media.lost_s:
            self._missed = told.code
            about = {"state": told.state, "code": told.code, "detail": told.detail, "source": self._source.shown()}
            self._session.findings.camera_lost(about)

    def _found(self) -> None:
        self._out_since = None
        if self._missed:
            self._missed = None
            self._session.findings.camera_back()

    def _change(self, state: State) -> None:
        if state != self.state:
            self.state, self._since = state, datetime.now(UTC)
            self._session.send_status()
        self._session.changed.set()

    # --- for people --------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """For `GET /stream/{id}`: no secret, and not the path either."""
        told, counters = self._told, self._feed.counters if self._feed else None
        return {
            "source": self._source.shown(),
            "state": self.state,
            "since": iso(self._since),
            "error": {"code": told.code, "detail": told.detail} if told and told.code else None,
            "attempts": told.attempts if told else 0,
            "retry_s": told.retry_s if told else None,
            "codec": told.codec if told else None,
            "fps": counters.fps if counters else 0.0,
            "corrupt": counters.corrupt if counters else 0,
        }
