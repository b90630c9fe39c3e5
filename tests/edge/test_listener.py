"""What is set on the listening socket holds for every connection that it accepts."""

from __future__ import annotations

import socket
import sys

import pytest

from gateway.limits import Limits
from gateway.listener import bind

CHOSEN = Limits(user_timeout_s=7.5, tcp_idle_s=11, tcp_interval_s=5, tcp_probes=4, send_buffer_bytes=8192)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other options")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_accepted_connection_has_the_options_of_the_limits(host: str) -> None:
    try:
        listener = bind(host, 0, CHOSEN)
    except OSError as error:
        pytest.skip(f"{host}: {error}")
    with listener, socket.create_connection(listener.getsockname()[:2], timeout=5):
        accepted, _ = listener.accept()
        with accepted:
            names = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
            held = {name: accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
            assert held == {"TCP_USER_TIMEOUT": 7500, "TCP_KEEPIDLE": 11, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 8192  # the kernel doubles it
