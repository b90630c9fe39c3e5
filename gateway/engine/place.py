"""The publisher's place on a stream: one at a time, and who may have it."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.errors import SecondPublisher


class Publisher(Protocol):
    """Whoever sends frames. `displaced` is called when somebody else takes over; `listens`: it is a subscriber too."""

    token: str
    listens: bool

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
    """Held from a publisher's first frame until it leaves or is displaced."""

    def __init__(self) -> None:
        self.holder: Publisher | None = None

    @property
    def listens(self) -> bool:
        """Whether the publisher's own connection is among the subscribers."""
        return self.holder is not None and self.holder.listens

    def claim(self, publisher: Publisher, *, resume: str | None, silent: bool) -> bool:
        """Whether the place has another holder now.

        Raises `SecondPublisher`, unless the holder is `silent` or `resume` is the token it was given.
        """
        if self.holder is publisher:
            return False
        if self.holder is not None:
            if not silent and resume != self.holder.token:
                raise SecondPublisher("somebody else is publishing to this stream")
            self.holder.displaced()
        self.holder = publisher
        return True

    def resign(self, publisher: Publisher) -> bool:
        """Whether it held the place, which is free now."""
        if self.holder is not publisher:
            return False
        self.holder = None
        return True
