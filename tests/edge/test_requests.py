"""Requests that are late, too large, or not what they seem: each has its answer, and the connection ends."""

from __future__ import annotations

import time

import pytest

from tests.edge.raw import ask, open_socket, request, upgrade, wire
from tests.pictures import picture
from tests.server import Server, eventually

pytestmark = pytest.mark.e2e

PATIENT_S = 0.8  # HEADER_S of these tests


def rejected(server: Server, code: str) -> float:
    return server.metric("framegate_rejected_total", code=code)


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"G", b"GET / HTTP/1.1\r\n", request("/health")[:-2], b"\r\n"])
def test_a_header_that_does_not_end_is_answered_408(tight: Server, said: bytes) -> None:
    before, began = rejected(tight, "http_slow"), time.monotonic()
    with wire(tight) as connection:
        answer = connection.send(said).answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "http_slow", "close")
        assert connection.rest() == b""
    assert PATIENT_S * 0.9 < time.monotonic() - began < 10 * PATIENT_S
    assert rejected(tight, "http_slow") == before + 1


@pytest.mark.slow
def test_a_header_that_trickles_in_is_late_all_the_same(tight: Server) -> None:
    began = time.monotonic()
    with wire(tight) as connection:
        connection.socket.settimeout(0.05)
        for byte in request("/health", "X-Long: " + "*" * 1000):
            connection.send(bytes([byte]))
            try:
                if said := connection.socket.recv(100):
                    break
            except TimeoutError:
                pass
    assert said.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 10 * PATIENT_S


def test_a_connection_that_says_nothing_is_cut(tight: Server) -> None:
    with wire(tight) as connection:
        assert connection.rest() is None


def test_a_second_request_has_a_deadline_too(tight: Server) -> None:
    """One byte ends the wait for a next request, so the wait for its header must begin with it."""
    with wire(tight) as connection:
        assert connection.send(request("/health")).answer().status == 200
        assert connection.send(b"G").answer().status == 408
        assert connection.rest() == b""


def test_a_second_request_that_began_during_the_first_has_a_deadline_too(tight: Server) -> None:
    with wire(tight) as connection:
        connection.send(request("/health") + b"GET /hea")
        assert connection.answer().status == 200
        assert connection.answer().status == 408


def test_an_idle_connection_ends_quietly(tight: Server) -> None:
    with wire(tight) as connection:
        assert connection.send(request("/health")).answer().status == 200
        assert connection.rest() == b""


@pytest.mark.parametrize("path", ["/stream/request", "/stream/{}/frame"])
def test_a_body_that_trickles_in_is_answered_408(tight: Server, path: str) -> None:
    head = request(path.format(tight.open()), "Content-Length: 1000", "Content-Type: application/json", method="POST")
    with wire(tight) as connection:
        answer = connection.send(head + b"{").answer()
        assert (answer.status, answer.code) == (408, "http_slow")
        assert connection.rest() == b""


def test_a_multipart_stream_that_stands_still_is_ended(tight: Server) -> None:
    stream_id = tight.open()
    head = request(
        f"/stream/{stream_id}/frames",
        "Transfer-Encoding: chunked",
        "Content-Type: multipart/x; boundary=frame",
        method="POST",
    )
    with wire(tight) as connection:
        assert connection.send(head).answer().status == 408
    assert tight.show(stream_id)["publishers"] == 0


# --- size ------------------------------------------------------------------------------------------------------------

