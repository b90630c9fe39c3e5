"""The publisher's place on a stream: one at a time, and who may have it."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.errors import SecondPublisher
from gateway.frame import Frame

SILENT_S = 2.0  # a publisher that sent nothing for this long may be replaced


class Publisher(Protocol):
    """Whoever sends frames. `displaced` is called when somebody else takes over, who may if he says the `token`."""

    token: str

    @property
    def asked_for_few(self) -> bool:
        """Whether it is there, and sends so few frames because no more are wished of it: that is no silence."""

    def displaced(self) -> None: ...


class Camera(Protocol):
    """Who pulls a session's pictures, where somebody does; `close` when the session is over."""

    @property
    def state(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def describe(self) -> dict[str, Any]: ...


class Place:
    """Held from a publisher's first frame, or the answer to its offer, until it leaves or is displaced. Times in s."""

    def __init__(self) -> None:
        self.holder: Publisher | None = None
        self._since = float("-inf")

    @property
    def token(self) -> str | None:
        """The holder's."""
        return self.holder.token if self.holder is not None else None

    def check(self, publisher: Publisher, latest: Frame | None, *, resume: str | None, now: float) -> None:
        """Raises `SecondPublisher` unless this one may have the place.

        It may if `resume` is the holder's token, or if for `SILENT_S` neither the holder nor a frame has come, though
        more are wished of it.
        """
        if self.holder is None or self.holder is publisher or resume == self.holder.token:
            return
        heard_at = latest.received_at if latest is not None else self._since
        if self.holder.asked_for_few or now - max(self._since, heard_at) <= SILENT_S:
            raise SecondPublisher("somebody else is publishing to this stream")

    def take(self, publisher: Publisher, now: float) -> bool:
        """Whether the place has another holder now."""
        if self.holder is publisher:
            return False
        if self.holder is not None:
            self.holder.displaced()
        self.holder, self._since = publisher, now
        return True

    def resign(self, publisher: Publisher) -> bool:
        """Whether it held the place, which is free now."""
        if self.holder is not publisher:
            return False
        self.holder = None
        return True
