"""Datagrams that real clients or hostile ones send: what is unusual is understood, what means nothing is counted."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from struct import pack
from typing import Any

import google_crc32c
import psutil
import pylibsrtp
import pytest
import pytest_asyncio
from aioice import stun
from aiortc import RTCPeerConnection, RTCSessionDescription

from gateway.media.errors import SourceError
from gateway.media.messages import Wish
from gateway.media.peers import Offer
from gateway.media.pool import MediaPool
from tests.media.rtc import Ear, Painted, client, connect, jpeg, loopback, offer_of, pool

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MediaPool]:
    with loopback():
        async with pool(tmp_path_factory.mktemp("home"), candidates=4) as found:
            yield found


@pytest.fixture(autouse=True)
def _nothing_is_an_error(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


class Bare(asyncio.DatagramProtocol):
    """A socket, with what came to it."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.put_nowait(data)

    async def next(self, wanted: Any) -> bytes:
        """The next datagram that is wanted."""
        async with asyncio.timeout(10):
            while not wanted(data := await self.came.get()):
                pass
        return data


async def bare() -> Bare:
    loop = asyncio.get_running_loop()
    return (await loop.create_datagram_endpoint(Bare, local_addr=("127.0.0.1", 0)))[1]


def door(sdp: str) -> tuple[tuple[str, int], str, str]:
    """Where an SDP's peer listens, and its user and password there."""
    found = re.search(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", sdp)
    user, password = re.search(r"a=ice-ufrag:(\S+)", sdp), re.search(r"a=ice-pwd:(\S+)", sdp)
    assert found
    assert user
    assert password
    return (found[1], int(found[2])), user[1], password[1]


def request(user: str, password: str, **attributes: Any) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes["USERNAME"] = user
    message.attributes |= attributes
    message.add_message_integrity(password.encode())
    return bytes(message)


async def test_a_check_without_priority_or_role_from_a_client_without_candidates_opens_the_way(
    running: MediaPool,
) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(Painted())
        offer = re.sub("a=candidate.*\r\n|a=end-of-candidates\r\n", "", await offer_of(camera))
        peer = await running.offer(Offer("in", offer), ear)
    socket = await bare()
    _, their_user, their_password = door(offer + "a=candidate:1 1 udp 1 192.0.2.1 9\r\n")
    address, user, password = door(peer.answer)
    for _ in range(2):  # before anything is known of it, and again
        check = request(f"{user}:{their_user}", password, **{"USE-CANDIDATE": None})
        socket.transport.sendto(check, address)
        answered = stun.parse_message(await socket.next(lambda data: data[:2] == b"\x01\x01"))
        assert answered.message_class is stun.Class.RESPONSE
        assert answered.check_message_integrity(password.encode())
    asked = stun.parse_message(await socket.next(lambda data: data[:2] == b"\x00\x01"))
    assert asked.attributes["USERNAME"] == f"{their_user}:{user}"
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, asked.transaction_id)
    response.attributes["XOR-MAPPED-ADDRESS"] = address
    response.add_message_integrity(their_password.encode())
    socket.transport.sendto(bytes(response), address)
    hello = await socket.next(lambda data: data[0] == 22)  # DTLS: the way is open
    assert hello[13] == 1
    peer.close()
    socket.transport.close()


async def test_only_so_many_addresses_of_one_client_are_tried(running: MediaPool) -> None:
    async with client() as camera:
        camera.addTrack(Painted())
        offer = re.sub("a=candidate.*\r\n|a=end-of-candidates\r\n", "", await offer_of(camera))
        peer = await running.offer(Offer("in", offer), Ear())
    (address, user, password), their_user = door(peer.answer), re.findall(r"a=ice-ufrag:(\S+)", offer)[0]
    sockets = [await bare() for _ in range(12)]
    for socket in sockets:
        socket.transport.sendto(request(f"{user}:{their_user}", password), address)
        await socket.next(lambda data: data[:2] == b"\x01\x01")
    await sockets[0].next(lambda data: data[:2] == b"\x00\x01")
    await asyncio.sleep(0.5)
    tried = [any(data[:2] == b"\x00\x01" for data in socket.came._queue) for socket in sockets[1:]]  # type: ignore[attr-defined]
    assert sum(tried) == 3
    peer.close()
    for socket in sockets:
        socket.transport.close()


