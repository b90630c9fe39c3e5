"""When a publisher took a picture, by its sender reports (RFC 3550 section 6.4.1), if they can be believed. Pure.

Times are epoch s; stamps are RTP timestamps at 90 kHz.
"""

from __future__ import annotations

NTP_EPOCH = 2_208_988_800  # s from 1900 to 1970
MOST_AGE_S = 5.0  # on its way; beyond that the sender's clock is another one than ours
MOST_AHEAD_S = 0.5
RATE = 90_000


class SenderTime:
    """Maps stamps to the sender's wall clock; without reports, or with absurd ones, it is the time of arrival."""

    def __init__(self) -> None:
        self._report: tuple[int, float] | None = None

    def note(self, stamp: int, ntp: int) -> None:
        """A report: this stamp (32 bits) and this NTP time (64 bits) are one moment."""
        self._report = (stamp, ntp / 2**32 - NTP_EPOCH) if ntp else None

    def at(self, stamp: int, arrived: float) -> float:
        """When the picture of a stamp was taken. Never after it arrived."""
        if self._report is None:
            return arrived
        reported, moment = self._report
        step = (stamp - reported) & 0xFFFFFFFF
        taken = moment + (step if step < 2**31 else step - 2**32) / RATE
        return min(taken, arrived) if arrived - MOST_AGE_S <= taken <= arrived + MOST_AHEAD_S else arrived
