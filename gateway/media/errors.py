"""Why a source gives no pictures: one word for programs, one line for people. Neither holds a secret."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "address",  # where it lies, or where it points to, is not allowed
    "answer",  # it answered a status that is none of the others
    "auth",  # it wants a credential, or another one
    "busy",  # it serves as many as it can (RTSP 453, 503; HTTP 429, 503)
    "codec",  # its pictures cannot be decoded here
    "connect",  # no way to it
    "connector",  # the plugin that reads it failed, or there is none
    "consent",  # a WebRTC peer that was there answers no more (RFC 7675)
    "device",  # no such camera at this machine, or it is in use
    "dtls",  # a WebRTC peer did not prove to be who its SDP says
    "ended",  # it closed the connection
    "file",  # no such file, or no video in it
    "hang",  # reading it hung beyond every deadline
    "ice",  # no way between a WebRTC peer and us
    "internal",  # our defect
    "media_child",  # the process that read it died
    "no_frames",  # it sends, but nothing that becomes a picture
    "not_found",  # there is nothing at this path
    "protocol",  # it does not speak what its address says
    "redirect",  # it sends elsewhere: too often, or to where it must not
    "refused",  # nobody listens at its port
    "resolve",  # its name is not known
    "sdp",  # a WebRTC peer's session description does not hold
    "session",  # it has forgotten the session (RTSP 454)
    "timeout",  # it says nothing within its deadline
    "tls",  # its certificate does not hold, or it speaks no TLS
]


class SourceError(Exception):
    """A source failed; `detail` is fit for everybody who may see the stream."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail


class Redirected(Exception):
    """The source is elsewhere; whoever follows has to check where."""

    def __init__(self, location: str) -> None:
        super().__init__("the source sends elsewhere")
        self.location = location


def for_status(status: int, question: str) -> SourceError:
    """The error of an RTSP or HTTP answer that is none of success (RFC 7826 section 17, RFC 9110 section 15)."""
    codes: dict[int, Code] = {401: "auth", 403: "auth", 404: "not_found", 410: "not_found", 429: "busy"}
    codes |= {453: "busy", 454: "session", 503: "busy"}
    return SourceError(codes.get(status, "answer"), f"the source answered {status} to {question}")
