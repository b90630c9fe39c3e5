"""One WebRTC connection in a media child, from its offer to its end. Touched on the loop's thread only."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import candidate_from_sdp

from gateway.media.errors import Code, SourceError
from gateway.media.messages import CameraState, Counters, Gone, Meet, Setup, Shot, Show, Told, Wish
from gateway.media.rtc_decode import Decoding
from gateway.media.rtc_ice import IceConnection
from gateway.media.rtc_outbox import Outbox
from gateway.media.rtc_show import Channel, Track
from gateway.media.rtc_stack import MOST_FAULTS, DtlsTransport, Receiver

log = logging.getLogger(__name__)

CLOSE_S = 5.0
REST_S = 1.0  # for what is left then, three times
TICK_S = 0.5
MOST_TEXT = 2**18  # bytes that wait for a viewer, beyond which texts are dropped
RESULTS = "results"
SHORT = {"ice": "no way to it within {:g} s", "dtls": "it did not prove who it is within {:g} s"}


class RtcPeer:
    """`over` is called once, when nothing is left of it."""

    def __init__(self, said: Meet, setup: Setup, outbox: Outbox, over: Callable[[int], None]) -> None:
        self.number = said.number
        self._setup = setup
        self._outbox = outbox
        self._over = over
        self._offer = said.offer
        servers = [RTCIceServer(s.url, s.username or None, s.credential or None) for s in said.offer.servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._connected = False
        self._pc.on("connectionstatechange", self._changed)

    # --- its beginning -----------------------------------------------------------------------------------------------

    async def answer(self) -> str:
        """The SDP, complete with candidates. Raises `SourceError`."""
        if not _plain(self._offer.sdp):
            raise SourceError("sdp", "its lines are none that everybody reads alike")
        if "a=fingerprint:" not in self._offer.sdp:
            raise SourceError("sdp", "it offers no DTLS fingerprint")
        self._check_wanted()
        try:
            self._prepare()
            await self._pc.setRemoteDescription(RTCSessionDescription(self._offer.sdp, "offer"))
            self._attach()
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except OperationError:
            raise SourceError("codec", "it offers no codec that is spoken here: H264 and VP8") from None
        except SourceError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the offer did to its parser
            log.info("peer %d: its offer does not hold: %r", self.number, error)
            raise SourceError("sdp", "its session description does not hold") from None
        if not any(connection.local_candidates for connection in self._connections()):
            raise SourceError("ice", "this machine has no address or port for it: webrtc.addresses, webrtc.port_min")
        self._check_wanted()
        return self._pc.localDescription.sdp

    def _check_wanted(self) -> None:
        if self._ending is not None:
            raise SourceError("ended", "it was hung up before it was answered")

    def begin(self) -> None:
        """The answer is on its way."""
        self._watching = asyncio.create_task(self._watch(time.monotonic()))
        self._tell("connecting")

    def _prepare(self) -> None:
        """Before the offer is looked at."""

    def _attach(self) -> None:
        """Between the offer and the answer. Raises `SourceError`."""

    # --- what the gateway says ---------------------------------------------------------------------------------------

    async def trickle(self, fragment: str) -> None:
        """More candidates of its. Lines that are none are passed over."""
        for line in fragment.split("\r\n"):
            if line.startswith("a=candidate:") and _plain(line):
                try:
                    candidate = candidate_from_sdp(line.removeprefix("a=candidate:"))
                    await self._pc.getTransceivers()[0].receiver.transport.transport.addRemoteCandidate(candidate)
                except (AssertionError, ValueError, IndexError):
                    continue

    def renew(self, wish: Wish) -> None:
        """What is wished of its pictures."""

    def say(self, text: str) -> None:
        """A text for its data channel."""

    def end(self, state: CameraState | None = None, error: SourceError | None = None) -> None:
        """Close it, once; tell why, if the gateway does not know."""
        if self._ending is None:
            if state is not None:
                self._tell(state, error.code if error else None, error.detail if error else None)
            self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        self._detach()
        if self._watching is not None:
            self._watching.cancel()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pc.close()
        except TimeoutError:
            log.warning("peer %d: did not close within %g s", self.number, CLOSE_S)
            await self._let_go()
        finally:
            self._pc.remove_all_listeners()
            self._outbox.forget(self.number)
            self._outbox.tell(Gone(self.number))
            self._over(self.number)

    async def _let_go(self) -> None:
        """Close what is left of it, each part by itself: one that hangs holds up no other."""
        transceivers, transports = self._pc.getTransceivers(), self._transports()
        for stops in (
            [part.stop for one in transceivers for part in (one.sender, one.receiver)],
            [transport.stop for transport in transports],
            [transport.transport._connection.close for transport in transports],  # its own stop has perhaps begun
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(REST_S):
                    await asyncio.gather(*(stop() for stop in stops), return_exceptions=True)

    def _detach(self) -> None:
        """Let go of what only this peer uses."""

    # --- how it is doing ---------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        state = self._pc.connectionState
        if state == "connected":
            self._connected = True
            self._online()
        elif state == "failed":
            self._fail(self._why())
        elif state == "closed" and any(transport.goodbye for transport in self._transports()):
            self.end("ended")
        elif state == "closed":
            self._fail(self._why())

    def _online(self) -> None:
        """Its way is open."""

    def _why(self) -> Code:
        if any(transport.hostile for transport in self._transports()):
            return "protocol"
        if self._connected:
            return "consent"
        return "dtls" if self._pc.iceConnectionState == "completed" else "ice"

    def _fail(self, code: Code) -> None:
        details = {
            "consent": f"it has not answered for {self._setup.rtc.consent_s:g} s",
            "dtls": "it did not prove to be who its session description says",
            "protocol": f"more than {MOST_FAULTS} of its messages meant nothing",
        }
        self.end("lost", SourceError(code, details.get(code, "no way to it was found")))

    async def _watch(self, began: float) -> None:
        """What no event tells."""
        while True:
            await asyncio.sleep(TICK_S)
            limit = self._setup.rtc.connect_s
            if not self._connected and time.monotonic() - began > limit:
                code: Code = "dtls" if self._pc.iceConnectionState == "completed" else "ice"
                self.end("lost", SourceError(code, SHORT[code].format(limit)))
            elif (error := self._idle()) is not None:
                self.end("lost", error)

    def _idle(self) -> SourceError | None:
        """Why it is to be ended although it is there."""
        return None

    def _tell(self, state: CameraState, code: Code | None = None, detail: str | None = None, codec: str = "") -> None:
        self._outbox.tell(Told(self.number, state, code, detail, codec=codec or None))

    # --- figures -----------------------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        return Counters(malformed=self._malformed())

    def _malformed(self) -> int:
        dtls = sum(transport.malformed for transport in self._transports())
        return dtls + sum(connection.malformed for connection in self._connections())

    def _transports(self) -> set[DtlsTransport]:
        found = {transceiver.receiver.transport for transceiver in self._pc.getTransceivers()}
        if self._pc.sctp is not None:
            found.add(self._pc.sctp.transport)
        return {transport for transport in found if isinstance(transport, DtlsTransport)}

    def _connections(self) -> Iterator[IceConnection]:
        for transport in self._transports():
            connection = transport.transport._connection
            if isinstance(connection, IceConnection):
                yield connection


class Publisher(RtcPeer):
    """Sends pictures (WHIP). Its first video is read; audio is accepted and dropped."""

    def __init__(self, said: Meet, setup: Setup, outbox: Outbox, over: Callable[[int], None]) -> None:
        super().__init__(said, setup, outbox, over)
        self._loop = asyncio.get_running_loop()
        self._decoding = Decoding(said.number, said.wish, setup, self._deliver, self._failed)
        self._shown = False

    def _attach(self) -> None:
        for transceiver in self._pc.getTransceivers():
            receiver = transceiver.receiver
            if transceiver.kind == "video" and receiver.track is not None and isinstance(receiver, Receiver):
                receiver.sink = self._decoding
                self._decoding.start()
                return
        raise SourceError("sdp", "it offers no video to be sent")

    def renew(self, wish: Wish) -> None:
        self._decoding.wish = wish

    def _online(self) -> None:
        self._decoding.good_at = time.monotonic()

    def _idle(self) -> SourceError | None:
        limit = self._setup.rtc.silent_s
        if self._connected and time.monotonic() - self._decoding.good_at > limit:
            return SourceError("no_frames", f"it is connected, but no picture came for {limit:g} s")
        return None

    def _detach(self) -> None:
        self._decoding.stop()

    def counters(self) -> Counters:
        return self._decoding.counters(self._malformed())

    def _deliver(self, shot: Shot, jpeg: bytes, codec: str) -> None:
        if not self._shown:
            self._shown = True
            self._tell("online", codec=codec)
        self._outbox.picture(shot, jpeg)

    def _failed(self, error: SourceError | None) -> None:
        self._loop.call_soon_threadsafe(self.end, "lost" if error else "ended", error)


class Viewer(RtcPeer):
    """Gets a channel's pictures (WHEP), and texts on the data channel that it opens."""

    def __init__(
        self, said: Meet, setup: Setup, outbox: Outbox, over: Callable[[int], None], channel: Callable[[], Channel]
    ) -> None:
        super().__init__(said, setup, outbox, over)
        self.channel = said.offer.channel
        self._find_channel = channel
        self._channel: Channel | None = None
        self._track: Track | None = None
        self._results: RTCDataChannel | None = None
        self._dropped = 0
        self._pc.on("datachannel", self._opened)

    def _prepare(self) -> None:
        video = self._pc.addTransceiver("video", direction="sendonly")
        video.setCodecPreferences(_spoken())

    def _attach(self) -> None:
        video = self._pc.getTransceivers()[0]
        if video.mid is None or video._offerDirection not in ("sendonly", "sendrecv"):
            raise SourceError("sdp", "it offers no video to be received")

    def _online(self) -> None:
        if self._channel is None and self._ending is None:
            video = self._pc.getTransceivers()[0]
            self._channel = self._find_channel()
            self._track = self._channel.join(video._codecs[0].name)
            self._track.wired = self._name
            self._track.failed = self._failed
            video.sender.replaceTrack(self._track)
            self._tell("online", codec=self._track.codec.lower())

    def _detach(self) -> None:
        if self._channel is not None and self._track is not None:
            self._channel.leave(self._track)
            self._track.stop()

    def _failed(self) -> None:
        self.end("lost", SourceError("internal", "encoding its pictures failed; the log says why"))

    def _name(self, show: Show, stamp: int) -> None:
        """Say which of the video's pictures is which, so that its results can be drawn on it."""
        if self._results is not None:
            named = {"type": "picture", "seq": show.seq, "rtp": stamp, "captured_us": show.captured_us}
            self.say(json.dumps(named, separators=(",", ":")))

    def _opened(self, channel: RTCDataChannel) -> None:
        if channel.label == RESULTS and self._results is None:
            self._results = channel
        else:
            channel.close()

    def say(self, text: str) -> None:
        channel = self._results
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > MOST_TEXT:
            self._dropped += 1
            return
        channel.send(text)

    def counters(self) -> Counters:
        track = self._track
        if self._channel is None or track is None:
            return Counters(dropped=self._dropped, malformed=self._malformed())
        return Counters(
            packets=track.sent,
            encoded=self._channel.encoded,
            dropped=track.dropped + self._dropped,
            malformed=self._malformed(),
        )


def _plain(text: str) -> bool:
    """Whether its lines and words are where the gateway saw them when it chose the candidates: ASCII, ended by CRLF."""
    return text.isascii() and text.splitlines() == text.removesuffix("\r\n").split("\r\n")


def _spoken() -> list[RTCRtpCodecCapability]:
    """What viewers get, best first: what every browser decodes, mostly in hardware."""
    known = RTCRtpSender.getCapabilities("video").codecs
    known = [codec for codec in known if codec.parameters.get("packetization-mode") != "0"]
    return sorted(known, key=lambda codec: {"H264": 0, "VP8": 1}.get(codec.name, 2))
