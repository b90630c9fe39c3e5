"""Lease: when a session ends by itself. Pure: it is told who comes and goes and when, and answers with a deadline.

nobody ever came                       opened + lease
somebody is connected                  never
the last client has left               that moment + grace
only MJPEG or SSE readers are left     last publisher's departure + lease
the last picture came by a plain POST  that moment + lease (a POST has no leaving)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Lease:
    """Times are monotonic seconds."""

    opened_at: float
    grace_s: float
    lease_s: float
    clients: int = 0
    readers: int = 0
    left_at: float | None = None
    posted_at: float | None = None

    def join(self) -> None:
        """A WebSocket or WebRTC client, or an open multipart upload."""
        self.clients += 1

    def leave(self, now: float) -> None:
        if self.clients == 0:
            raise AssertionError("a client left that never joined")
        self.clients -= 1
        self.left_at = now

    def posted(self, now: float) -> None:
        self.posted_at = now

    def deadline(self) -> float | None:
        """The moment the session ends if nothing changes; None while somebody is connected."""
        if self.clients:
            return None
        if self.left_at is None and self.posted_at is None:
            return self.opened_at + self.lease_s
        ends = [self.posted_at + self.lease_s] if self.posted_at is not None else []
        if self.left_at is not None:
            ends.append(self.left_at + (self.lease_s if self.readers else self.grace_s))
        return max(ends)

    def reason(self) -> str:
        """Why it ended, if it ended at the deadline."""
        if self.left_at is None and self.posted_at is None:
            return "never_joined"
        return "lease_expired" if self.readers or self.left_at is None else "last_client_left"
