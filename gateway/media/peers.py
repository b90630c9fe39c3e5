"""Peers: WebRTC connections as the gateway sees them. What speaks WebRTC is a media child (kind "peers").

A viewer (`Offer.direction` "out") opens a data channel `results` itself, in its offer; texts go there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from gateway.media.errors import Code, SourceError
from gateway.media.messages import (
    Answer,
    Counters,
    Hangup,
    IceServer,
    Meet,
    Offer,
    Say,
    Shot,
    Show,
    Shown,
    Told,
    Trickle,
    Wish,
)

if TYPE_CHECKING:
    from gateway.media.worker import MediaWorker

log = logging.getLogger(__name__)

__all__ = ["IceServer", "Offer", "Peer", "PeerReceiver"]


class PeerReceiver(Protocol):
    """Who has a peer: gets its pictures (WHIP) and its state, and says what is wished. None: hang up.

    States: `connecting`, `online` (a publisher's first picture has come, a viewer's way is open), and at its end once
    `lost` with a code, or `ended` when it left by itself. A peer that was closed is told no more.
    """

    def picture(self, shot: Shot, jpeg: bytes) -> None: ...
    def told(self, told: Told) -> None: ...
    def wish(self, number: int) -> Wish | None: ...


class Peer:
    """One WebRTC connection, made by `MediaPool.offer`. Nothing here waits; after its end it does nothing."""

    def __init__(self, number: int, offer: Offer, receiver: PeerReceiver, wish: Wish) -> None:
        self.number = number
        self.offer = offer
        self.receiver = receiver
        self.wish = wish
        self.answer = ""
        self.counters = Counters()
        self.worker: MediaWorker | None = None
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def trickle(self, fragment: str) -> None:
        """More of its candidates, checked by the caller (RFC 8840)."""
        if self.worker is not None:
            self.worker.switchboard.trickle(self, fragment)

    def close(self) -> None:
        """Hang up."""
        if self.worker is not None:
            self.worker.switchboard.hang_up(self)

    def show(self, jpeg: bytes, seq: int, captured_us: int | None) -> None:
        """A picture for a viewer. Its channel's other viewers may show the same `seq`: it is sent once. Newest wins."""
        if self.worker is not None:
            self.worker.switchboard.show(self, Show(self.offer.channel, seq, captured_us), jpeg)

    def tell(self, text: str) -> None:
        """A text for a viewer, dropped if it is slow or has no data channel."""
        if self.worker is not None:
            self.worker.switchboard.say(self, text)


@dataclass(slots=True)
class _Screen:
    """What one channel shows: the last picture that went to the child, and the newest that waits for it."""

    sent: int = -1
    busy: bool = False
    waiting: tuple[Show, bytes] | None = None


class Switchboard:
    """The peers of one media child."""

    MOST_TEXT = 2**20  # bytes not yet taken by the child, beyond which texts are dropped

    def __init__(self, worker: MediaWorker) -> None:
        self.peers: dict[int, Peer] = {}
        self._screens: dict[str, _Screen] = {}
        self._worker = worker
        self._malformed = 0  # of peers that are over

    @property
    def channels(self) -> set[str]:
        """What its viewers watch."""
        return {peer.offer.channel for peer in self.peers.values() if peer.offer.direction == "out"}

    # --- what the gateway wants --------------------------------------------------------------------------------------

    def adopt(self, peer: Peer) -> None:
        peer.worker = self._worker
        self.peers[peer.number] = peer
        self._worker.order(Meet(peer.number, peer.offer, peer.wish))

    def begin(self) -> None:
        """The child is up: it hears of the peers that were adopted before."""
        for peer in self.peers.values():
            self._worker.order(Meet(peer.number, peer.offer, peer.wish))

    def trickle(self, peer: Peer, fragment: str) -> None:
        self._worker.order(Trickle(peer.number, fragment))

    def hang_up(self, peer: Peer) -> None:
        self._worker.order(Hangup(peer.number))
        self._forget(peer)

    def ask(self) -> None:
        """What is wished of each now; who is wished for no more is hung up."""
        for peer in list(self.peers.values()):
            self._guarded(peer, partial(self._renew, peer))

    def _renew(self, peer: Peer) -> None:
        wish = peer.receiver.wish(peer.number)
        if wish is None:
            peer.close()
        elif wish != peer.wish:
            peer.wish = wish
            self._worker.order(wish)

    def _guarded(self, peer: Peer, act: Callable[[], None]) -> None:
        """A defect of ours costs this peer, not the gateway."""
        try:
            act()
        except Exception:
            log.exception("WebRTC peer %d: broke, and is hung up", peer.number)
            peer.close()

    def show(self, peer: Peer, show: Show, jpeg: bytes) -> None:
        screen = self._screens.setdefault(show.channel, _Screen())
        newest = screen.waiting[0].seq if screen.waiting else screen.sent
        if show.seq <= newest:
            return
        if screen.busy:
            screen.waiting = show, jpeg
        else:
            self._send(screen, show, jpeg)

    def _send(self, screen: _Screen, show: Show, jpeg: bytes) -> None:
        screen.sent, screen.busy, screen.waiting = show.seq, True, None
        self._worker.order(show, jpeg)

    def say(self, peer: Peer, text: str) -> None:
        if self._worker.unsent <= self.MOST_TEXT:
            self._worker.order(Say(peer.number, text))

    def _forget(self, peer: Peer) -> None:
        if self.peers.pop(peer.number, None) is not None:
            self._malformed += peer.counters.malformed
        peer.worker = None
        if peer.offer.channel not in self.channels:
            self._screens.pop(peer.offer.channel, None)

    # --- what the child says -----------------------------------------------------------------------------------------

    def shot(self, shot: Shot, jpeg: bytes) -> None:
        if peer := self.peers.get(shot.number):
            peer.receiver.picture(shot, jpeg)

    def told(self, told: Told) -> None:
        """`lost` and `ended` are the last that is heard of a peer."""
        if (peer := self.peers.get(told.number)) is None:
            return
        if told.state in ("lost", "ended"):
            self._forget(peer)
        peer.receiver.told(told)

    def answered(self, answer: Answer) -> None:
        peer = self.peers.get(answer.number)
        if peer is not None and not peer.answered.done():
            peer.answered.set_result(answer)

    def shown(self, shown: Shown) -> None:
        screen = self._screens.get(shown.channel)
        if screen is None or shown.seq != screen.sent:
            return
        screen.busy = False
        if screen.waiting:
            self._send(screen, *screen.waiting)

    @property
    def malformed(self) -> int:
        """Datagrams that meant nothing, of all its peers so far."""
        return self._malformed + sum(peer.counters.malformed for peer in self.peers.values())

    def note(self, counters: dict[int, Counters]) -> None:
        for number, counted in counters.items():
            if peer := self.peers.get(number):
                peer.counters = counted

    def died(self, *, over: bool) -> int:
        """The child is gone, and its peers with it: nobody can move a WebRTC connection. How many there were.

        `over`: it was meant to go, and has said goodbye to them.
        """
        peers = list(self.peers.values())
        self.peers.clear()
        self._screens.clear()
        error: tuple[Code, str] = "media_child", "the process that held the peer died"
        for peer in peers:
            peer.worker = None
            if peer.answered.done():
                last = Told(peer.number, "ended") if over else Told(peer.number, "lost", *error)
                self._guarded(peer, partial(peer.receiver.told, last))
            else:
                peer.answered.set_exception(SourceError(*error))
        return len(peers)