def junk(seed: int) -> list[bytes]:
    """Datagrams of every kind (RFC 7983), all of them nonsense."""
    dice = random.Random(seed)
    real = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
    found = [b"", b"\0", b"\x80", b"\x16", real[:19], real + b"\0\6\0\4ab", b"\x16\xfe\xfd" + b"\0" * 8 + b"\xff\xff"]
    for first in (0, 1, 3, 16, 20, 22, 25, 63, 64, 100, 127, 128, 144, 191, 200, 255):
        found += [bytes([first]) + dice.randbytes(dice.randrange(1, 1400)) for _ in range(12)]
    for _ in range(200):  # STUN with a good head and broken attributes
        body = dice.randbytes(dice.randrange(0, 60))
        found.append(b"\0\1" + len(body).to_bytes(2, "big") + real[4:20] + body)
    return found


async def published(running: MediaPool, camera: RTCPeerConnection, ear: Ear) -> Any:
    camera.addTrack(Painted(fps=30))
    peer = await connect(running, camera, ear)
    await ear.pictures(3)
    return peer


async def test_nonsense_from_strangers_and_from_the_clients_own_address_is_counted(running: MediaPool) -> None:
    ear, stranger = Ear(), await bare()
    async with client() as camera:
        peer = await published(running, camera, ear)
        address, _, _ = door(peer.answer)
        own = camera.getTransceivers()[0].receiver.transport.transport._connection._protocols[0].transport
        for nonsense in junk(1):
            stranger.transport.sendto(nonsense, address)
            own.sendto(nonsense, address)
            await asyncio.sleep(0)
        await ear.until_counted(lambda: peer.counters.malformed > 200)
        await ear.pictures(10)
        peer.close()
    assert ear.states == ["connecting", "online"]
    stranger.transport.close()


async def test_a_handshake_goes_on_whatever_strangers_send_meanwhile(running: MediaPool) -> None:
    ear, stranger = Ear(), await bare()
    async with client() as camera:
        camera.addTrack(Painted())
        peer = await running.offer(Offer("in", await offer_of(camera)), ear)
        address, _, _ = door(peer.answer)

        async def disturb() -> None:
            for seed in range(100):
                for nonsense in junk(seed)[:60]:
                    stranger.transport.sendto(nonsense, address)
                await asyncio.sleep(0.01)

        disturbing = asyncio.create_task(disturb())
        await camera.setRemoteDescription(RTCSessionDescription(peer.answer, "answer"))
        await ear.pictures(3)
        disturbing.cancel()
        peer.close()
    stranger.transport.close()


def two_beginnings() -> bytes:
    """An SCTP packet, sound but that it has two INIT chunks, which must stand alone (RFC 9260 section 6.10)."""
    init = pack("!BBHLLHHL", 1, 0, 20, 1, 2**17, 1, 1, 1)
    packet = pack("!HHLL", 5000, 5000, 0, 0) + init + init
    return packet[:8] + pack("<L", google_crc32c.value(packet)) + packet[12:]


