"""WebRTC clients over HTTP for tests: recorded offers, and aiortc as it comes against a real gateway on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from tests.media.rtc import Painted, loopback
from tests.server import Server, eventually

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
OFFERS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors" / "offers.json").read_text())["vectors"]
}
OBS = OFFERS["obs 30.1, h264, no candidates"]["sdp"]
VIEWER = OFFERS["chromium, viewer"]["sdp"]
LOOPBACK = {  # and all the patience that a busy machine needs
    "FRAMEGATE_WEBRTC__ADDRESSES": '["127.0.0.1"]',
    "FRAMEGATE_WEBRTC__ANSWER_S": "30",
    "FRAMEGATE_WEBRTC__CONNECT_S": "300",
}


def post(server: Server, path: str, offer: str = OBS, *, kind: str = SDP, **headers: str) -> httpx2.Response:
    return server.http.post(path, content=offer.encode(), headers={"Content-Type": kind, **headers})


def keep(server: Server, **headers: str) -> None:
    """A call that lasts: the child that answers stays up, and offers are answered at once."""
    opened = server.http.post("/stream/request", json={"analyzers": []}, headers=headers).json()
    met(post(server, f"/stream/{opened['stream_id']}/whip", **headers))


def met(answer: httpx2.Response) -> str:
    """The WebRTC session's address of an offer that was answered."""
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


async def until(condition: Callable[[], Any]) -> Any:
    """Ask until it is so, beside the loop, where clients of this process live."""
    return await asyncio.to_thread(eventually, condition)


class Client:
    """aiortc, which has posted its offer. `pictures` and `texts` are what it was sent, `channel` its data channel."""

    def __init__(self, server: Server, path: str, **headers: str) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: list[Any] = []
        self.texts: list[Any] = []
        self.location = ""
        self._server, self._path, self._headers = server, path, headers
        self._tasks: set[asyncio.Task[None]] = set()
        self.pc.on("track", self._follow)

    def _follow(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            task = asyncio.ensure_future(self._read(track))
            self._tasks.add(task)

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                self.pictures.append(await track.recv())
        except MediaStreamError:
            return

    def listen(self) -> None:
        """Open the data channel for results."""
        channel = self.pc.createDataChannel("results")
        channel.on("message", lambda text: self.texts.append(json.loads(text)))

    def told(self, kind: str) -> list[Any]:
        return [text for text in self.texts if text["type"] == kind]

    async def connect(self) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp = self.pc.localDescription.sdp
        answer = await asyncio.to_thread(post, self._server, self._path, sdp, **self._headers)
        self.location = met(answer)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def close(self) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def publisher(server: Server, path: str, **headers: str) -> AsyncIterator[Client]:
    """Publishes `Painted` pictures."""
    with loopback():
        client = Client(server, path, **headers)
        client.pc.addTrack(Painted())
        try:
            await client.connect()
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def viewer(server: Server, path: str, *, listens: bool = True, **headers: str) -> AsyncIterator[Client]:
    with loopback():
        client = Client(server, path, **headers)
        client.pc.addTransceiver("video", direction="recvonly")
        if listens:
            client.listen()
        try:
            await client.connect()
            yield client
        finally:
            await client.close()
