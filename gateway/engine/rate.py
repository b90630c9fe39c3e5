"""Rate: events per second over the last few seconds."""

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
        if self._second is None:
            self._started = now
        self._advance(int(now))
        self._bins[int(now) % len(self._bins)] += count
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
