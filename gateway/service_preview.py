"""Preview: one camera of a service in a browser of this machine, a page at `/` and its pictures at `/stream`."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import html
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.checks import Checks
from gateway.engine.hub import Hub
from gateway.engine.picture import Variant
from gateway.engine.session import Session
from gateway.errors import GatewayError, UnknownOption
from gateway.listener import bind
from gateway.server import Server, make_server
from gateway.settings import Settings
from gateway.sinks.mjpeg import follow
from gateway.web import problem_of

HOST = "127.0.0.1"
MAX_FPS = 120

_SCRIPT = """
const picture = document.querySelector("img");
picture.onerror = () => setTimeout(() => { picture.src = "stream?again=" + Date.now(); }, 1000);
""".strip()
_STYLE = "body{margin:0;background:#14191b;color:#dde3e4;font:15px system-ui}h1{font-size:1em;margin:.7em 1em}"
_STYLE += "img{display:block;max-width:100%;max-height:calc(100vh - 3em);margin:auto}"
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>{style}</style><h1>{title}</h1>"
    '<img src="stream" alt="Live picture of {title}"><script>{script}</script></html>'
)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_CSP = f"default-src 'none'; img-src 'self'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; base-uri 'none'"

Opened = Callable[[], Awaitable[Session]]


class PreviewServer(Server):
    """Signals are the script's own business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        self._loop = asyncio.get_running_loop()
        yield


def listen(camera_id: str, port: int, settings: Settings) -> socket.socket:
    """The preview's socket on this machine's own address; port 0 takes a free one.

    Raises `OSError` for a port that cannot be had, `UnknownOption` for what is none.
    """
    if not 0 <= port <= 65535:
        raise UnknownOption(f"camera {camera_id}: a preview_port is 0 to 65535, got {port}")
    try:
        return bind(HOST, port, settings.limits)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken by somebody else" if taken else f"cannot be had ({error.strerror})"
        raise OSError(error.errno, f"camera {camera_id}: preview_port {port} {why}") from None


def preview(camera_id: str, hub: Hub, settings: Settings, opened: Opened) -> PreviewServer:
    """The server, not yet running. `opened` waits for the camera's session and raises `GatewayError` without one."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.hub = hub

    async def page(_request: Request) -> Response:
        title = html.escape(camera_id)
        return HTMLResponse(
            _PAGE.format(title=title, style=_STYLE, script=_SCRIPT), headers={"Content-Security-Policy": _CSP}
        )

    async def stream(request: Request) -> Response:
        form = Variant(draw=request.query_params.get("draw", "boxes") == "boxes", upright=True)
        return follow(await opened(), form, clock=hub.clock, fps=_fps(request))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return problem_of(request.scope, error)

    app.router.routes += [Route("/", page), Route("/stream", stream)]
    app.add_exception_handler(GatewayError, refused)
    app.add_middleware(Checks, settings=settings, admission=hub.admission)
    config: Any = make_server(app, settings).config
    return PreviewServer(config, hub)


def _fps(request: Request) -> float | None:
    """Raises `UnknownOption`."""
    text = request.query_params.get("fps")
    if text is None:
        return None
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps <= MAX_FPS:
        raise UnknownOption(f"fps is above 0 and up to {MAX_FPS}")
    return fps
