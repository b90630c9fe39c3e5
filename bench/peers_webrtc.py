"""1,000 WebRTC sessions opened, used and left: what each leaves in the gateway and in its media child.

A session: a stream is requested, a client publishes to it by WHIP until pictures arrive, another one watches it by WHEP
until it has seen some and read a result, and both leave: every other one says goodbye (DELETE), the rest only close.
Then the stream ends. After each batch, when nobody is connected any more, the resident memory of the gateway's
own process and of its media child is read. The slope over sessions is Theil and Sen's, over the last 80 % of the
samples, with its interval of 95 % (`bench.slope`).

The clients are aiortc's, in this process. Promises: no slope is surely above 4 KiB a session; processes, threads,
descriptors and tasks of the gateway, threads and descriptors of the child are afterwards what they were before. Exit
code 1 if one is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from fractions import Fraction
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from unittest import mock

import psutil

from bench.cores import all_cores
from bench.leftovers import Traces, settled
from bench.servers import Address, Server, gateway
from bench.slope import Slope, settled_slope
from gateway.commands.table import table

SETTINGS = {
    "FRAMEGATE_ANALYSIS__DEFAULT": "[]",
    "FRAMEGATE_GRACE_S": "0",
    "FRAMEGATE_STREAM__ENDED_KEPT_S": "1",
    "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0",
    "FRAMEGATE_WEBRTC__ADDRESSES": '["127.0.0.1"]',
    "FRAMEGATE_WEBRTC__ANSWER_S": "30",
    "FRAMEGATE_WEBRTC__CONNECT_S": "60",
}
BATCH = 20
AT_ONCE = 4
LEAK_BYTES = 4096.0
JUDGED = 500  # sessions; with fewer the slope is told and not judged
PATIENCE_S = 60.0
WARM_UP = 2  # batches before anything is counted: modules and threads that come with the first
_TASKS = re.compile(r"^framegate_tasks (\S+)", re.MULTILINE)


@dataclass(slots=True)
class Found:
    """Bytes of the gateway's own process and of its media child after each batch."""

    sessions: list[int] = field(default_factory=list)
    gateway: list[int] = field(default_factory=list)
    child: list[int] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    children: set[int] = field(default_factory=set)
    pictures: int = 0

    @property
    def slopes(self) -> dict[str, Slope]:
        return {name: settled_slope(self.sessions, getattr(self, name)) for name in ("gateway", "child")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="sessions")
    chosen = parser.parse_args()
    found = Found()
    own = mock.patch("aioice.ice.get_host_addresses", return_value=["127.0.0.1"])  # which it leaves out
    with gateway(all_cores(), SETTINGS) as server, own:
        asyncio.run(_sessions(server, max(chosen.count // BATCH, 5), found))
    return _report(found)


# --- sessions --------------------------------------------------------------------------------------------------------


async def _sessions(server: Server, batches: int, found: Found) -> None:
    ask = Asker(server.address)
    for _ in range(WARM_UP):
        await _batch(ask, found)
    await _empty(ask)
    before, inside = Traces.of(server), _inside(_child(server)) | {"tasks": await _tasks(ask)}
    began = time.monotonic()
    for number in range(batches):
        await _batch(ask, found)
        await _empty(ask)
        child = _child(server)
        found.children.add(child.pid)
        found.sessions.append((number + 1) * BATCH)
        found.gateway.append(psutil.Process(server.pid).memory_info().rss)
        found.child.append(child.memory_info().rss)
    found.seconds = time.monotonic() - began
    found.left = await asyncio.to_thread(settled, server, before, PATIENCE_S)
    now = _inside(_child(server)) | {"tasks": await _tasks(ask)}
    found.left |= {name: count - inside[name] for name, count in now.items() if count > inside[name]}


class Asker:
    """HTTP of a client that waits in a thread."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def __call__(
        self, method: str, path: str, body: str | None = None, kind: str = "application/json"
    ) -> tuple[str, HTTPResponse]:
        """The body and its response. Raises `RuntimeError` for anything but success."""
        return await asyncio.to_thread(self._ask, method, path, body, kind)

    def _ask(self, method: str, path: str, body: str | None, kind: str) -> tuple[str, HTTPResponse]:
        connection = HTTPConnection(*self._address, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]}")
        return text, response


async def _batch(ask: Asker, found: Found) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            seen = await asyncio.wait_for(_session(ask, polite=number % 2 == 0), PATIENCE_S)
            found.pictures += seen

    await asyncio.gather(*map(one, range(BATCH)))


async def _session(ask: Asker, *, polite: bool) -> int:
    """How many pictures its viewer saw. Raises `TimeoutError` where something did not come."""
    stream = json.loads((await ask("POST", "/stream/request", '{"analyzers": [], "grace_s": 0}'))[0])
    publisher, viewer = _client(), _client()
    publisher.addTrack(_picture_track())
    viewer.addTransceiver("video", direction="recvonly")
    results: asyncio.Queue[str] = asyncio.Queue()
    viewer.createDataChannel("results").on("message", results.put_nowait)
    try:
        ends = [await _call(ask, stream["whip_url"], publisher), await _call(ask, stream["whep_url"], viewer)]
        track = viewer.getReceivers()[0].track
        for _ in range(3):
            await track.recv()
        await results.get()
        if polite:
            for end in ends:
                await ask("DELETE", end)
    finally:
        await asyncio.gather(publisher.close(), viewer.close())
    return 3


def _client() -> Any:
    from aiortc import RTCConfiguration, RTCPeerConnection

    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def _picture_track() -> Any:
    import av
    from aiortc import VideoStreamTrack

    class Grey(VideoStreamTrack):
        count = 0

        async def recv(self) -> Any:
            await asyncio.sleep(1 / 15)
            frame = av.VideoFrame(320, 240, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([16 + self.count % 200]) * plane.buffer_size)
            frame.pts, frame.time_base = self.count * 6000, Fraction(1, 90_000)
            self.count += 1
            return frame

    return Grey()


async def _call(ask: Asker, url: str, client: Any) -> str:
    """Offer by HTTP, take the answer; where the session is to be deleted."""
    from aiortc import RTCSessionDescription

    await client.setLocalDescription(await client.createOffer())
    answer, response = await ask("POST", url, client.localDescription.sdp, "application/sdp")
    await client.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return str(response.headers["location"])


# --- what is left ----------------------------------------------------------------------------------------------------


async def _empty(ask: Asker) -> None:
    """Wait until nobody is connected and no stream is there."""
    async with asyncio.timeout(PATIENCE_S):
        while json.loads((await ask("GET", "/api/status"))[0])["media"]["peers"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _tasks(ask: Asker) -> int:
    found = _TASKS.search((await ask("GET", "/metrics"))[0])
    return int(float(found[1])) if found else 0


def _child(server: Server) -> psutil.Process:
    """The media child itself; its guard has the same arguments, and is its parent."""
    media = [p for p in psutil.Process(server.pid).children(recursive=True) if p.cmdline()[-1:] == ["media"]]
    return max(media, key=lambda process: process.memory_info().rss)


def _inside(child: psutil.Process) -> dict[str, int]:
    return {"threads of the child": child.num_threads(), "descriptors of the child": child.num_fds()}


def _report(found: Found) -> int:
    slopes = found.slopes
    sessions = found.sessions[-1]
    head = ("of", "MiB first", "MiB last", "bytes/session", "95 %")
    rows = [
        (
            name,
            f"{getattr(found, name)[0] / 2**20:.1f}",
            f"{getattr(found, name)[-1] / 2**20:.1f}",
            f"{slope.slope:.0f}",
            f"{slope.low:.0f} to {slope.high:.0f}",
        )
        for name, slope in slopes.items()
    ]
    print(table(head, rows))
    seen = f"{found.pictures} pictures seen, {len(found.children)} children"
    print(f"{sessions} sessions in {found.seconds:.0f} s, {seen}")
    tenths = range(len(found.gateway) // 10, len(found.gateway) + 1, max(1, len(found.gateway) // 10))
    print("gateway, MiB:", *(f"{found.gateway[at - 1] / 2**20:.1f}" for at in tenths if at))
    print(f"left behind: {found.left or 'nothing'}")
    leaks = [name for name, slope in slopes.items() if sessions >= JUDGED and slope.low > LEAK_BYTES]
    print(f"leaks: {', '.join(leaks) or 'none'}")
    return 1 if leaks or found.left or len(found.children) > 1 else 0


if __name__ == "__main__":
    raise SystemExit(main())
