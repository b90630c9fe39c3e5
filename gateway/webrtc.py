"""WebRTC over HTTP: the requests that WHIP (RFC 9725) and WHEP have in common, and the headers their clients want.

Real clients differ from the RFC and each other, so: the status is exactly 201, Location is an absolute path without a
query, the answer has all candidates, DELETE is answered 200.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.calls import Call, Calls, Visitor
from gateway.errors import (
    AtCapacity,
    BadMessage,
    BadOffer,
    BodyTooLarge,
    GatewayError,
    NoCommonCodec,
    SessionEnded,
    WrongMediaType,
)
from gateway.media.errors import SourceError
from gateway.media.peers import IceServer, Offer, Peer
from gateway.media.pool import MediaPool
from gateway.sdp import read_offer, with_candidates
from gateway.web import address_of, caller_of, credentials_of, hub_of, path_below_root
from gateway.webrtc_rules import Webrtc

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MOST_BYTES = 64 * 1024
RETRY_S = 2.0
_ENDPOINT = re.compile(r"/stream/[^/]+/wh[ie]p")
_SESSION = re.compile(r"/stream/[^/]+/wh[ie]p/[^/]+")

OFFER_BODY = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}
FRAGMENT_BODY = {"requestBody": {"required": True, "content": {FRAGMENT: {"schema": {"type": "string"}}}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    201: {"content": {SDP: {}}, "description": "The SDP answer. `Location` is the WebRTC session's address."},
    406: {"description": "No codec in common: H264 and VP8 are understood"},
    415: {"description": "Not application/sdp"},
    422: {"description": "An offer that cannot be answered, says why"},
    429: {"description": "Too many WebRTC clients of this address"},
    503: {"description": "Not now, with Retry-After"},
}


def calls_of(request: Request) -> Calls:
    """The calls of the application that serves this request."""
    calls: Calls = request.app.state.calls
    return calls


def visitor_of(request: Request, stream_id: str) -> Visitor:
    """Who asks. What he was let in by ends the call when it is taken back, as it would end a socket."""
    held = caller_of(request.scope).credentials
    held = tuple(one for one in held if getattr(one, "stream_id", stream_id) == stream_id)
    return Visitor(address_of(request.scope), held, credentials_of(request).logins.left_s(held))


# --- the requests ----------------------------------------------------------------------------------------------------


async def meet(request: Request, call: Call, *, channel: str = "") -> Response:
    """Answer an offer: 201. Raises the `GatewayError` that says why not; nothing of the call is left then."""
    offer = with_candidates(read_offer(await _text(request, SDP), call.direction), call.candidates.keep)
    _note(request, call)
    call.ufrag = offer.ufrag
    call.begin()
    rules = call.session.settings.webrtc
    servers = tuple(map(IceServer, rules.asked))
    answer = None
    try:
        answer = await _answer(hub_of(request).media, Offer(call.direction, offer.text, channel, servers), call)
    finally:
        if answer is None:
            call.end("its offer was not answered")
    return _answered(request, call, answer)


async def _answer(media: MediaPool, offer: Offer, call: Call) -> str:
    """Raises the `GatewayError` that says why there is none. Nobody loses his place to an offer that has none."""
    try:
        call.peer = peer = await _connected(media, offer, call)
    except SourceError as error:
        raise _refusal(error, call) from None
    call.take()
    return peer.answer


async def _connected(media: MediaPool, offer: Offer, call: Call) -> Peer:
    """Raises `SourceError`, also if the call is over meanwhile."""
    peer = await media.offer(offer, call)
    if call.over:
        peer.close()
        raise SourceError("ended", "it was over before it began")
    return peer


def _refusal(error: SourceError, call: Call) -> GatewayError:
    """A child's reason as an answer."""
    if call.session.reason is not None:
        return SessionEnded(f"the stream has ended: {call.session.reason}", reason=call.session.reason)
    match error.code:
        case "codec":
            return NoCommonCodec(error.detail)
        case "sdp" | "protocol":
            return BadOffer(error.detail)
    return AtCapacity(f"the offer was not answered: {error.detail}", code="peer_unanswered", retry_after_s=RETRY_S)


def _answered(request: Request, call: Call, answer: str) -> Response:
    response = Response(answer, 201, media_type=SDP)
    path = f"{request.scope.get('root_path', '')}/stream/{_shown(request.scope, call.session.id)}"
    response.headers["Location"] = f"{path}/{call.word}/{call.id}"
    response.headers["ETag"] = call.tag
    response.headers["Accept-Patch"] = FRAGMENT
    response.headers["Content-Type"] = SDP  # without a charset: clients compare it
    return _linked(response, call.session.settings.webrtc)


def _shown(scope: Scope, stream_id: str) -> str:
    """What stands for the stream in the path that he used: its token, or its id."""
    secret: str = scope.get("state", {}).get("path_token", stream_id)
    return secret


async def _trickle(request: Request, call: Call) -> Response:
    """Raises `GatewayError`."""
    fragment = await _text(request, FRAGMENT)
    try:
        call.trickle(fragment, request.headers.get("if-match"))
    finally:
        _note(request, call)
    return Response(status_code=204, headers={"ETag": call.tag})


