"""ICE as our peers speak it: aioice, but for what real clients and hostile datagrams need otherwise (RFC 8445).

- A binding request without PRIORITY, as ffmpeg's muxer sends it, counts as one with the least priority that a
  peer-reflexive candidate may have; aioice reads the attribute unasked and would drop the handshake (KeyError).
- Data counts only from an address that has passed a check of ours or theirs, and is queued up to a bound. Whoever
  finds the port could otherwise fill the memory, or end the peer with an empty datagram.
- Candidates of ours: the operator's addresses and ports, IPv4 first, because some clients try the first one only.
- Names (mDNS) are not looked up, and there is never an end of a peer's candidates: one that offers none is known by
  the checks it sends. Time alone says that no way leads to it.
"""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import random
import socket
from typing import Any, cast

import aioice.ice
from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol

from gateway.media.messages import RtcTerms

MOST_QUEUED = 1024  # datagrams between two turns of the loop
MOST_LOCAL = 8  # candidates of ours in an answer, so that it stays below the 8 KiB that ffmpeg reads
PORT_TRIES = 64
SERVERS_S = 1.5  # for STUN and TURN servers to answer
RECEIVE_BUFFER = 2**20


class Protocol(StunProtocol):
    """One socket of a connection. Nothing that comes over it raises."""

    receiver: IceConnection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        try:
            if not self.receiver.expects(cast(bytes, data), (addr[0], addr[1])):
                self.receiver.malformed += 1
                return
            super().datagram_received(data, addr)
        except Exception:  # noqa: BLE001 - whatever its bytes did to a parser
            self.receiver.malformed += 1


class IceConnection(Connection):
    """`malformed` counts datagrams that mean nothing or come from nobody we know."""

    terms = RtcTerms()  # the same for all of a process

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.malformed = 0

    # --- what comes in -----------------------------------------------------------------------------------------------

    def expects(self, data: bytes, addr: tuple[str, int]) -> bool:
        """Whether to look at a datagram: a STUN message, or data of somebody known (RFC 7983 section 7)."""
        if not data:
            return False
        if data[0] <= 3:
            return True
        known = (pair.remote_addr == addr for pair in self._check_list)
        return self._queue.qsize() < MOST_QUEUED and any(known)

    def data_received(self, data: bytes, component: int) -> None:
        if data[0] <= 3:  # looked like STUN, and is not
            self.malformed += 1
            return
        super().data_received(data, component)

    def check_incoming(self, message: Any, addr: tuple[str, int], protocol: StunProtocol) -> None:
        message.attributes.setdefault("PRIORITY", candidate_priority(1, "prflx", 0))
        known = any(c._network_host == addr[0] and c.port == addr[1] for c in self._remote_candidates)
        if known or len(self._remote_candidates) < max(1, self.terms.candidates):
            super().check_incoming(message, addr, protocol)

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        if remote_candidate is None or len(self._remote_candidates) >= self.terms.candidates:
            return
        try:
            ipaddress.ip_address(remote_candidate.host)
        except ValueError:  # a name
            return
        await super().add_remote_candidate(remote_candidate)

    # --- our candidates ----------------------------------------------------------------------------------------------

    async def gather_candidates(self) -> None:
        await super().gather_candidates()
        outside = [candidate for host in self.terms.hosts if (candidate := self._from_outside(host))]
        self._local_candidates[:0] = outside
        self._local_candidates.sort(key=_rank)
        del self._local_candidates[MOST_LOCAL:]

    def _from_outside(self, host: str) -> Candidate | None:
        """Our first candidate of that address family as it is seen under another address."""
        version = ipaddress.ip_address(host).version
        for candidate in self._local_candidates:
            if candidate.type == "host" and ipaddress.ip_address(candidate.host).version == version:
                outside = copy.copy(candidate)
                outside.host = host
                outside.foundation = candidate_foundation("host", "udp", host)
                return outside
        return None

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        ours = list(self.terms.addresses) or addresses
        protocols = [protocol for address in ours if (protocol := await self._bound(component, address))]
        self._protocols += protocols
        candidates = [protocol.local_candidate for protocol in protocols]
        relayed, *seen = await asyncio.gather(self._relayed(component), *map(self._seen_by_server, protocols))
        return [*candidates, *(candidate for found in seen for candidate in found), *relayed]

    async def _relayed(self, component: int) -> list[Candidate]:
        return await super().get_component_candidates(component, [], timeout=cast(int, SERVERS_S))

    async def _seen_by_server(self, protocol: StunProtocol) -> list[Candidate]:
        """Where it is seen from outside; nothing if no server tells."""
        if self.stun_server is None or ipaddress.ip_address(protocol.local_candidate.host).version != 4:
            return []
        try:
            async with asyncio.timeout(SERVERS_S):
                return [(await aioice.ice.server_reflexive_candidate(protocol, self.stun_server))[0]]
        except (OSError, aioice.stun.TransactionError, KeyError, ValueError):
            return []

    async def _bound(self, component: int, address: str) -> StunProtocol | None:
        """A socket at this address, on a port of the operator's range; None if there is none."""
        loop = asyncio.get_running_loop()
        for port in self._ports():
            try:
                transport, protocol = await loop.create_datagram_endpoint(
                    lambda: Protocol(self), local_addr=(address, port)
                )
            except OSError:
                continue
            taken = transport.get_extra_info("socket")
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            protocol.local_candidate = _host_candidate(component, *transport.get_extra_info("sockname")[:2])
            return protocol
        return None

    def _ports(self) -> list[int]:
        if not self.terms.port_min:
            return [0]
        ports = range(self.terms.port_min, self.terms.port_max + 1)
        return random.sample(ports, min(PORT_TRIES, len(ports)))


def _host_candidate(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


def _rank(candidate: Candidate) -> tuple[bool, bool]:
    return candidate.type != "host", ipaddress.ip_address(candidate.host).version != 4
