"""The parts of aiortc that a media child replaces, for this whole process: `install`.

aiortc decodes each track in a thread behind an unbounded queue and encodes once for each viewer; here packets of
publishers go to `Decoding`, and viewers get packets that a channel encoded for all of them. What a hostile but
authenticated peer sends ends at most itself, and is counted, instead of being an error in some task. What one of its
RTP or RTCP datagrams may cause is bounded; how many datagrams it sends is not.
"""

from __future__ import annotations

import logging
import struct
import time
from queue import Queue
from typing import Any, Protocol, cast

import aioice.ice
import aiortc.rtcicetransport
import aiortc.rtcpeerconnection
import aiortc.rtcrtpreceiver
import pylibsrtp
from aiortc.codecs import CODECS
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import NackGenerator, RTCRtpReceiver
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender
from aiortc.rtp import RTP_HISTORY_SIZE, AnyRtcpPacket, RtcpRtpfbPacket, RtcpSrPacket, RtpPacket
from OpenSSL import SSL

from gateway.media.messages import RtcTerms
from gateway.media.rtc_frames import Packet
from gateway.media.rtc_ice import IceConnection

PROFILES = ("42001f", "42e01f", "4d001f", "640c1f", "64001f")  # baseline, constrained, main, constrained high, high
MODES = ("1", "0")  # packetization-mode, RFC 6184 section 6.2
CIPHERS = b":".join(  # with forward secrecy (RFC 8827 section 6.5), for both kinds of certificates
    b"ECDHE-%b-%b" % (key, rest)
    for rest in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
    for key in (b"ECDSA", b"RSA")
)
CHECKS = 6  # consent requests without an answer until consent is over, as aioice counts
ANSWER_S = 0.5  # it waits for each
MOST_FAULTS = 1000  # messages of one peer, under its own keys, that broke a parser, beyond which it is ended
MOST_SSRCS = 16  # of one peer: a browser's camera and microphone, their repair and reports, take five
MOST_REPEATS = 500  # packets that one viewer is sent again in a second; a picture at 8 Mbit/s has some 30
PARTS = ("jitter_buffer", "decoder_queue", "nack_generator")  # of aiortc's receiver, which are replaced


class Sink(Protocol):
    """Where a publisher's packets go. `add`: whether to ask for a keyframe. `put(None)`: it has said goodbye."""

    def add(self, packet: Packet, codec: str) -> bool: ...
    def put(self, item: object) -> None: ...
    def report(self, stamp: int, ntp: int) -> None: ...


class Receiver(RTCRtpReceiver):
    """Takes a publisher's video apart for its sink. Without one, as for audio, what comes is dropped unread."""

    sink: Sink | None = None

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        if self.sink is None:
            return
        if not all(hasattr(self, f"_RTCRtpReceiver__{part}") for part in PARTS):
            raise AssertionError("aiortc keeps its packets elsewhere")
        self._names = {codec.payloadType: codec.name for codec in parameters.codecs}
        self._RTCRtpReceiver__jitter_buffer = self
        self._RTCRtpReceiver__nack_generator = Gaps()
        self._RTCRtpReceiver__decoder_queue: Any = self.sink
        await super().receive(parameters)

    def _handle_disconnect(self) -> None:
        """Its transport is closed, which says nothing of why; the peer connection does."""

    async def stop(self) -> None:
        """Without the word to its sink by which aiortc ends a decoder: here it says that the sender has left."""
        self._RTCRtpReceiver__decoder_queue = Queue()
        await super().stop()

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """As a jitter buffer: whether to ask for a keyframe, and the next picture, which goes another way here."""
        if self.sink is None:
            return False, None
        data = cast(bytes, packet._data)  # type: ignore[attr-defined]  # set by its caller
        part = Packet(packet.sequence_number, packet.timestamp, bool(packet.marker), data, time.monotonic())
        return self.sink.add(part, self._names[packet.payload_type]), None

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and self.sink is not None:
            self.sink.report(packet.sender_info.rtp_timestamp, packet.sender_info.ntp_timestamp)
        await super()._handle_rtcp_packet(packet)

    async def _run_rtcp(self) -> None:
        """Goes on when a report does not fit its fields: aiortc's ends then, and its `stop` would wait for ever."""
        while True:
            try:
                return await super()._run_rtcp()
            except struct.error:  # numbers that the publisher made up
                cast(DtlsTransport, self.transport).malformed += 1


class Gaps(NackGenerator):
    """Which packets are missing. Behind a gap that is wider than what senders keep, none of it is."""

    def add(self, packet: RtpPacket) -> bool:
        if self.max_seq is not None and RTP_HISTORY_SIZE < (packet.sequence_number - self.max_seq) & 0xFFFF < 0x8000:
            self.max_seq = None
            self.missing.clear()
        return super().add(packet)


