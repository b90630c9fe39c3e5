"""Candidates of WebRTC peers: which addresses may be tried from here (RFC 8445, 8839).

A peer names them, and whatever it names gets packets of ours, so none may lie where the peer itself could not reach.
Who is passed over can still connect: his own checks lead here, and are answered where they came from.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gateway.media.sources import Address, embedded, place_of

LEAST_PORT = 1024  # below are services: nobody's WebRTC sends from there
MOST_LOOKED = 64  # candidates of one message, beyond which none is looked at
TYPES = ("host", "srflx", "prflx", "relay")
_NUMBER = re.compile(r"[0-9]{1,10}")
_FOUNDATION = re.compile(r"[!-~]{1,64}")


class _Refused(Exception):
    """Its text is the reason."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    foundation: str
    priority: int
    address: Address
    port: int
    kind: str

    def __str__(self) -> str:
        return f"{self.foundation} 1 udp {self.priority} {self.address} {self.port} typ {self.kind}"


class Candidates:
    """What one peer may have tried, over its offer and all that trickles in later.

    `networks` open private ones; `client` is the address its requests come from; `own` tells this machine's, and is
    asked once for each message.
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
        self._here = False  # whether the client is on this machine
        self._own = own
        self._kept: set[tuple[Address, int]] = set()
        self.refused: Counter[str] = Counter()  # by reason

    def keep(self, values: Sequence[str]) -> list[str | None]:
        """What is passed on of each candidate of a message, by what follows `a=candidate:`; None: nothing.

        It is written anew from what was checked, so that nobody can read it as anything else. The same one twice
        counts once.
        """
        if not values:
            return []
        own = frozenset(self._own())
        self._here = self._client is not None and (self._client.is_loopback or str(self._client) in own)
        passed = [self._passed(value, own) for value in values[:MOST_LOOKED]]
        if unread := len(values) - len(passed):
            self.refused["too many"] += unread
        return passed + [None] * unread

    @property
    def suspicious(self) -> int:
        """How many it named that no honest peer has: to be noted. One on this machine has this machine's addresses."""
        harmless = ("name", "unused", "private", *(("own",) if self._here else ()))
        return sum(self.refused.values()) - sum(self.refused[reason] for reason in harmless)

    def _passed(self, value: str, own: Collection[str]) -> str | None:
        try:
            candidate = _read(value)
            self._check(candidate, own)
        except _Refused as refused:
            self.refused[str(refused)] += 1
            return None
        return str(candidate)

    def _check(self, candidate: _Candidate, own: Collection[str]) -> None:
        """Count it among those that are tried. Raises `_Refused`."""
        if candidate.port < LEAST_PORT:
            raise _Refused("port")
        self._check_place(embedded(candidate.address), own)
        end = (candidate.address, candidate.port)
        if end not in self._kept and len(self._kept) >= self._most:
            raise _Refused("too many")
        self._kept.add(end)

    def _check_place(self, address: Address, own: Collection[str]) -> None:
        place = place_of(address, own)
        if place == "special":
            raise _Refused("link-local, multicast or metadata")
        if place != "public" and not (place == "private" and self._opened(address)):
            raise _Refused(place)

    def _opened(self, address: Address) -> bool:
        """Whether the client asks from there, or the operator opened a network that it is in."""
        return address == self._client or any(address in network for network in self._networks)


def _read(value: str) -> _Candidate:
    """Names, as browsers make them up for mDNS, are never looked up. Raises `_Refused`."""
    parts = value.split(" ")
    if len(parts) < 8 or parts[6] != "typ" or parts[7] not in TYPES or not _NUMBER.fullmatch(parts[3]):
        raise _Refused("malformed")
    if parts[1] != "1" or parts[2].lower() != "udp":
        raise _Refused("unused")  # everything shares one component; candidates for TCP lead nowhere
    if not _FOUNDATION.fullmatch(parts[0]) or not _NUMBER.fullmatch(parts[5]) or int(parts[5]) > 65535:
        raise _Refused("malformed")
    address = _address(parts[4])
    if address is None:
        raise _Refused("name")
    return _Candidate(parts[0], int(parts[3]), address, int(parts[5]), parts[7])


def _address(text: str) -> Address | None:
    """An address in the one form that everybody reads alike; IPv6 without a zone, and without an IPv4 one mapped."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return None if address.scope_id is not None else address.ipv4_mapped or address
