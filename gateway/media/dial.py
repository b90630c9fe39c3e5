"""Dial: the one place where a media child opens a connection. The name is looked up once, every address is checked, and
the connection goes to an address that was.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Thread

import psutil

from gateway.media.errors import SourceError
from gateway.media.messages import Setup
from gateway.media.sources import Rules, Source

MOST_ADDRESSES = 4  # of one name that are tried
LOOKUP_S = 5.0
MOST_BEFORE = 2**25  # bytes of a connection before a picture is complete: demuxers keep them all

Lookup = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection. `address` is the one it goes to."""

    socket: socket.socket
    address: str

    @property
    def closed(self) -> bool:
        return self.socket.fileno() < 0

    def cut(self) -> None:
        """End it from another thread: whoever reads from it wakes up. Its owner closes it."""
        with suppress(OSError):  # that of TLS would have it go on in the open
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


def own_addresses() -> set[str]:
    """This machine's addresses on all its networks."""
    found = (address.address for card in psutil.net_if_addrs().values() for address in card)
    return {address.partition("%")[0] for address in found}


def rules_of(setup: Setup) -> Rules:
    return Rules(setup.networks, setup.endpoints, setup.own_port, own_addresses)


def looked_up(host: str, port: int) -> list[str]:
    """Every address of a name, the system's favourite first. Raises `SourceError`, within `LOOKUP_S`."""
    with suppress(ValueError):
        return [str(ip_address(host))]
    answers: SimpleQueue[list[str]] = SimpleQueue()

    def ask() -> None:  # a resolver has no deadline of its own, or one of minutes
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        answers.put(list(dict.fromkeys(str(item[4][0]) for item in found)))

    Thread(target=ask, name="lookup", daemon=True).start()
    try:
        addresses = answers.get(timeout=LOOKUP_S)
    except Empty:
        raise SourceError("resolve", f"nobody says within {LOOKUP_S:g} s what the name {host} is") from None
    if not addresses:
        raise SourceError("resolve", f"the name {host} is not known")
    return addresses


def dial(source: Source, setup: Setup, *, lookup: Lookup = looked_up) -> Line:
    """Connect to a source within `open_s`. Raises `SourceError`."""
    addresses = lookup(source.host, source.port)
    if not source.trusted:
        rules_of(setup).check_all(addresses, source.port)
    deadline = time.monotonic() + setup.open_s
    error = SourceError("connect", "the source has no address")
    for address in addresses[:MOST_ADDRESSES]:
        try:
            return _connected(source, address, setup, deadline)
        except SourceError as failed:
            error = failed
    raise error


def _connected(source: Source, address: str, setup: Setup, deadline: float) -> Line:
    try:
        plain = socket.create_connection((address, source.port), max(0.1, deadline - time.monotonic()))
    except ConnectionRefusedError:
        raise SourceError("refused", f"nobody listens at {source.authority}") from None
    except TimeoutError:
        raise SourceError("timeout", f"no connection to {source.authority} within {setup.open_s:g} s") from None
    except OSError as failed:
        raise SourceError("connect", f"no way to {source.authority}: {failed.strerror}") from None
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = Line(_wrapped(plain, source, setup, max(0.1, deadline - time.monotonic())) if source.tls else plain, address)
    line.socket.settimeout(setup.read_s)
    return line


def _wrapped(plain: socket.socket, source: Source, setup: Setup, patience_s: float) -> ssl.SSLSocket:
    plain.settimeout(patience_s)  # of the handshake as a whole
    try:
        context = ssl.create_default_context(cafile=setup.tls_ca or None)
    except OSError as failed:  # ssl.SSLError is one
        plain.close()
        raise SourceError("tls", f"media.tls_ca cannot be used: {failed.strerror or 'it holds none'}") from None
    try:
        if not setup.tls_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=source.host)
    except ssl.SSLCertVerificationError as failed:
        plain.close()
        remedy = "name its issuer in media.tls_ca, or set media.tls_verify = false"
        raise SourceError("tls", f"the certificate does not hold: {failed.verify_message}; {remedy}") from None
    except TimeoutError:
        plain.close()
        raise SourceError("timeout", f"no TLS handshake within {setup.open_s:g} s") from None
    except (OSError, ValueError) as failed:
        plain.close()
        raise SourceError("tls", f"no TLS connection: {getattr(failed, 'reason', None) or 'it was closed'}") from None
