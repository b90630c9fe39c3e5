"""Analyzers and plugins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from gateway.engine.hub import Hub
from gateway.engine.plugins import PluginSpec
from gateway.engine.supervisor import Supervisor
from gateway.web import hub_of

router = APIRouter(tags=["analyzers"])


@router.get("/analyzers", summary="List analyzers")
async def list_analyzers(request: Request) -> dict[str, Any]:
    """Name, version, distribution, options schema, state; the reason and traceback of one that failed."""
    hub = hub_of(request)
    await hub.introduced()
    return {"items": [hub.runners[name].describe() for name in sorted(hub.runners)], "next": None}


@router.post("/analyzers/{name}/reload", summary="Load an analyzer's code and model anew")
async def reload_analyzer(request: Request, name: str) -> dict[str, Any]:
    """Streams that have it go on. Answers how it is now: `failed` with the traceback if the new code is broken."""
    return (await hub_of(request).reload(name)).describe()


@router.get("/plugins", summary="List plugins")
async def list_plugins(request: Request) -> dict[str, Any]:
    """What was found, where from, what it may do, in which worker; the traceback of what did not load."""
    hub = hub_of(request)
    await hub.introduced()
    return {"items": [_plugin(hub, spec) for spec in hub.plugins], "next": None}


def _plugin(hub: Hub, spec: PluginSpec) -> dict[str, Any]:
    worker = next(supervisor for supervisor in hub.supervisors if supervisor.name == spec.group)
    connectors = [connector for connector in worker.connectors if connector.plugin == spec.name]
    about = [r.manifest for r in worker.runners.values() if r.manifest.plugin == spec.name]
    asked = [manifest.permissions for manifest in about] + [connector.permissions for connector in connectors]
    return {
        "name": spec.name,
        "distribution": spec.distribution,
        "version": spec.version,
        "source": spec.module or spec.path,
        "state": _plugin_state(hub, spec, worker),
        "traceback": hub.plugin_errors.get(spec.name),
        "analyzers": sorted(manifest.name for manifest in about),
        "connectors": sorted(connector.scheme for connector in connectors),
        "permissions": {
            "asked": sorted({permission for permissions in asked for permission in permissions}),
            "granted": list(spec.granted),
        },
        "worker": {
            "name": worker.name,
            "state": worker.state,
            "pid": worker.worker.pid,
            "restarts": worker.restarts,
            "confined": dict(worker.confined),
        },
    }


def _plugin_state(hub: Hub, spec: PluginSpec, worker: Supervisor) -> str:
    """`disabled`: its worker was given up."""
    if worker.state == "disabled":
        return "disabled"
    if spec.name in hub.plugin_errors:
        return "failed"
    return "starting" if hub.expects(worker) else "loaded"