async def test_nonsense_under_the_clients_own_keys_ends_nobody(running: MediaPool) -> None:
    ear, dice = Ear(), random.Random(2)
    async with client() as camera:
        channel = camera.createDataChannel("nonsense")
        peer = await published(running, camera, ear)
        transport = camera.getTransceivers()[0].sender.transport
        types = [0, 127, *(codec.payloadType or 0 for codec in camera.getTransceivers()[0]._codecs)]
        for _ in range(5):
            await transport._send_data(two_beginnings())
        for _ in range(150):
            await transport._send_data(dice.randbytes(dice.randrange(1, 1000)))
            media = bytes([0x80, dice.choice(types) | dice.choice((0, 128))])
            control = bytes([0x80 | dice.randrange(32), dice.choice((200, 201, 203, 205, 206))])
            for head in (media, control):
                with suppress(pylibsrtp.Error):  # the client's own library refuses to send some
                    await transport._send_rtp(head + dice.randbytes(dice.randrange(12, 900)))
        channel.close()
        await ear.until_counted(lambda: peer.counters.malformed >= 5)
        await ear.pictures(5)
        peer.close()
    assert ear.states == ["connecting", "online"]


async def test_pictures_larger_than_allowed_end_their_publisher(running: MediaPool) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(Painted(size=(3000, 2400)))
        await connect(running, camera, ear)
        await ear.until(lambda: ear.codes)
    assert ear.codes == ["codec"]
    assert ear.shots == []


async def test_lines_that_are_no_candidates_are_passed_over(running: MediaPool) -> None:
    ear = Ear()
    async with client() as camera:
        camera.addTrack(Painted())
        peer = await connect(running, camera, ear)
        for line in ("", "a=candidate:", "a=candidate:1 1 udp x y z typ host", "a=candidate:1 1 tcp 1 ::1 1 typ host"):
            peer.trickle(line + "\r\n")
        peer.trickle("a=candidate:1 1 udp 1 nobody.local 9 typ host\r\na=end-of-candidates\r\n")
        peer.trickle(os.urandom(200).decode("latin-1"))
        peer.worker.order(Wish(peer.number, fps=5)) if peer.worker else None
        await ear.pictures(2)
        peer.close()
    assert ear.codes == []


HIDDEN = [  # a candidate to `str.splitlines` or to `str.split`, and to nobody else
    "a=x:\u2028a=candidate:9 1 udp 1 127.0.0.1 {} typ host",
    "a=x:\x85a=candidate:9 1 udp 1 127.0.0.1 {} typ host",
    "a=candidate:9\xa01\xa0udp\xa01\xa0127.0.0.1\xa0{}\xa0typ\xa0host 1 udp 1 192.0.2.1 9999 typ host",
    "a=x\na=candidate:9 1 udp 1 127.0.0.1 {} typ host",
]


@pytest.mark.parametrize("line", HIDDEN, ids=ascii)
async def test_a_child_tries_no_candidate_that_the_gateway_could_not_see(running: MediaPool, line: str) -> None:
    hidden, plain, ear = await bare(), await bare(), Ear()
    lines = line.format(hidden.transport.get_extra_info("sockname")[1]) + "\r\n"
    async with client() as camera:
        camera.addTrack(Painted())
        offer = re.sub("a=candidate.*\r\n|a=end-of-candidates\r\n", "", await offer_of(camera))
    with pytest.raises(SourceError) as caught:
        await running.offer(Offer("in", offer + lines), ear)
    assert caught.value.code == "sdp"
    peer = await running.offer(Offer("in", offer), ear)
    peer.trickle(lines)
    peer.trickle(f"a=candidate:1 1 udp 1 127.0.0.1 {plain.transport.get_extra_info('sockname')[1]} typ host\r\n")
    await plain.next(lambda data: data[:2] == b"\x00\x01")
    assert hidden.came.empty()
    peer.close()
    hidden.transport.close()
    plain.transport.close()


