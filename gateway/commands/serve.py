"""`framegate serve`: the gateway as a server."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable

from gateway import logs
from gateway.app import create_app
from gateway.server import bind, make_server
from gateway.settings import Settings


def serve(settings: Settings, *, announce: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `announce` is told the address, which port 0 leaves open.

    Raises `SystemExit` with a plain sentence when the address cannot be had.
    """
    _refuse_open_door(settings)
    logs.set_up(settings.log)
    try:
        listener = bind(settings.host, settings.port)
    except OSError as error:
        raise SystemExit(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from None
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    (announce or _say)(f"http://{host}:{port}")
    make_server(create_app(settings), settings).run(sockets=[listener])


def _say(url: str) -> None:
    print(f"Framegate is at {url}  (viewer {url}/viewer, API {url}/docs). Ctrl-C ends it.", file=sys.stderr)


def _refuse_open_door(settings: Settings) -> None:
    """Until there are credentials, only this machine may reach the gateway: an open camera is nobody's wish."""
    wanted = settings.auth == "required" or settings.auth_token is not None
    if wanted:
        raise SystemExit("auth is required by the settings, but this version has no access control yet")
    if settings.host != "localhost" and not _is_loopback(settings.host):
        raise SystemExit(
            f"host {settings.host} would let everybody in: this version has no access control yet. "
            "Listen on 127.0.0.1 and put a proxy with a login in front"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
