"""Candidates of WebRTC peers: which addresses may be tried from here (RFC 8445, 8839).

A peer names them, and whatever it names gets packets of ours, so none may lie where the peer itself could not reach.
Who is passed over can still connect: his own checks lead here, and are answered where they came from.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection

from gateway.media.sources import METADATA, Address, embedded

LEAST_PORT = 1024  # below are services: nobody's WebRTC sends from there
TYPES = ("host", "srflx", "prflx", "relay")
_NUMBER = re.compile(r"[0-9]{1,10}")


class Candidates:
    """What one peer may have tried, over its offer and all that trickles in later.

    `networks` open private ones; `client` is the address its requests come from; `own` tells this machine's.
    """

    def __init__(
        self,
        *,
        networks: Collection[str],
        most: int,
        client: str = "",
        own: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._networks = [ipaddress.ip_network(item, strict=False) for item in networks]
        self._most = most
        self._client = _address(client)
        self._own = own
        self._kept: set[tuple[str, str]] = set()
        self.refused: Counter[str] = Counter()  # by reason

    def keep(self, value: str) -> bool:
        """Whether a candidate is passed on, by what follows `a=candidate:`. The same one twice counts once."""
        parts = value.split(" ")
        reason = self._refusal(parts)
        if reason is None and (parts[4], parts[5]) not in self._kept:
            if len(self._kept) < self._most:
                self._kept.add((parts[4], parts[5]))
            else:
                reason = "too many"
        if reason is not None:
            self.refused[reason] += 1
        return reason is None

    @property
    def suspicious(self) -> int:
        """How many it named that no honest peer has: to be noted. One on this machine has this machine's addresses."""
        here = self._client is not None and (self._client.is_loopback or str(self._client) in self._own())
        harmless = ("name", "unused", "private", *(("own",) if here else ()))
        return sum(self.refused.values()) - sum(self.refused[reason] for reason in harmless)

    def _refusal(self, parts: list[str]) -> str | None:
        """Why it is not passed on; None: it is. Names, as browsers make them up for mDNS, are never looked up."""
        if len(parts) < 8 or parts[6] != "typ" or parts[7] not in TYPES or not _NUMBER.fullmatch(parts[3]):
            return "malformed"
        if parts[1] != "1" or parts[2].lower() != "udp":
            return "unused"  # everything shares one component; candidates for TCP lead nowhere
        if not _NUMBER.fullmatch(parts[5]) or int(parts[5]) > 65535:
            return "malformed"
        address = _address(parts[4])
        if address is None:
            return "name"
        return "port" if int(parts[5]) < LEAST_PORT else self._at(embedded(address))

    def _at(self, address: Address) -> str | None:
        if address.is_loopback or address.is_unspecified:
            return "loopback"
        if str(address) in self._own():
            return "own"
        if address.is_link_local or address.is_multicast or address in METADATA:
            return "link-local, multicast or metadata"
        if address == self._client or any(address in network for network in self._networks):
            return None
        if address.is_reserved or (address.version == 4 and int(address) >> 24 in (0, 255)):
            return "reserved"
        teredo = isinstance(address, ipaddress.IPv6Address) and address.teredo is not None
        return None if address.is_global and not teredo else "private"


def _address(text: str) -> Address | None:
    """An address in the one form that everybody reads alike; IPv6 without a zone."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None
