"""Pages and schemas of a real server: everything is local, nothing comes from a CDN."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tests.server import Server

pytestmark = pytest.mark.e2e


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/api/docs", "/api/redoc", "/viewer", "/publish", "/docs/protocol"]
)
def test_every_url_in_a_page_is_local_and_answers(server: Server, path: str) -> None:
    page = server.http.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    links = Links()
    links.feed(page.text)
    linked = links.found + re.findall(r"url: '([^']+)'", page.text)
    local = [link for link in linked if not link.startswith(("#", "data:"))]
    assert [link for link in local if re.match(r"(\w+:)?//", link)] == []
    base = path if path.endswith("/") else path.rpartition("/")[0] + "/"
    answers = {link: server.http.get(link if link.startswith("/") else base + link).status_code for link in local}
    assert answers == dict.fromkeys(local, 200)


def test_the_root_leads_to_the_viewer(server: Server) -> None:
    answer = server.http.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "viewer")


def test_pages_run_under_a_policy_that_forbids_foreign_and_inline_code(server: Server) -> None:
    for path in ("/viewer", "/viewer/viewer.js", "/publish", "/publish/worker.js", "/client/framegate.js"):
        policy = server.http.get(path).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_link_becomes_a_qr_code_that_no_cache_keeps(server: Server) -> None:
    answer = server.http.post("/publish/qr", json={"link": "https://192.0.2.7:8443/viewer/fgv_secret"})
    headers = {name: answer.headers[name] for name in ("content-type", "cache-control")}
    assert (answer.status_code, headers) == (200, {"content-type": "image/svg+xml", "cache-control": "no-store"})
    assert answer.text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "fgv_secret" not in server.log


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a b", "http://x/" + "a" * 512, 7, None])
def test_only_a_link_becomes_a_qr_code(server: Server, link: object) -> None:
    answer = server.http.post("/publish/qr", json={"link": link})
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["field"]) == (
        422,
        "invalid",
        "body.link",
    )


def test_the_schema_holds_each_route_once_under_its_canonical_path(server: Server) -> None:
    schema = server.http.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert {"/stream/request", "/stream/{stream_id}", "/stream/video/{stream_id}"} <= set(schema["paths"])
    assert {"/api/health", "/api/analyzers", "/api/metrics"} <= set(schema["paths"])
    assert not {"/health", "/analyzers", "/metrics"} & set(schema["paths"])
    operations = [item["operationId"] for path in schema["paths"].values() for item in path.values()]
    assert len(operations) == len(set(operations))


def test_the_docs_show_publishing_in_three_languages_and_lead_to_the_protocol(server: Server) -> None:
    description = server.http.get("/openapi.json").json()["info"]["description"]
    assert [f"```{language}" in description for language in ("python", "javascript", "bash")] == [True] * 3
    assert "(/docs/protocol)" in description
    assert "(/asyncapi.json)" in description


def test_the_socket_is_described_as_asyncapi_whose_references_all_lead_somewhere(server: Server) -> None:
    document = server.http.get("/asyncapi.json").json()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["stream"]["address"] == "/ws/stream/{stream_id}"
    assert {name: operation["action"] for name, operation in document["operations"].items()} == {
        "publish": "receive",
        "watch": "send",
    }

    def resolves(reference: str) -> bool:
        place = document
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]
        return bool(place)

    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))
    assert references
    assert all(map(resolves, references))
