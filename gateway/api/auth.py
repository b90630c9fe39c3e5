"""Logging in with the static token, who one is, and one-time tickets for sockets."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, Field
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope as Connection

from gateway.credentials import Login
from gateway.engine.admission import group_of
from gateway.errors import BodyTooLarge, NotFound, WrongScope
from gateway.permissions import Permission, Scope
from gateway.web import address_of, caller_of, credentials_of, hub_of

LOGIN_COOKIE = "framegate_login"
LINK_COOKIE = "framegate_link"
FORM_BYTES = 8192
PLACE = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # a path of ours: neither //host nor a backslash that browsers take for it

_STYLE = """body{font:16px/1.5 system-ui;max-width:24rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin:.4rem 0}[role=alert]{color:#c33}"""
_CSP = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Framegate</title><style>{style}</style>
<h1>Framegate</h1>{note}
<form method="post" action="{action}"><input name="username" autocomplete="username" value="token" hidden>
<label for="token">Access token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{next}"><button>Log in</button></form>
<p>The gateway printed it at its first start; its data folder keeps it.</p></html>"""
_NOTES = {401: "", 403: "This token does not hold.", 429: "Too many wrong tokens came from here. Wait a while."}

control = APIRouter(tags=["access"])
pages = APIRouter(include_in_schema=False)


class LinkConvertor(StringConvertor):
    """A stream's id or token in a path where files stand too."""

    regex = r"(?:[0-9a-f]{32}|fg[a-z]_[A-Za-z0-9_-]{16,})"


register_url_convertor("stream", LinkConvertor())


# --- who one is ------------------------------------------------------------------------------------------------------


@control.get("/auth/me", summary="Who am I?")
async def me(request: Request) -> dict[str, Any]:
    """Role, and the streams that a token allows. `csrf_token` goes into `X-CSRF-Token` where a login's page cannot
    send an Origin."""
    caller = caller_of(request.scope)
    name = "local" if caller.local else caller.role or "link"
    return {
        "id": name,
        "username": name,
        "role": "operator" if caller.local else caller.role,
        "streams": [{"stream_id": stream_id, "scope": scope} for stream_id, scope in caller.streams.items()],
        "csrf_token": caller.csrf,
    }


class TicketWish(BaseModel):
    """What a ticket is to be good for."""

    stream_id: str | None = Field(None, max_length=128, description="This stream alone; null: what the caller may.")
    scope: Literal["view", "publish"] | None = Field(None, description="Null: publish, if the caller may.")


@control.post("/auth/ticket", summary="A one-time ticket for a socket")
async def ticket(request: Request, wish: Annotated[TicketWish | None, Body()] = None) -> dict[str, Any]:
    """Opens one socket, soon: offer `protocol` as a subprotocol besides framegate.v1, or go to `websocket_url`."""
    caller, wish = caller_of(request.scope), wish or TicketWish()
    scope: Scope | None = wish.scope
    if wish.stream_id is not None:
        _may(request, wish.stream_id, wish.scope or "view")
        scope = scope or ("publish" if caller.may("publish", wish.stream_id) else "view")
    credentials = credentials_of(request)
    secret = credentials.tickets.issue(caller, wish.stream_id, scope)
    return {
        "ticket": secret,
        "protocol": f"ticket.{secret}",
        "websocket_url": f"{request.scope.get('root_path', '')}/ws/stream/{secret}" if wish.stream_id else None,
        "expires_in": credentials.rules.ticket_s,
    }


def _may(request: Request, stream_id: str, permission: Permission) -> None:
    caller = caller_of(request.scope)
    if not caller.sees(stream_id):
        raise NotFound("there is no such stream")
    hub_of(request).get(stream_id)
    if not caller.may(permission, stream_id):
        raise WrongScope(f"this credential does not allow it: {permission} is needed")


# --- browsers --------------------------------------------------------------------------------------------------------


def wants_page(connection: Connection) -> bool:
    """Whether a person at a browser asks for a page."""
    accepted = Headers(scope=connection).get("accept", "")
    return connection["method"] in ("GET", "HEAD") and "text/html" in accepted


def login_page(connection: Connection, status: int, *, wait: str | None = None, to: str | None = None) -> Response:
    """The page that takes the token. It leads to `to`, or back to what was asked for."""
    root = str(connection.get("root_path", ""))
    note = f'<p role="alert">{_NOTES[status]}</p>' if _NOTES.get(status) else ""
    page = _PAGE.format(style=_STYLE, note=note, action=escape(root + "/login"), next=escape(to or _asked(connection)))
    headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="framegate"'
    if wait is not None:
        headers["Retry-After"] = wait
    return HTMLResponse(page, status, headers)


def _asked(connection: Connection) -> str:
    path, query = str(connection["path"]), connection["query_string"].decode("latin-1")
    root = str(connection.get("root_path", ""))
    if not path.startswith(root + "/"):  # the proxy took it off
        path = root + path
    return path + (f"?{query}" if query else "")


@pages.get("/login")
async def show_login(request: Request) -> Response:
    """Where to give the token."""
    root = request.scope.get("root_path", "")
    return login_page(request.scope, 200, to=f"{root}/viewer")


@pages.post("/login")
async def log_in(request: Request) -> Response:
    """Takes the form. A login of another page's making would have its visitor watch under a stranger's name."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise WrongScope("this page may not log in", code="csrf")
    form = parse_qs((await _small_body(request)).decode("latin-1"))
    credentials, peer = credentials_of(request), address_of(request.scope)
    address = group_of(peer)
    place = form.get("next", [""])[0]
    if not PLACE.fullmatch(place) or re.search("fg[a-z]_", place):
        place = f"{request.scope.get('root_path', '')}/viewer"
    if wait := credentials.attempts.wait_s(address):
        return login_page(request.scope, 429, wait=str(max(1, round(wait))), to=place)
    if not credentials.is_static(form.get("token", [""])[0].strip()):
        credentials.attempts.failed(address)
        hub_of(request).admission.refusals.note("credential", peer, "a login")
        return login_page(request.scope, 403, to=place)
    secret, _ = credentials.logins.begin("admin")
    answer = RedirectResponse(place, 303)
    _set_cookie(request, answer, LOGIN_COOKIE, secret, strict=True)
    return answer


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            raise BodyTooLarge("the form is larger than any token")
    return body


@pages.post("/logout", status_code=204)
async def log_out(request: Request) -> Response:
    """Ends the browser's login; sockets and pictures that it opened end with it."""
    answer = Response(status_code=204)
    for name in (LOGIN_COOKIE, LINK_COOKIE):
        credentials_of(request).logins.end(request.cookies.get(name, ""))
        answer.delete_cookie(name, path=request.scope.get("root_path", "") or "/")
    return answer


@pages.get("/viewer/{stream_id:stream}")
async def open_link(request: Request, stream_id: str) -> Response:
    """A viewer's link: the browser keeps what it allows, and the address bar shows no token."""
    root = request.scope.get("root_path", "")
    answer = RedirectResponse(f"{root}/viewer?stream_id={stream_id}", 303)
    caller, credentials = caller_of(request.scope), credentials_of(request)
    tokens = [token for token in credentials.tokens.of(stream_id) if token in caller.credentials]
    if tokens:
        login = _link_of(request)
        if login is not None:
            login.tokens = [*(kept for kept in login.tokens if not kept.revoked and kept not in tokens), *tokens]
        else:
            secret, _ = credentials.logins.begin(None, *tokens)
            _set_cookie(request, answer, LINK_COOKIE, secret, strict=False)
    return answer


def _link_of(request: Request) -> Login | None:
    return credentials_of(request).logins.find(request.cookies.get(LINK_COOKIE, ""))


def _set_cookie(request: Request, answer: Response, name: str, secret: str, *, strict: bool) -> None:
    """Out of reach of scripts. A link's cookie is lax: who comes from another site is led on to the page."""
    answer.set_cookie(
        name,
        secret,
        max_age=int(credentials_of(request).rules.login_s),
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict" if strict else "lax",
    )
