"""Which of the application's routes a request goes to, named as the permission table names it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, WebSocketRoute, compile_path

from gateway.permissions import MOUNT, SOCKET, Row, row_for

SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Found:
    """The route a request goes to. `stream_id` is what stands in that place of the path, a token perhaps.

    `event_id` likewise; whose stream's event it is, somebody else knows.
    """

    row: Row | None
    template: str
    stream_id: str | None
    event_id: str | None = None


class Routes:
    """Which of the application's routes a request goes to, in the router's own order."""

    def __init__(self, app: FastAPI) -> None:
        self._routes = [(compile_path(path)[0], methods, template) for path, methods, template in _templates(app)]

    def find(self, method: str, path: str) -> Found | None:
        for pattern, methods, template in self._routes:
            matched = pattern.match(path)
            if matched and (method in methods or (method in SAFE and MOUNT in methods)):
                row = row_for(MOUNT if MOUNT in methods else method, template)
                parts = matched.groupdict()
                return Found(row, template, parts.get("stream_id"), parts.get("event_id"))
        return None


def _templates(app: FastAPI) -> Iterator[tuple[str, Collection[str], str]]:
    for route in iter_route_contexts(app.router.routes):
        path, template = str(route.path), str(route.path_format or route.path)
        if isinstance(route.original_route, Mount):
            yield f"{path}/{{path:path}}", (MOUNT,), path
        elif isinstance(route.original_route, WebSocketRoute):
            yield path, (SOCKET,), template
        else:
            yield path, {*(route.methods or ()), *(("HEAD",) if "GET" in (route.methods or ()) else ())}, template


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every route as the permission table names it: method and template."""
    return sorted({(method, template) for _, methods, template in _templates(app) for method in methods})
