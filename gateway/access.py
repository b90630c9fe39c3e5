"""The door: plain ASGI before any parser, which finds out who asks and whether he may, for HTTP and WebSocket alike.

A token in the path, in the place of a stream's id, is replaced by the id before anything else sees the path. Whoever is
let in by a credential that can be taken back is cut off when it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from urllib.parse import parse_qsl

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.auth import LINK_COOKIE, LOGIN_COOKIE, login_page, wants_page
from gateway.credentials import (
    NOBODY,
    TICKET_PREFIX,
    Caller,
    Credential,
    Credentials,
    caller_by,
    caller_in,
    is_stream_token,
)
from gateway.engine.admission import group_of
from gateway.engine.clips import Clips
from gateway.engine.refusals import Refusals
from gateway.errors import GatewayError, NoCredential, NotFound, TooManyAttempts, WrongScope
from gateway.permissions import SOCKET, Row
from gateway.routes import SAFE, Found, Routes
from gateway.settings import Settings
from gateway.web import LOCAL_ORIGIN, address_of, path_below_root, problem_of, refuse

FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
TOKEN_NAMES = {"token", "access_token", "auth_token", "api_key", "ticket", "stream_token"}
TOKEN_LIKE = re.compile(r"fg[a-z]_[A-Za-z0-9_-]{16,}")
TICKET_PROTOCOL = "ticket."
WEBRTC = re.compile(r"/stream/{stream_id}/wh[ie]p(/{call_id})?")
LONGEST = 8192  # characters of a credential that is looked at
LAST_WORDS_S = 2.0  # for a connection whose credential was taken back
UNREADABLE = "\x00"  # a secret that nothing matches


def is_open(settings: Settings) -> bool:
    """Whether callers of this machine need no credential."""
    return settings.auth == "auto" and settings.auth_token is None and is_loopback(settings.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


class Access:
    """The middleware. Needs the whole application's routes, so it looks at them at the first request."""

    def __init__(self, app: ASGIApp, *, api: FastAPI, settings: Settings, credentials: Credentials) -> None:
        self._app, self._api = app, api
        self._credentials = credentials
        self._open = is_open(settings)
        self._origins = settings.allowed_origins
        self._refusals: Refusals = api.state.hub.admission.refusals
        self._clips: Clips = api.state.hub.clips

    @cached_property
    def _routes(self) -> Routes:
        return Routes(self._api)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            caller, stream_id = self._admit(scope)
        except GatewayError as error:
            self._refusals.note(error.code, address_of(scope), "a credential or the lack of one")
            await _refuse(scope, receive, send, error)
            return
        scope.setdefault("state", {})["caller"] = caller
        if caller.credentials or caller.role:
            held = [one for one in caller.credentials if getattr(one, "stream_id", stream_id) == stream_id]
            await self._serve(held, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    # --- who asks, and whether he may --------------------------------------------------------------------------------

    def _admit(self, scope: Scope) -> tuple[Caller, str | None]:
        """Who asks, and about which stream. Raises the `GatewayError` that he is answered with."""
        headers = Headers(scope=scope)
        method = SOCKET if scope["type"] == "websocket" else scope["method"]
        local = self._open and _is_local(scope, headers)
        self._refuse_token_in_query(scope, strict=not local)
        found = self._found(method, path_below_root(scope))
        caller, stream_id = self._caller(scope, headers, found, local=local)
        self._permit(scope, caller, found, stream_id)
        if caller.ambient and method not in SAFE:
            self._refuse_foreign_page(caller, headers, method)
        return caller, stream_id

    def _found(self, method: str, path: str) -> Found:
        """The route, with the stream that it is about; of an event that nobody knows, a stream that nobody has."""
        found = self._routes.find(method, path) or Found(None, "", None)
        if found.event_id is None:
            return found
        return replace(found, stream_id=self._clips.stream_of(found.event_id) or "")

    def _permit(self, scope: Scope, caller: Caller, found: Found, stream_id: str | None) -> None:
        row = found.row
        if row is None and found.template:
            raise WrongScope("this route has no row in the permission table")
        if row is not None and row.permission == "open":
            return
        if caller.local and not (row is None or row.local):
            caller = NOBODY
        if not caller.known:
            raise NoCredential("a credential is needed", challenge=_challenge(scope, row))
        if row is None or caller.may(row.permission, stream_id):
            return
        if stream_id is not None and not caller.sees(stream_id):
            raise NotFound(f"there is no such {'stream' if found.event_id is None else 'event'}")
        raise WrongScope(f"this credential does not allow it: {row.permission} is needed")

    def _caller(self, scope: Scope, headers: Headers, found: Found, *, local: bool) -> tuple[Caller, str | None]:
        """Who asks, by what he shows on purpose, else by what his browser adds, else because he is here."""
        stream_id, wrong = found.stream_id, False
        caller = NOBODY
        if stream_id is not None and TOKEN_LIKE.fullmatch(stream_id):
            by_path, meant = self._by_path(stream_id, scope)
            wrong = not by_path.known
            if meant is not None:
                _replace_in_path(scope, stream_id, meant)
                caller, stream_id = by_path, meant
        for shown in (self._by_protocol(scope, stream_id), self._by_header(scope, headers, found)):
            if shown is not None:
                wrong = wrong or not shown.known
                caller = caller.with_(shown)
        if caller.known:
            return caller, stream_id
        if local:
            return Caller(local=True, ambient=True), stream_id
        if wrong and (found.row is None or found.row.permission != "open"):
            raise self._wrong(scope, found)
        return self._by_cookies(headers), stream_id

    def _by_path(self, secret: str, scope: Scope) -> tuple[Caller, str | None]:
        """Whom a token in the place of a stream's id stands for, and the stream."""
        if secret.startswith(TICKET_PREFIX) and scope["type"] == "websocket":
            ticket = self._credentials.tickets.take(secret)
            return (ticket.caller, ticket.stream_id) if ticket and ticket.stream_id else (NOBODY, None)
        token = self._credentials.tokens.find(secret)
        return (caller_by(token), token.stream_id) if token else (NOBODY, None)

    def _by_protocol(self, scope: Scope, stream_id: str | None) -> Caller | None:
        """Whom a ticket among the subprotocols stands for; it is taken off their list."""
        offered = scope.get("subprotocols", [])
        tickets = [name for name in offered if name.startswith(TICKET_PROTOCOL)]
        if not tickets:
            return None
        scope["subprotocols"] = [name for name in offered if name not in tickets]
        ticket = self._credentials.tickets.take(tickets[0].removeprefix(TICKET_PROTOCOL))
        if ticket is None or ticket.stream_id not in (None, stream_id):
            return NOBODY
        return ticket.caller

    def _by_header(self, scope: Scope, headers: Headers, found: Found) -> Caller | None:
        """Whom `Authorization` stands for; None without it."""
        if (value := headers.get("authorization")) is None:
            return None
        kind, _, secret = value.partition(" ")
        secret = secret.strip() if len(value) <= LONGEST else UNREADABLE
        if kind.lower() == "basic":
            secret = _password(secret) if _takes_basic(scope, found) else UNREADABLE
        elif kind.lower() != "bearer":
            secret = UNREADABLE
        if not is_stream_token(secret) and self._credentials.attempts.wait_s(group_of(address_of(scope))):
            return NOBODY  # who guesses is not told when he is right
        return self._credentials.bearer(secret) or NOBODY

    def _by_cookies(self, headers: Headers) -> Caller:
        cookies, caller = cookie_parser(headers.get("cookie", "")), NOBODY
        for name in (LOGIN_COOKIE, LINK_COOKIE):
            login = self._credentials.logins.find(cookies.get(name, ""))
            if login is not None:
                caller = caller.with_(caller_in(login))
        return caller

    def _wrong(self, scope: Scope, found: Found) -> GatewayError:
        address = group_of(address_of(scope))
        if wait := self._credentials.attempts.wait_s(address):
            return TooManyAttempts("too many wrong credentials from this address", retry_after_s=wait)
        self._credentials.attempts.failed(address)
        challenge = _challenge(scope, found.row, error="invalid_token")
        return NoCredential("this credential does not hold", challenge=challenge)

    # --- what a browser may be made to do ----------------------------------------------------------------------------

    def _refuse_token_in_query(self, scope: Scope, *, strict: bool) -> None:
        """Addresses are kept in logs, histories and referrers. `strict`: names of parameters are enough."""
        if not scope["query_string"]:
            return
        for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
            secret = TOKEN_LIKE.search(value) or self._credentials.is_static(value)
            if secret or (strict and name.lower() in TOKEN_NAMES):
                raise NoCredential(
                    "no credential may stand in a query", code="token_in_url", challenge=_challenge(scope, None)
                )

    def _refuse_foreign_page(self, caller: Caller, headers: Headers, method: str) -> None:
        """The browser adds cookies, and this machine's trust, to what any page asks of it."""
        origin, csrf = headers.get("origin"), headers.get("x-csrf-token")
        if origin is not None:
            own = origin.partition("://")[2] == headers.get("host") or origin in self._origins
            if own or (caller.local and (method == SOCKET or LOCAL_ORIGIN.fullmatch(origin))):
                return  # a socket's origin is looked at again where sockets are
        elif caller.local or headers.get("sec-fetch-site") == "same-origin" or (csrf and csrf == caller.csrf):
            return
        raise WrongScope("this page may not use the login", code="csrf")

    # --- letting in, and out again -----------------------------------------------------------------------------------

    async def _serve(self, held: Collection[Credential], scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, and cut off when one of these credentials is taken back or its time is over."""
        task = asyncio.current_task()
        assert task is not None
        answer = Answer(scope, receive, send)
        over = ""

        def cut(why: str = "revoked") -> None:
            nonlocal over
            if not over and task is not asyncio.current_task():  # who takes back his own one still gets his answer
                over = why
                task.cancel()

        left = self._credentials.logins.left_s(held)
        alarm = None if left is None else asyncio.get_running_loop().call_later(left, cut, "expired")
        for credential in held:
            credential.holders.add(cut)
        try:
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not over:
                raise
            task.uncancel()
            await answer.end(over)
        finally:
            if alarm is not None:
                alarm.cancel()
            for credential in held:
                credential.holders.discard(cut)


class Answer:
    """One answer on its way out: what it must carry, and how it ends when its credential no longer holds."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._started = False
        self.send: Send = send if scope["type"] == "websocket" else self._send_http

    async def _send_http(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "private, no-store")
            headers.setdefault("Referrer-Policy", "same-origin")
        await self._send(message)

    async def end(self, why: str) -> None:
        """`why`: revoked or expired."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._say(why)
        except (TimeoutError, OSError, RuntimeError):  # it takes nothing, or was at its end already
            peer = self._scope.get("extensions", {}).get("framegate.peer", {}).get("peer")
            if peer is not None:
                peer.reset()

    async def _say(self, why: str) -> None:
        error = NoCredential(f"the credential is {why}")
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": error.close_code, "reason": why})
        elif self._started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await problem_of(self._scope, error)(self._scope, self._receive, self._send)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
    if scope["type"] == "http" and error.status in (401, 429) and wants_page(scope):
        wait = problem_of(scope, error).headers.get("retry-after")
        to = None if error.code != "token_in_url" and not TOKEN_LIKE.search(scope["path"]) else _home(scope)
        await login_page(scope, error.status, wait=wait, to=to)(scope, receive, send)
    else:
        await refuse(scope, receive, send, error)


def _home(scope: Scope) -> str:
    return f"{scope.get('root_path', '')}/viewer"


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the request was made on this machine, for this machine: by no proxy and under no other name."""
    ends = (scope.get("client"), scope.get("server"))
    near = all(end is not None and is_loopback(str(end[0])) for end in ends)
    host = headers.get("host", "localhost")  # only HTTP/1.0 has none, and no browser speaks that
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return near and is_loopback(name) and not any(header in headers for header in FORWARDING)


def _replace_in_path(scope: Scope, secret: str, stream_id: str) -> None:
    scope.setdefault("state", {})["path_token"] = secret  # for addresses that lead on from this one
    scope["path"] = scope["path"].replace(secret, stream_id, 1)
    if scope.get("raw_path"):
        scope["raw_path"] = scope["raw_path"].replace(secret.encode(), stream_id.encode(), 1)


def _takes_basic(scope: Scope, found: Found) -> bool:
    """Where players and publishers may show a token as a password: reading, and WebRTC, whose requests no page of
    another site can make without asking first."""
    if scope["type"] != "http" or found.row is None or found.row.permission == "open":
        return False
    return scope["method"] in SAFE or bool(WEBRTC.fullmatch(found.template))


def _password(encoded: str) -> str:
    """The password of HTTP's Basic (RFC 7617)."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return UNREADABLE


def _challenge(scope: Scope, row: Row | None, *, error: str = "") -> str:
    """What a 401 asks for. Basic is for players: a browser would ask its user for a name and a password."""
    bearer = f'Bearer realm="framegate", error="{error}"' if error else 'Bearer realm="framegate"'
    player = not Headers(scope=scope).get("user-agent", "").startswith("Mozilla/")
    offered = player and row is not None and row.permission == "view" and scope["type"] == "http"
    return f'{bearer}, Basic realm="framegate", charset="UTF-8"' if offered else bearer