class Repeats:
    """Which of the packets that a viewer reports as lost it is sent again: none twice at once, and so many a second."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._left = 0

    def of(self, lost: list[int], now: float) -> list[int]:
        """The newest of these sequence numbers, as far as any are kept (RFC 4585 section 6.2.1)."""
        if now - self._since >= 1.0:
            self._since, self._left = now, MOST_REPEATS
        found = list(dict.fromkeys(seq & 0xFFFF for seq in lost))
        found = found[max(0, len(found) - min(RTP_HISTORY_SIZE, self._left)) :]
        self._left -= len(found)
        return found


class Sender(RTCRtpSender):
    """Tells its track that the viewer wants a keyframe, and the timestamp of what went; others encode."""

    _origin: int | None = None  # of RTP timestamps, which aiortc keeps to itself until the first has been sent
    _first: int | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._repeats = Repeats()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpRtpfbPacket):
            packet.lost = self._repeats.of(packet.lost, time.monotonic())
        await super()._handle_rtcp_packet(packet)

    async def _next_encoded_frame(self, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
        if self._origin is None and self._first is not None:
            self._origin = self._RTCRtpSender__rtp_timestamp - self._first  # type: ignore[attr-defined]
            self._name(self._first)
        encoded = await super()._next_encoded_frame(codec)
        if encoded is not None and self._origin is None:
            self._first = encoded.timestamp
        elif encoded is not None:
            self._name(encoded.timestamp)
        return encoded

    def _name(self, timestamp: int) -> None:
        """Before it goes, so that its viewer knows it when it comes."""
        went = getattr(self.track, "went", None)
        if went is not None:
            went((self._origin or 0) + timestamp & 0xFFFFFFFF)

    def _send_keyframe(self) -> None:
        ask = getattr(self.track, "ask", None)
        if ask is not None:
            ask()


class Certificate(RTCCertificate):
    """Speaks with holders of RSA keys too, as GStreamer makes them; aiortc takes elliptic ones alone."""

    def _create_ssl_context(self, *arguments: Any, **named: Any) -> SSL.Context:
        context = super()._create_ssl_context(*arguments, **named)
        context.set_cipher_list(CIPHERS)
        return context


class DtlsTransport(RTCDtlsTransport):
    """`malformed` counts what was received and means nothing, or was not sent by the one whose keys these are.

    Of these, `faults` are what the peer itself sent: what SRTP refuses may come from whoever can use its address, and
    ends nobody. `goodbye`: the peer has closed it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.malformed = 0
        self.faults = 0
        self.goodbye = False

    @property
    def hostile(self) -> bool:
        """Whether it is ended for what it sent."""
        return self.faults > MOST_FAULTS

    async def _recv_next(self) -> None:
        try:
            await super()._recv_next()
        except ConnectionError:
            self.goodbye = bool(self.transport._connection._nominated)  # else it is the way that is gone
            raise
        except Exception:  # noqa: BLE001 - whatever its bytes did to a parser
            self.malformed += 1
            self.faults += 1
            if not self.encrypted or self.hostile:  # a handshake that has failed is over
                raise ConnectionError from None

    def _setup_srtp(self) -> None:
        super()._setup_srtp()
        if self._rx_srtp is not None:
            self._rx_srtp = _Counted(self._rx_srtp, self)  # type: ignore[assignment]


class _Counted:
    """An SRTP session that counts what it refuses, and knows so many SSRCs: each costs memory here and in libsrtp."""

    def __init__(self, session: pylibsrtp.Session, transport: DtlsTransport) -> None:
        self._session = session
        self._transport = transport
        self._ssrcs: set[bytes] = set()

    def unprotect(self, data: bytes) -> bytes:
        return self._through(self._session.unprotect, data, data[8:12])

    def unprotect_rtcp(self, data: bytes) -> bytes:
        return self._through(self._session.unprotect_rtcp, data, data[4:8])

    def _through(self, unprotect: Any, data: bytes, ssrc: bytes) -> bytes:
        if ssrc not in self._ssrcs and len(self._ssrcs) >= MOST_SSRCS:
            self._transport.malformed += 1
            raise pylibsrtp.Error("one SSRC too many")
        try:
            found = cast(bytes, unprotect(data))
        except pylibsrtp.Error:
            self._transport.malformed += 1
            raise
        self._ssrcs.add(ssrc)
        return found


def install(terms: RtcTerms) -> None:
    """Make every peer connection of this process one of ours."""
    IceConnection.terms = terms
    for chatty in ("aioice", "aiortc"):  # at INFO each check of each pair of addresses
        logging.getLogger(chatty).setLevel(logging.WARNING)
    aioice.ice.CONSENT_INTERVAL = max(0.1, terms.consent_s / CHECKS - ANSWER_S)  # type: ignore[assignment]
    aioice.ice.CONSENT_FAILURES = CHECKS
    for module, name, ours in (
        (aiortc.rtcicetransport, "Connection", IceConnection),
        (aiortc.rtcpeerconnection, "RTCCertificate", Certificate),
        (aiortc.rtcpeerconnection, "RTCDtlsTransport", DtlsTransport),
        (aiortc.rtcpeerconnection, "RTCRtpReceiver", Receiver),
        (aiortc.rtcpeerconnection, "RTCRtpSender", Sender),
        (aiortc.rtcrtpreceiver, "decoder_worker", lambda *_: None),
    ):
        if not hasattr(module, name):
            raise AssertionError(f"aiortc has no {name} to be replaced")
        setattr(module, name, ours)
    _register_profiles()


def _register_profiles() -> None:
    """H.264 that libav reads, whether or not aiortc would send it."""
    known = {_described(codec) for codec in CODECS["video"]}
    for mode in MODES:
        for profile in PROFILES:
            codec = _h264(profile, mode)
            if _described(codec) not in known:
                CODECS["video"].append(codec)


def _described(codec: RTCRtpCodecParameters) -> tuple[str, str, str]:
    parameters = codec.parameters
    return codec.name, str(parameters.get("profile-level-id")), str(parameters.get("packetization-mode"))


def _h264(profile: str, mode: str) -> RTCRtpCodecParameters:
    feedback = [RTCRtcpFeedback("nack"), RTCRtcpFeedback("nack", "pli"), RTCRtcpFeedback("goog-remb")]
    parameters: dict[str, int | str | None] = {
        "level-asymmetry-allowed": "1",
        "packetization-mode": mode,
        "profile-level-id": profile,
    }
    return RTCRtpCodecParameters("video/H264", 90_000, payloadType=120, rtcpFeedback=feedback, parameters=parameters)
