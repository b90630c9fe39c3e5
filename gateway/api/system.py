"""The gateway about itself: health, readiness, status, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gateway.engine.metrics import exposition
from gateway.version import __version__
from gateway.web import hub_of

router = APIRouter(tags=["system"])


@router.get("/health", summary="Is it alive?")
async def health(request: Request) -> dict[str, str]:
    """Liveness; needs no credential. `database` is `none` as long as there is no store.

    `degraded` for a minute after the event loop stood still: it lives, but somebody waited for it.
    """
    return {"status": "degraded" if hub_of(request).pulse.degraded else "ok", "database": "none"}


@router.get("/ready", summary="May it be given work?", responses={503: {"description": "Not yet, or no longer"}})
async def ready(request: Request) -> Response:
    """200 within seconds of the start: models load beside it. 503 while starting and while shutting down."""
    hub = hub_of(request)
    if hub.draining:
        return JSONResponse({"status": "draining"}, 503)
    return JSONResponse({"status": "ready"} if hub.ready else {"status": "starting"}, 200 if hub.ready else 503)


@router.get("/status", summary="What it is doing")
async def status(request: Request) -> dict[str, Any]:
    hub = hub_of(request)
    return {
        "status": "draining" if hub.draining else "ok",
        "version": __version__,
        "uptime_s": round(hub.clock() - hub.started_at, 3),
        "streams": len(hub.sessions),
        "streams_opened": hub.sessions_opened,
        "connections": hub.admission.connections,
        "event_loop_lag_s": round(hub.pulse.lag_s, 3),
        "overload": {
            "memory_bytes": hub.overload.used,
            "memory_limit_bytes": hub.overload.limit,
            **hub.overload.active,
        },
        "media": hub.media.describe(),
        "clips": hub.clips.describe(),
        "workers": [supervisor.describe() for supervisor in hub.supervisors],
        "analyzers": {name: runner.state for name, runner in sorted(hub.runners.items())},
    }


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    text, media_type = exposition(hub_of(request))
    return Response(text, media_type=media_type)
