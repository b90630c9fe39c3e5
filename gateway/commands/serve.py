"""`framegate serve`: the gateway as a server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from gateway import logs
from gateway.access import is_loopback, is_open
from gateway.app import create_app
from gateway.commands.first_start import boxed, token_file, with_token
from gateway.server import bind, make_server
from gateway.settings import Settings
from gateway.tls import Identity, TlsFailed, identity, own_addresses

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def serve(settings: Settings, *, announce: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. `announce` is told the address, which port 0 leaves open.

    Raises `SystemExit` with a plain sentence when the address, the certificate or the token cannot be had.
    """
    required, fresh = not is_open(settings), False
    if required:
        settings, fresh = with_token(settings)
    shown = _identity(settings)
    logs.set_up(settings.log, secret=settings.auth_token)
    try:
        listener = bind(settings.host, settings.port, settings.limits)
    except OSError as error:
        raise SystemExit(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from None
    port = listener.getsockname()[1]
    url = _url(ANYWHERE.get(settings.host, settings.host), port, shown)
    (announce or _say)(url)
    for line in _words(settings, shown, port, required=required, fresh=fresh):
        print(line, file=sys.stderr)
    make_server(create_app(settings), settings, tls=shown.context if shown else None).run(sockets=[listener])


def _identity(settings: Settings) -> Identity | None:
    try:
        return identity(settings)
    except TlsFailed as error:
        raise SystemExit(f"tls: {error}") from None


def _url(host: str, port: int, shown: Identity | None) -> str:
    return f"{'https' if shown else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _say(url: str) -> None:
    print(f"Framegate is at {url}  (viewer {url}/viewer, API {url}/docs). Ctrl-C ends it.", file=sys.stderr)


def _words(settings: Settings, shown: Identity | None, port: int, *, required: bool, fresh: bool) -> Iterator[str]:
    """What else the operator should know."""
    if fresh:
        yield boxed([*_first_start(settings, shown, port)])
    elif required and token_file(settings).is_file():
        yield f"A token is needed; it is in {token_file(settings)}"
    if shown is not None:
        yield f"The certificate {shown.certificate} has the SHA-256 fingerprint\n  {shown.fingerprint}"
        if shown.warning:
            yield f"Warning: {shown.warning}"
    elif required and not is_loopback(settings.host):
        yield (
            "Warning: without TLS, tokens and pictures can be read on their way, and phones give no camera;"
            " use --tls, --cert, or a proxy with a certificate"
        )


def _first_start(settings: Settings, shown: Identity | None, port: int) -> Iterator[str]:
    token = settings.auth_token.get_secret_value() if settings.auth_token else ""
    hosts = own_addresses() if settings.host in ANYWHERE else []
    yield "The first start made a token. It is shown this once, and kept in"
    yield str(token_file(settings))
    yield ""
    yield f"token    {token}"
    for host in [ANYWHERE.get(settings.host, settings.host), *hosts]:
        yield f"log in   {_url(host, port, shown)}/login"
    yield ""
    yield "For programs: Authorization: Bearer and the token, or FRAMEGATE_TOKEN"
    yield "for framegate push and watch. Choose your own with AUTH_TOKEN."
