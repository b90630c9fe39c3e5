"""Models: which weights the analyzers run on, whether they are what they should be, and how to get those that lack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gateway.engine.downloads import Downloads
from gateway.errors import NotFound, UnknownOption
from gateway.settings import Settings
from gateway.web import hub_of
from gateway.weights import Weights, examine, find, folders, read_manifest

router = APIRouter(tags=["analyzers"])

_examined: dict[tuple[str, int, int], dict[str, Any]] = {}  # by path, size and time: hashing 12 MB takes 10 ms


@router.get("/models/status", summary="Which models are loaded, from which files")
async def models_status(request: Request) -> dict[str, Any]:
    """Per analyzer: `idle` until somebody asks for it, then `loading`, `ready`, or `failed` with the remedy.

    `files` are those its model was read from, with hash and licence; `models` are the known files, found or not.
    """
    hub = hub_of(request)
    await hub.introduced()
    items = [
        {
            "name": name,
            "state": runner.state,
            "reason": runner.reason,
            "mean_ms": round(runner.mean_ms, 2),
            "files": [dict(file) for file in runner.weights],
        }
        for name, runner in sorted(hub.runners.items())
    ]
    known = await asyncio.to_thread(_known, hub.settings)
    downloads: Downloads = request.app.state.downloads
    return {"items": items, "next": None, "models": [_model(*one, downloads) for one in known]}


@router.post("/models/{name}/download", status_code=202, summary="Fetch known weights")
async def download_model(request: Request, name: str) -> Response:
    """In the background: `GET models/status` says how far it is. 200 if the file is there already, and right.

    The analyzer it is for is loaded anew when it has come, if it had failed.
    """
    hub = hub_of(request)
    weights = read_manifest().get(name)
    if weights is None:
        raise NotFound(f"there is no model {name[:64]}; there are {', '.join(read_manifest())}", code="unknown_model")
    if weights.url is None:
        raise UnknownOption(f"{name} has no public source: {weights.how}", code="no_public_source")
    downloads: Downloads = request.app.state.downloads
    files = await asyncio.to_thread(_files, weights, hub.settings)
    if any(file["state"] == "right" for file in files):
        return JSONResponse(_model(weights, files, downloads))
    downloads.begin(weights)
    return JSONResponse(_model(weights, files, downloads), 202)


def _known(settings: Settings) -> list[tuple[Weights, list[dict[str, Any]]]]:
    return [(weights, _files(weights, settings)) for weights in read_manifest().values()]


def _files(weights: Weights, settings: Settings) -> list[dict[str, Any]]:
    """Every file of that name where weights are searched."""
    return [_examine(path) for path in find(weights.file, folders(settings.home, settings.models_dir))]


def _examine(path: Path) -> dict[str, Any]:
    try:
        about = path.stat()
    except OSError:
        return examine(path)
    key = (str(path), about.st_size, about.st_mtime_ns)
    if key not in _examined:
        for old in [other for other in _examined if other[0] == key[0]]:
            del _examined[old]
        _examined[key] = examine(path)
    return _examined[key]


def _model(weights: Weights, files: Iterable[Mapping[str, Any]], downloads: Downloads) -> dict[str, Any]:
    """A known file: the first one found is the one that is used."""
    found = next(iter(files), None)
    return {
        "name": weights.name,
        "analyzer": weights.analyzer,
        "file": weights.file,
        "licence": weights.licence,
        "about": weights.about,
        "size": weights.bytes,
        "state": found["state"] if found else "missing",
        "path": found["path"] if found else None,
        "sha256": found["sha256"] if found else None,
        "expected": weights.sha256,
        "downloadable": weights.url is not None,
        "how": weights.how or None,
        "download": None,
        **downloads.describe(weights),
    }
