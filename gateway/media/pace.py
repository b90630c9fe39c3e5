"""Pace: which packets need decoding and which pictures are wanted. Pure: told of packets and frames, it decides.

Decoding everything is the largest cost of a camera. Keyframes stand alone, so when they come often enough for what is
wanted, nothing else is decoded; frames that no other refers to are skipped when every second picture would do; and
what comes between the last wanted picture and the next keyframe is held until that has come, which needs none of it.
"""

from __future__ import annotations

from typing import Literal

from gateway.media.messages import Wish

IDLE_S = 1.0  # when nobody looks, a keyframe about as often shows that the camera is there
GAPS = 4  # keyframe intervals that are looked at
ENOUGH = 0.9  # of the wanted interval
EARLY = 0.2  # of an interval that a picture may come before it is due: cameras are not that regular
REGULAR = 1.2  # longest over shortest keyframe interval of a camera whose next keyframe can be foretold

Plan = Literal["all", "references", "keyframes"]
Way = Literal["decode", "hold", "drop"]  # of a packet; what is held is decoded before the next one that is no keyframe


class Pace:
    """Times are the source's own, in s. One decision per packet, one per decoded frame."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._gaps: list[float] = []
        self._key_at: float | None = None
        self._at: float | None = None
        self._step: float | None = None
        self._whole = False  # whether every packet since the last keyframe was decoded
        self._due = float("-inf")

    @property
    def fps(self) -> float:
        """What the source sends, on average; 0 before the second packet."""
        return 1 / self._step if self._step else 0.0

    @property
    def interval(self) -> float:
        """Seconds between two wanted pictures."""
        if not self.wish.wanted:
            return IDLE_S
        return 1 / self.wish.fps

    @property
    def plan(self) -> Plan:
        if not self.wish.wanted:
            return "keyframes"
        if len(self._gaps) >= 2 and max(self._gaps) * ENOUGH <= self.interval:
            return "keyframes"
        if self._step and self.interval >= 2 * self._step * ENOUGH:
            return "references"
        return "all"

    def packet(self, at: float, *, keyframe: bool) -> Way:
        """What to do with a packet."""
        self._measure(at, keyframe=keyframe)
        if keyframe:
            self._whole = True
            return "decode"
        if self.plan == "keyframes":
            self._whole = False
        if not self._whole:
            return "drop"
        return "hold" if self._keyframe_will_do(at) else "decode"

    def _keyframe_will_do(self, at: float) -> bool:
        """Whether the next picture is not due before the next keyframe, which is not late so far."""
        if len(self._gaps) < 2 or self._key_at is None or max(self._gaps) > REGULAR * min(self._gaps):
            return False
        next_at, slack = self._key_at + max(self._gaps), EARLY * self.interval
        return at <= next_at <= self._due + slack

    def _measure(self, at: float, *, keyframe: bool) -> None:
        if self._at is not None and 0 < at - self._at < 10:
            step = at - self._at
            self._step = step if self._step is None else 0.95 * self._step + 0.05 * step
        self._at = at
        if keyframe:
            if self._key_at is not None and at > self._key_at:
                self._gaps = [*self._gaps, at - self._key_at][-GAPS:]
            self._key_at = at

    def picture(self, at: float) -> bool:
        """Whether a picture of this time is wanted; keeps to the pace on average."""
        interval = self.interval
        if at < self._due - EARLY * interval:
            if self._due - at <= 2 * interval:
                return False
            self._due = at  # the source's time fell back
        self._due = max(self._due, at - interval) + interval
        return True


class Clock:
    """A source's timestamps made one time that never goes back: jumps, zeros and wraps cost no more than they took."""

    MOST_S = 10.0  # a step that is believed
    BACK_S = 0.5  # pictures come in another order than they are shown in

    def __init__(self) -> None:
        self._offset = 0.0
        self._last: float | None = None
        self._stamp: float | None = None
        self._now = 0.0
        self._anew = False

    def begin_anew(self) -> None:
        """The next timestamp is of another opening of the source: it says nothing beside those before."""
        self._anew = True

    def at(self, stamp: float | None, now: float, step: float = 0.0) -> float:
        """The time of a packet with this timestamp, or with none, that came `now`.

        Where timestamps are of no use, time goes on by what has passed, `step` at least. All in s.
        """
        passed, self._now = max(step, now - self._now), now
        if self._last is None:
            self._last, self._offset, self._stamp = 0.0, -(stamp or 0.0), stamp
            return 0.0
        at = None if stamp is None or stamp == self._stamp else stamp + self._offset
        anew, self._anew = self._anew, False
        if anew or at is None or not self._last - self.BACK_S <= at <= self._last + self.MOST_S:
            at = self._last + min(passed, self.MOST_S)
            self._offset = self._offset if stamp is None else at - stamp
        self._stamp, self._last = stamp, max(self._last, at)
        return self._last
