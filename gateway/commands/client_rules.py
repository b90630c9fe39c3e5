"""What a polite client of the stream socket keeps to, without a socket or a clock: pacing, and when to come back.

tests/vectors/pacing.json and closes.json pin it, for this client and for those in other languages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Dropped = Literal["disconnected", "credits", "pace"]

SEQ_RANGE = 2**32
ROUNDING = 1e-9  # s, so that sums of floats decide nothing
ASK_S = 2.0  # without a word from the server for this long one picture goes out to ask for one


class Pacing:
    """When a publisher sends the picture it is offered, and under which number. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._connected = False
        self._next_seq = 0
        self._on_the_way: deque[int] = deque()
        self._credits: int | None = None
        self.interval = 0.0  # seconds between pictures that the server asks for
        self._paced_from: float | None = None  # when the last picture would have gone at exactly this pace
        self._last_word = 0.0  # the last picture sent or acknowledged

    def hello(self, message: Mapping[str, Any]) -> None:
        """A connection is there; numbering begins where the server wants it."""
        limits = message.get("limits", {})
        self._connected = True
        self._next_seq = message.get("next_seq", 0)
        self._on_the_way.clear()
        self._credits = limits.get("credits")
        self._set_fps(limits.get("max_fps"))

    def ack(self, message: Mapping[str, Any], now: float) -> None:
        while self._on_the_way and _reaches(message["seq"], self._on_the_way[0]):
            self._on_the_way.popleft()
        self._credits = message.get("credits", self._credits)
        self._last_word = now

    def slow_down(self, message: Mapping[str, Any]) -> None:
        self._set_fps(message.get("fps"))

    def disconnect(self) -> None:
        self._connected = False
        self._on_the_way.clear()

    def offer(self, now: float) -> int | Dropped:
        """The number under which to send a picture now, or why not to."""
        if not self._connected:
            return "disconnected"
        full = self._credits is not None and len(self._on_the_way) >= self._credits
        if full and now - self._last_word < ASK_S - ROUNDING:
            return "credits"
        if self._paced_from is not None and now < self._paced_from + self.interval - ROUNDING:
            return "pace"
        return self._take(now)

    def _take(self, now: float) -> int:
        # Kept on the average: a camera slightly off the pace must not lose every second picture.
        first = self._paced_from is None
        self._paced_from = now if first else max((self._paced_from or 0.0) + self.interval, now - self.interval)
        self._last_word = now
        seq = self._next_seq
        self._next_seq = (seq + 1) % SEQ_RANGE
        self._on_the_way.append(seq)
        return seq

    def _set_fps(self, fps: float | None) -> None:
        self.interval = 1 / fps if fps else 0.0


def _reaches(acknowledged: int, seq: int) -> bool:
    """Whether an ack of `acknowledged` covers `seq`; numbers run in a circle (RFC 1982)."""
    return (acknowledged - seq) % SEQ_RANGE < SEQ_RANGE // 2


@dataclass(frozen=True, slots=True)
class Stop:
    """It is over, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Come back, not before `after_s` seconds."""

    after_s: float = 0.0


_FINAL = {
    1009: "message_too_big",
    4400: "bad_message",
    4401: "unauthenticated",
    4403: "forbidden",
    4409: "second_publisher",
    4413: "image_too_large",
    4422: "undecodable",
}


@dataclass(frozen=True, slots=True)
class Rest:
    """What `GET /stream/{id}` answered; `status` is None if nobody did."""

    status: int | None
    code: str = ""
    reason: str = ""


def settled(code: int, bye: Mapping[str, Any] | None) -> Stop | Retry | None:
    """What a close means by itself; None if the stream must be asked for (`after_asking`)."""
    if code in _FINAL:
        return Stop(_FINAL[code])
    if code in (1000, 4404) and bye:
        return Stop(str(bye.get("reason", "ended")))
    if code == 1012:
        return Retry((bye or {}).get("retry_ms", 0) / 1000)
    return None


def after_asking(rest: Rest) -> Stop | Retry:
    if rest.status in (401, 403, 404):
        return Stop(rest.reason or rest.code or "not_found")
    return Retry()
