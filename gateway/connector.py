"""Connector: what an author subclasses to bring pictures in from what the gateway does not read by itself.

The host owns attempts, pauses between them, pace and encoding; a connector opens its source and yields pictures. It
runs in a thread of a media child that only plugins of its own distribution share, never in the gateway's process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from gateway.analyzer import PERMISSIONS, fits_api
from gateway.version import PLUGIN_API

if TYPE_CHECKING:
    from gateway.frame import Pixels

RESERVED = frozenset({"rtsp", "rtsps", "http", "https", "file", "device", "data", "javascript", "whip", "whep"})

_SCHEME = re.compile(r"[a-z][a-z0-9-]{1,31}")


@dataclass(frozen=True, slots=True)
class Capture:
    """One picture as a connector brings it: JPEG (PNG and WebP become JPEG), or BGR pixels, uint8, height x width x 3.

    Pixels are encoded only if somebody wants the picture. `captured`: epoch s, UTC; None: when it was yielded.
    """

    image: bytes | Pixels = field(repr=False)
    captured: float | None = None


class SourceFailed(Exception):
    """The source gives no pictures, and will be tried again: one word for programs, one line for people.

    `code` is one of those in docs/media-protocol.md: `auth` is tried again after `media.auth_retry_s` at the earliest.
    Neither may hold a secret.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Demand(Protocol):
    """What is wanted of a source now; it changes while it is read."""

    @property
    def fps(self) -> float:
        """Pictures a second; more are thrown away."""

    @property
    def side(self) -> int:
        """Longer side in px; larger ones are scaled down."""

    @property
    def wanted(self) -> bool:
        """Whether anybody looks. If not, a picture a second shows that the source is there."""

    def wait(self, seconds: float) -> bool:
        """Sleep, unless it is closed meanwhile; whether it goes on. Return when it does not."""

    def expect(self, seconds: float) -> None:
        """The next step may take so long; without a word it is `media.read_s` and `media.no_frame_s` together."""


class Connector:
    """One attempt at one source. Made, read and dropped by one thread.

    Class attributes an author sets: `scheme` (what stands before the colon in `stream_url`, lower case), `version`,
    `title`, `permissions` (of "network" and "files", what a confined process must be allowed; the operator approves),
    `admin` (only admins may name its addresses, as those of files) and `api`, the versions of this contract it is
    written for.
    """

    scheme: ClassVar[str]
    version: ClassVar[str] = "1"
    title: ClassVar[str] = ""
    permissions: ClassVar[tuple[str, ...]] = ()
    admin: ClassVar[bool] = False
    api: ClassVar[str] = ">=1,<2"

    def __init__(self, address: str) -> None:
        """`address` is what followed the colon, as it came. Raises `SourceFailed` with `address` if it is none."""
        self.address = address

    def captures(self, demand: Demand) -> Iterator[Capture | None]:
        """Open the source and yield its pictures; None is a sign of life without one. Close in a `finally`.

        A source that fails raises `SourceFailed`, one that is through returns. Nothing may block for longer than
        `demand.expect` allows: the process is ended then, with all sources that it reads.
        """
        raise NotImplementedError


def check_connector(cls: type[Connector]) -> None:
    """Refuse a class that breaks the contract, saying which part. Raises `TypeError`."""
    scheme = getattr(cls, "scheme", None)
    if not (isinstance(scheme, str) and _SCHEME.fullmatch(scheme)):
        raise TypeError(f"{cls.__qualname__}.scheme must be 2 to 32 lower-case letters, digits and -, got {scheme!r}")
    if scheme in RESERVED:
        raise TypeError(f"connector {scheme}: the gateway reads {scheme}: itself")
    if not fits_api(cls.api):
        raise TypeError(f"connector {scheme} is written for plugin API {cls.api}, this is {PLUGIN_API}")
    permissions: object = cls.permissions
    if isinstance(permissions, str):  # ("network") is no tuple
        raise TypeError(f"connector {scheme}: permissions must be a tuple of names, got {permissions!r}")
    if strange := set(cls.permissions) - PERMISSIONS:
        raise TypeError(f"connector {scheme}: there is no permission {min(strange)}")
    if cls.captures is Connector.captures:
        raise TypeError(f"connector {scheme}: {cls.__qualname__} does not define captures(demand)")
