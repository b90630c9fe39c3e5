"""Budget: how often an endpoint may be asked, by this worker as a whole, and when again after it has refused."""

from __future__ import annotations

from dataclasses import dataclass, field

MINUTE_S, DAY_S = 60.0, 86_400.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0  # doubled with every refusal in a row


@dataclass(slots=True)
class Budget:
    """`per_minute` and `per_day` are of sliding windows on a monotonic clock; a new worker begins with none spent."""

    per_minute: int
    per_day: int
    spent: list[float] = field(default_factory=list)  # when; of the last day
    _pause_until: float = float("-inf")
    _refusals: int = 0

    def refusal(self, now: float) -> str | None:
        """Why nothing may be asked now."""
        self.spent = [at for at in self.spent if now - at < DAY_S]
        if now < self._pause_until:
            return f"asks again in {self._pause_until - now:.0f} s"
        if len(self.spent) >= self.per_day:
            return f"{self.per_day} requests in a day are spent"
        if sum(now - at < MINUTE_S for at in self.spent) >= self.per_minute:
            return f"{self.per_minute} requests in a minute are spent"
        return None

    def spend(self, now: float) -> None:
        self.spent.append(now)

    def answered(self) -> None:
        self._refusals = 0

    def refused(self, now: float, retry_s: float | None, *, lasting: bool) -> None:
        """Ask nobody for a while: as long as the other end asked for, and longer each time it goes on refusing."""
        pause = LONGEST_PAUSE_S if lasting else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._refusals)
        self._refusals = min(self._refusals + 1, 10)
        self._pause_until = max(self._pause_until, now + max(pause if retry_s is None else 0.0, retry_s or 0.0))
