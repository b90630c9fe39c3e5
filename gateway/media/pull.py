"""Pull: one source, read by one thread of a media child from its opening to its closing, with all attempts in between.

The thread owns its container: libav is never entered by two threads for one source. Others only tell it what is wished,
and cut the connections it reads from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Event, Thread

from gateway.media.backoff import Backoff
from gateway.media.dial import LOOKUP_S
from gateway.media.errors import SourceError
from gateway.media.inputs import Cuts
from gateway.media.messages import CameraState, Counters, Gone, Open, Packets, Report, Setup, Shot, Told
from gateway.media.pace import Clock
from gateway.media.parcels import Stamped
from gateway.media.pictures import Picture, Tally, pictures
from gateway.media.plugged import plugged

log = logging.getLogger(__name__)

SLACK_S = 5.0  # for a source whose connections were cut at its deadline; who needs longer hangs in native code
DIALS = ("rtsp", "http")  # kinds whose thread may be at a new connection then, which cannot be cut while it is made

Send = Callable[[Report, bytes], None]


class _GatewayGone(Exception):
    """Nobody is there to be told."""


class Pull:
    """One stream of a child. `send` may be called from any thread."""

    def __init__(self, opened: Open, setup: Setup, send: Send, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = opened.number
        self.wish = opened.wish
        self.tally = Tally()
        self.time = Clock()
        self._source = opened.source
        self._setup = setup
        self._to_gateway = send
        self._clock = clock
        self._closed = Event()
        self._cuts = Cuts()
        self._attempts = 0
        self._online_at: float | None = None
        self._busy_until = float("inf")
        self._cut_at = float("-inf")
        self._thread = Thread(target=self._run, name=f"stream {self.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End soon; `Gone` is sent when it has. From any thread."""
        self._closed.set()
        self._cuts.cut()

    def stuck(self) -> bool:
        """Whether its thread hangs beyond every deadline. At its deadline the source loses its connections first: the
        patience of a socket is for one call, and never ends with who sends a byte now and then.
        """
        now, until = self._clock(), self._busy_until
        if now <= until:
            return False
        if self._cut_at <= until:
            self._cut_at = now
            self._cuts.cut()
        dialling_s = LOOKUP_S + self._setup.open_s if self._source.kind in DIALS else 0.0
        return now - self._cut_at > SLACK_S + dialling_s

    def counters(self) -> Counters:
        return self.tally.counters()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(_GatewayGone):
            try:
                self._attempt_again()
            finally:
                self._send(Gone(self.number), b"")

    def _attempt_again(self) -> None:
        backoff = Backoff(self._setup.retry_max_s, self._setup.auth_retry_s)
        self._tell(Told(self.number, "connecting"))
        while not self._closed.is_set():
            self._attempts += 1
            self._online_at = None
            if (error := self._failure()) is None:
                self._tell(Told(self.number, "ended", attempts=self._attempts))
                return
            if not self._closed.is_set():
                self._lose(error, backoff)

    def _failure(self) -> SourceError | None:
        """Make one attempt; why it failed, None at a file's end."""
        try:
            self._once()
        except _GatewayGone:
            raise
        except SourceError as error:
            return SourceError("timeout", "the source takes too long") if self._cuts.done else error
        except Exception:
            log.exception("stream %d: broke", self.number)
            return SourceError("internal", "reading the source failed; the log says why")
        return None

    def _lose(self, error: SourceError, backoff: Backoff) -> None:
        online_s = 0.0 if self._online_at is None else self._clock() - self._online_at
        pause = backoff.after(error.code, online_s)
        state: CameraState = "auth_failed" if error.code == "auth" else "lost"
        self._tell(Told(self.number, state, error.code, error.detail, attempts=self._attempts, retry_s=round(pause, 1)))
        self._busy_until = float("inf")
        self._closed.wait(pause)

    def _once(self) -> None:
        """One attempt: returns at a file's end. Raises `SourceError`."""
        self._cuts = Cuts()
        if self._closed.is_set():
            return
        read = plugged if self._source.connector else pictures
        with closing(read(self._source, self._setup, self)) as found:
            for picture in found:
                if picture is not None:
                    self._deliver(picture)
                if self._closed.is_set():
                    return

    def _deliver(self, picture: Picture) -> None:
        if self._online_at is None:
            self._online_at = self._clock()
            self._tell(Told(self.number, "online", attempts=self._attempts, codec=picture.codec))
        live_us = None if picture.captured is None else round(picture.captured * 1e6)
        shot = Shot(self.number, round(picture.at, 6), picture.width, picture.height, picture.keyframe, live_us)
        self._send(shot, picture.jpeg)

    def _tell(self, told: Told) -> None:
        self._send(told, b"")

    def _send(self, said: Report, payload: bytes) -> None:
        try:
            self._to_gateway(said, payload)
        except OSError:
            raise _GatewayGone from None

    # --- what reading asks -------------------------------------------------------------------------------------------

    @property
    def cuts(self) -> Cuts:
        """Where connections of this attempt are kept, to be cut."""
        return self._cuts

    def expect(self, seconds: float) -> None:
        """The next step may take so long; more is a hang."""
        self._busy_until = self._clock() + seconds

    def parcel(self, stamps: tuple[Stamped, ...], data: bytes) -> None:
        """Packets as they came."""
        self._send(Packets(self.number, stamps), data)

    def rest(self, seconds: float) -> bool:
        """Wait, unless it is closed meanwhile; whether it goes on."""
        self._busy_until = float("inf")
        return not self._closed.wait(max(0.0, seconds))
