"""Sources: what may be pulled, and from where. Pure: names are looked up, and own addresses told, by whoever calls.

A source is parsed into parts once; nothing further on reads an address text again. What is not on the list of schemes
is refused, and so is every address that the operator did not open: networks of cameras by `media.networks`, a media
server on this machine by `media.endpoints`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote, urljoin, urlsplit

from gateway.errors import BadSource
from gateway.media.errors import SourceError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
LONGEST = 2048  # characters of an address
OURS = ("demo",)  # schemes of the connectors that come with the gateway
Kind = Literal["rtsp", "http", "file", "device", "plugin"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Place = Literal["loopback", "own", "special", "public", "reserved", "private"]
HERE: tuple[Place, ...] = ("loopback", "own")  # this machine

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)\.?")  # a last label like this is no name but some form of IPv4
METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Networks of a site's own that count as global: NAT64 (RFC 8215), site-local (RFC 3879), SIIT (RFC 2765).
_PRIVATE = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "fec0::/10", "::ffff:0:0:0/96")))


@dataclass(frozen=True, slots=True)
class Source:
    """Where pictures come from. `path` has the query; for files and devices it is the path on this machine.

    `udp`: RTP by UDP instead of inside the RTSP connection. `loop`: a file begins anew at its end. `trusted`: its host
    and port were named by this machine's owner in code, and are connected to wherever they lie. `connector`: the
    scheme of a plugin's; `path` is what followed it.
    """

    kind: Kind
    host: str = ""
    port: int = 0
    tls: bool = False
    path: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    udp: bool = False
    loop: bool = False
    trusted: bool = False
    connector: str = ""

    @property
    def local(self) -> bool:
        """Whether it is read from this machine's files, not from the network."""
        return self.kind in ("file", "device")

    @property
    def scheme(self) -> str:
        return self.kind + "s" * self.tls

    @property
    def authority(self) -> str:
        """Host and port as an address has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def base(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def shown(self) -> str:
        """For people. Paths and queries of cameras are passwords often enough to show none."""
        match self.kind:
            case "plugin":
                return f"{self.connector}:{'***' * (self.path != '')}"
            case "device":
                return self.path
            case "file":
                return f"file:{self.path.rpartition('/')[2]}"
        whose = "***@" if self.user or self.password else ""
        return f"{self.scheme}://{whose}{self.authority}/{'***' * (self.path not in ('', '/'))}"


# --- what a text or a number means -----------------------------------------------------------------------------------


def parse(value: object, connectors: Collection[str] = OURS) -> Source:
    """A source as a client or the operator names it. Raises `BadSource`.

    `rtsp`, `rtsps`, `http`, `https` addresses; `file:` and a path; `/dev/videoN` or N; and what plugins bring:
    `connectors` are their schemes.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadSource(f"a source is an address, got {type(value).__name__}", code="source_scheme")
    text = str(value)
    if re.fullmatch(r"[0-9]{1,3}", text):
        return Source("device", path=f"/dev/video{int(text)}")
    if re.fullmatch(r"/dev/video[0-9]{1,3}", text):
        return Source("device", path=text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in connectors:
        if len(text) > LONGEST or not (rest == "" or rest.isprintable()):
            raise BadSource(f"an address is at most {LONGEST} printable characters")
        return Source("plugin", path=rest, connector=scheme)
    if text.startswith("file:///") and "\0" not in text and len(text) <= LONGEST:
        return Source("file", path=text.removeprefix("file://"))
    return _network(text)


def _network(text: str) -> Source:
    scheme, colon, _ = text.partition("://")
    if not colon or scheme.lower() not in PORTS:
        raise BadSource("a source is an address with rtsp, rtsps, http or https", code="source_scheme")
    if len(text) > LONGEST or not _PRINTABLE.fullmatch(text) or "\\" in text or "#" in text:
        raise BadSource(
            f"an address is at most {LONGEST} ASCII characters without spaces, \\ and #; in passwords write them as %20"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadSource("the address cannot be read: its host or port is none") from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (user + password).isprintable():  # they stand in a header
        raise BadSource("a user name or password holds a control character")
    kind, tls = _transport(scheme.lower())
    host = check_host(parts.hostname or "")
    if port == 0:
        raise BadSource("a port is 1 to 65535")
    return Source(
        kind,
        host,
        port or PORTS[scheme.lower()],
        tls,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        user=user,
        password=password,
    )


def _transport(scheme: str) -> tuple[Literal["rtsp", "http"], bool]:
    return ("rtsp" if scheme.startswith("rtsp") else "http"), scheme.endswith("s")


def check_host(host: str) -> str:
    """A host name or address literal in the one form that everybody reads alike. Raises `BadSource`."""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host)) if "%" not in host else _no_host()
        except ValueError:
            _no_host()
    if not _HOST.fullmatch(host):
        _no_host()
    if _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):  # 127.1, 0x7f000001, 2130706433, 0177.0.0.1
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise BadSource("an IPv4 address is four decimal numbers", code="source_address") from None
    return host.lower()


