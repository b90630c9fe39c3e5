"""The listening socket. What is set on it, every accepted connection inherits."""

from __future__ import annotations

import socket

from gateway.limits import Limits


def bind(host: str, port: int, limits: Limits | None = None) -> socket.socket:
    """A listening socket whose accepted connections notice a dead peer by themselves. Raises `OSError`."""
    chosen = limits or Limits()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, chosen.send_buffer_bytes)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _tcp_options(chosen).items():
            if hasattr(socket, name):  # not every system has all of them
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind((host, port))
        listener.listen(chosen.backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _tcp_options(limits: Limits) -> dict[str, int]:
    return {
        "TCP_USER_TIMEOUT": round(limits.user_timeout_s * 1000),  # RFC 5482, in ms
        "TCP_KEEPIDLE": limits.tcp_idle_s,
        "TCP_KEEPINTVL": limits.tcp_interval_s,
        "TCP_KEEPCNT": limits.tcp_probes,
    }
