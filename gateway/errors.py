"""Every error the gateway raises on purpose, each with its HTTP status, close code and stable word.

    GatewayError
    ├── BadMessage            400  4400   not what the protocol allows
    ├── BadImage              422  4422   a picture nobody can read
    ├── ImageTooLarge         413  4413   more bytes or pixels than the limit
    ├── BodyTooLarge          413  1009   more bytes than the route takes
    ├── WrongHost             421  4403   a name this gateway does not go by
    ├── MethodNotAllowed      405  4400   a method no route has
    ├── BadRange              416  4400   more ranges than anybody needs
    ├── UnknownOption         422  4400   a name that no setting, analyzer or option has
    ├── BadZone               422  4400   a zone or line that is none, says why
    ├── BadSource             422  4400   an address that nothing may be pulled from
    ├── WrongMediaType        415  4400   a body of another type than the route takes
    ├── BadOffer              422  4400   a WebRTC offer that cannot be answered, says why
    ├── NoCommonCodec         406  4400   a WebRTC offer with no codec that is understood here
    ├── StaleTag              412  4400   an If-Match that names another state
    ├── NoCredential          401  4401   no credential, or none that holds
    ├── WrongScope            403  4403   a credential that does not allow this
    ├── TooManyAttempts       429  4429   too many wrong credentials, says when to come back
    ├── ForeignOrigin         403  4403   a page of another site
    ├── NotFound              404  4404   no such session, analyzer, event
    ├── SessionEnded          404  4404   there was one; says why it ended
    ├── SecondPublisher       409  4409   one publisher at a time
    ├── CameraExists          409  4400   a camera of that name runs already
    ├── TokenLimit            409  4400   a stream has as many tokens as it may
    ├── TooLate               408  4408   a deadline passed in silence
    ├── TooFast               429  4429   more than a peer may send
    ├── AtCapacity            503  1013   come back later, says when
    ├── NoPicture             503  1013   nothing to show yet
    ├── NoClip                503  1013   an event's clip is still being made, says when to come back
    ├── LibraryBroken         500  1011   the file of the face library cannot be read
    ├── StudioFailed          503  1013   pictures of faces cannot be studied here, says why
    ├── WindowFailed          503  1013   no window can be opened here, says why
    └── AnalyzerFailed        500  1011   foreign code broke; never leaves the engine

A peer's mistake is one of these, answered; it is never a traceback.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Base of the tree. `str(error)` is one line, fit for the peer, without secrets."""

    status = 500
    close_code = 1011
    code = "internal"

    def __init__(self, detail: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.retry_after_s = retry_after_s


class BadMessage(GatewayError):
    status, close_code, code = 400, 4400, "bad_message"


class BadImage(GatewayError):
    status, close_code, code = 422, 4422, "undecodable"


class ImageTooLarge(GatewayError):
    status, close_code, code = 413, 4413, "image_too_large"


class BodyTooLarge(GatewayError):
    status, close_code, code = 413, 1009, "body_too_large"


class WrongHost(GatewayError):
    status, close_code, code = 421, 4403, "host"


class MethodNotAllowed(GatewayError):
    status, close_code, code = 405, 4400, "method_not_allowed"


class BadRange(GatewayError):
    status, close_code, code = 416, 4400, "range"


class UnknownOption(GatewayError):
    status, close_code, code = 422, 4400, "unknown_option"


class BadZone(GatewayError):
    status, close_code, code = 422, 4400, "bad_zone"


class BadSource(GatewayError):
    status, close_code, code = 422, 4400, "source_url"


class WrongMediaType(GatewayError):
    status, close_code, code = 415, 4400, "media_type"


class BadOffer(GatewayError):
    status, close_code, code = 422, 4400, "sdp"


class NoCommonCodec(GatewayError):
    status, close_code, code = 406, 4400, "codec"


class StaleTag(GatewayError):
    status, close_code, code = 412, 4400, "if_match"


class NoCredential(GatewayError):
    """Nobody the gateway knows. `challenge` is the WWW-Authenticate header (RFC 9110 section 11.6.1)."""

    status, close_code, code = 401, 4401, "credential"

    def __init__(self, detail: str, *, code: str | None = None, challenge: str = "Bearer") -> None:
        super().__init__(detail, code=code)
        self.challenge = challenge


class WrongScope(GatewayError):
    status, close_code, code = 403, 4403, "scope"


class TooManyAttempts(GatewayError):
    status, close_code, code = 429, 4429, "too_many_attempts"


class ForeignOrigin(GatewayError):
    status, close_code, code = 403, 4403, "origin"


class NotFound(GatewayError):
    status, close_code, code = 404, 4404, "not_found"


class SessionEnded(GatewayError):
    """The session was there and is gone; `reason` is the word it ended with."""

    status, close_code, code = 404, 4404, "session_ended"

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SecondPublisher(GatewayError):
    status, close_code, code = 409, 4409, "second_publisher"


class CameraExists(GatewayError):
    status, close_code, code = 409, 4400, "camera_exists"


class TokenLimit(GatewayError):
    status, close_code, code = 409, 4400, "token_limit"


class TooLate(GatewayError):
    status, close_code, code = 408, 4408, "hello_timeout"


class TooFast(GatewayError):
    """`flood`: so much more that going on with it ends the connection."""

    status, close_code, code = 429, 4429, "too_fast"

    def __init__(
        self, detail: str, *, code: str | None = None, flood: bool = False, retry_after_s: float | None = 1.0
    ) -> None:
        super().__init__(detail, code=code, retry_after_s=retry_after_s)
        self.flood = flood


class AtCapacity(GatewayError):
    status, close_code, code = 503, 1013, "at_capacity"


class NoPicture(GatewayError):
    status, close_code, code = 503, 1013, "no_picture"


class NoClip(GatewayError):
    status, close_code, code = 503, 1013, "clip_pending"


class LibraryBroken(GatewayError):
    """The message says which file, and what to do."""

    status, close_code, code = 500, 1011, "face_library"


class StudioFailed(GatewayError):
    """There is nobody to study pictures of faces; one line with the remedy."""

    status, close_code, code = 503, 1013, "studio"


class WindowFailed(GatewayError):
    """No display, or an OpenCV without windows; one line with the remedy."""

    status, close_code, code = 503, 1013, "window"


class AnalyzerFailed(GatewayError):
    status, close_code, code = 500, 1011, "analyzer_failed"
