"""Whether a port can be listened on, and whether a gateway is what listens there."""

from __future__ import annotations

import errno
import socket


def is_free(host: str, port: int) -> bool:
    """Whether a server could bind there now. Raises `SystemExit` for an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise SystemExit(f"cannot listen on {host}: {error.strerror or error}") from None
    return True


def next_free(host: str, first: int) -> int:
    """The first free port from `first` on. Raises `SystemExit` when a hundred in a row are taken."""
    for port in range(first, min(first + 100, 65536)):
        if is_free(host, port):
            return port
    raise SystemExit(f"no free port from {first} on; name another with --port")


def is_framegate(host: str, port: int) -> bool:
    """Whether the one who listens there answers as a gateway."""
    import httpx2

    name = f"[{host}]" if ":" in host else host
    try:
        answer = httpx2.get(f"http://{name}:{port}/health", timeout=2.0)
        return answer.status_code == 200 and "database" in answer.json()
    except (httpx2.HTTPError, ValueError):
        return False
