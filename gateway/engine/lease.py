"""Lease: when a session ends by itself. Pure: it is told who comes and goes and when, and answers with a deadline.

nobody ever came                       opened + lease
somebody is connected                  never
the last client has left               that moment + grace
only MJPEG or SSE readers are left     last publisher's departure + lease
the last picture came by a plain POST  that moment + lease (a POST has no leaving)
"""

from __future__ import annotations

from collections.abc import Iterator
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
        """A WebSocket or WebRTC client, or an open multipart upload; its leaving will count, earlier posts no more."""
        self.clients += 1
        self.posted_at = None

    def leave(self, now: float) -> None:
        if self.clients == 0:
            raise AssertionError("a client left that never joined")
        self.clients -= 1
        self.left_at = now

    def posted(self, now: float) -> None:
        self.posted_at = now

    def deadline(self) -> float | None:
        """The moment the session ends if nothing changes; None while somebody is connected."""
        return None if self.clients else max(self._ends())[0]

    def reason(self) -> str:
        """Why it ended, if it ended at the deadline."""
        return max(self._ends())[1]

    def _ends(self) -> Iterator[tuple[float, str]]:
        """How long each thing that happened keeps the session, and the word for having waited in vain."""
        if self.left_at is None and self.posted_at is None:
            yield self.opened_at + self.lease_s, "never_joined"
        if self.posted_at is not None:
            yield self.posted_at + self.lease_s, "lease_expired"
        if self.left_at is not None:
            yield self.left_at + self.grace_s, "last_client_left"
            if self.readers:
                yield self.left_at + self.lease_s, "lease_expired"
