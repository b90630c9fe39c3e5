"""When a publisher may send, and under which number: credits, pace, numbering. It knows no socket and no clock.

tests/vectors/pacing.json pins it. Times are seconds of any one clock.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from framegate_client.messages import Ack, Hello, SlowDown

Refusal = Literal["disconnected", "credits", "pace"]

SEQS = 2**32
ASK_S = 2.0  # without news of its pictures for so long, a publisher sends one more to ask: an ack may have been lost
ROUNDING_S = 1e-9  # sums of floats decide nothing


class Pacer:
    """The one rule: never more unacknowledged pictures than credits, never faster than the gateway's pace."""

    def __init__(self) -> None:
        self._connected = False
        self._credits: float = inf
        self._interval = 0.0
        self._next = 0
        self._acked = -1  # the newest acknowledged number; one before the first while there is none
        self._due = -inf  # when the last picture was due: a steady camera keeps its average rate
        self._news = -inf  # when the last picture went or the last ack came

    @property
    def next_seq(self) -> int:
        """The number of the next picture that goes."""
        return self._next

    @property
    def on_the_way(self) -> int:
        """Pictures sent on this connection and not acknowledged yet."""
        return (self._next - 1 - self._acked) % SEQS

    def hello(self, message: Hello) -> int:
        """A connection begins. How many pictures of the last one never arrived, as its first number tells."""
        arrived = (message.next_seq - 1 - self._acked) % SEQS
        lost = self.on_the_way - (arrived if arrived <= self.on_the_way else 0)  # beyond: another stream, or publisher
        limits = message.limits
        self._connected = True
        self._credits = inf if limits.credits is None else limits.credits
        self._interval = 1 / limits.max_fps if limits.max_fps else 0.0
        self._next = message.next_seq % SEQS
        self._acked = self._next - 1
        self._due = -inf
        return lost

    def ack(self, message: Ack, now: float) -> None:
        if message.credits is not None:
            self._credits = message.credits
        self._news = now
        if (message.seq - self._acked) % SEQS <= self.on_the_way:  # neither an old one nor of what was never sent
            self._acked = message.seq

    def slow_down(self, message: SlowDown) -> None:
        self._interval = 1 / message.fps

    def disconnect(self) -> None:
        """The line broke; what was on the way is forgotten with the next hello."""
        self._connected = False

    def refusal(self, now: float) -> Refusal | None:
        """Why a picture may not go now, or None if it may."""
        if not self._connected:
            return "disconnected"
        if self.on_the_way >= self._credits and now < self._news + ASK_S - ROUNDING_S:
            return "credits"
        return "pace" if now < self._due + self._interval - ROUNDING_S else None

    def opens_at(self, now: float) -> float:
        """When to look again if nothing is heard until then; infinite while only the gateway can change it."""
        match self.refusal(now):
            case "disconnected":
                return inf
            case "credits":
                return self._news + ASK_S
            case "pace":
                return self._due + self._interval
            case None:
                return now

    def take(self, now: float) -> int:
        """The number of the picture that goes now, which was `next_seq`."""
        seq, first = self._next, self._due == -inf
        self._next = (seq + 1) % SEQS
        self._news = now
        self._due = now if first else max(self._due + self._interval, now - self._interval)
        return seq
