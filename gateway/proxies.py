"""Proxies in front of the gateway: whose X-Forwarded-* headers are believed, and what they say."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


class Proxies:
    """A set of trusted addresses and networks. Raises `ValueError` for what is neither."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(item, strict=False) for item in trusted]
        self._known = lru_cache(1024)(self._contains)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: object) -> bool:
        return bool(self._networks) and isinstance(address, str) and len(address) < 64 and self._known(address)

    def _contains(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self._networks)

    def client_of(self, forwarded_for: str) -> str | None:
        """The client in an X-Forwarded-For: the last address that is no proxy of ours, since others are hearsay."""
        client = None
        for item in reversed(forwarded_for.split(",")):
            client = _address(item.strip())
            if client is None or client not in self:
                break
        return client


def prefix_of(forwarded: str) -> str | None:
    """A path prefix as root_path has it; None if it is not one."""
    prefix = forwarded.strip().rstrip("/")
    return prefix if not prefix or _PREFIX.fullmatch(prefix) else None


def _address(item: str) -> str | None:
    """`192.0.2.1`, `192.0.2.1:8080`, `2001:db8::1` or `[2001:db8::1]:8080`, without the port."""
    if item.startswith("["):
        item = item[1:].partition("]")[0]
    elif item.count(":") == 1:
        item = item.partition(":")[0]
    try:
        return str(ipaddress.ip_address(item))
    except ValueError:
        return None
