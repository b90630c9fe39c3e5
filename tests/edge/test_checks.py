"""What every request is asked before it gets anywhere: its Host, method, ranges, size; and what a proxy may say."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.edge.conftest import TIGHT, limits
from tests.edge.raw import Answer, ask, request, upgrade, wire
from tests.pictures import picture
from tests.server import Server, eventually, running

pytestmark = pytest.mark.e2e

OWN = socket.gethostname()


# --- Host ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "localhost:8000", "door.localhost", "127.0.0.1", "127.0.0.1:1"),
        *("[::1]", "[::1]:8000", "192.0.2.7", "[2001:db8::1]", OWN, OWN.upper(), f"{OWN.partition('.')[0]}.local"),
        *("cams.example", "cams.example:443", "a.b.example.org"),
    ],
)
def test_a_host_that_is_ours_is_served(proxied: Server, host: str) -> None:
    assert ask(proxied, request("/health", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "evil.example:80", "example.org", "127.0.0.1.evil.example"),
        *("", "localhost@evil.example", "localhost evil", "localhost/evil", "localhost:port", "[::1", "[::1]evil"),
        *("0x7f000001", "2130706433", "127.1", "xn--localhost-", "local host", "localhost#", "localhost\\evil"),
    ],
)
def test_another_host_is_answered_421(proxied: Server, host: str) -> None:
    """A page whose name means this machine (DNS rebinding) still says its own name."""
    before = proxied.metric("framegate_rejected_total", code="host")
    for data in (request("/health", host=host), upgrade("/ws/stream/x").replace(b"localhost", host.encode())):
        answer = ask(proxied, data)
        assert (answer.status, answer.code) == (421, "host")
    assert proxied.metric("framegate_rejected_total", code="host") == before + 2


def test_any_host_is_served_if_the_operator_says_so(server_of_any_name: Server) -> None:
    assert ask(server_of_any_name, request("/health", host="evil.example")).status == 200


@pytest.fixture(scope="module")
def server_of_any_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"FRAMEGATE_ALLOWED_HOSTS": '["*"]', "FRAMEGATE_BASE_PATH": "/cams"}
    with running(tmp_path_factory.mktemp("any"), url="", **settings) as server:
        yield server


# --- methods and ranges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/health", "/api/status", "/viewer", "/viewer/viewer.js", "/docs", "/stream", "/metrics"]
)
def test_head_is_get_without_the_body(tight: Server, path: str) -> None:
    full, head = tight.http.get(path), tight.http.head(path)
    assert (head.status_code, head.content) == (full.status_code, b"")
    same = full.headers.keys() - {
        "date",
        "x-request-id",
        "content-length",
        "content-encoding",
        "etag",
        "transfer-encoding",
    }
    assert {name: head.headers.get(name) for name in same} == {name: full.headers[name] for name in same}


@pytest.mark.parametrize("path", ["/stream/video/{}", "/stream/{}/events"])
def test_head_of_an_endless_answer_ends(tight: Server, path: str) -> None:
    stream_id = tight.open()
    answer = tight.http.head(path.format(stream_id))
    assert (answer.status_code, answer.content) == (200, b"")
    assert eventually(lambda: tight.show(stream_id)["viewers"] == 0)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "LINK", "PURGE", "SUBSCRIBE"])
def test_a_method_that_nothing_has_is_refused(tight: Server, method: str) -> None:
    path = "localhost:80" if method == "CONNECT" else "/viewer"
    answer = ask(tight, request(path, "Cookie: secret=1", method=method))
    assert answer.status in (400, 405)
    assert b"secret" not in answer.body


@pytest.mark.parametrize(("ranges", "status"), [(1, 206), (8, 206), (9, 416), (2000, 416)])
def test_a_range_header_has_few_ranges(server: Server, ranges: int, status: int) -> None:
    wish = "bytes=" + ",".join(f"{10 * n}-{10 * n + 4}" for n in range(ranges))
    answer = server.http.get("/viewer/viewer.js", headers={"Range": wish})
    assert answer.status_code == status
    if status == 416:
        assert answer.json()["code"] == "range"


def test_every_answer_keeps_browsers_from_guessing_and_telling(tight: Server) -> None:
    for path in ("/viewer", "/viewer/viewer.js", "/health", "/nowhere", "/metrics"):
        headers = tight.http.get(path).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert "sandbox" in tight.http.get("/health").headers["content-security-policy"]
    assert "sandbox" not in tight.http.get("/viewer").headers["content-security-policy"]


# --- bodies ----------------------------------------------------------------------------------------------------------

MOST = int(TIGHT["MAX_BODY_BYTES"])
JSON = "Content-Type: application/json"


def post(server: Server, path: str, body: bytes, *lines: str) -> Answer:
    return ask(server, request(path, f"Content-Length: {len(body)}", *(lines or (JSON,)), method="POST", body=body))


def wished(size: int) -> bytes:
    """A request for a stream of this many bytes."""
    start = b'{"analyzers":[],"more":"'
    return start + b"*" * (size - len(start) - 2) + b'"}'


def test_a_body_as_large_as_it_may_be_is_taken(tight: Server) -> None:
    assert post(tight, "/stream/request", wished(MOST)).status == 200


def test_a_larger_one_is_answered_before_it_comes(tight: Server) -> None:
    head = request("/stream/request", "Content-Length: 314572800", JSON, "Expect: 100-continue", method="POST")
    with wire(tight) as connection:
        answer = connection.send(head).answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert connection.rest() == b""


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", ["/stream/request", "/api/analyzers/motion/reload"])
def test_one_of_unknown_length_is_cut_where_the_limit_is(tight: Server, path: str, kind: str) -> None:
    head = request(path, "Transfer-Encoding: chunked", f"Content-Type: {kind}", method="POST")
    with wire(tight) as connection:
        connection.send(head)
        answer = connection.send((b"400\r\n" + b" " * 1024 + b"\r\n") * 100).answer()
        assert answer.status in (413, 200, 404, 422)
        if kind == "application/json":
            assert (answer.status, answer.code) == (413, "body_too_large")
        assert connection.rest() in (b"", None)


def test_a_picture_has_the_limit_of_a_message(tight: Server) -> None:
    path = f"/stream/{tight.open()}/frame"
    assert post(tight, path, picture("red"), "Content-Type: image/jpeg").status == 200
    answer = post(tight, path, bytes(65537), "Content-Type: image/jpeg")
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"{]", b"nul", b"{'a':1}", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"name":"\\ud800"}'),
        *(b"\xff\xfe", b'{"name":"\xff"}', b'{"a":1}{"b":2}', b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"),
        b'{"options":{"motion":{"a":' + b"[" * 9 + b"]" * 9 + b"}}}",
        *(b'{"max_fps":1e400}', b'{"max_fps":18446744073709551616}', b'{"name":"a","name":"b"}'),
        b'{"stream_id":"a","\\u0073tream_id":"b"}',
    ],
)
@pytest.mark.parametrize("path", ["/stream/request", "/api/auth/ticket"])
def test_what_is_no_json_is_answered_400(tight: Server, path: str, body: bytes) -> None:
    answer = post(tight, path, body)
    assert (answer.status, answer.code) == (400, "bad_json")


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It trusts a proxy at 127.0.0.2, and goes by two more names."""
    settings = {
        "FRAMEGATE_TRUSTED_PROXIES": '["127.0.0.2", "10.0.0.0/8"]',
        "FRAMEGATE_ALLOWED_HOSTS": '["cams.example", "*.example.org"]',
        "FRAMEGATE_LOG__LEVEL": "DEBUG",
        **limits(LOG_REPEAT_S="0"),
    }
    with running(tmp_path_factory.mktemp("proxied"), **settings) as server:
        yield server


