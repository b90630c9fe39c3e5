"""Timeline: the session's own clock, on which analyzers and events measure time."""

from __future__ import annotations

from datetime import datetime

TRUST_S = 2.0  # how far a sender's clock may stray from ours before its time steps are no longer followed


class Timeline:
    """Seconds since the session opened, never backwards.

    A frame's place follows the sender's capture times, whose steps are truer than those of a jittery network, as long
    as they agree with ours within `TRUST_S`; a clock that jumps is anchored anew. Ours alone decides when there is no
    capture time.
    """

    def __init__(self, opened_at: float) -> None:
        self._opened_at = opened_at
        self._anchor: float | None = None
        self._at = 0.0
        self._placed_at = opened_at

    def place(self, captured_at: datetime | None, now: float) -> float:
        """The moment of a frame received `now` (monotonic s)."""
        at = now - self._opened_at
        if captured_at is not None:
            claimed = captured_at.timestamp()
            if self._anchor is None or abs(claimed - self._anchor - at) > TRUST_S:
                self._anchor = claimed - at
            at = claimed - self._anchor
        self._at, self._placed_at = max(self._at, at), now
        return self._at

    def now(self, now: float) -> float:
        """This moment, moved on from the last frame's."""
        return self._at + now - self._placed_at
