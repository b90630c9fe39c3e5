"""TLS: a handshake has a deadline like a header, and behind it the same limits hold."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.edge.conftest import TIGHT, limits
from tests.edge.raw import request, upgrade
from tests.server import SERVE, Server, running

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("secure"), command=(*SERVE, "--tls"), **limits(**TIGHT)) as server:
        yield server
        assert "Traceback" not in server.log


def connected(server: Server) -> socket.socket:
    host, _, port = server.url.partition("://")[2].partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def said(server: Server, data: bytes) -> bytes:
    """All that comes back, through TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connected(server), server_hostname="localhost") as connection:
        connection.sendall(data)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except (ConnectionResetError, ssl.SSLEOFError):
            pass
        return answer


@pytest.mark.slow
@pytest.mark.parametrize("hello", [b"", b"\x16", bytes.fromhex("160301020001")])
def test_a_handshake_that_does_not_end_is_cut(secure: Server, hello: bytes) -> None:
    began = time.monotonic()
    with connected(secure) as connection:
        connection.sendall(hello)
        try:
            while connection.recv(100):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 8


@pytest.mark.slow
def test_limits_are_answered_through_tls(secure: Server) -> None:
    assert said(secure, b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 ")
    assert said(secure, request("/health", "X-Long: " + "*" * 9000)).startswith(b"HTTP/1.1 431 ")
    assert said(secure, request("/health", host="evil.example", method="POST")).startswith(b"HTTP/1.1 421 ")
    assert said(secure, upgrade("/ws/stream/x", "Cookie: " + "*" * 9000)).startswith(b"HTTP/1.1 431 ")
    chunks = request("/stream/request", "Transfer-Encoding: chunked", "Content-Type: application/json", method="POST")
    assert said(secure, chunks + (b"400\r\n" + b" " * 1024 + b"\r\n") * 10).startswith(b"HTTP/1.1 413 ")
