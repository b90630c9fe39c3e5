"""Every route of the application, asked by everybody: the permission table is whole, and it is what happens."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from websockets.exceptions import InvalidStatus

from gateway.app import create_app
from gateway.permissions import MOUNT, ROLES, SCOPES, SOCKET, TABLE, Permission, row_for
from gateway.routes import routes_of
from gateway.settings import Settings
from tests.access.door import TOKEN, bearer, publish_token, socket_to, view_token
from tests.server import Server

Outcome = Literal["in", "401", "403", "404"]
Who = Literal[
    "nobody", "wrong", "admin", "viewer of it", "publisher of it", "viewer of another", "publisher of another"
]

# What must come of it, written down once more and by hand. A stream's token is for routes of streams and for pages.
EXPECTED: dict[Permission, tuple[Outcome, ...]] = {
    #          nobody  wrong  admin  viewer pub.   viewer' pub.'
    "open": ("in", "in", "in", "in", "in", "in", "in"),
    "any": ("401", "401", "in", "in", "in", "in", "in"),
    "read": ("401", "401", "in", "403", "403", "403", "403"),
    "view": ("401", "401", "in", "in", "in", "404", "404"),
    "publish": ("401", "401", "in", "403", "in", "404", "404"),
    "operate": ("401", "401", "in", "403", "403", "404", "404"),
    "admin": ("401", "401", "in", "403", "403", "403", "403"),
}
CALLERS: tuple[Who, ...] = (
    *("nobody", "wrong", "admin", "viewer of it", "publisher of it", "viewer of another", "publisher of another"),
)
ROUTES = routes_of(create_app(Settings()))
# Of what the application serves without a credential, all there is.
PUBLIC = {
    *(("GET", "/health"), ("GET", "/api/health"), ("GET", "/ready"), ("GET", "/api/ready")),
    *(("GET", "/login"), ("POST", "/login")),
}


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert [route for route in ROUTES if row_for(*route) is None] == [], "say in gateway/permissions.py who may use it"
    assert [row for row in TABLE if row not in ROUTES] == []


def test_the_routes_of_the_openapi_document_are_among_them() -> None:
    paths = create_app(Settings()).openapi()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described - set(ROUTES) == set()


def test_only_these_are_open_to_everybody() -> None:
    assert {key for key, row in TABLE.items() if row.permission == "open"} == PUBLIC


def test_a_stronger_role_and_scope_may_all_that_a_weaker_one_may() -> None:
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["admin"]
    assert SCOPES["view"] < SCOPES["publish"] < ROLES["operator"]
    assert {row.permission for row in TABLE.values()} <= ROLES["admin"]


@pytest.mark.e2e
@pytest.mark.parametrize("who", CALLERS)
def test_everybody_gets_what_the_table_says(guarded: Server, stream: dict[str, Any], who: Who) -> None:
    found: dict[tuple[str, str], tuple[str, str]] = {}
    it = _opened(guarded)
    for method, template in ROUTES:
        row = row_for(method, template)
        assert row is not None
        if method == "HEAD" and template.count("{") > ("{stream_id}" in template) and "{name}" not in template:
            continue  # there is no such call or event: 404 in any case, and no body that tells which; GET tells
        expected = EXPECTED[row.permission][CALLERS.index(who)]
        if "{event_id}" in template and expected in ("403", "404"):
            expected = "in"  # whoever is somebody: nobody knows of the event, see test_events.py
        elif expected == "404" and "{stream_id}" not in template:
            expected = "403"  # it is about no stream, so nothing has to be hidden
        outcome = _ask(guarded, method, template, it, _headers(who, it, stream))
        if method == "DELETE":
            it = _opened(guarded)  # the request may have ended it
        if outcome != expected:
            found[method, template] = (outcome, expected)
    assert found == {}


@pytest.mark.e2e
def test_what_is_no_route_is_told_only_to_those_who_are_somebody(guarded: Server, stream: dict[str, Any]) -> None:
    def answers(path: str, method: str = "GET") -> list[int]:
        shown: list[dict[str, str]] = [{}, bearer("wrong"), bearer(view_token(stream)), bearer(TOKEN)]
        return [guarded.http.request(method, path, headers=headers).status_code for headers in shown]

    assert answers("/no/such/route") == [401, 401, 404, 404]
    assert answers("/status", "PUT") == [401, 401, 405, 405]
    assert answers("/api/auth/register", "POST") == [401, 401, 404, 404]


def _opened(server: Server) -> dict[str, Any]:
    opened: dict[str, Any] = server.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    return opened


def _headers(who: Who, it: dict[str, Any], another: dict[str, Any]) -> dict[str, str]:
    secret = {
        "nobody": None,
        "wrong": "neither-this-nor-that-0123456789",
        "admin": TOKEN,
        "viewer of it": view_token(it),
        "publisher of it": publish_token(it),
        "viewer of another": view_token(another),
        "publisher of another": publish_token(another),
    }[who]
    return bearer(secret) if secret else {}


def _ask(server: Server, method: str, template: str, it: dict[str, Any], headers: dict[str, str]) -> Outcome:
    path = template.replace("{stream_id}", it["stream_id"]).replace("{name}", "motion").replace("{token_id}", "none")
    if method == SOCKET:
        return _knock(server, path.rpartition("/")[2], headers)
    if method == MOUNT:
        method, path = "GET", path + "/no-such-file"
    server.http.cookies.clear()  # an earlier route may have given one
    with server.http.stream(method, path, headers=headers) as answer:
        if answer.headers.get("content-type") != "application/problem+json":
            return "in"  # a page, a picture, an answer
        problem = _headed(answer.status_code) if method == "HEAD" else json.loads(answer.read())
        refused = problem["code"] in ("credential", "scope") or problem["detail"] == "there is no such stream"
        return str(problem["status"]) if refused else "in"  # type: ignore[return-value]


def _headed(status: int) -> dict[str, Any]:
    """What the answer to a HEAD would say: nothing else there is answered 401, 403 or, of a stream that lives, 404."""
    refused = status in (401, 403, 404)
    return {"status": status, "code": "credential" if refused else "", "detail": ""}


def _knock(server: Server, stream_id: str, headers: dict[str, str]) -> Outcome:
    try:
        with socket_to(server, stream_id, additional_headers=headers):
            return "in"
    except InvalidStatus as refused:
        return str(refused.response.status_code)  # type: ignore[return-value]