TOO_LARGE = {
    "one-long-field": request("/health", "X-Long: " + "*" * 9000),
    "a-long-path": request("/" + "a" * 9000),
    "a-long-name": request("/health", "X" * 9000 + ": 1"),
    "many-fields": request("/health", *(f"X-{n}: 1" for n in range(41))),
    "without-an-end": request("/health")[:-2] + b"X: " + b"*" * 20000,
    "fields-without-an-end": request("/health")[:-2] + b"X: 1\r\n" * 5000,
    "socket-with-a-long-field": upgrade("/ws/stream/x", "Cookie: " + "*" * 9000),
    "socket-with-many-fields": upgrade("/ws/stream/x", *(f"X-{n}: 1" for n in range(41))),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_header_that_is_too_large_is_answered_431(tight: Server, case: str) -> None:
    before = rejected(tight, "header_too_large")
    answer = ask(tight, TOO_LARGE[case])
    assert (answer.status, answer.code, answer.headers["connection"]) == (431, "header_too_large", "close")
    assert rejected(tight, "header_too_large") == before + 1


def test_a_handshake_that_the_websocket_library_does_not_take_is_answered(server: Server) -> None:
    """Its limits are lower than ours by default: a line of 8 KiB. Unanswered, the client would wait for ever."""
    with wire(server) as connection:
        answer = connection.send(upgrade("/ws/stream/x", "Cookie: " + "*" * 9000)).answer()
        assert answer.status == 431
        assert connection.rest() == b""


@pytest.mark.parametrize("missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
def test_a_handshake_without_what_it_needs_is_answered_400(tight: Server, missing: str) -> None:
    lines = [line for line in upgrade("/ws/stream/x").decode().split("\r\n") if not line.startswith(missing)]
    answer = ask(tight, "\r\n".join(lines).encode())
    assert (answer.status, answer.headers["connection"].lower()) == (400, "close")


# --- shape -----------------------------------------------------------------------------------------------------------

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"0\r\n\r\n"
POST = b"POST /stream/request HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = {
    "length-and-chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "chunks-and-length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 50\r\n\r\n" + CHUNKED + HIDDEN,
    "two-lengths": POST + b"Content-Length: 0\r\nContent-Length: 43\r\n\r\n" + HIDDEN,
    "a-list-of-lengths": POST + b"Content-Length: 0, 43\r\n\r\n" + HIDDEN,
    "a-signed-length": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a-hexadecimal-length": POST + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "a-negative-length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a-huge-length": POST + b"Content-Length: 99999999999999999999\r\n\r\n" + HIDDEN,
    "unknown-coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED + HIDDEN,
    "chunked-is-not-last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED + HIDDEN,
    "coding-and-a-tab": POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "coding-and-a-space": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "coding-on-two-lines": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "coding-twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKED + HIDDEN,
    "coding-in-http-1.0": POST.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "bare-line-feeds": b"POST /stream/request HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n" + HIDDEN,
    "a-bare-carriage-return": b"GET / HTTP/1.1\r\nHost: localhost\rX: 1\r\n\r\n" + HIDDEN,
    "a-chunk-size-that-is-none": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n" + HIDDEN,
    "a-chunk-size-beyond-64-bits": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n" + HIDDEN,
    "a-chunk-longer-than-it-says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + HIDDEN,
    "a-zero-in-a-field": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n" + HIDDEN,
    "two-hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere\r\n\r\n" + HIDDEN,
    "no-host": b"GET / HTTP/1.1\r\n\r\n" + HIDDEN,
    "a-space-before-the-first-field": b"GET / HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "no-version": b"GET /\r\n\r\n" + HIDDEN,
    "version-3": b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an-unknown-method": b"HACK / HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(40),
    "zeros": bytes(64),
    "a-socket-behind-a-request": request("/ready") + upgrade("/ws/stream/x"),
    "data-before-the-handshake-is-answered": upgrade("/ws/stream/x") + HIDDEN,
}


@pytest.mark.parametrize("case", SMUGGLED)
def test_a_request_of_two_readings_is_refused_and_nothing_behind_it_is_read(tight: Server, case: str) -> None:
    with wire(tight) as connection:
        said = connection.send(SMUGGLED[case]).rest()
    assert said is not None
    answers = [int(line.split()[1]) for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    if case == "a-socket-behind-a-request":
        assert answers in ([200], [200, 400])
    else:
        assert answers == [400]
        assert b'"http_malformed"' in said
    assert "/hidden" not in tight.log


def test_a_socket_cannot_begin_in_the_middle_of_an_answer(tight: Server) -> None:
    stream_id, other = tight.open(), tight.open()
    with wire(tight) as connection:
        connection.send(request(f"/stream/{stream_id}/events"))
        connection.until(b"event: ")
        connection.send(upgrade(f"/ws/stream/{other}"))
        eventually(lambda: rejected(tight, "http_malformed") > 0 and tight.show(other)["viewers"] == 0)
        tight.http.delete(f"/stream/{stream_id}")
        said = connection.rest()
    assert said is not None
    assert b"HTTP/1.1" not in said
    assert said.endswith(b"0\r\n\r\n")


def test_requests_that_wait_behind_one_are_few(tight: Server) -> None:
    stream_id = tight.open()
    with wire(tight) as connection:
        said = connection.send(request(f"/stream/{stream_id}/events") + request("/health") * 6).rest()
    assert said is None  # the first answer goes on, so that nothing can be said


def test_a_trailer_is_not_taken_for_a_header(tight: Server) -> None:
    """All of it in one piece, so that it is there before anybody has looked at the header."""
    jpeg = picture("red")
    body = b"%x\r\n%b\r\n0\r\nContent-Type: application/json\r\n\r\n" % (len(jpeg), jpeg)
    path = f"/stream/{tight.open()}/frame"
    assert ask(tight, request(path, "Transfer-Encoding: chunked", method="POST") + body).status == 200


@pytest.mark.parametrize(
    "endless", [b"0\r\nX: " + b"*" * 600_000, b"0\r\n" + b"X: 1\r\n" * 100_000, b"1;x=" + b"*" * 600_000]
)
def test_trailers_and_chunk_extensions_have_an_end(tight: Server, endless: bytes) -> None:
    head = request("/stream/request", "Transfer-Encoding: chunked", "Content-Type: text/plain", method="POST")
    with wire(tight) as connection:
        answer = connection.send(head).send(endless).answer()
    assert (answer.status, answer.code) == (431, "header_too_large")


def test_an_upgrade_to_something_else_is_an_ordinary_request(tight: Server) -> None:
    assert ask(tight, request("/health", "Connection: Upgrade", "Upgrade: h2c")).status == 200


def test_nothing_of_this_hurts_a_socket_beside_it(tight: Server) -> None:
    from tests.edge.raw import ASK

    with open_socket(tight.address, f"/ws/stream/{tight.open()}") as bystander:
        for data in SMUGGLED.values():
            with wire(tight) as connection:
                connection.send(data)
        assert bystander.send(ASK).outcome() == "open"


def test_who_is_answered_before_all_of_a_body_has_come_is_told_that_nothing_more_is_read(tight: Server) -> None:
    with wire(tight) as connection:
        head = request("/stream/none/frame", "Content-Length: 1000", "Content-Type: image/jpeg", method="POST")
        answer = connection.send(head + b"*" * 10).answer()
        assert (answer.status, answer.headers.get("connection")) == (404, "close")
        assert connection.rest() == b""
    with wire(tight) as connection:
        answer = connection.send(
            request("/stream/none/frame", "Content-Length: 4", method="POST", body=b"****")
        ).answer()
        assert (answer.status, answer.headers.get("connection")) == (404, None)
        assert connection.send(request("/health")).answer().status == 200
