"""Analyzers, plugins and the models they use."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from gateway.web import hub_of

router = APIRouter(tags=["analyzers"])


@router.get("/analyzers", summary="List analyzers")
async def list_analyzers(request: Request) -> dict[str, Any]:
    """Name, version, distribution, options schema, state; the reason and traceback of one that failed."""
    hub = hub_of(request)
    await hub.introduced()
    return {"items": [hub.runners[name].describe() for name in sorted(hub.runners)], "next": None}


@router.get("/plugins", summary="List plugins")
async def list_plugins(request: Request) -> dict[str, Any]:
    """What was found, where from, and the traceback of what did not load."""
    hub = hub_of(request)
    await hub.introduced()
    items = []
    for spec in hub.plugins:
        error = hub.plugin_errors.get(spec.name)
        items.append(
            {
                "name": spec.name,
                "distribution": spec.distribution,
                "version": spec.version,
                "source": spec.module or spec.path,
                "state": "failed" if error else "loaded",
                "traceback": error,
                "analyzers": sorted(n for n, r in hub.runners.items() if r.manifest.plugin == spec.name),
            }
        )
    return {"items": items, "next": None}


@router.get("/models/status", summary="Which models are loaded")
async def models_status(request: Request) -> dict[str, Any]:
    """Per analyzer: `idle` until somebody asks for it, then `loading`, `ready`, or `failed` with the remedy."""
    hub = hub_of(request)
    await hub.introduced()
    items = [
        {"name": name, "state": runner.state, "reason": runner.reason, "mean_ms": round(runner.mean_ms, 2)}
        for name, runner in sorted(hub.runners.items())
    ]
    return {"items": items, "next": None}
