"""Rates: how many per second there were, and how many there may be."""

from __future__ import annotations


class Rate:
    """Counts in one-second bins; `value` is the mean over the last `span` whole seconds."""

    __slots__ = ("_bins", "_second", "_span", "_started", "total")

    def __init__(self, span: int = 5) -> None:
        self._span = span
        self._bins = [0] * (span + 1)
        self._second: int | None = None
        self._started = 0.0
        self.total = 0

    def tick(self, now: float, count: int = 1) -> None:
        """`count` events at `now` (monotonic s)."""
        second = int(now)
        if self._second is None:
            self._started = now
        if second != self._second:
            self._advance(second)
        self._bins[second % len(self._bins)] += count
        self.total += count

    def value(self, now: float) -> float:
        """Events per second; less than `span` seconds after the first event, over the time there was."""
        if self._second is None:
            return 0.0
        self._advance(int(now))
        whole = sum(self._bins) - self._bins[int(now) % len(self._bins)]
        if now - self._started >= self._span + 1:
            return whole / self._span
        return sum(self._bins) / max(1.0, now - self._started)

    def _advance(self, second: int) -> None:
        if self._second is None:
            self._second = second
        for passed in range(self._second + 1, min(second, self._second + len(self._bins)) + 1):
            self._bins[passed % len(self._bins)] = 0
        self._second = max(second, self._second)


class Allowance:
    """A token bucket: `per_s` on average, and at once what half a second would have brought (at least one).

    A network delivers in bursts what was sent evenly; they are no reason to refuse anything.
    """

    __slots__ = ("_at", "_left", "_most", "per_s")

    def __init__(self, per_s: float, *, burst: float | None = None) -> None:
        """`burst`: how many may come at once, instead."""
        self.per_s = per_s
        self._most = self._left = max(1.0, per_s / 2 if burst is None else burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more may be at `now` (monotonic s)."""
        if self._at is not None:
            self._left = min(self._most, self._left + (now - self._at) * self.per_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
