"""MediaWorker: one media child from its start to its end, with the streams it reads. Touched only on the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.engine.process import ChildProcess, WorkerDied
from gateway.engine.wire import BrokenWire
from gateway.media.messages import (
    MAX_JPEG,
    VERSION,
    Answer,
    Bye,
    Close,
    Counters,
    Gone,
    Hello,
    Open,
    Order,
    Packets,
    Ping,
    Pong,
    Report,
    Setup,
    Shot,
    Shown,
    Told,
    Wish,
    report,
    to_wire,
)
from gateway.media.peers import Switchboard
from gateway.media.sources import Source

log = logging.getLogger(__name__)

HELLO_S = 30.0
# What a child may reach: cameras, or this machine's files and devices, never both; or WebRTC peers; or what was granted
# to the plugins whose connectors it runs
Kind = Literal["network", "local", "peers", "plugin"]


class Receiver(Protocol):
    """Who pulls a source: gets its pictures and its state, and says what is wished. None: nothing any more, close."""

    def picture(self, shot: Shot, jpeg: bytes) -> None: ...
    def packets(self, packets: Packets, data: bytes) -> None: ...
    def told(self, told: Told) -> None: ...
    def wish(self, number: int) -> Wish | None: ...


@dataclass(slots=True, eq=False)
class Feed:
    """One pulled source, whatever child reads it at the moment."""

    number: int
    source: Source = field(repr=False)
    receiver: Receiver
    wish: Wish
    worker: MediaWorker | None = None
    counters: Counters = field(default_factory=Counters)
    deaths: list[float] = field(default_factory=list)  # when children died that read it
    stranded: bool = False  # no plugin reads its scheme, so far

    @property
    def kind(self) -> Kind:
        if self.source.kind == "plugin":
            return "plugin"
        return "local" if self.source.local else "network"


class MediaWorker:
    """One child and the feeds it reads. `run()` is its life; it ends by an exception, or when `leave()` was called."""

    def __init__(
        self, name: str, kind: Kind, setup: Setup, *, environment: Mapping[str, str], nice: int, ping_s: float
    ) -> None:
        self.name = name
        self.kind = kind
        self.feeds: dict[int, Feed] = {}
        self.switchboard = Switchboard(self)
        self.rss = 0
        self.born_at = self.busy_at = 0.0
        self.group = ""  # whose connectors it runs
        self.retiring = False  # it takes no more streams and ends after its last
        self.alone = False  # it reads one stream that others are kept away from
        self.stuck: Collection[int] = ()  # the streams that hung when it was ended for that
        self.confined: Mapping[str, str] = {}
        self._setup = setup
        self._ping_s = ping_s
        self._child = ChildProcess("media", environment=environment, nice=nice, name=name)
        self._up = False
        self._ponged = asyncio.Event()
        self._left = asyncio.Event()

    @property
    def idle(self) -> bool:
        return not (self.feeds or self.switchboard.peers)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    # --- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Raises `WorkerDied`."""
        try:
            await self._start()
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen())
                pinging = tasks.create_task(self._ping())
                await self._left.wait()
                listening.cancel()
                pinging.cancel()
        except* (WorkerDied, BrokenWire) as group:
            raise WorkerDied(str(group.exceptions[0])) from None
        finally:
            self.retiring = True
            up, self._up = self._up, False
            await self._child.close(to_wire(Bye()) if up and self._left.is_set() else None)

    def leave(self) -> None:
        """End it; whatever it still reads is lost."""
        self._left.set()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                await self._child.start()
                header, _ = await self._child.receive()
        except TimeoutError:
            raise WorkerDied(f"no hello within {HELLO_S:.0f} s") from None
        hello = report(header)
        if not isinstance(hello, Hello) or hello.version != VERSION:
            raise WorkerDied("it speaks another version of the media protocol")
        self.confined = hello.confined
        self._child.send(to_wire(self._setup))
        self._up = True
        for feed in self.feeds.values():
            self.order(Open(feed.number, feed.source, feed.wish))
        self.switchboard.begin()

    async def _listen(self) -> None:
        while True:
            header, payload = await self._child.receive(MAX_JPEG)
            self._hear(report(header), payload)

    async def _ping(self) -> None:
        """Raises `WorkerDied` if no answer comes before the next ping, or if a stream hangs in native code."""
        while True:
            self._ponged.clear()
            self.order(Ping())
            try:
                async with asyncio.timeout(2 * self._ping_s):
                    await self._ponged.wait()
            except TimeoutError:
                raise WorkerDied(f"no answer to a ping within {2 * self._ping_s:g} s") from None
            await asyncio.sleep(self._ping_s)

    # --- talking -----------------------------------------------------------------------------------------------------

    def _hear(self, said: Report, payload: bytes) -> None:
        match said:
            case Shot() if feed := self.feeds.get(said.number):
                feed.receiver.picture(said, payload)
            case Told() if feed := self.feeds.get(said.number):
                feed.receiver.told(said)
            case Packets() if feed := self.feeds.get(said.number):
                feed.receiver.packets(said, payload)
            case Shot():
                self.switchboard.shot(said, payload)
            case Told():
                self.switchboard.told(said)
            case Answer():
                self.switchboard.answered(said)
            case Shown():
                self.switchboard.shown(said)
            case Pong():
                self._note(said)
            case Gone():
                pass  # a feed is forgotten when its `Close` is sent

    def _note(self, pong: Pong) -> None:
        self.rss = pong.rss
        for number, counters in pong.streams.items():
            if feed := self.feeds.get(number):
                feed.counters = counters
        self.switchboard.note(pong.streams)
        if pong.stuck:
            self.stuck = pong.stuck
            raise WorkerDied(f"reading hangs in {len(pong.stuck)} of its streams")
        self._ponged.set()

    def order(self, order: Order, *payload: bytes) -> None:
        """Say something to the child, if it is up. That it has gone is for `run` to say."""
        if self._up:
            try:
                self._child.send(to_wire(order), *payload)
            except WorkerDied:
                self.retiring = True  # who comes now goes elsewhere

    @property
    def unsent(self) -> int:
        """Bytes that the child has not yet taken."""
        return self._child.unsent

    # --- streams -----------------------------------------------------------------------------------------------------

    def adopt(self, feed: Feed) -> None:
        """Read this one from now on."""
        feed.worker, feed.counters = self, Counters()
        self.feeds[feed.number] = feed
        self.order(Open(feed.number, feed.source, feed.wish))

    def forget(self, feed: Feed) -> None:
        """Read it no more."""
        if self.feeds.pop(feed.number, None) is not None:
            feed.worker = None
            self.order(Close(feed.number))

    def renew(self, feed: Feed, wish: Wish) -> None:
        """Tell what is wished of it, if that is something else."""
        if wish != feed.wish:
            feed.wish = wish
            self.order(wish)
