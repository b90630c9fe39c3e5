"""What to do when a stream socket closed: stop for a reason, or try again, and after how long. No socket, no clock.

tests/vectors/closes.json pins it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from framegate_client.errors import (
    Answer,
    FramegateError,
    NotFound,
    SessionEnded,
    Unreachable,
    error_of_answer,
    error_of_close,
)
from framegate_client.messages import Bye

ABNORMAL = 1006  # RFC 6455 7.1.5: the line broke, nobody said goodbye
FIRST_S, LONGEST_S = 0.5, 15.0
HOUR_S = 3600.0

# Close codes after which another try would end the same way.
_FINAL = {
    1002: "protocol_error",
    1003: "unsupported_data",
    1007: "invalid_data",
    1009: "message_too_big",
    4400: "bad_message",
    4401: "unauthenticated",
    4403: "forbidden",
    4409: "second_publisher",
    4413: "image_too_large",
    4422: "undecodable",
}
_GONE = 4404  # the stream is gone; only the gateway knows why
_WORTH_ANOTHER_TRY = {408, 425, 429}  # the other 4xx would be answered the same again


@dataclass(frozen=True, slots=True)
class Stop:
    """It is over, and why. Without an `error` the stream came to its end and the gateway said goodbye."""

    reason: str
    error: FramegateError | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Come back, not before `after_s` seconds; `error` is what to raise for who waits no longer."""

    reason: str
    after_s: float = 0.0
    error: FramegateError | None = None


def after_close(code: int, bye: Bye | None) -> Stop | Retry | None:
    """What a close means by itself; None if the gateway must be asked (`after_asking`)."""
    if bye is not None and bye.retry_ms is not None:
        return Retry(bye.reason, bye.retry_ms / 1000)
    if code in _FINAL:
        return Stop(word := bye.reason if bye else _FINAL[code], error_of_close(code, word))
    return Stop(bye.reason) if bye and code in (1000, _GONE) else None


def after_asking(code: int, answer: Answer | None) -> Stop | Retry:
    """`answer` is what the gateway says to the upgrade; None if it has not been asked yet or nobody answers.

    `GET /stream/{id}` answers the same. Only browsers need it: they cannot see why an upgrade was refused.
    """
    if answer is None:
        broken = Unreachable(f"the line to the gateway broke ({code})", code="broken")
        return Retry(f"disconnected ({code})", error=broken)
    if 300 <= answer.status < 500 and answer.status not in _WORTH_ANOTHER_TRY:
        error = error_of_answer(answer)
        return Stop(answer.reason or answer.code or f"http_{answer.status}", error)
    if code == _GONE:
        return Stop("not_found", NotFound("the stream is gone", code="not_found", close_code=code))
    refused = error_of_answer(answer) if answer.status >= 300 else None
    return Retry(answer.code or f"disconnected ({code})", answer.retry_after_s or 0.0, refused)


def ended(reason: str) -> SessionEnded:
    """For who goes on publishing to a stream that came to its end."""
    return SessionEnded(f"the stream is over: {reason}", code="session_ended", reason=reason)


def worth_asking_again(stop: Stop) -> bool:
    """Whether a publisher may open its stream anew: the gateway has lost it, and nobody meant to end it."""
    return stop.reason != "deleted" and (stop.error is None or isinstance(stop.error, NotFound))


class Backoff:
    """Exponential back-off with full jitter: a thousand clients of a restarted gateway come back spread out.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(self, random: Callable[[], float], *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._random, self._first_s, self._longest_s = random, first_s, longest_s
        self._tries = 0

    def next(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait before the next try; whatever a gateway asks for, an hour and the random share at most."""
        window: float = min(self._longest_s, self._first_s * 2 ** min(self._tries, 30))
        self._tries += 1
        return max(0.0, min(at_least_s, HOUR_S)) + self._random() * window

    def reset(self) -> None:
        self._tries = 0
