"""What the gateway and a media child say to each other (docs/media-protocol.md), checked on both ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, TypeAdapter, ValidationError

from gateway.engine.plugins import PluginSpec
from gateway.engine.wire import BrokenWire, Header
from gateway.media.errors import Code
from gateway.media.sources import Source

VERSION = 1
MAX_JPEG = 32 * 2**20
MAX_CAPTURED_S = 4 * 10**9  # epoch s of a capture, in the year 2096; what is more are milliseconds
CameraState = Literal["connecting", "online", "lost", "auth_failed", "ended"]
Direction = Literal["in", "out"]  # of pictures, as the gateway sees them: WHIP, WHEP


# --- gateway to child ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RtcTerms:
    """The operator's terms for WebRTC. No `addresses`: all of this machine but loopback; no ports: any. Times in s.

    `hosts` are told besides, as under what the machine is reached. `candidates`: of one peer, at most.
    """

    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    port_min: int = 0
    port_max: int = 0
    candidates: int = 16
    connect_s: float = 15.0
    consent_s: float = 30.0
    silent_s: float = 10.0
    bitrate_kbps: int = 2000
    fps: float = 30.0


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message: the operator's terms for every source of this child. Times in s, sizes in px."""

    networks: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    own_port: int = 0
    open_s: float = 5.0
    read_s: float = 5.0
    no_frame_s: float = 10.0
    retry_max_s: float = 30.0
    auth_retry_s: float = 60.0
    snapshot_s: float = 1.0
    quality: int = 80
    max_pixels: int = 2**26
    max_bytes: int = 2 * 2**20
    tls_verify: bool = True
    tls_ca: str = ""
    rtc: RtcTerms = RtcTerms()
    plugins: tuple[PluginSpec, ...] = ()
    t: Literal["setup"] = "setup"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a stream is to deliver: `fps` pictures per second at most, none larger than `side` px.

    Not `wanted`: nobody looks; a keyframe now and then tells that the camera is there.
    `packets`: its H.264 as it comes, too.
    """

    number: int
    fps: Annotated[float, Field(gt=0)] = 15.0
    side: Annotated[int, Field(ge=16)] = 1920
    wanted: bool = True
    packets: bool = False
    t: Literal["wish"] = "wish"


@dataclass(frozen=True, slots=True)
class Open:
    """Pull a source as stream `number`, which is used once in a child's life."""

    number: int
    source: Source = field(repr=False)
    wish: Wish
    t: Literal["open"] = "open"


@dataclass(frozen=True, slots=True)
class Close:
    number: int
    t: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, as RFC 7064 and RFC 7065 write them."""

    url: str
    username: str = ""
    credential: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Offer:
    """A WebRTC peer's offer. `sdp` was checked, and candidates that are refused were taken out of it.

    `channel` of a viewer: viewers of one channel see the same pictures and share one encoder.
    """

    direction: Direction
    sdp: str = field(repr=False)
    channel: str = ""
    servers: tuple[IceServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Meet:
    """Answer an offer, as peer `number`. `wish` is what is wished of the pictures it sends."""

    number: int
    offer: Offer
    wish: Wish
    t: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True)
class Trickle:
    """More candidates of a peer, `application/trickle-ice-sdpfrag` (RFC 8840)."""

    number: int
    fragment: str = field(repr=False)
    t: Literal["candidate"] = "candidate"


@dataclass(frozen=True, slots=True)
class Hangup:
    """End a peer; `Gone` tells when nothing is left of it."""

    number: int
    t: Literal["hangup"] = "hangup"


@dataclass(frozen=True, slots=True)
class Show:
    """A picture for all viewers of a channel; its JPEG is the payload. The next one waits for `Shown`."""

    channel: str
    seq: int
    captured_us: int | None = None
    t: Literal["picture"] = "picture"


@dataclass(frozen=True, slots=True)
class Say:
    """A text for one viewer, on its data channel."""

    number: int
    text: str = field(repr=False)
    t: Literal["say"] = "say"


@dataclass(frozen=True, slots=True)
class Ping:
    t: Literal["ping"] = "ping"


@dataclass(frozen=True, slots=True)
class Bye:
    t: Literal["bye"] = "bye"


# --- child to gateway ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    version: int
    confined: dict[str, str]
    t: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture; its JPEG is the payload. `at` is the source's own time in s, never backwards.

    `captured_us`: µs UTC of its arrival, or of its capture where the source tells; None for files.
    """

    number: int
    at: float
    width: int
    height: int
    keyframe: bool
    captured_us: Annotated[int, Field(ge=0, lt=MAX_CAPTURED_S * 10**6)] | None = None
    t: Literal["frame"] = "frame"


@dataclass(frozen=True, slots=True)
class Told:
    """How a stream is doing, after each change. `retry_s`: when the next attempt comes."""

    number: int
    state: CameraState
    code: Code | None = None
    detail: str | None = None
    attempts: int = 0
    retry_s: float | None = None
    codec: str | None = None
    t: Literal["state"] = "state"


@dataclass(frozen=True, slots=True)
class Packets:
    """H.264 of a camera as it came (annex B), some packets in a row; their data is the payload.

    Of each its size in bytes, when it is decoded on the time of `frame`, how long until it is shown (s), and whether it
    is a keyframe; one stands first, or nowhere, and has its parameters before it.
    """

    number: int
    stamps: tuple[tuple[int, float, float, bool], ...]
    t: Literal["packets"] = "packets"


@dataclass(frozen=True, slots=True)
class Gone:
    """A stream that was closed has left nothing behind."""

    number: int
    t: Literal["gone"] = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a WebRTC peer: the SDP with every candidate, or why there is none."""

    number: int
    sdp: str | None = field(default=None, repr=False)
    code: Code | None = None
    detail: str = ""
    t: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True)
class Shown:
    """A channel's encoder has taken a picture; the next one may come."""

    channel: str
    seq: int
    t: Literal["shown"] = "shown"


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one stream, since it was opened. `fps` is what the source sends.

    `dropped`: pictures and texts that somebody was too slow for; `malformed`: datagrams that mean nothing.
    """

    packets: int = 0
    decoded: int = 0
    encoded: int = 0
    passed: int = 0
    corrupt: int = 0
    fps: float = 0.0
    dropped: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class Pong:
    """Resident bytes, counters by stream, and the streams whose thread hangs beyond every deadline."""

    rss: int
    streams: dict[int, Counters]
    stuck: tuple[int, ...] = ()
    t: Literal["pong"] = "pong"


Order = Setup | Wish | Open | Close | Meet | Trickle | Hangup | Show | Say | Ping | Bye
Report = Hello | Shot | Packets | Told | Gone | Answer | Shown | Pong

_ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Discriminator("t")])
_REPORTS: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Discriminator("t")])


def to_wire(message: Order | Report) -> Header:
    return asdict(message)


def order(header: Header) -> Order:
    """What the gateway says. Raises `BrokenWire`."""
    checked: Order = _checked(_ORDERS, header)
    return checked


def report(header: Header) -> Report:
    """What a child says. Raises `BrokenWire`."""
    checked: Report = _checked(_REPORTS, header)
    return checked


def _checked(adapter: TypeAdapter[Any], header: Header) -> Any:
    try:
        return adapter.validate_python(header)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]  # the input may hold a secret
        place = ".".join(map(str, first["loc"]))
        raise BrokenWire(f"no message of the media protocol: {place}: {first['msg']}") from None