def _no_host() -> str:
    raise BadSource("the address has no host, or none that is a name or an IP address", code="source_address")


def redirected(source: Source, location: str) -> Source:
    """Where an answer sends. The credential goes along to the same host only. Raises `SourceError`."""
    try:
        target = _network(urljoin(source.base + source.path, location))
    except (BadSource, ValueError) as error:
        raise SourceError("redirect", f"the source sends to an address that is not allowed: {error}") from None
    if target.kind != source.kind:
        raise SourceError("redirect", f"the source sends from {source.kind} to {target.kind}")
    same = target.host == source.host and target.tls >= source.tls
    user, password = (source.user, source.password) if same else ("", "")
    trusted = source.trusted and target.base == source.base
    return replace(target, udp=source.udp, user=user, password=password, trusted=trusted)


# --- which addresses are allowed -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """Which addresses may be connected to. `own_port` is the gateway's; `own` tells this machine's addresses.

    `networks` open private ones; `endpoints`, each `address:port`, single ones wherever they lie.
    """

    networks: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    own_port: int = 0
    own: Callable[[], Collection[str]] = tuple

    def check(self, text: str, port: int) -> None:
        """Raises `SourceError` for an address that may not be connected to."""
        if reason := self._refusal(ipaddress.ip_address(text.partition("%")[0]), port):
            raise SourceError("address", f"the source's address is {reason}")

    def check_all(self, addresses: Iterable[str], port: int) -> None:
        """All that a name stands for: a name that means a refused address too is not to be trusted."""
        for address in addresses:
            self.check(address, port)

    def _refusal(self, address: Address, port: int) -> str | None:
        meant = embedded(address)
        place = place_of(meant, self.own())
        if place in HERE and port == self.own_port:
            return "the gateway's own"
        if any(_same_endpoint(item, meant, port) for item in self.endpoints):
            return None
        if place in HERE:
            return "this machine's; a media server here is opened with media.endpoints"
        if place in ("special", "reserved"):
            return "one that no camera has"
        if place == "public" or any(meant in ipaddress.ip_network(item, strict=False) for item in self.networks):
            return None
        return "private; the networks of cameras are opened with media.networks"


def embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only wraps it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return inner
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def place_of(address: Address, own: Collection[str]) -> Place:
    """Where an address lies that is `embedded` in none. `own` are this machine's.

    "special" is what no peer has: link-local, multicast and metadata addresses; "private" is open only to whom the
    operator opened it.
    """
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if str(address) in own:
        return "own"
    if address in METADATA or address.is_link_local or address.is_multicast:
        return "special"
    if address.is_global and not _tunnelled(address):
        return "public"
    if address.is_reserved or (address.version == 4 and int(address) >> 24 == 0):
        return "reserved"
    return "private"


def _tunnelled(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return False
    return address.teredo is not None or any(address in network for network in _PRIVATE)


def _same_endpoint(item: str, address: Address, port: int) -> bool:
    host, _, number = item.rpartition(":")
    return number == str(port) and ipaddress.ip_address(host.strip("[]")) == address
