"""Peers that hold or send too much: what they take from the gateway is bounded, and nobody else notices."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.edge.conftest import limits
from tests.edge.raw import ASK, BINARY, CLOSE, PING, TEXT, Wire, ask, frame, open_socket, request, upgrade, wire
from tests.server import SERVE, Server, eventually, running

pytestmark = pytest.mark.e2e

MIB = 2**20


def is_cut(connection: Wire) -> bool:
    """Whether the server has ended it, without waiting."""
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.socket.settimeout(20)


def heard(connections: list[Wire]) -> int:
    return sum(not is_cut(connection) for connection in connections)


@contextmanager
def many(server: Server, count: int, said: bytes = b"") -> Iterator[list[Wire]]:
    with ExitStack() as stack:
        yield [stack.enter_context(wire(server)).send(said) for _ in range(count)]


# --- pings -----------------------------------------------------------------------------------------------------------


def test_who_pings_and_takes_no_pong_is_reset(tight: Server) -> None:
    path = f"/ws/stream/{tight.open(grace_s=60)}"
    before = tight.metric("framegate_rejected_total", code="ws_control_flood")
    process = psutil.Process(tight.process.pid)
    with open_socket(tight.address, path, receive_buffer=4096) as flood:
        memory, sent = process.memory_info().rss, 0
        pings = frame(PING, bytes(120)) * 500
        try:
            while sent < 64 * MIB:
                flood.socket.sendall(pings)
                sent += len(pings)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 64 * MIB
        assert process.memory_info().rss - memory < 4 * MIB
    assert tight.metric("framegate_rejected_total", code="ws_control_flood") == before + 1


def test_who_takes_his_pongs_may_ping_all_day(tight: Server) -> None:
    with open_socket(tight.address, f"/ws/stream/{tight.open()}") as polite:
        for _ in range(200):
            polite.send(frame(PING, b"still there?") * 5)
            for _ in range(5):
                assert polite.outcome() == "open"


# --- deflate ---------------------------------------------------------------------------------------------------------


def test_a_compressed_message_is_never_inflated(tight: Server) -> None:
    import zlib

    squeeze = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = squeeze.compress(bytes(16 * MIB)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    process = psutil.Process(tight.process.pid)
    memory = process.memory_info().rss
    with wire(tight) as connection:
        connection.send(upgrade(f"/ws/stream/{tight.open()}", "Sec-WebSocket-Extensions: permessage-deflate"))
        assert b"deflate" not in connection.until(b"\r\n\r\n")
        assert connection.send(frame(BINARY, bomb[:-4], rsv=4)).outcome() == "1002"
    assert process.memory_info().rss - memory < 4 * MIB


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """At most 20 connections of an address, 4 of them without a request."""
    settings = limits(MAX_CONNECTIONS_PER_ADDRESS="20", MAX_PENDING_PER_ADDRESS="4", HEADER_S="30", KEEP_ALIVE_S="30")
    with running(tmp_path_factory.mktemp("crowded"), **settings) as server:
        yield server


def test_of_one_address_few_connections_may_wait_without_a_request(crowded: Server) -> None:
    with many(crowded, 12) as silent:
        eventually(lambda: heard(silent) == 4)
        assert ask(crowded, request("/health")).status == 200
    assert crowded.metric("framegate_rejected_total", code="http_slow") == 8
    eventually(lambda: crowded.metric("framegate_connections") == 1)


def test_connections_of_one_address_are_limited_and_another_one_is_welcome(crowded: Server) -> None:
    with many(crowded, 30, request("/health")) as busy:
        eventually(lambda: heard(busy) <= 20)
        assert heard(busy) >= 18  # the test's own client has one too
        with Wire(crowded.address, source="127.0.0.77") as other:
            assert other.send(request("/health")).answer().status == 200
    eventually(lambda: crowded.metric("framegate_connections") == 1)
    assert crowded.metric("framegate_rejected_total", code="connections_per_address") >= 10


@pytest.mark.slow
def test_a_trusted_proxy_is_not_one_client(tmp_path: Path) -> None:
    settings = limits(MAX_CONNECTIONS_PER_ADDRESS="5", MAX_PENDING_PER_ADDRESS="1")
    with (
        running(tmp_path, FRAMEGATE_TRUSTED_PROXIES='["127.0.0.1"]', **settings) as server,
        many(server, 30, request("/health")) as clients,
    ):
        assert [client.answer().status for client in clients] == [200] * 30


@pytest.mark.slow
def test_too_many_new_streams_and_sockets_are_told_to_come_back(tmp_path: Path) -> None:
    with running(tmp_path, **limits(ADMISSION_PER_S="0.001", ADMISSION_BURST="3")) as server:
        path = f"/ws/stream/{server.open()}"
        with open_socket(server.address, path) as accepted, open_socket(server.address, path):
            refused = [ask(server, upgrade(path)) for _ in range(20)]
            refused += [ask(server, request("/stream/request", "Content-Length: 0", method="POST")) for _ in range(20)]
            assert {(answer.status, answer.code) for answer in refused} == {(503, "too_many_at_once")}
            waits = {int(answer.headers["retry-after"]) for answer in refused}
            assert waits <= set(range(1, 31))
            assert len(waits) > 5
            assert accepted.send(ASK).outcome() == "open"
            assert ask(server, request("/health")).status == 200
        assert server.metric("framegate_rejected_total", code="too_many_at_once") == 40


# --- descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_descriptors_health_answers_and_it_recovers(tmp_path: Path) -> None:
    few = ("/bin/sh", "-c", 'ulimit -n 150; exec "$@"', "sh", *SERVE)
    settings = limits(MAX_PENDING_PER_ADDRESS="0", HEADER_S="30")
    with running(tmp_path, command=few, **settings) as server:
        with many(server, 200) as silent:
            eventually(lambda: heard(silent) < 150)
            assert ask(server, request("/health")).status == 200
            full = ask(server, request("/stream"))
            assert (full.status, full.code, full.headers["connection"]) == (503, "fd_exhausted", "close")
            assert ask(server, upgrade("/ws/stream/x")).code == "fd_exhausted"
            left = 150 - psutil.Process(server.process.pid).num_fds()
            assert left >= 16
        assert eventually(lambda: ask(server, request("/stream")).status == 200)
        assert "fd_exhausted" in server.log
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_beyond_the_limit_of_connections_health_answers(tmp_path: Path) -> None:
    settings = limits(MAX_CONNECTIONS="16", MAX_PENDING_PER_ADDRESS="0", HEADER_S="30")
    with running(tmp_path, **settings) as server, many(server, 16):
        assert ask(server, request("/health")).status == 200
        full = ask(server, request("/stream"))
        assert (full.status, full.code) == (503, "connection_limit")


@pytest.mark.parametrize("fault", [frame(TEXT, b"\xff"), frame(TEXT, fin=False) + frame(0, fin=False) * 64])
def test_a_ping_behind_what_ended_the_connection_loses_not_the_last_word(tight: Server, fault: bytes) -> None:
    path = f"/ws/stream/{tight.open(grace_s=60)}"
    with open_socket(tight.address, path) as peer:
        said = peer.send(fault + frame(PING, b"1")).rest() or b""
    assert frame(CLOSE)[:1] in said
    assert "Traceback" not in tight.log
