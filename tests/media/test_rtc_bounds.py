"""What one peer, or one picture, may cost the others of its media child: bounds, and what becomes of it beyond them.

Most of it without connections: the parts of the WebRTC stack and of a channel by themselves.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from struct import pack
from typing import Any

import aioice.ice
import aiortc.rtcicetransport
import aiortc.rtcpeerconnection
import aiortc.rtcrtpreceiver
import pylibsrtp
import pytest
from aiortc import RTCCertificate, RTCIceGatherer, RTCIceTransport, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from gateway.media import rtc_peer, rtc_show
from gateway.media.messages import Answer, Gone, Hangup, Meet, Offer, Report, RtcTerms, Setup, Show, Shown, Told, Wish
from gateway.media.rtc_ice import IceConnection
from gateway.media.rtc_outbox import Outbox
from gateway.media.rtc_peers import Peers
from gateway.media.rtc_show import MOST_SIDE, Channel, Encoder, frame_of
from gateway.media.rtc_stack import MOST_REPEATS, MOST_SSRCS, DtlsTransport, Gaps, Receiver, Repeats, _Counted
from tests.clock import simulated
from tests.media.rtc import Painted, client, jpeg, loopback, offer_of

KEY = bytes(range(30))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- what a peer asks for and numbers --------------------------------------------------------------------------------


def test_a_viewer_is_sent_again_what_is_kept_each_once_and_so_many_in_a_second() -> None:
    repeats = Repeats()
    assert repeats.of([7] * 6000, 0.0) == [7]
    assert repeats.of(list(range(65_000, 65_536 + 10)), 0.1) == [*range(65_418, 65_536), *range(10)]
    assert sum(len(repeats.of(list(range(200)), 0.9)) for _ in range(50)) == MOST_REPEATS - 129
    assert repeats.of([1, 2], 0.95) == []
    assert repeats.of([1, 2], 1.0) == [1, 2]


def test_a_jump_wider_than_what_is_kept_is_no_gap() -> None:
    gaps = Gaps()
    found = []
    for seq in (65_530, 65_534, 96, 32_863, 65_000, 65_002):
        found.append((gaps.add(RtpPacket(sequence_number=seq)), len(gaps.missing)))
    assert found == [(False, 0), (True, 3), (True, 100), (False, 0), (False, 0), (True, 1)]
    assert gaps.missing == {65_001}


def transport() -> DtlsTransport:
    return DtlsTransport(RTCIceTransport(RTCIceGatherer()), [RTCCertificate.generateCertificate()])


def srtp(kind: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(pylibsrtp.Policy(key=KEY, ssrc_type=kind))


async def test_media_and_reports_under_more_ssrcs_than_are_known_are_refused() -> None:
    line, theirs = transport(), srtp(pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
    ours = _Counted(srtp(pylibsrtp.Policy.SSRC_ANY_INBOUND), line)

    def passes(ssrc: int, seq: int) -> tuple[bool, bool]:
        media, report = pack("!BBHLL", 0x80, 96, seq, 0, ssrc) + b"media", pack("!BBHL", 0x80, 201, 1, ssrc)
        went = [False, False]
        with suppress(pylibsrtp.Error):
            went[1] = ours.unprotect_rtcp(theirs.protect_rtcp(report)) == report
        with suppress(pylibsrtp.Error):
            went[0] = ours.unprotect(theirs.protect(media)) == media
        return went[0], went[1]

    with suppress(pylibsrtp.Error):  # of somebody without the keys: it is not kept in mind
        ours.unprotect(pack("!BBHLL", 0x80, 96, 1, 0, 999) + bytes(20))
    assert [passes(ssrc, 1) for ssrc in range(40)] == [(ssrc < MOST_SSRCS,) * 2 for ssrc in range(40)]
    assert passes(3, 2) == (True, True)
    assert line.malformed == 1 + 2 * (40 - MOST_SSRCS)


@simulated
async def test_a_receiver_whose_reports_do_not_fit_stops_all_the_same() -> None:
    line = transport()
    receiver = Receiver("video", line)
    stream = receiver._RTCRtpReceiver__remote_streams[1] = StreamStatistics(90_000)  # type: ignore[attr-defined]
    stream.add(RtpPacket(sequence_number=1))
    stream._jitter_q4 = 2**37  # as timestamps that leap to and fro make it
    receiver._set_rtcp_ssrc(2)
    reporting = asyncio.ensure_future(receiver._run_rtcp())
    await asyncio.sleep(10)
    assert not reporting.done()
    assert line.malformed >= 5
    reporting.cancel()
    await receiver._RTCRtpReceiver__rtcp_exited.wait()  # type: ignore[attr-defined]


# --- what a channel is to show ---------------------------------------------------------------------------------------


@asynccontextmanager
async def channel() -> AsyncIterator[tuple[Channel, list[Shown]]]:
    told: list[Shown] = []
    made = Channel("yard", RtcTerms(), told.append)
    yield made, told
    made.close()
    await asyncio.to_thread(made._thread.join)


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_a_picture_that_no_encoder_takes_is_left_out_and_the_next_one_is_shown(
    codec: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rtc_show, "MOST_SIDE", 2**16)
    async with channel() as (yard, told):
        track = yard.join(codec)
        for seq in (1, 2):
            yard.show(Show("yard", seq, None), jpeg(50, (20_000, 16)))
            await until(lambda: len(told) == seq)  # noqa: B023
        yard.show(Show("yard", 3, None), jpeg(90))
        packet = await asyncio.wait_for(track.recv(), 10)
        assert (packet.opaque.seq, packet.is_keyframe, told) == (3, True, [Shown("yard", seq) for seq in (1, 2, 3)])
    assert len(caplog.records) == 1


@pytest.mark.parametrize("codec", ["H264", "VP8"])
@pytest.mark.parametrize(
    ("size", "scaled"), [((20_000, 16), (MOST_SIDE, 12)), ((4, 60_000), (2, MOST_SIDE)), ((642, 363), (642, 362))]
)
def test_pictures_longer_than_encoders_take_are_scaled_down(
    codec: str, size: tuple[int, int], scaled: tuple[int, int]
) -> None:
    frame = frame_of(jpeg(90, size))
    assert frame is not None
    assert (frame.width, frame.height) == scaled
    assert Encoder(codec, frame, 1000).encode(frame, 0, keyframe=True)[0].is_keyframe


async def test_a_channel_that_breaks_tells_its_viewers_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entered, let_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def defect(_: bytes) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(let_on.wait(), loop).result(10)
        raise RuntimeError("a defect")

    monkeypatch.setattr(rtc_show, "frame_of", defect)
    async with channel() as (yard, told):
        track, failed = yard.join("VP8"), asyncio.Event()
        track.failed = failed.set
        yard.show(Show("yard", 1, None), b"")
        await asyncio.wait_for(entered.wait(), 10)
        yard.show(Show("yard", 2, None), b"")  # waits for the thread that will not come back
        let_on.set()
        await asyncio.wait_for(failed.wait(), 10)
        await until(lambda: told == [Shown("yard", 1), Shown("yard", 2)])
        assert yard.broken
    assert [record.getMessage() for record in caplog.records] == ["channel: broke"]


# --- peers in this process -------------------------------------------------------------------------------------------


@pytest.fixture
def _stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """aiortc as a media child has it, in this process until the test is over."""
    for place, name in (
        (aiortc.rtcicetransport, "Connection"),
        (aiortc.rtcpeerconnection, "RTCCertificate"),
        (aiortc.rtcpeerconnection, "RTCDtlsTransport"),
        (aiortc.rtcpeerconnection, "RTCRtpReceiver"),
        (aiortc.rtcpeerconnection, "RTCRtpSender"),
        (aiortc.rtcrtpreceiver, "decoder_worker"),
        (aioice.ice, "CONSENT_INTERVAL"),
        (aioice.ice, "CONSENT_FAILURES"),
        (IceConnection, "terms"),
    ):
        monkeypatch.setattr(place, name, getattr(place, name))
    monkeypatch.setitem(CODECS, "video", list(CODECS["video"]))
    with loopback():
        yield


class Child:
    """The peers of a media child, and what they tell."""

    def __init__(self) -> None:
        self.told: list[Report] = []
        outbox = Outbox(lambda report, _: self.told.append(report))
        self.peers = Peers(Setup(rtc=RtcTerms(addresses=("127.0.0.1",))), outbox)

    async def hears(self, kind: type[Report], number: int, state: str | None = None) -> Any:
        """The first such report of a peer."""

        def found() -> list[Any]:
            of = [one for one in self.told if isinstance(one, kind) and getattr(one, "number", None) == number]
            return [one for one in of if state is None or getattr(one, "state", None) == state]

        await until(found)
        return found()[0]

    async def meet(self, number: int, camera: Any, offer: Offer) -> str:
        self.peers.obey(Meet(number, offer, Wish(number)))
        answer = (await self.hears(Answer, number)).sdp
        await camera.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self.hears(Told, number, "online")
        return str(answer)


@pytest.mark.usefixtures("_stack")
async def test_a_peer_that_does_not_close_gives_its_sockets_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rtc_peer, "CLOSE_S", 0.2)
    monkeypatch.setattr(rtc_peer, "REST_S", 0.2)
    child = Child()
    async with client() as camera:
        camera.addTrack(Painted())
        camera.createDataChannel("also")
        answer = await child.meet(1, camera, Offer("in", await offer_of(camera)))
        port = int(re.findall(r"a=candidate:\S+ 1 udp \d+ 127.0.0.1 (\d+)", answer)[0])
        with socket.socket(type=socket.SOCK_DGRAM) as taken, pytest.raises(OSError, match="in use"):
            taken.bind(("127.0.0.1", port))
        transceiver = child.peers._peers[1]._pc.getTransceivers()[0]
        monkeypatch.setattr(transceiver.receiver, "stop", asyncio.Event().wait)
        child.peers.obey(Hangup(1))
        await child.hears(Gone, 1)
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))
        assert child.peers.nobody.is_set()
        await until(lambda: camera.connectionState == "closed")  # it was said goodbye to
    assert [record.getMessage() for record in caplog.records] == ["peer 1: did not close within 0.2 s"]


@pytest.mark.usefixtures("_stack")
async def test_viewers_of_a_channel_that_broke_are_lost_and_who_comes_then_sees_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = Child()
    async with client() as first, client() as second:
        for viewer in (first, second):
            viewer.addTransceiver("video", direction="recvonly")
        await child.meet(1, first, Offer("out", await offer_of(first), "yard"))
        monkeypatch.setattr(rtc_peer, "CLOSE_S", 1.0)
        monkeypatch.setattr(child.peers._peers[1]._pc, "close", asyncio.Event().wait)  # it is there for a while yet
        with monkeypatch.context() as broken:
            broken.setattr(rtc_show, "frame_of", lambda _: 1 / 0)
            child.peers.show(Show("yard", 1, None), jpeg(50))
            lost = await child.hears(Told, 1, "lost")
        assert lost.code == "internal"
        await child.meet(2, second, Offer("out", await offer_of(second), "yard"))
        child.peers.show(Show("yard", 2, None), jpeg(90))
        await until(
            lambda: [one for one in child.told if isinstance(one, Shown)] == [Shown("yard", 1), Shown("yard", 2)]
        )
        await until(lambda: child.peers.counters()[2].encoded)
        for number in (1, 2):
            child.peers.obey(Hangup(number))
            await child.hears(Gone, number)
