"""Admission: who may come in now. Connections by address, new sockets and streams by rate, all of it by descriptors.

A connection is a `Visit` from its accept to its end. Touched only on the event loop.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

from gateway.engine.rate import Allowance
from gateway.engine.refusals import REMEMBERED, Refusals
from gateway.errors import AtCapacity
from gateway.limits import Limits
from gateway.proxies import Proxies

IN_RESERVE = 8  # connections at once that may use descriptors of the reserve, so that /health is heard
CROWDED_S = 1.0  # what a connection has for its request when its address has too many without one
ENOUGH = 65536  # descriptors that are asked for, where there is no limit
LOOPBACK = ("127.", "::/64")
CROWD = 16  # times the limit of such connections, beyond which they are reset at once


class Visit:
    """One connection. `last`: it was let in for a single answer, /health or this code. `cut` ends it at once."""

    __slots__ = ("_admission", "_group", "_open", "_pending", "address", "cut", "last")

    def __init__(self, admission: Admission, address: str, group: str, last: str | None) -> None:
        self.address = address
        self.last = last
        self.cut: Callable[[], None] = _nothing
        self._admission = admission
        self._group = group
        self._open = True
        self._pending = True

    def settle(self) -> None:
        """It has shown that it means it: an answer to its request has begun, and is no refusal."""
        if self._pending:
            self._pending = False
            self._admission.settled(self._group)

    def end(self) -> None:
        if self._open:
            self._open = False
            self.settle()
            self._admission.left(self, self._group)

    @property
    def crowded(self) -> bool:
        """Whether its address has more connections without a request than it may."""
        return self._pending and self._admission.crowded(self._group)


class Admission:
    """What all connections share. `shed` is set while memory is short: new streams are refused with that word."""

    def __init__(self, limits: Limits, proxies: Proxies, *, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.proxies = proxies
        self.clock = clock
        self.refusals = Refusals(limits.log_repeat_s, clock=clock)
        self.shed: str | None = None
        self.connections = 0
        self.descriptors = 2**31  # the server says how many there are
        self._reserved: dict[Visit, bool] = {}  # those let in for one answer, and whether they have asked for it
        self._of: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self._shares: dict[str, Allowance] = {}
        self._tokens = Allowance(limits.admission_per_s, burst=limits.admission_burst)

    # --- connections -------------------------------------------------------------------------------------------------

    def enter(self, address: str, descriptor: int) -> Visit | None:
        """A new connection, the reason noted if it is none. Descriptors are given out from the lowest free one."""
        group = group_of(address)
        code = self._full(group)
        if code is not None:
            self.refusals.note(code, group)
            return None
        last = self._exhausted(descriptor)
        if last is not None:
            self.refusals.note(last, group, f"{self.connections} connections, descriptor {descriptor}")
            if len(self._reserved) >= IN_RESERVE and not self._make_room():
                return None
        self.connections += 1
        self._of[group] += 1
        self._pending[group] += 1
        visit = Visit(self, address, group, last)
        if last is not None:
            self._reserved[visit] = False
        return visit

    def _make_room(self) -> bool:
        """In the reserve, who has asked nothing makes way for who comes."""
        silent = next((visit for visit, asked in self._reserved.items() if not asked), None)
        if silent is not None:
            del self._reserved[silent]
            silent.cut()
        return silent is not None

    def asked(self, visit: Visit) -> None:
        """It has sent its request."""
        if visit in self._reserved:
            self._reserved[visit] = True

    def _full(self, group: str) -> str | None:
        if group in self.proxies:
            return None
        most = self.limits.max_connections_per_address
        if most and self._of[group] >= most:
            return "connections_per_address"
        most = self.limits.max_pending_per_address
        return "pending_per_address" if most and self._pending[group] >= CROWD * most else None

    def _exhausted(self, descriptor: int) -> str | None:
        if descriptor >= self.descriptors - self.limits.fd_reserve:
            return "fd_exhausted"
        return "connection_limit" if self.connections >= self.limits.max_connections else None

    def crowded(self, group: str) -> bool:
        most = self.limits.max_pending_per_address
        return bool(most) and self._pending[group] > most and group not in self.proxies

    def settled(self, group: str) -> None:
        _lower(self._pending, group)

    def left(self, visit: Visit, group: str) -> None:
        self.connections -= 1
        self._reserved.pop(visit, None)
        _lower(self._of, group)

    # --- sockets and streams -----------------------------------------------------------------------------------------

    def take(self, address: str, *, stream: bool) -> None:
        """A new socket, or a new stream. Raises `AtCapacity` with a time to come back, drawn by lot to spread them."""
        if self.shed is not None and stream:
            raise AtCapacity("memory is short: no new streams", code=self.shed, retry_after_s=self.retry_after_s())
        if self.limits.admission_per_s and not (self._share(group_of(address)) and self._tokens.take(self.clock())):
            detail = "too many come at once; come back later"
            raise AtCapacity(detail, code="too_many_at_once", retry_after_s=self.retry_after_s())

    def _share(self, group: str) -> bool:
        """Whether one address leaves enough for others. Of this machine, and of proxies, come many people's."""
        rate = self.limits.admission_per_address_s
        if not rate or group in self.proxies or group.startswith(LOOPBACK):
            return True
        if len(self._shares) >= REMEMBERED:  # whoever was here before has had a full share again, or gets one
            self._shares.clear()
        return self._shares.setdefault(group, Allowance(rate, burst=2 * rate)).take(self.clock())

    def retry_after_s(self) -> int:
        return 1 + secrets.randbelow(self.limits.retry_after_max_s)


@lru_cache(1024)
def group_of(address: str) -> str:
    """Who is counted together: an IPv4 address, or the /64 of an IPv6 one, of which a single host has 2^64."""
    if ":" not in address:
        return address
    try:
        whole = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if whole.ipv4_mapped:
        return str(whole.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(whole) >> 64 << 64, 64)))


def _nothing() -> None:
    pass


def _lower(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def most_descriptors() -> int:
    """Allow this process as many descriptors as it may have, and say how many that are."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**31
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and soft < ENOUGH:
        with suppress(ValueError, OSError):  # macOS has a limit it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, ENOUGH) if hard > 0 else ENOUGH, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31