def add_routes(router: APIRouter, kind: type[Call]) -> None:
    """All of an endpoint but its POST, and all of its WebRTC sessions. GET shows nothing (RFC 9725 section 4.1)."""
    endpoint, session = f"/stream/{{stream_id}}/{kind.word}", f"/stream/{{stream_id}}/{kind.word}/{{call_id}}"

    def call_of(request: Request, stream_id: str, call_id: str) -> Call:
        return calls_of(request).get(call_id, hub_of(request).get(stream_id).id, kind)

    @router.get(endpoint, status_code=204, summary="Whether there is such an endpoint")
    async def show_endpoint(request: Request, stream_id: str) -> Response:
        hub_of(request).get(stream_id)
        return Response(status_code=204)

    @router.options(endpoint, summary="What may be posted, and which ICE servers there are")
    async def endpoint_options(request: Request, stream_id: str) -> Response:
        rules = hub_of(request).get(stream_id).settings.webrtc
        return _linked(Response(headers={"Accept-Post": SDP}), rules)

    @router.patch(session, status_code=204, summary="Name further ICE candidates", openapi_extra=FRAGMENT_BODY)
    async def add_candidates(request: Request, stream_id: str, call_id: str) -> Response:
        """RFC 8840. An ICE restart is answered 422: begin anew."""
        return await _trickle(request, call_of(request, stream_id, call_id))

    @router.delete(session, status_code=200, summary="Hang up")
    async def hang_up(request: Request, stream_id: str, call_id: str) -> Response:
        calls_of(request).hang_up(call_id, stream_id, kind)
        return Response()  # 200, as clients insist on

    @router.get(session, status_code=204, summary="Whether it goes on")
    async def show_session(request: Request, stream_id: str, call_id: str) -> Response:
        call_of(request, stream_id, call_id)
        return Response(status_code=204)

    @router.options(session, summary="What may be sent to a WebRTC session")
    async def session_options(request: Request, stream_id: str, call_id: str) -> Response:
        call_of(request, stream_id, call_id)
        return Response(headers={"Accept-Post": SDP, "Accept-Patch": FRAGMENT})


async def _text(request: Request, kind: str) -> str:
    """The body, if it is of this type. Raises `WrongMediaType`, `BodyTooLarge` or `BadMessage`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise WrongMediaType(f"expected a body of the type {kind}")
    try:
        body = await request.body()
    except ClientDisconnect:
        raise BadMessage("the client went away before its body was complete", code="body_cut") from None
    if len(body) > MOST_BYTES:
        raise BodyTooLarge(f"an SDP has at most {MOST_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BadMessage("an SDP is UTF-8 (RFC 8866)", code="bad_sdp") from None


def _note(request: Request, call: Call) -> None:
    """Say once in a while who names addresses that are none of a client's."""
    if call.candidates.suspicious > call.noted:
        call.noted = call.candidates.suspicious
        refusals = hub_of(request).admission.refusals
        refusals.note("ice_candidate_refused", call.visitor.address, f"{call.noted} candidates of one WebRTC client")


# --- ICE servers -----------------------------------------------------------------------------------------------------


def _linked(response: Response, rules: Webrtc) -> Response:
    """With a Link for each ICE server (RFC 9725 section 4.6)."""
    for link in ice_links(rules, time.time()):
        response.headers.append("Link", link)
    return response


def ice_links(rules: Webrtc, now: float) -> Iterator[str]:
    """The servers as clients are told them. `now` is epoch seconds, for credentials that expire."""
    user, password = turn_credential(rules, now)
    for url in rules.ice_servers:
        login = ""
        if url.startswith("turn") and password:
            login = f'; username="{_quoted(user)}"; credential="{_quoted(password)}"; credential-type="password"'
        yield f'<{url}>; rel="ice-server"{login}'


def turn_credential(rules: Webrtc, now: float) -> tuple[str, str]:
    """User and password for TURN; with a shared secret, of the time-limited kind that coturn checks by itself."""
    if rules.turn_secret is None:
        return rules.turn_user, rules.turn_password.get_secret_value() if rules.turn_password else ""
    user = f"{int(now + rules.turn_s)}:{rules.turn_user or 'framegate'}"
    digest = hmac.digest(rules.turn_secret.get_secret_value().encode(), user.encode(), hashlib.sha1)
    return user, base64.b64encode(digest).decode()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


# --- browsers of other sites -----------------------------------------------------------------------------------------


class Cors(CORSMiddleware):
    """CORS for all routes. Preflights of WHIP and WHEP say what may be posted (RFC 9725 section 4.2)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            send = _with_accepted(path_below_root(scope), send)
        await super().__call__(scope, receive, send)


def _with_accepted(path: str, send: Send) -> Send:
    async def send_accepted(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] < 300:
            headers = MutableHeaders(scope=message)
            headers["Accept-Post"] = SDP
            if _SESSION.fullmatch(path):
                headers["Accept-Patch"] = FRAGMENT
        await send(message)

    return send_accepted if _ENDPOINT.fullmatch(path) or _SESSION.fullmatch(path) else send
