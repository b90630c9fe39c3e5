"""What can go wrong, as exceptions named like the gateway's own words.

    FramegateError
    ├── BadRequest        400  4400   not what the protocol allows: a defect of who called
    ├── Unauthenticated   401  4401   the credential is missing, wrong or revoked
    ├── Forbidden         403  4403   the credential does not reach this far
    ├── NotFound          404  4404   no such stream or analyzer
    │   └── SessionEnded              there was one; `reason` says why it ended
    ├── SecondPublisher   409  4409   somebody else publishes to the stream
    ├── ImageTooLarge     413  4413   more bytes or pixels than the gateway takes
    ├── BadImage          422  4422   a picture nobody can read
    ├── Invalid           422         an option, an analyzer or a field that does not fit
    ├── Busy         429, 503  1013   come back later, not before `retry_after_s`
    ├── NoPicture         503         there is no picture to show: none came, or none that is young enough
    ├── GatewayFailed     5xx  1011   a defect of the gateway, or of a proxy before it
    ├── Unreachable                   nobody answers; code "certificate": somebody who is not trusted
    └── SourceFailed                  a camera or file of this side cannot be read

One that can be cured by waiting is raised only after the patience of the call is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class FramegateError(Exception):
    """Base of the tree. `code` is the gateway's stable word for programs, `str(error)` a sentence for people."""

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int | None = None,
        close_code: int | None = None,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.close_code = close_code
        self.reason = reason
        self.retry_after_s = retry_after_s


class BadRequest(FramegateError):
    pass


class Unauthenticated(FramegateError):
    pass


class Forbidden(FramegateError):
    pass


class NotFound(FramegateError):
    pass


class SessionEnded(NotFound):
    pass


class SecondPublisher(FramegateError):
    pass


class ImageTooLarge(FramegateError):
    pass


class BadImage(FramegateError):
    pass


class Invalid(FramegateError):
    pass


class Busy(FramegateError):
    pass


class NoPicture(FramegateError):
    pass


class GatewayFailed(FramegateError):
    pass


class Unreachable(FramegateError):
    pass


class SourceFailed(FramegateError):
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request was answered when not as wished: its status and the words of its problem document (RFC 9457)."""

    status: int
    code: str = ""
    detail: str = ""
    reason: str | None = None
    retry_after_s: float | None = None

    @classmethod
    def of(cls, status: int, problem: Mapping[str, Any], retry_after: str | None) -> Answer:
        reason = problem.get("reason")
        return cls(
            status,
            code=str(problem.get("code") or ""),
            detail=str(problem.get("detail") or problem.get("title") or f"HTTP {status}"),
            reason=None if reason is None else str(reason),
            retry_after_s=_seconds(retry_after),
        )


_BY_CODE: dict[str, type[FramegateError]] = {
    "session_ended": SessionEnded,
    "undecodable": BadImage,
    "truncated": BadImage,
    "no_picture": NoPicture,
    "no_frame_yet": NoPicture,
    "stale": NoPicture,
    "picture_worker": NoPicture,
}
_BY_STATUS: dict[int, type[FramegateError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: SecondPublisher,
    413: ImageTooLarge,
    422: Invalid,
    429: Busy,
    503: Busy,
}
_BY_CLOSE: dict[int, type[FramegateError]] = {
    1009: ImageTooLarge,
    4400: BadRequest,
    4401: Unauthenticated,
    4403: Forbidden,
    4404: NotFound,
    4409: SecondPublisher,
    4413: ImageTooLarge,
    4422: BadImage,
}


def error_of_answer(answer: Answer) -> FramegateError:
    """The exception for an HTTP answer of 400 or more."""
    kind = _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status)
    kind = kind or (GatewayFailed if answer.status >= 500 else BadRequest)
    return kind(
        answer.detail or f"HTTP {answer.status}",
        code=answer.code,
        status=answer.status,
        reason=answer.reason,
        retry_after_s=answer.retry_after_s,
    )


def error_of_close(close_code: int, word: str) -> FramegateError:
    """The exception for a socket closed for good; `word` is the reason in the gateway's spelling."""
    kind = _BY_CLOSE.get(close_code, BadRequest)
    return kind(f"the gateway closed the socket: {word} ({close_code})", code=word, close_code=close_code, reason=word)


def _seconds(text: str | None) -> float | None:
    """Retry-After as seconds; a date (RFC 9110 10.2.3) is read as none, our gateway sends none."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
