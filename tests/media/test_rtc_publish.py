"""Publishers: WebRTC in, as pictures. The client is aiortc as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiortc import RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from gateway.media.errors import SourceError
from gateway.media.peers import Offer
from gateway.media.pool import MediaPool
from tests.media.rtc import Ear, Painted, client, connect, in_order, loopback, offer_of, pool, prefer

TERMS = {
    "port_min": 47000,
    "port_max": 47099,
    "hosts": ["203.0.113.7"],
    "addresses": ["127.0.0.1", "::1"],
    "silent_s": 3.0,
}
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MediaPool]:
    with loopback():
        async with pool(tmp_path_factory.mktemp("home"), **TERMS) as found:
            yield found


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_what_is_published_comes_as_pictures(running: MediaPool, codec: str) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(Painted())
        prefer(camera, codec)
        peer = await connect(running, camera, ear)
        await ear.pictures(10)
        peer.close()
    assert ear.states == ["connecting", "online"]
    assert ear.tolds[1].codec == codec.lower()
    assert {(shot.width, shot.height) for shot in ear.shots} == {(320, 240)}
    assert in_order(ear.jpegs)


@pytest.mark.slow
async def test_pictures_come_as_often_and_as_large_as_wished_with_the_time_they_were_taken(running: MediaPool) -> None:
    ear = Ear(fps=5, side=160)
    async with client() as camera:
        camera.addTrack(Painted(fps=30))
        peer = await connect(running, camera, ear)
        await ear.pictures(8)
        ear.fps, ear.side = 30, 320
        await ear.until(lambda: ear.shots[-1].width == 320)
        await ear.pictures(3)
        peer.close()
    small = [shot for shot in ear.shots if shot.width == 160]
    assert small[2].at - small[1].at == pytest.approx(0.2, abs=0.07)
    assert small[7].at - small[1].at == pytest.approx(1.2, abs=0.1)
    assert ear.shots[-1].at - ear.shots[-2].at == pytest.approx(1 / 30, abs=0.02)
    captured = [(shot.captured_us or 0) / 1e6 - shot.at for shot in ear.shots]
    assert max(captured) - min(captured) < 1.0


async def test_a_publisher_may_change_the_size_of_its_pictures(running: MediaPool) -> None:
    ear, track = Ear(), Painted()
    async with client() as camera:
        camera.addTrack(track)
        peer = await connect(running, camera, ear)
        await ear.pictures(3)
        track.size = (640, 360)
        await ear.until(lambda: (ear.shots[-1].width, ear.shots[-1].height) == (640, 360))
        await ear.pictures(3)
        peer.close()
    assert in_order(ear.jpegs)


@pytest.mark.slow
async def test_rare_pictures_are_asked_for_as_keyframes_and_nothing_else_is_decoded(running: MediaPool) -> None:
    ear = Ear(fps=0.4)
    async with client() as camera:
        camera.addTrack(Painted(fps=30))
        peer = await connect(running, camera, ear)
        await ear.until_counted(lambda: peer.counters.packets > 500)
        before = peer.counters
        await ear.until_counted(lambda: peer.counters.packets > before.packets + 200)
        peer.close()
    assert peer.counters.decoded - before.decoded <= 6
    assert peer.counters.encoded - before.encoded >= 2


async def test_sound_is_accepted_and_dropped(running: MediaPool) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(AudioStreamTrack())
        camera.addTrack(Painted())
        peer = await connect(running, camera, ear)
        await ear.pictures(5)
        peer.close()
    assert re.findall(r"m=(\w+) [1-9]", peer.answer) == ["audio", "video"]
    assert peer.answer.count("a=recvonly") == 2


async def test_the_answer_is_complete_and_as_plain_clients_need_it(running: MediaPool) -> None:
    async with client() as camera:
        camera.addTrack(Painted())
        peer = await connect(running, camera, Ear())
        peer.close()
    found = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (\w+)", peer.answer)
    assert [(host, kind) for host, _, kind in found] == [
        ("203.0.113.7", "host"),
        ("127.0.0.1", "host"),
        ("::1", "host"),
    ]
    assert {47000 <= int(port) < 47100 for _, port, _ in found} == {True}
    assert "a=end-of-candidates" in peer.answer
    assert re.findall(r"a=setup:(\w+)", peer.answer) == ["active"]
    assert ".local" not in peer.answer


@pytest.mark.parametrize(("offered", "answered"), [("active", "passive"), ("passive", "active"), ("actpass", "active")])
async def test_who_begins_the_handshake_is_as_the_offer_says(running: MediaPool, offered: str, answered: str) -> None:
    async with client() as camera:
        camera.addTrack(Painted())
        sdp = (await offer_of(camera)).replace("a=setup:actpass", f"a=setup:{offered}")
        peer = await running.offer(Offer("in", sdp), Ear())
        peer.close()
    assert re.findall(r"a=setup:(\w+)", peer.answer) == [answered]


@pytest.mark.parametrize("profile", ["42e01f", "42001f", "42c028", "4d0028", "4d4032", "640028", "640c1f"])
async def test_every_usual_profile_of_h264_is_accepted(running: MediaPool, profile: str) -> None:
    async with client() as camera:
        camera.addTrack(Painted())
        prefer(camera, "H264")
        sdp = re.sub(r"profile-level-id=\w+", f"profile-level-id={profile}", await offer_of(camera))
        peer = await running.offer(Offer("in", sdp), Ear())
        peer.close()
    assert set(re.findall(r"profile-level-id=(..)", peer.answer)) == {profile[:2]}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda sdp: sdp.replace(" H264/", " H265/").replace(" VP8/", " AV1/"), "codec"),
        (lambda sdp: sdp.replace("a=sendrecv", "a=recvonly"), "sdp"),
        (lambda sdp: re.sub("a=fingerprint.*\r\n", "", sdp), "sdp"),
        (lambda sdp: re.sub("a=ice-pwd.*\r\n", "", sdp), "sdp"),
        (lambda sdp: "v=0", "sdp"),
        (lambda sdp: "\0\x80nonsense\r\n" * 9, "sdp"),
    ],
)
async def test_an_offer_that_does_not_hold_gets_its_code_and_leaves_nothing(
    running: MediaPool, change: Any, code: str
) -> None:
    async with client() as camera:
        camera.addTrack(Painted())
        with pytest.raises(SourceError) as refused:
            await running.offer(Offer("in", change(await offer_of(camera))), Ear())
        assert refused.value.code == code
        assert all(worker.idle for worker in running.workers)


@pytest.mark.parametrize("side", ["offer", pytest.param("answer", marks=pytest.mark.slow)])
async def test_a_peer_with_another_certificate_than_its_sdp_says_is_lost(running: MediaPool, side: str) -> None:
    ear = Ear()

    def forged(sdp: str) -> str:
        return re.sub(r"(a=fingerprint:sha-\d+ )..:..", r"\g<1>00:00", sdp)

    async with client() as camera:
        camera.addTrack(Painted())
        offer = await offer_of(camera)
        peer = await running.offer(Offer("in", forged(offer) if side == "offer" else offer), ear)
        answer = forged(peer.answer) if side == "answer" else peer.answer
        await camera.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await ear.until(lambda: {"lost", "ended"} & set(ear.states), 15)
    assert ear.shots == []
    if side == "offer":
        assert ear.codes == ["dtls"]


@pytest.mark.slow
async def test_while_nobody_wants_pictures_almost_none_is_decoded_and_they_are_back_at_once(running: MediaPool) -> None:
    ear = Ear(wanted=False)
    async with client() as camera:
        camera.addTrack(Painted(fps=30))
        peer = await connect(running, camera, ear)
        await ear.until(lambda: "online" in ear.states)
        await ear.until_counted(lambda: peer.counters.packets > 60)
        assert peer.counters.decoded <= 3
        ear.wanted = True
        await ear.pictures(20)
        peer.close()
    assert in_order(ear.jpegs[-15:])
