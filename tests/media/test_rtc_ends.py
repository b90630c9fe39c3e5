"""Publishers that vanish, are silent, lose packets, or whose process dies: what is told of them, and who notices."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiortc import RTCPeerConnection

from gateway.media.errors import SourceError
from gateway.media.messages import Answer, Gone, Hangup, Meet, Report, Wish
from gateway.media.peers import Offer
from gateway.media.pool import MediaPool, setup_of
from gateway.media.rtc_outbox import Outbox
from gateway.media.rtc_peers import Peers
from gateway.settings import Settings
from tests.media.rtc import Ear, Painted, client, connect, in_order, loopback, new_client, offer_of, pool
from tests.rtc_http import OBS


@pytest.fixture(autouse=True)
def _on_this_machine() -> Iterator[None]:
    with loopback():
        yield


@pytest.mark.slow
async def test_whoever_goes_without_a_word_is_lost_and_whoever_says_goodbye_has_ended(tmp_path: Path) -> None:
    silent, polite = Ear(), Ear()
    async with pool(tmp_path, consent_s=2, silent_s=60) as running, client() as camera:
        vanishing = new_client()
        for made, ear in ((vanishing, silent), (camera, polite)):
            made.addTrack(Painted())
            await connect(running, made, ear)
            await ear.pictures(2)
        for transceiver in vanishing.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.abort()
        await silent.until(lambda: silent.codes)
        await polite.pictures(2)
        await camera.close()
        await polite.until(lambda: "ended" in polite.states)
        await vanishing.close()
        assert running.describe()["peers"] == 0
    assert silent.states == ["connecting", "online", "lost"]
    assert silent.codes == ["consent"]
    assert polite.states == ["connecting", "online", "ended"]


class Heard(Outbox):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def forget(self, number: int) -> None:
        pass


async def test_who_is_hung_up_in_the_same_breath_is_not_answered_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.media.rtc_peers.install", lambda _: None
    )  # it is for a child: the whole process has it
    peers = Peers(setup_of(Settings(home=tmp_path)), heard := Heard())
    peers.obey(Meet(1, Offer("in", OBS), Wish(1)))
    peers.obey(Hangup(1))
    async with asyncio.timeout(5):
        while Gone(1) not in heard.told:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert heard.told == [Answer(1, None, "ended", "it was hung up before it was answered"), Gone(1)]
    assert (peers.counters(), peers.nobody.is_set()) == ({}, True)


async def test_a_gateway_that_leaves_says_goodbye(tmp_path: Path) -> None:
    ear = Ear()
    async with client() as camera:
        async with pool(tmp_path) as running:
            camera.addTrack(Painted())
            await connect(running, camera, ear)
            await ear.pictures(1)
        async with asyncio.timeout(5):
            while camera.connectionState != "closed":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert ear.states == ["connecting", "online", "ended"]


@pytest.mark.slow
async def test_viewers_of_a_channel_meet_in_one_child_however_full(tmp_path: Path) -> None:
    async with pool(tmp_path, peers_per_child=1) as running, client() as viewer:
        viewer.addTransceiver("video", direction="recvonly")
        sdp = await offer_of(viewer)
        peers = [await running.offer(Offer("out", sdp, channel), Ear()) for channel in ("a", "b", "a")]
        assert [len(worker.switchboard.peers) for worker in running.workers] == [2, 1]
        assert peers[0].worker is peers[2].worker


@pytest.mark.slow
async def test_peers_leave_nothing_behind_in_their_child_however_they_end(tmp_path: Path) -> None:
    held: list[tuple[int, int]] = []
    async with pool(tmp_path, connect_s=2) as running, client() as steady:
        stays = Ear()
        steady.addTrack(Painted(fps=2))
        await connect(running, steady, stays)
        for round_ in range(8):
            for leave in ("client", "gateway", "never connects", "bad offer"):
                await _come_and_go(running, leave)
            if round_ in (1, 7):
                async with asyncio.timeout(20):
                    while running.describe()["peers"] > 1:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                await asyncio.sleep(1)  # the child's side of it
                child = psutil.Process(running.workers[0].pid)
                held.append((child.num_fds(), child.num_threads()))
        assert stays.codes == []
    assert held[1] == held[0]


async def _come_and_go(running: MediaPool, how: str) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(Painted())
        if how == "bad offer":
            with pytest.raises(SourceError):
                await running.offer(Offer("in", "v=0"), ear)
        elif how == "never connects":
            await running.offer(Offer("in", await offer_of(camera)), ear)
        else:
            peer = await connect(running, camera, ear)
            await ear.pictures(1)
            if how == "gateway":
                peer.close()


@pytest.mark.slow
async def test_whoever_does_not_connect_is_lost_in_time(tmp_path: Path) -> None:
    ear = Ear()
    async with pool(tmp_path, connect_s=1) as running, client() as camera:
        camera.addTrack(Painted())
        await running.offer(Offer("in", await offer_of(camera)), ear)  # and the client never hears of the answer
        await ear.until(lambda: ear.codes, 10)
    assert ear.states == ["connecting", "lost"]
    assert ear.codes == ["ice"]


@pytest.mark.slow
async def test_a_publisher_that_sends_nothing_is_lost(tmp_path: Path) -> None:
    ear = Ear()
    async with pool(tmp_path, silent_s=1) as running, client() as camera:
        camera.addTrack(Painted(fps=0.01))
        await connect(running, camera, ear)
        await ear.until(lambda: ear.codes, 10)
    assert ear.states == ["connecting", "lost"]
    assert ear.codes == ["no_frames"]


async def test_a_peer_that_nobody_wishes_for_any_more_is_hung_up_and_its_child_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    monkeypatch.setattr("gateway.media.pool.LINGER_S", 0.3)
    async with pool(tmp_path) as running, client() as camera:
        camera.addTrack(Painted())
        await connect(running, camera, ear)
        await ear.pictures(1)
        ear.gone = True
        async with asyncio.timeout(10):
            while camera.connectionState != "closed" or running.workers:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_lost_packets_cost_pictures_and_never_show_broken_ones(tmp_path: Path) -> None:
    ear = Ear()
    async with pool(tmp_path) as running, client() as camera:
        camera.addTrack(Painted(fps=30, size=(640, 480)))
        peer = await connect(running, camera, ear)
        await ear.pictures(5)
        sent = _lossy(camera, every=20)
        await ear.pictures(60)
        await ear.until_counted(lambda: peer.counters.corrupt > 0)
    assert sent() > 100
    assert in_order(ear.jpegs)


def _lossy(camera: RTCPeerConnection, *, every: int) -> Any:
    """From now on every so manieth packet of it is lost, and what it sends again too."""
    transport = camera.getTransceivers()[0].sender.transport
    through, count = transport._send_rtp, 0

    async def send(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % every and (data[1] & 0x7F) % 2:  # even payload types are retransmissions
            await through(data)

    transport._send_rtp = send  # type: ignore[method-assign]
    return lambda: count


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
async def test_a_child_that_dies_or_hangs_costs_its_own_peers_and_nobody_else(
    tmp_path: Path, number: signal.Signals
) -> None:
    hit, other = Ear(), Ear()
    async with pool(tmp_path, peers_per_child=1) as running, client() as first, client() as second:
        for made, ear in ((first, hit), (second, other)):
            made.addTrack(Painted())
            await connect(running, made, ear)
            await ear.pictures(1)
        victim = next(worker.pid or 0 for worker in running.workers if worker.switchboard.peers.get(1))
        os.kill(victim, number)
        await hit.until(lambda: hit.codes)
        await other.pictures(5)
        assert not psutil.pid_exists(victim)
        assert running.restarts == 1
    assert hit.states == ["connecting", "online", "lost"]
    assert hit.codes == ["media_child"]
    assert other.codes == []
