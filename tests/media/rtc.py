"""WebRTC clients (aiortc, as it comes) and what a test hears of them from the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import av
import cv2
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError

from gateway.media.peers import Offer, Peer
from gateway.media.pool import MediaPool
from gateway.settings import Settings
from tests.media.pulling import PATIENCE_S, Watcher

WIDTH, HEIGHT = 320, 240
STEP, RANGE = 16, 14  # between the greys of two pictures, and how many there are


@contextmanager
def loopback() -> Iterator[None]:
    """aiortc in this process offers this machine's own address, which it otherwise leaves out."""
    with mock.patch("aioice.ice.get_host_addresses", return_value=["127.0.0.1"]):
        yield


class Painted(VideoStreamTrack):
    """Pictures of one grey each, the next one lighter by `STEP`: 16, 32 ... 224, 16."""

    def __init__(self, fps: float = 15.0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        super().__init__()
        self.size = size
        self.count = 0
        self._fps = fps

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(1 / self._fps)
        frame = av.VideoFrame.from_ndarray(
            np.full((self.size[1], self.size[0], 3), 16 + self.count * STEP % (RANGE * STEP), np.uint8), format="bgr24"
        )
        frame.pts, frame.time_base = round(self.count * 90_000 / self._fps), Fraction(1, 90_000)
        self.count += 1
        return frame


@asynccontextmanager
async def pool(home: Path, **webrtc: Any) -> AsyncIterator[MediaPool]:
    """A media pool whose peers meet on loopback."""
    terms = {"addresses": ["127.0.0.1"], "answer_s": 30.0, **webrtc}
    settings = Settings(home=home, media={"ping_s": 0.5}, webrtc=terms, limits={"max_pixels": 2000 * 2000})
    async with MediaPool(settings).running() as running:
        yield running


@dataclass
class Ear(Watcher):
    """What the pool tells of one peer."""

    peers: list[Peer] = field(default_factory=list)

    async def until_counted(self, condition: Callable[[], Any]) -> None:
        """Wait for something of the counters, which come with each answer to a ping."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def offer_of(client: RTCPeerConnection) -> str:
    """A client's offer, complete with its candidates."""
    await client.setLocalDescription(await client.createOffer())
    return client.localDescription.sdp


async def connect(pool: MediaPool, client: RTCPeerConnection, ear: Ear, direction: Any = "in", **offer: Any) -> Peer:
    """Have the pool answer a client's offer, and the client take the answer."""
    peer = await pool.offer(Offer(direction, await offer_of(client), **offer), ear)
    ear.peers.append(peer)
    await client.setRemoteDescription(RTCSessionDescription(peer.answer, "answer"))
    return peer


def new_client() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


@asynccontextmanager
async def client() -> AsyncIterator[RTCPeerConnection]:
    """An RTCPeerConnection that is closed at the end."""
    made = new_client()
    try:
        yield made
    finally:
        await made.close()


def prefer(client: RTCPeerConnection, codec: str) -> None:
    """Offer this video codec only."""
    from aiortc import RTCRtpSender

    found = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.name in (codec, "rtx")]
    for transceiver in client.getTransceivers():
        if transceiver.kind == "video":
            transceiver.setCodecPreferences(found)


def jpeg(grey: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((size[1], size[0], 3), grey, np.uint8))
    assert done
    return data.tobytes()


def in_order(pictures: list[bytes]) -> bool:
    """Whether each picture is a later one than the one before: none is torn, smeared or shown twice."""
    greys = [grey_of(picture) for picture in pictures]
    steps = [(later - earlier) / STEP % RANGE for earlier, later in pairwise(greys)]
    return all(step > 0.5 and abs(step - round(step)) < 0.4 for step in steps)


def grey_of(picture: bytes) -> float:
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return float(decoded.mean())
