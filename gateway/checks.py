"""Checks of a request before anything else looks at it: from where, for whom, by what method, and whether now.

Behind a trusted proxy the request is first made what it was in front of it: its client, scheme, host and path.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.engine.admission import Admission
from gateway.errors import BadRange, GatewayError, MethodNotAllowed, WrongHost
from gateway.proxies import prefix_of
from gateway.settings import Settings
from gateway.web import address_of, path_below_root, refuse

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NEW_STREAM = re.compile(r"/stream/(request|connect|[^/]+/wh[ie]p)")
_HOST = re.compile(r"([^\s/?#@\\:\[\]]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?")


class Checks:
    """The middleware. HEAD is GET without its body (RFC 9110 section 9.3.2), on every route."""

    def __init__(self, app: ASGIApp, *, settings: Settings, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._limits = settings.limits
        self._base = settings.base_path
        self._hosts = Hosts(settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        self._see_through_proxy(scope)
        try:
            self._check(scope)
        except GatewayError as error:
            self._admission.refusals.note(error.code, address_of(scope))
            await refuse(scope, receive, send, error)
            return
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, send = _as_get(scope, send)
        await self._app(scope, receive, send)

    def _see_through_proxy(self, scope: Scope) -> None:
        prefix = self._base
        if address_of(scope) in self._admission.proxies:
            headers = Headers(scope=scope)
            self._believe(scope, headers)
            if (forwarded := headers.get("x-forwarded-prefix")) is not None:
                prefix = prefix_of(forwarded) or prefix
        if prefix:
            _under(scope, prefix)

    def _believe(self, scope: Scope, headers: Headers) -> None:
        if (said := headers.getlist("x-forwarded-for")) and (
            found := self._admission.proxies.client_of(",".join(said))
        ):
            scope["client"] = (found, 0)
        if (scheme := headers.get("x-forwarded-proto", "").strip()) in ("http", "https"):
            scope["scheme"] = scheme.replace("http", "ws") if scope["type"] == "websocket" else scheme
        if host := headers.get("x-forwarded-host", "").rpartition(",")[2].strip():
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [*others, (b"host", host.encode("latin-1"))]

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        if host is not None and host not in self._hosts:
            raise WrongHost("this gateway is not known by that name; see allowed_hosts in the settings")
        if scope["type"] == "websocket":
            self._admission.take(address_of(scope), stream=False)
            return
        if scope["method"] not in METHODS:
            raise MethodNotAllowed(f"expected one of {', '.join(METHODS)}")
        if headers.get("range", "").count(",") >= self._limits.max_ranges:
            raise BadRange(f"more than {self._limits.max_ranges} ranges")
        if scope["method"] == "POST" and NEW_STREAM.fullmatch(path_below_root(scope)):
            self._admission.take(address_of(scope), stream=True)


class Hosts:
    """The names this gateway goes by. Addresses are among them: no page can make one mean another machine."""

    def __init__(self, allowed: Iterable[str]) -> None:
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        names = {name.lower().rstrip(".") for name in allowed}
        self._any = "*" in names
        self._below = tuple(name[1:] for name in names if name.startswith("*."))
        self._names = {"localhost", own, short, f"{short}.local", *names}

    def __contains__(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found.group(1).lower().rstrip(".")
        if self._any or name in self._names or name.endswith((".localhost", *self._below)):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _under(scope: Scope, prefix: str) -> None:
    """As ASGI has it: the path begins with the root path, whether or not the proxy has taken it off."""
    scope["root_path"] = prefix
    if not scope["path"].startswith(prefix + "/"):
        scope["path"] = prefix + scope["path"]
        scope["raw_path"] = prefix.encode() + scope.get("raw_path", b"")


def _as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """The server itself writes no body in answer to HEAD; after the header the answer is complete, however long."""
    extensions = {name: it for name, it in scope.get("extensions", {}).items() if name != "framegate.send"}

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return {**scope, "method": "GET", "extensions": extensions}, send_head
