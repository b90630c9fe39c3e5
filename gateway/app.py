"""The application: everything put together. `create_app(settings)`; `app` is for `uvicorn gateway.app:app`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from gateway import logs
from gateway.access import Access, is_open
from gateway.api import analyzers, auth, connect, events, models, pages, streams, system, tokens
from gateway.bodies import Bodies
from gateway.calls import Calls
from gateway.checks import Checks
from gateway.commands.first_start import with_token
from gateway.connectors import http, whip
from gateway.connectors.twofold import camera_of
from gateway.connectors.websocket import StreamSocket
from gateway.credentials import Credentials
from gateway.engine.downloads import Downloads
from gateway.engine.hub import Hub
from gateway.errors import GatewayError
from gateway.middleware import RequestLog
from gateway.settings import Settings, load
from gateway.sinks import mjpeg, snapshot, sse, whep
from gateway.version import __version__
from gateway.web import LOCAL_ORIGIN, problem, problem_of
from gateway.webrtc import Cors
from gateway.weights import Weights

log = logging.getLogger(__name__)

DESCRIPTION = """
A streaming gateway for camera pictures: push frames, plugins look at them, watch what they see.

Open a stream with `POST /stream/request`, then push pictures to its socket. The socket's protocol, with clients in
Python, JavaScript and curl: [/docs/protocol](/docs/protocol); for machines: [/asyncapi.json](/asyncapi.json).

```python
import asyncio, base64, httpx2, websockets                          # pip install httpx2 websockets

async def push(picture: bytes, host: str = "127.0.0.1:8000") -> None:
    stream = httpx2.post(f"http://{host}/stream/request").json()
    async with websockets.connect(f"ws://{host}{stream['websocket_url']}") as socket:
        await socket.send("data:image/jpeg;base64," + base64.b64encode(picture).decode())
        async for message in socket:
            print(message)

asyncio.run(push(open("picture.jpg", "rb").read()))
```
```javascript
const stream = await (await fetch("/stream/request", { method: "POST" })).json();
const socket = new WebSocket(`ws://${location.host}${stream.websocket_url}`);
socket.onmessage = ({ data }) => console.log(JSON.parse(data));
socket.onopen = () => canvas.toBlob((jpeg) => socket.send(jpeg), "image/jpeg");
```
```bash
ID=$(curl -sX POST localhost:8000/stream/request | grep -o '"stream_id":"[^"]*' | cut -d'"' -f4)
curl -s --data-binary @picture.jpg -H 'Content-Type: image/jpeg' "localhost:8000/stream/$ID/frame?wait=1"
```
"""


def create_app(settings: Settings) -> FastAPI:
    """An application with a hub of its own, which lives as long as the application's lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.home.mkdir(parents=True, exist_ok=True)
        hub: Hub = app.state.hub
        downloads: Downloads = app.state.downloads
        async with hub.running(), hub.overload.running(), hub.pulse.running(), downloads.running():
            yield

    app = FastAPI(
        title="Framegate",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    hub = app.state.hub = Hub(settings, serves_clips=True)
    app.state.connect = partial(camera_of, pool=hub.media, clock=hub.clock)
    app.state.calls = Calls(settings.webrtc, clock=hub.clock)
    app.state.downloads = Downloads(settings, partial(_renew, hub))
    credentials = app.state.credentials = _credentials(settings, hub)
    _add_routes(app)
    _add_errors(app)
    app.add_middleware(Bodies, limits=settings.limits)
    app.add_middleware(Access, api=app, settings=settings, credentials=credentials)
    app.add_middleware(
        Cors,
        allow_origins=settings.allowed_origins,
        allow_origin_regex=LOCAL_ORIGIN.pattern,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["ETag", "Location", "Link", "X-Request-Id", "X-Frame-Seq", "X-Stream-State"],
    )
    app.add_middleware(Checks, settings=settings, admission=app.state.hub.admission)
    app.add_middleware(RequestLog, repeat_s=settings.limits.log_repeat_s)
    return app


def _credentials(settings: Settings, hub: Hub) -> Credentials:
    static = settings.auth_token.get_secret_value() if settings.auth_token else None
    keep_s = settings.stream.ended_kept_s
    return Credentials(settings.access, static, live=hub.sessions, clock=hub.clock, keep_s=keep_s)


async def _renew(hub: Hub, weights: Weights) -> None:
    """Weights have come: an analyzer that failed, for lack of them perhaps, is loaded anew."""
    runner = hub.runners.get(weights.analyzer)
    if runner is not None and runner.state == "failed":
        await hub.reload(runner.name)


def _add_routes(app: FastAPI) -> None:
    """`/stream*` and the pages stand at the root only; the control plane under /api, and at the root for older clients.

    Two real routes each, never a redirect: an older client's POST would lose its body or its Authorization.
    """
    app.router.routes.append(WebSocketRoute("/ws/stream/{stream_id}", StreamSocket()))
    for router in (
        mjpeg.router,
        snapshot.router,
        sse.router,
        http.router,
        whip.router,
        whep.router,
        connect.router,
        streams.router,
        tokens.router,
    ):
        app.include_router(router)
    for router in (system.router, analyzers.router, models.router, events.router, auth.control):
        app.include_router(router, prefix="/api")
        app.include_router(router, include_in_schema=False)
    pages.add_api_docs(app)
    app.include_router(auth.pages)
    app.include_router(pages.router)
    app.router.routes.extend(pages.mounts())


def _add_errors(app: FastAPI) -> None:
    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return problem_of(request.scope, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        fields = [{"field": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()]
        detail = "; ".join(f"{item['field']}: {item['message']}" for item in fields)
        return problem(request.scope, 422, "invalid", detail, errors=fields)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        headers = dict(error.headers) if error.headers else None
        return problem(request.scope, error.status_code, code, str(error.detail), headers=headers)

    async def bug(request: Request, error: Exception) -> Response:
        log.error("request %s %s failed", request.method, request.url.path, exc_info=error)
        return problem(request.scope, 500, "internal", "this is our bug; the log has it under the request id")

    app.add_exception_handler(GatewayError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, bug)


@cache
def _served_by_uvicorn() -> FastAPI:
    """The application for a bare `uvicorn gateway.app:app`, which lacks what `framegate serve` adds around it."""
    settings = load()
    if not is_open(settings):
        settings, _ = with_token(settings)
    logs.set_up(settings.log, secret=settings.auth_token)
    log.warning(
        "running under a bare uvicorn: no stalled-viewer reset, no drain on SIGTERM, uvicorn's own message limits."
        " `framegate serve` has them"
    )
    return create_app(settings)


def __getattr__(name: str) -> Any:
    if name == "app":
        return _served_by_uvicorn()
    raise AttributeError(name)
