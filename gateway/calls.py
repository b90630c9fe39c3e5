"""Calls: WebRTC connections as the gateway's HTTP edge has them, each from its offer to its end.

What is sent over one, and in which direction, is for `connectors.whip` and `sinks.whep` to say. Touched only on the
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

from gateway.credentials import Credential
from gateway.engine.admission import group_of
from gateway.engine.session import Session
from gateway.errors import AtCapacity, NotFound, TooFast
from gateway.ice import Candidates
from gateway.media.dial import own_addresses
from gateway.media.messages import Shot, Told, Wish
from gateway.media.peers import Peer
from gateway.sdp import Direction, check_tag, read_fragment
from gateway.webrtc_rules import Webrtc

log = logging.getLogger(__name__)

PREFIX = "fgw_"  # by which logs know that the rest is nobody's business
REMEMBERED = 4096  # calls that have ended, whose clients may still hang up


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose call it is: the address he asks from, and the credentials that he was let in by."""

    address: str
    credentials: Collection[Credential] = ()
    left_s: float | None = None  # until the first of them expires


class Call:
    """One WebRTC connection, the receiver of its peer. It holds its session's lease as a socket does."""

    direction: ClassVar[Direction]
    word: ClassVar[str]  # what its addresses end with

    def __init__(self, session: Session, visitor: Visitor, calls: Calls) -> None:
        self.id = PREFIX + secrets.token_urlsafe(24)
        self.tag = f'"{secrets.token_hex(8)}"'
        self.session = session
        self.visitor = visitor
        self.over = False
        self.parting = False  # it is over, but its peer has not yet heard the last words
        self.online = asyncio.Event()  # also set when it is over
        rules = session.settings.webrtc
        self.candidates = Candidates(
            networks=rules.networks, most=rules.candidates, client=visitor.address, own=own_addresses
        )
        self.ufrag = ""
        self.noted = 0  # candidates that were refused and are in the log
        self.peer: Peer | None = None
        self._calls = calls
        self._alarm: asyncio.TimerHandle | None = None

    # --- coming and going --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take a place among the calls, and on the stream. Raises the `GatewayError` that says why there is none."""
        self.session.check_live()  # it may have ended while the offer came
        self._calls.add(self)
        with ExitStack() as undo:  # whatever it is that goes wrong
            undo.callback(self._calls.remove, self)
            undo.callback(self.leave)
            self.join()
            undo.pop_all()
        self.session.lease.join()
        self.session.changed.set()
        for credential in self.visitor.credentials:
            credential.holders.add(self.revoked)
        if self.visitor.left_s is not None:
            self._alarm = asyncio.get_running_loop().call_later(self.visitor.left_s, self.revoked)

    def join(self) -> None:
        """Be a viewer of the session, or see that it can be published to. Raises `GatewayError`."""
        raise NotImplementedError

    def take(self) -> None:
        """Its offer has been answered: from now on it may displace another one. Raises `GatewayError`."""

    def leave(self) -> None:
        """Be neither any more."""
        raise NotImplementedError

    def end(self, why: str) -> None:
        """Hang up, if it has not ended; nothing of it is left afterwards."""
        if self.over:
            return
        self.over = True
        self.online.set()
        log.info("stream %s: %s ended: %s", self.session.id, self.word, why)
        if self._alarm is not None:
            self._alarm.cancel()
        for credential in self.visitor.credentials:
            credential.holders.discard(self.revoked)
        self._calls.remove(self)
        self.leave()
        self.session.lease.leave(self._calls.clock())
        self.session.changed.set()
        if self.peer is not None:
            self.part(self.peer)

    def part(self, peer: Peer) -> None:
        """Hang up."""
        peer.close()

    def revoked(self) -> None:
        """The credential that it came by holds no more."""
        self.end("its credential holds no more")

    # --- what the client asks by HTTP --------------------------------------------------------------------------------

    def trickle(self, fragment: str, if_match: str | None) -> None:
        """More candidates of the client. Raises `BadMessage`, `BadOffer` or `StaleTag`."""
        check_tag(self.tag, if_match)
        checked = read_fragment(fragment, self.ufrag, self.candidates.keep)
        if checked is not None and self.peer is not None:
            self.peer.trickle(checked)

    # --- what its peer tells -----------------------------------------------------------------------------------------

    def picture(self, shot: Shot, jpeg: bytes) -> None:
        """Only a publisher's peer has some."""

    def told(self, told: Told) -> None:
        """The peer is in another state."""
        match told.state:
            case "online" if not self.over:
                log.info("stream %s: %s is connected, %s", self.session.id, self.word, told.codec or "no codec told")
                self.online.set()
                self.session.changed.set()
            case "lost" | "ended" | "auth_failed":
                self.peer = None
                self.end(told.detail or told.state)

    def wish(self, number: int) -> Wish | None:
        """What is wished of the peer now; None: nothing any more, it has ended."""
        if self.session.reason is not None:
            self.end("the stream has ended")
        return self.wished(number) if not self.over or self.parting else None

    def wished(self, number: int) -> Wish:
        return Wish(number)


class Calls:
    """All of one gateway, by the end of their addresses, which nobody can guess."""

    def __init__(self, rules: Webrtc, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._rules = rules
        self._calls: dict[str, Call] = {}
        self._of: Counter[str] = Counter()
        self._ended: OrderedDict[str, tuple[str, type[Call]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        """Raises `AtCapacity`, or `TooFast` when one address has too many."""
        group, most = group_of(call.visitor.address), self._rules.max_peers_per_address
        if len(self._calls) >= self._rules.max_peers:
            raise AtCapacity("as many WebRTC clients are connected as may be", code="peer_limit", retry_after_s=5)
        if most and self._of[group] >= most:
            raise TooFast(
                "this address has as many WebRTC clients as it may", code="peers_per_address", retry_after_s=5
            )
        self._calls[call.id] = call
        self._of[group] += 1

    def remove(self, call: Call) -> None:
        del self._calls[call.id]
        self._ended[call.id] = (call.session.id, type(call))
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        group = group_of(call.visitor.address)
        self._of[group] -= 1
        if not self._of[group]:
            del self._of[group]

    def hang_up(self, call_id: str, stream_id: str, kind: type[Call]) -> None:
        """End a call. Many clients close their connection first, so it may be over by now. Raises `NotFound`."""
        if self._ended.get(call_id) != (stream_id, kind):
            self.get(call_id, stream_id, kind).end("by its client")

    def get(self, call_id: str, stream_id: str, kind: type[Call]) -> Call:
        """A call of this kind on this stream. Raises `NotFound`."""
        call = self._calls.get(call_id)
        if call is None or call.session.id != stream_id or not isinstance(call, kind):
            raise NotFound("there is no such WebRTC session, or it has ended")
        return call
