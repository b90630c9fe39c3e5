"""All WebRTC peers of a media child, and the channels that its viewers watch. Touched on the loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Event
from typing import Any

from gateway.media.errors import SourceError
from gateway.media.messages import Answer, Counters, Hangup, Meet, Say, Setup, Show, Shown, Trickle, Wish
from gateway.media.rtc_outbox import Outbox
from gateway.media.rtc_peer import Publisher, RtcPeer, Viewer
from gateway.media.rtc_show import Channel
from gateway.media.rtc_stack import install


class Peers:
    """`counters` may be called by any thread. `nobody` is set when the last peer has ended."""

    def __init__(self, setup: Setup, outbox: Outbox) -> None:
        self._setup = setup
        self._outbox = outbox
        self._peers: dict[int, RtcPeer] = {}
        self._channels: dict[str, Channel] = {}
        self.nobody = Event()
        self._tasks: set[asyncio.Task[None]] = set()
        install(setup.rtc)

    def counters(self) -> dict[int, Counters]:
        return {number: peer.counters() for number, peer in list(self._peers.items())}

    def obey(self, said: Meet | Trickle | Hangup | Wish | Say) -> None:
        if isinstance(said, Meet):
            self._begin(said)
        elif peer := self._peers.get(said.number):
            match said:
                case Trickle():
                    self._soon(peer.trickle(said.fragment))
                case Hangup():
                    peer.end()
                case Wish():
                    peer.renew(said)
                case Say():
                    peer.say(said.text)

    def show(self, said: Show, jpeg: bytes) -> None:
        if said.channel in self._watched():
            self._channel(said.channel).show(said, jpeg)
        else:  # its last viewer has just gone
            self._outbox.tell(Shown(said.channel, said.seq))

    def end_all(self) -> None:
        """Say goodbye to everybody."""
        if not self._peers:
            self.nobody.set()
        for peer in list(self._peers.values()):
            peer.end()

    def _watched(self) -> set[str]:
        return {peer.channel for peer in self._peers.values() if isinstance(peer, Viewer)}

    def _channel(self, name: str) -> Channel:
        channel = self._channels.get(name)
        if channel is None or channel.broken:
            channel = self._channels[name] = Channel(name, self._setup.rtc, self._outbox.tell)
        return channel

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_event_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, said: Meet) -> None:
        peer = self._peers[said.number] = self._peer(said)  # known at once: what is said next may be to hang up
        self.nobody.clear()
        self._soon(self._meet(peer))

    async def _meet(self, peer: RtcPeer) -> None:
        try:
            self._outbox.tell(Answer(peer.number, await peer.answer()))
        except SourceError as error:
            self._outbox.tell(Answer(peer.number, None, error.code, error.detail))
            peer.end()
        else:
            peer.begin()

    def _peer(self, said: Meet) -> RtcPeer:
        if said.offer.direction == "in":
            return Publisher(said, self._setup, self._outbox, self._gone)
        name = said.offer.channel
        return Viewer(said, self._setup, self._outbox, self._gone, lambda: self._channel(name))

    def _gone(self, number: int) -> None:
        peer = self._peers.pop(number, None)
        if not self._peers:
            self.nobody.set()
        if isinstance(peer, Viewer):
            for name in set(self._channels) - self._watched():
                self._channels.pop(name).close()
