"""What the gateway and a media child say to each other (docs/media-protocol.md), checked on both ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, TypeAdapter, ValidationError

from gateway.engine.wire import BrokenWire, Header
from gateway.media.errors import Code
from gateway.media.sources import Source

VERSION = 1
MAX_JPEG = 32 * 2**20
CameraState = Literal["connecting", "online", "lost", "auth_failed", "ended"]


# --- gateway to child ------------------------------------------------------------------------------------------------


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
    t: Literal["setup"] = "setup"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a stream is to deliver: `fps` pictures per second at most, none larger than `side` px.

    `keyframes`: only those. Not `wanted`: nobody looks; a keyframe now and then tells that the camera is there.
    """

    number: int
    fps: Annotated[float, Field(gt=0)] = 15.0
    side: Annotated[int, Field(ge=16)] = 1920
    keyframes: bool = False
    wanted: bool = True
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
    captured_us: int | None = None
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
class Gone:
    """A stream that was closed has left nothing behind."""

    number: int
    t: Literal["gone"] = "gone"


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one stream, since it was opened. `fps` is what the source sends."""

    packets: int = 0
    decoded: int = 0
    encoded: int = 0
    passed: int = 0
    corrupt: int = 0
    fps: float = 0.0


@dataclass(frozen=True, slots=True)
class Pong:
    """Resident bytes, counters by stream, and the streams whose thread hangs beyond every deadline."""

    rss: int
    streams: dict[int, Counters]
    stuck: tuple[int, ...] = ()
    t: Literal["pong"] = "pong"


Order = Setup | Wish | Open | Close | Ping | Bye
Report = Hello | Shot | Told | Gone | Pong

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
