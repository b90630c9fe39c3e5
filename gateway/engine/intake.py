"""Intake: what a session takes of what it is sent: at which pace, under which numbers, at which times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from gateway.engine.rate import Allowance
from gateway.engine.timeline import Timeline
from gateway.errors import GatewayError
from gateway.frame import Frame
from gateway.jpeg import HeaderReader

SEQ_CLAIMS = 2**31  # so that a year of frames has room above it in the header's 32 bits


class Intake:
    """The way in of one session. `dropped` are frames that were refused, by reason."""

    def __init__(self, max_fps: float, *, max_pixels: int, clock: Callable[[], float]) -> None:
        self.dropped: Counter[str] = Counter()
        self.next_seq = 0
        self._clock = clock
        self._allowance = Allowance(max_fps)
        self._gate = HeaderReader(max_pixels=max_pixels)
        self._timeline = Timeline(clock())

    @property
    def max_fps(self) -> float:
        """Frames per second it takes at most."""
        return self._allowance.per_s

    @max_fps.setter
    def max_fps(self, value: float) -> None:
        if value != self.max_fps:
            self._allowance = Allowance(value)

    def now(self, now: float) -> float:
        """A moment of the monotonic clock on the session's own."""
        return self._timeline.now(now)

    def admits(self) -> bool:
        """Whether another frame may come now."""
        if self._allowance.take(self._clock()):
            return True
        self.dropped["max_fps"] += 1
        return False

    def frame(self, jpeg: bytes, seq: int | None, captured_at: datetime | None) -> Frame:
        """The session's next frame. Raises `BadImage` or `ImageTooLarge`."""
        now = self._clock()
        try:
            header, jpeg = self._gate.admit(jpeg)
        except GatewayError as error:
            self.dropped[error.code] += 1
            raise
        seq = self.seq_for(seq)
        self.next_seq = seq + 1
        at = self._timeline.place(captured_at, now)
        return Frame(seq, now, header.width, header.height, jpeg, captured_at, at)

    def seq_for(self, claim: int | None) -> int:
        """The number the next frame gets: its sender's, unless that steps back or leaves no room for those to come."""
        return self.next_seq if claim is None or not self.next_seq <= claim < SEQ_CLAIMS else claim