FORGED = (
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Proto: https",
)


def test_what_anybody_says_of_forwarding_is_not_believed(proxied: Server) -> None:
    answer = ask(proxied, request("/health", *FORGED))
    assert answer.status == 200  # the forged host would be refused
    page = ask(proxied, request("/docs", *FORGED)).body
    assert b"evil" not in page


def test_a_trusted_proxy_says_for_which_host_it_is(proxied: Server) -> None:
    for host, status in (("cams.example", 200), ("evil.example", 421), ("cams.example, evil.example", 421)):
        assert ask(proxied, request("/health", f"X-Forwarded-Host: {host}"), source="127.0.0.2").status == status


def test_a_trusted_proxy_says_for_whom_it_is(proxied: Server) -> None:
    lines = ("X-Forwarded-For: 203.0.113.9, 198.51.100.7, 10.1.2.3", "X-Forwarded-Host: evil.example")
    ask(proxied, request("/health", *lines), source="127.0.0.2")
    eventually(lambda: "refused host: peer=198.51.100.7" in proxied.log)
    assert "203.0.113.9" not in proxied.log


def test_a_trusted_proxy_says_under_which_path_it_shows_us(proxied: Server) -> None:
    page = ask(proxied, request("/docs", "X-Forwarded-Prefix: /cams"), source="127.0.0.2").body
    assert b"'/cams/openapi.json'" in page
    for bad in ("evil.example", "//evil.example", "/a b", '/a"b', "/../x?y"):
        page = ask(proxied, request("/docs", f"X-Forwarded-Prefix: {bad}"), source="127.0.0.2").body
        assert b"'/openapi.json'" in page


@pytest.mark.parametrize(
    "path", ["/viewer", "/viewer/viewer.js", "/client/framegate.js", "/docs", "/docs/assets/favicon.png"]
)
@pytest.mark.parametrize("prefix", ["", "/cams"])
def test_under_a_base_path_everything_is_where_it_was(server_of_any_name: Server, prefix: str, path: str) -> None:
    """Whether or not the proxy takes the prefix off."""
    assert ask(server_of_any_name, request(prefix + path)).status == 200


def test_under_a_base_path_streams_work(server_of_any_name: Server) -> None:
    answer = ask(server_of_any_name, request("/cams/stream/request", "Content-Length: 0", method="POST"))
    assert answer.status == 200
    stream_id = json.loads(answer.body)["stream_id"]
    with wire(server_of_any_name) as connection:
        connection.send(upgrade(f"/cams/ws/stream/{stream_id}"))
        assert connection.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")


# --- the log ---------------------------------------------------------------------------------------------------------


def test_no_path_writes_a_line_of_the_log(tight: Server) -> None:
    for path in ("/%0d%0aFORGED", "/%1b[31mFORGED", "/%e2%80%aeFORGED", "/%00FORGED", "/" + "FORGED" * 500):
        assert ask(tight, request(path)).status == 404
    eventually(lambda: tight.log.count("FORGED") >= 5)
    lines = [line for line in tight.log.splitlines() if "FORGED" in line]
    assert len(lines) == 5
    assert all(json.loads(line)["logger"] == "gateway.access" for line in lines)
    assert all(line.isascii() and line.isprintable() and len(line) < 600 for line in lines)
    assert "[31mFORGED" not in json.loads(lines[1])["event"].replace("\\x1b[31mFORGED", "")
