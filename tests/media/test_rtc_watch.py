"""Viewers: pictures as WebRTC out, encoded once for all of a channel, and texts. The client is aiortc as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import av
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection

from gateway.media.errors import SourceError
from gateway.media.peers import Offer, Peer
from gateway.media.pool import MediaPool
from tests.media.pulling import PATIENCE_S
from tests.media.rtc import Ear, Painted, client, connect, jpeg, loopback, offer_of, pool, prefer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MediaPool]:
    with loopback():
        async with pool(tmp_path_factory.mktemp("home")) as found:
            yield found


@dataclass
class Screen:
    """One viewer, and what it has seen and read."""

    client: RTCPeerConnection
    peer: Peer
    ear: Ear
    greys: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    keyframes: list[bool] = field(default_factory=list)

    async def watch(self) -> None:
        track = self.client.getReceivers()[0].track
        while True:
            frame = await track.recv()
            assert isinstance(frame, av.VideoFrame)
            self.greys.append(float(frame.to_ndarray(format="gray").mean()))
            self.sizes.append((frame.width, frame.height))
            self.keyframes.append(frame.key_frame)

    async def shown(self, picture: bytes, grey: float, seqs: Iterator[int]) -> None:
        """Show a picture until it is seen: aiortc shows one when the next one begins."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.sees(grey):
                self.peer.show(picture, next(seqs), None)
                await asyncio.sleep(0.05)

    def sees(self, grey: float) -> bool:
        return bool(self.greys) and abs(self.greys[-1] - grey) < 4


@asynccontextmanager
async def screen(running: MediaPool, channel: str, codec: str = "H264") -> AsyncIterator[Screen]:
    async with client() as viewer:
        viewer.addTransceiver("video", direction="recvonly")
        prefer(viewer, codec)
        results, ear, texts = viewer.createDataChannel("results"), Ear(), list[str]()
        results.on("message", texts.append)
        found = Screen(viewer, await connect(running, viewer, ear, "out", channel=channel), ear, texts=texts)
        watching = asyncio.create_task(found.watch())
        await ear.until(lambda: "online" in ear.states)
        try:
            yield found
        finally:
            watching.cancel()
            found.peer.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something. aiortc shows a picture when the next one begins, which is a second later at most."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_a_viewer_sees_what_is_shown_and_reads_what_is_told(running: MediaPool, codec: str) -> None:
    async with screen(running, f"yard {codec}", codec) as viewer:
        await until(lambda: viewer.peer.tell("hello") or viewer.texts)  # type: ignore[func-returns-value]
        seqs = count()
        for grey in (40, 200):
            await viewer.shown(jpeg(grey), grey, seqs)
        await viewer.shown(jpeg(70, (641, 361)), 70, seqs)  # another size, and an odd one
    assert viewer.ear.states == ["connecting", "online"]
    assert viewer.ear.tolds[1].codec == codec.lower()
    assert (viewer.sizes[0], viewer.sizes[-1]) == ((320, 240), (640, 360))
    named = [json.loads(text) for text in viewer.texts if text != "hello"]
    assert {name["seq"] for name in named} <= set(range(next(seqs)))
    assert len({name["rtp"] for name in named}) == len(named)  # each picture on the wire has its own timestamp


async def test_viewers_of_a_channel_share_one_encoder_and_see_no_other_channel(running: MediaPool) -> None:
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(screen(running, "shared")) for _ in range(3)]
        other = await stack.enter_async_context(screen(running, "other"))
        for seq in range(20):
            for viewer in viewers:
                viewer.peer.show(jpeg(10 * seq), seq, None)
            await asyncio.sleep(0.05)
        await until(lambda: all(viewer.sees(190) for viewer in viewers))
        await viewers[0].ear.until_counted(lambda: viewers[0].peer.counters.packets >= 15)
        encoded = [viewer.peer.counters.encoded for viewer in viewers]
        assert len({worker.name for worker in running.workers}) == 1
    assert max(encoded) <= 20 + 2 * 3  # each picture once, and a keyframe for whoever came later
    assert other.greys == []


async def test_who_comes_later_sees_the_last_picture_at_once_and_nothing_is_encoded_for_nobody(
    running: MediaPool,
) -> None:
    async with screen(running, "still") as first:
        await first.shown(jpeg(90), 90, count())
        async with screen(running, "still") as second:
            await until(lambda: second.sees(90))
    async with screen(running, "still") as third:  # the channel has ended with its last viewer
        seqs = count()
        await third.shown(jpeg(30), 30, seqs)
        await third.ear.until_counted(lambda: third.peer.counters.encoded)
        assert third.peer.counters.encoded <= next(seqs) + 5


async def test_a_viewer_that_lost_something_gets_a_keyframe_when_it_asks(running: MediaPool) -> None:
    async with screen(running, "lossy") as viewer:
        await viewer.shown(jpeg(50), 50, count())
        receiver = viewer.client.getReceivers()[0]
        ssrc = next(iter(receiver._RTCRtpReceiver__remote_streams))  # type: ignore[attr-defined]
        decoded: list[bool] = []
        viewer.keyframes = decoded
        await asyncio.sleep(0.6)  # it was given one a moment ago
        await receiver._send_rtcp_pli(ssrc)
        await until(lambda: any(decoded))


async def test_pictures_and_texts_beyond_what_is_taken_are_dropped_and_never_waited_for(running: MediaPool) -> None:
    async with screen(running, "fast") as viewer:
        large = jpeg(60, (1280, 720))
        for seq in range(2000):
            viewer.peer.show(large, seq, None)
            viewer.peer.tell("x" * 5000)
        viewer.peer.show(jpeg(160), 2000, None)
        assert viewer.peer.worker is not None
        assert viewer.peer.worker.unsent < 3 * 2**20
        await until(lambda: viewer.sees(160))
    assert len(viewer.greys) < 100
    assert len(viewer.texts) < 1000


async def test_a_viewer_that_leaves_has_ended_and_its_peer_does_nothing_more(running: MediaPool) -> None:
    async with screen(running, "leaving") as viewer:
        await viewer.client.close()
        await viewer.ear.until(lambda: "ended" in viewer.ear.states)
        viewer.peer.show(jpeg(1), 0, None)
        viewer.peer.tell("nobody")
        viewer.peer.trickle("a=candidate:1 1 udp 1 127.0.0.1 9 typ host")
    assert viewer.ear.states == ["connecting", "online", "ended"]


async def test_an_offer_to_send_is_no_offer_to_watch(running: MediaPool) -> None:
    async with client() as viewer:
        viewer.addTransceiver(Painted(), direction="sendonly")
        with pytest.raises(SourceError) as refused:
            await running.offer(Offer("out", await offer_of(viewer), "x"), Ear())
    assert refused.value.code == "sdp"