def raw(kind: int, first: int, body: bytes) -> bytes:
    """An RTCP packet."""
    return pack("!BBH", 0x80 | first, kind, len(body) // 4) + body


def received(transport: Any) -> int:
    return int(transport._RTCDtlsTransport__rx_packets)


async def test_a_viewer_that_asks_for_packets_again_gets_each_once_and_so_many_in_a_second(running: MediaPool) -> None:
    ear = Ear()
    async with client() as viewer:
        viewer.addTransceiver("video", direction="recvonly")
        peer = await connect(running, viewer, ear, "out", channel="again")
        await ear.until(lambda: "online" in ear.states)
        streams = viewer.getReceivers()[0]._RTCRtpReceiver__remote_streams  # type: ignore[attr-defined]
        for seq in range(40):
            peer.show(jpeg(seq, (1280, 720)), seq, None)
            await asyncio.sleep(0.02)
        await ear.until_counted(lambda: streams and peer.counters.packets > 5)
        peer.show(b"", 41, None)
        transport = viewer.getReceivers()[0].transport
        (ssrc, stream), *_ = [(key, one) for key, one in streams.items() if one.packets_received > 5]
        lost = pack("!HH", (stream.max_seq - 16) & 0xFFFF, 0xFFFF) * 300
        before = received(transport)
        for _ in range(20):
            await transport._send_rtp(raw(205, 1, pack("!LL", 1, ssrc) + lost))
        await asyncio.sleep(0.5)
        again = received(transport) - before
        peer.close()
    assert 1 <= again < 20 * 17 + 30  # of 102,000 that it asked for; the stream goes on meanwhile


async def test_a_publisher_of_hundreds_of_ssrcs_goes_on_and_leaves_nothing_behind(running: MediaPool) -> None:
    async with client() as steady:
        stays = await published(running, steady, Ear())
        child = psutil.Process(stays.worker.pid)
        await asyncio.sleep(1)
        held = child.num_fds()
        ear = Ear()
        async with client() as camera:
            peer = await published(running, camera, ear)
            transceiver = camera.getTransceivers()[0]
            kind = transceiver._codecs[0].payloadType
            for ssrc in range(400):
                head = pack("!BBHLL", 0x80, kind, 1, 0, ssrc)
                await transceiver.sender.transport._send_rtp(head + b"\x10\x00")
                await asyncio.sleep(0.001)
            await ear.until_counted(lambda: peer.counters.malformed >= 400 - 16)
            await asyncio.sleep(1.6)  # it has been sent reports meanwhile
            await ear.pictures(5)
            peer.close()
        async with asyncio.timeout(10):
            while child.num_fds() > held:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stays.close()
    assert ear.states == ["connecting", "online"]


async def test_sequence_numbers_that_leap_cost_their_publisher_pictures_and_nobody_else(running: MediaPool) -> None:
    ear, other = Ear(), Ear()
    async with client() as camera, client() as steady:
        await published(running, steady, other)
        peer = await published(running, camera, ear)
        transceiver = camera.getTransceivers()[0]
        for at in range(500):
            head = pack("!BBHLL", 0x80, transceiver._codecs[0].payloadType, at * 32_767 & 0xFFFF, at, 77)
            await transceiver.sender.transport._send_rtp(head + b"\x10\x00")
        seen = len(other.shots)
        await other.until(lambda: len(other.shots) > seen + 10, 2)
        peer.close()
        other.peers[0].close()
    assert (ear.codes, other.codes) == ([], [])


async def test_what_srtp_refuses_ends_nobody_and_what_the_peer_itself_sent_does_in_the_end(running: MediaPool) -> None:
    ear = Ear()
    async with client() as camera:
        camera.createDataChannel("nonsense")
        peer = await published(running, camera, ear)
        transport = camera.getTransceivers()[0].sender.transport
        own = transport.transport._connection._protocols[0].transport
        for count in range(1500):
            own.sendto(b"\x80\x60" + os.urandom(40), door(peer.answer)[0])
            if not count % 20:
                await asyncio.sleep(0.002)
        await ear.until_counted(lambda: peer.counters.malformed > 1100)
        for _ in range(5):
            await transport._send_data(two_beginnings())
        await ear.pictures(5)
        assert ear.codes == []
        async with asyncio.timeout(20):
            while not ear.codes:
                with suppress(ConnectionError):  # it has been said goodbye to
                    for _ in range(20):
                        await transport._send_data(two_beginnings())
                await asyncio.sleep(0.005)
    assert ear.codes == ["protocol"]
