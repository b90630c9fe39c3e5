"""MediaPool: the media children of a gateway. Starts them when there is work, spreads streams over them, starts anew
what died, and moves streams away from a child that grew too large. Touched only on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.environment import worker_environment
from gateway.engine.plugins import PluginSpec
from gateway.engine.process import WorkerDied
from gateway.media.errors import SourceError
from gateway.media.messages import RtcTerms, Setup, Told
from gateway.media.peers import Offer, Peer, PeerReceiver
from gateway.media.sources import Source
from gateway.media.worker import Feed, Kind, MediaWorker, Receiver
from gateway.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.5  # how often it is asked what is wished
MOVE_S = 10.0  # how long a moved stream has to come back before the next one moves
MIB = 2**20
DEATHS_S = 60.0  # a stream that lost so many children within this time is read by a child of its own
MOST_DEATHS = 2
MAX_PAUSE_S = 30.0
LINGER_S = 30.0  # that a child waits for the next peer: starting one takes longer than answering an offer should
YOUNG_S = 60.0  # a child that is too large by then is so by nature, and the next one would be no smaller


class MediaPool:
    """`running()` is its life; without work there is no child."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers: list[MediaWorker] = []
        self.restarts = 0
        self.recycled = 0
        self._malformed = 0  # of children that are over
        self.connectors: Callable[[], Mapping[str, Sequence[PluginSpec]]] = dict  # plugins that read a scheme
        self._settings = settings
        self._clock = clock
        self._feeds: dict[int, Feed] = {}
        self._numbers = count(1)
        self._names = count(1)
        self._tasks: asyncio.TaskGroup | None = None
        self._lives: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MediaPool]:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            ticking = tasks.create_task(self._tick(tasks))
            try:
                yield self
            finally:
                self._over.set()
                ticking.cancel()
                for worker in self.workers:
                    worker.leave()
                if self._lives:  # before an error of whoever ran us cancels them while they bury their children
                    await asyncio.wait(self._lives)

    # --- streams -----------------------------------------------------------------------------------------------------

    def open(self, source: Source, receiver: Receiver) -> Feed:
        """Pull a source until `close`, or until its receiver wishes for nothing any more."""
        number = next(self._numbers)
        wish = receiver.wish(number)
        if wish is None:
            raise AssertionError("a source was opened that nobody wants")
        feed = self._feeds[number] = Feed(number, source, receiver, wish)
        self._place(feed)
        return feed

    def close(self, feed: Feed) -> None:
        self._feeds.pop(feed.number, None)
        if (worker := feed.worker) is not None:
            worker.forget(feed)
            self._end_if_idle(worker)

    def _place(self, feed: Feed) -> None:
        """Have a child read it: one with room, else a new one."""
        if self._over.is_set() or feed.number not in self._feeds or feed.worker is not None:
            return
        scheme = feed.source.connector
        plugins = self.connectors().get(scheme, ())
        if scheme and not plugins:
            if not feed.stranded:
                feed.stranded = True
                feed.receiver.told(Told(feed.number, "lost", "connector", f"there is no connector for {scheme}:"))
            return
        feed.stranded = False
        suspect = self._suspect(feed)
        most, group = self._settings.media.streams_per_child, plugins[0].group if plugins else ""
        free = [w for w in self.workers if (w.kind, w.group) == (feed.kind, group) and not w.retiring and not w.alone]
        free = [worker for worker in free if len(worker.feeds) < most]
        worker = free[0] if free and not suspect else self._begin(feed.kind, plugins)
        worker.alone = worker.alone or suspect
        worker.adopt(feed)

    def _suspect(self, feed: Feed) -> bool:
        return self._lost_lately(feed) >= MOST_DEATHS

    def _lost_lately(self, feed: Feed) -> int:
        """How many children died of late that read it, others that were to blame left out."""
        now = self._clock()
        feed.deaths = [at for at in feed.deaths if now - at <= DEATHS_S]
        return len(feed.deaths)

    def _guarded(self, feed: Feed, act: Callable[[], None]) -> None:
        """A defect of ours costs this feed, not the gateway."""
        try:
            act()
        except Exception:
            log.exception("source %d: broke, and is closed", feed.number)
            self.close(feed)
            with suppress(Exception):  # it may be the receiver's
                feed.receiver.told(
                    Told(feed.number, "ended", "internal", "reading the source failed; the log says why")
                )

    # --- WebRTC peers ------------------------------------------------------------------------------------------------

    async def offer(self, offer: Offer, receiver: PeerReceiver) -> Peer:
        """Have a child answer a WebRTC offer. Raises `SourceError`, within `webrtc.answer_s`.

        The peer lives until `close`, until its receiver wishes for nothing any more, or until it is told lost or ended.
        """
        within_s = self._settings.webrtc.answer_s
        try:
            async with asyncio.timeout(within_s):
                try:
                    return await self._answered(offer, receiver)
                except SourceError as error:
                    if error.code != "media_child":
                        raise
                return await self._answered(offer, receiver)  # by another child, this once
        except TimeoutError:
            raise SourceError("timeout", f"the offer was not answered within {within_s:g} s") from None

    async def _answered(self, offer: Offer, receiver: PeerReceiver) -> Peer:
        number = next(self._numbers)
        wish = receiver.wish(number)
        if wish is None or self._over.is_set():
            raise SourceError("ended", "nobody wants this peer any more")
        peer = Peer(number, offer, receiver, wish)
        self._switchboard_for(offer).switchboard.adopt(peer)
        try:
            answer = await peer.answered
            if answer.sdp is None:
                raise SourceError(answer.code or "internal", answer.detail)
            peer.answer = answer.sdp
        finally:
            if not peer.answer:  # also if whoever asked went away
                peer.close()
        return peer

    @property
    def peers(self) -> int:
        return sum(len(worker.switchboard.peers) for worker in self.workers)

    @property
    def malformed(self) -> int:
        """Datagrams to WebRTC peers that meant nothing, so far."""
        return self._malformed + sum(worker.switchboard.malformed for worker in self.workers)

    def _switchboard_for(self, offer: Offer) -> MediaWorker:
        """A child with room; viewers of one channel meet in one child, as long as it takes more peers at all."""
        able = [worker for worker in self.workers if worker.kind == "peers" and not worker.retiring]
        if offer.direction == "out":
            for worker in able:
                if offer.channel in worker.switchboard.channels:
                    return worker
        most = self._settings.webrtc.peers_per_child
        free = (worker for worker in able if len(worker.switchboard.peers) < most)
        return next(free, None) or self._begin("peers")

    def _end_if_idle(self, worker: MediaWorker) -> None:
        if worker.idle:
            worker.retiring = True
            worker.leave()

    # --- children ----------------------------------------------------------------------------------------------------

    def _begin(self, kind: Kind, plugins: Sequence[PluginSpec] = ()) -> MediaWorker:
        if self._tasks is None:
            raise AssertionError("sources are pulled only while the pool runs")
        settings = self._settings
        worker = MediaWorker(
            f"media-{next(self._names)}",
            kind,
            replace(setup_of(settings), plugins=tuple(plugins)),
            environment=worker_environment(settings, plugins) if plugins else environment_of(settings, kind),
            nice=settings.media.nice,
            ping_s=settings.media.ping_s,
        )
        worker.born_at = worker.busy_at = self._clock()
        worker.group = plugins[0].group if plugins else ""
        self.workers.append(worker)
        life = self._tasks.create_task(self._live(worker), name=worker.name)
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return worker

    async def _live(self, worker: MediaWorker) -> None:
        """A child's own task. A defect of ours costs this child and what it reads one reconnect."""
        reason = "left"
        try:
            await worker.run()
        except* WorkerDied as group:
            reason = str(group.exceptions[0])
        except* Exception:
            reason = "internal"
            log.exception("media child %s: broke", worker.name)
        finally:
            self.workers.remove(worker)
            self._malformed += worker.switchboard.malformed
        over = self._over.is_set()
        self.restarts += not (worker.idle or over)
        if (lost := worker.switchboard.died(over=over)) and not over:
            log.warning("media child %s: %s; its %d peers are lost", worker.name, reason, lost)
        if worker.feeds and not over:
            await self._bring_back(worker, reason)

    async def _bring_back(self, worker: MediaWorker, reason: str) -> None:
        """Its streams go to other children after a pause; whoever loses them often waits longer, and goes alone."""
        feeds = list(worker.feeds.values())
        log.warning("media child %s: %s; its %d streams are opened anew", worker.name, reason, len(feeds))
        worker.feeds.clear()
        blamed = {feed.number for feed in feeds}.intersection(worker.stuck)
        for feed in feeds:
            feed.worker = None
            self._guarded(feed, partial(self._lose, feed, blamed))
        pause = min(MAX_PAUSE_S, 0.25 * 2 ** min(map(self._lost_lately, feeds)))
        await self._wait(pause)
        for feed in feeds:
            self._guarded(feed, partial(self._place, feed))

    def _lose(self, feed: Feed, blamed: Collection[int]) -> None:
        """Its child has died. Of the `blamed`, if there are any; else it may have been of this one."""
        if not blamed or feed.number in blamed:
            feed.deaths.append(self._clock())
        if feed.number in blamed:
            told = Told(feed.number, "lost", "hang", "reading the source hung beyond every deadline")
        else:
            told = Told(feed.number, "lost", "media_child", "the process that read the source died")
        feed.receiver.told(told)

    async def _wait(self, seconds: float) -> None:
        """A pause that a shutdown ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass

    # --- regular work ------------------------------------------------------------------------------------------------

    async def _tick(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for feed in list(self._feeds.values()):
                self._guarded(feed, partial(self._renew, feed))
            for worker in list(self.workers):
                self._renew_peers(worker)
                if not worker.retiring and self._too_large(worker):
                    worker.retiring = True
                    tasks.create_task(self._recycle(worker))

    def _too_large(self, worker: MediaWorker) -> bool:
        limit = self._settings.media.memory_mb * MIB
        return 0 < limit < worker.rss and self._clock() - worker.born_at > YOUNG_S

    def _renew(self, feed: Feed) -> None:
        wish = feed.receiver.wish(feed.number)
        if wish is None:
            self.close(feed)
        elif feed.worker is not None:
            feed.worker.renew(feed, wish)
        elif feed.stranded:
            self._place(feed)

    def _renew_peers(self, worker: MediaWorker) -> None:
        worker.switchboard.ask()
        if worker.switchboard.peers:
            worker.busy_at = self._clock()
        elif worker.kind == "peers" and self._clock() - worker.busy_at > LINGER_S:
            self._end_if_idle(worker)

    async def _recycle(self, worker: MediaWorker) -> None:
        """Move its streams to another child one by one; WebRTC peers stay, and it leaves after its last one."""
        self.recycled += 1
        log.warning("media child %s: holds %d MiB; its streams move", worker.name, worker.rss // MIB)
        for feed in list(worker.feeds.values()):
            worker.forget(feed)
            self._guarded(feed, partial(self._place, feed))
            await self._back(feed)
        self._end_if_idle(worker)

    async def _back(self, feed: Feed) -> None:
        """Wait until its new child has read some of it, so that never more than one stream is away."""
        deadline = self._clock() + MOVE_S
        while feed.counters.packets == 0 and feed.worker is not None and self._clock() < deadline:
            if self._over.is_set():  # then nobody waits any more
                return
            await self._wait(TICK_S)

    # --- for people --------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """For `GET /api/status`."""
        return {
            "children": [
                {
                    "name": w.name,
                    "kind": w.kind,
                    "streams": len(w.feeds),
                    "peers": len(w.switchboard.peers),
                    "memory_bytes": w.rss,
                }
                for w in self.workers
            ],
            "sources": len(self._feeds),
            "peers": self.peers,
            "restarts": self.restarts,
            "recycled": self.recycled,
            "kinds": dict(Counter(feed.source.kind for feed in self._feeds.values())),
        }


def setup_of(settings: Settings) -> Setup:
    """The operator's terms, as every child gets them."""
    media = settings.media
    return Setup(
        networks=tuple(media.networks),
        endpoints=tuple(media.endpoints),
        own_port=settings.port,
        open_s=media.open_s,
        read_s=media.read_s,
        no_frame_s=media.no_frame_s,
        retry_max_s=media.retry_max_s,
        auth_retry_s=media.auth_retry_s,
        snapshot_s=media.snapshot_s,
        quality=settings.mjpeg.quality,
        max_pixels=settings.limits.max_pixels,
        max_bytes=settings.limits.max_message_bytes,
        tls_verify=media.tls_verify,
        tls_ca=str(media.tls_ca or ""),
        rtc=rtc_terms(settings),
    )


def rtc_terms(settings: Settings) -> RtcTerms:
    webrtc = settings.webrtc
    return RtcTerms(
        addresses=tuple(webrtc.addresses),
        hosts=tuple(webrtc.hosts),
        port_min=webrtc.port_min,
        port_max=webrtc.port_max,
        candidates=webrtc.candidates,
        connect_s=webrtc.connect_s,
        consent_s=webrtc.consent_s,
        silent_s=webrtc.silent_s,
        bitrate_kbps=webrtc.bitrate_kbps,
        fps=webrtc.fps,
    )


def environment_of(settings: Settings, kind: Kind) -> dict[str, str]:
    """A child's environment and what it may: cameras and no files, or files and no network."""
    environment = worker_environment(settings)
    if not settings.analysis.confine:
        return environment
    home = str(settings.home.expanduser().absolute())
    ca = (str(settings.media.tls_ca),) if settings.media.tls_ca else ()
    local = kind == "local"
    return {**environment, VARIABLE: Confinement(network=not local, files=local, read=ca, home=home).to_text()}
