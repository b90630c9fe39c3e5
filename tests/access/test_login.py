"""A browser's login: the page, the cookie, and what a foreign page cannot do with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from gateway.app import create_app
from gateway.permissions import MOUNT, SOCKET, row_for
from gateway.routes import SAFE, routes_of
from gateway.settings import Settings
from tests.access.door import TOKEN, bearer, make, revoke, socket_to, view_token
from tests.pictures import picture
from tests.server import PATIENCE_S, Server, running
from tests.sockets import farewell, told

pytestmark = pytest.mark.e2e

WATCHES = "() => ['open', 'quiet', 'stale'].includes(document.querySelector('#connection').dataset.state)"
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def chrome(guarded: Server) -> Iterator[httpx2.Client]:
    """A client that keeps cookies, as a browser does, and follows nothing."""
    with httpx2.Client(base_url=guarded.url, timeout=PATIENCE_S, trust_env=False) as http:
        yield http


def log_in(http: httpx2.Client, **form: str) -> httpx2.Response:
    return http.post("/login", data={"token": TOKEN, **form})


def cookie_header(http: httpx2.Client) -> str:
    return "; ".join(f"{name}={value}" for name, value in http.cookies.items())


def test_a_page_is_answered_with_the_login_and_leads_back(chrome: httpx2.Client) -> None:
    answer = chrome.get("/viewer?stream_id=abc", headers=PAGE)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="framegate"')
    assert 'name="next" value="/viewer?stream_id=abc"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert ("unsafe" in policy, "script" in policy, "<script" in answer.text) == (False, False, False)
    assert chrome.get("/viewer").headers["content-type"] == "application/problem+json"
    assert log_in(chrome, next="/viewer?stream_id=abc").headers["location"] == "/viewer?stream_id=abc"
    assert chrome.get("/viewer?stream_id=abc", headers=PAGE).status_code == 200


def test_a_path_in_the_login_page_is_only_text(chrome: httpx2.Client) -> None:
    answer = chrome.get('/x"><b>', params={"y": '"><i>'}, headers=PAGE)
    assert ("<b>" in answer.text, "<i>" in answer.text) == (False, False)


@pytest.mark.parametrize(
    "place",
    ["//evil.example", "https://evil.example", "/\\evil.example", "viewer", "", "/a\nb", "/x y", "javascript:alert(1)"],
)
def test_the_login_leads_nowhere_else(chrome: httpx2.Client, place: str) -> None:
    assert log_in(chrome, next=place).headers["location"] == "/viewer"


def test_the_cookie_is_out_of_reach(chrome: httpx2.Client) -> None:
    answer = log_in(chrome)
    name, *rest = answer.headers["set-cookie"].split("; ")
    assert sorted(rest) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=strict"]
    assert (answer.status_code, name.partition("=")[0], TOKEN in name) == (303, "framegate_login", False)
    assert chrome.get("/api/auth/me").json()["role"] == "admin"


def test_a_wrong_token_gives_no_cookie(chrome: httpx2.Client) -> None:
    answer = log_in(chrome, token="wrong", next="/docs")
    assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)
    assert ("does not hold" in answer.text, 'value="/docs"' in answer.text) == (True, True)
    assert chrome.post("/login", content=b"x" * 9000).status_code == 413
    assert chrome.get("/status").status_code == 401


def test_a_foreign_page_cannot_log_its_visitor_in(chrome: httpx2.Client) -> None:
    answer = chrome.post("/login", data={"token": TOKEN}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)


def test_logging_out_ends_the_sockets_and_pictures_of_the_login(
    guarded: Server, chrome: httpx2.Client, stream: dict[str, Any]
) -> None:
    log_in(chrome)
    guarded.http.post(f"/stream/{stream['stream_token']}/frame", content=picture("red"))
    cookies, own = {"Cookie": cookie_header(chrome)}, {"Origin": guarded.url}
    with (
        socket_to(guarded, stream["stream_id"], additional_headers={**cookies, **own}) as socket,
        httpx2.Client(base_url=guarded.url, timeout=PATIENCE_S, headers=cookies) as other,
        other.stream("GET", f"/stream/video/{stream['stream_id']}") as video,
    ):
        told(socket, "hello")
        parts = video.iter_raw()
        assert next(parts)
        answers: list[int] = []
        leaving = threading.Thread(
            target=lambda: answers.append(chrome.post("/logout", headers=own).status_code), daemon=True
        )
        leaving.start()
        assert farewell(socket)[1:] == (4401, "revoked")
        for _ in parts:
            pass
        leaving.join()
    assert (answers, chrome.get("/status", headers=cookies).status_code) == ([204], 401)


def test_every_unsafe_route_refuses_a_cookie_without_proof_of_the_own_page(
    guarded: Server, chrome: httpx2.Client, stream: dict[str, Any]
) -> None:
    log_in(chrome)
    csrf = chrome.get("/api/auth/me").json()["csrf_token"]
    unsafe = [
        (method, template.replace("{stream_id}", stream["stream_id"]).replace("{name}", "none"))
        for method, template in routes_of(create_app(Settings()))
        if method not in (*SAFE, MOUNT, SOCKET) and row_for(method, template).permission != "open"  # type: ignore[union-attr]
    ]
    assert len(unsafe) > 10
    refused: list[dict[str, str]] = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
        {"X-CSRF-Token": "x" * 32},
    ]
    for method, path in unsafe:
        for headers in refused:
            answer = chrome.request(method, path, headers=headers)
            assert (method, path, answer.status_code, answer.json().get("code")) == (method, path, 403, "csrf")
    assert chrome.get(f"/stream/{stream['stream_id']}").status_code == 200
    proofs = {"Origin": guarded.url}, {"X-CSRF-Token": csrf}, {"Sec-Fetch-Site": "same-origin"}
    assert [chrome.post("/api/auth/ticket", headers=proof).status_code for proof in proofs] == [200] * 3


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://evil.example", "null", None])
def test_a_foreign_page_cannot_open_a_socket_with_the_cookie(
    guarded: Server, chrome: httpx2.Client, stream: dict[str, Any], origin: str | None
) -> None:
    """Another port of the same host is another page, and yet the browser sends it the cookie."""
    log_in(chrome)
    headers = {"Cookie": cookie_header(chrome), **({"Origin": origin} if origin else {})}
    with (
        pytest.raises(InvalidStatus) as refused,
        socket_to(guarded, stream["stream_id"], additional_headers=headers),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.slow
def test_under_a_path_of_a_proxy_the_login_stays_below_it(tmp_path: Path) -> None:
    with running(tmp_path, AUTH_TOKEN=TOKEN, FRAMEGATE_BASE_PATH="/cams") as server:
        page = server.http.get("/viewer?stream_id=abc", headers=PAGE)
        assert (page.status_code, 'action="/cams/login"' in page.text) == (401, True)
        assert 'name="next" value="/cams/viewer?stream_id=abc"' in page.text
        answer = log_in(server.http, next="")
        assert (answer.headers["location"], "Path=/cams;" in answer.headers["set-cookie"]) == ("/cams/viewer", True)
        stream = server.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
        link = server.http.get(f"/viewer/{view_token(stream)}")
        assert link.headers["location"] == f"/cams/viewer?stream_id={stream['stream_id']}"


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_viewers_link_lets_the_browser_in_for_this_stream_alone(
    guarded: Server, chrome: httpx2.Client, stream: dict[str, Any]
) -> None:
    answer = chrome.get(stream["viewer_url"], headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/viewer?stream_id={stream['stream_id']}")
    name, *rest = answer.headers["set-cookie"].split("; ")
    assert (name.partition("=")[0], sorted(rest)) == (
        "framegate_link",
        ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=lax"],
    )
    assert view_token(stream) not in name
    asked = {
        path: chrome.get(path).status_code
        for path in (
            "/viewer",
            "/viewer/viewer.js",
            "/client/framegate.js",
            f"/stream/{stream['stream_id']}",
            "/stream",
        )
    }
    assert list(asked.values()) == [200, 200, 200, 200, 403]
    own = {"Cookie": cookie_header(chrome), "Origin": guarded.url}
    with socket_to(guarded, stream["stream_id"], additional_headers=own) as viewer:
        told(viewer, "hello")
        viewer.send(picture("red"))
        assert farewell(viewer)[1:] == (4403, "scope")


def test_a_browser_keeps_several_links_and_loses_one_that_is_revoked(
    guarded: Server, chrome: httpx2.Client, stream: dict[str, Any]
) -> None:
    other = guarded.http.post("/stream/request", json={"analyzers": []}, headers=bearer(TOKEN)).json()
    made = make(guarded, stream, "view")
    chrome.get(made["viewer_url"])
    chrome.get(other["viewer_url"])
    paths = [f"/stream/{found['stream_id']}" for found in (stream, other)]
    assert [chrome.get(path).status_code for path in paths] == [200, 200]
    own = {"Cookie": cookie_header(chrome), "Origin": guarded.url}
    with socket_to(guarded, stream["stream_id"], additional_headers=own) as viewer:
        told(viewer, "hello")
        revoke(guarded, made)
        assert farewell(viewer)[1:] == (4401, "revoked")
    assert [chrome.get(path).status_code for path in paths] == [404, 200]
    assert chrome.get(made["viewer_url"], headers={"Cookie": ""}).status_code == 401


# --- a real browser --------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_person_logs_in_with_a_real_browser_and_watches(guarded: Server, stream: dict[str, Any], page: Any) -> None:
    guarded.http.post(f"/stream/{stream['stream_token']}/frame", content=picture("red"))
    page.goto(f"{guarded.url}/viewer?stream_id={stream['stream_id']}")
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"**/viewer?stream_id={stream['stream_id']}")
    page.wait_for_function(WATCHES)


@pytest.mark.browser
def test_a_person_opens_a_link_with_a_real_browser_and_watches(
    guarded: Server, stream: dict[str, Any], page: Any
) -> None:
    guarded.http.post(f"/stream/{stream['stream_token']}/frame", content=picture("red"))
    page.goto(guarded.url + stream["viewer_url"])
    page.wait_for_url(f"**/viewer?stream_id={stream['stream_id']}")
    page.wait_for_function(WATCHES)
    assert view_token(stream) not in page.content()
