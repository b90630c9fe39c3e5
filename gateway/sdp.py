"""SDP of WebRTC peers, as far as the gateway has to understand it: pure text in, text out (RFC 8866, 8829, 8840).

What is wrong with an offer is found here, before anything that speaks WebRTC sees it. What stays is passed on line by
line, and has to mean the same to whoever reads it next; candidates are looked at, and written anew, by `gateway.ice`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.errors import BadMessage, BadOffer, NoCommonCodec, StaleTag

MOST_LINES = 512
LONGEST_LINE = 4096
KINDS = ("audio", "video", "application")
MOST = {"audio": 1, "video": 1, "application": 1}
MOST_SECTIONS = 4
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
HASHES = ("sha-256", "sha-384", "sha-512")
H264_PROFILES = (0x42, 0x4D, 0x58, 0x64)  # baseline, main, extended, high: what 8 bits and 4:2:0 are called
SPOKEN = "H264 (to High profile) and VP8"

Direction = Literal["in", "out"]  # of pictures, as the gateway sees them
# What is passed on of each candidate, by what follows `a=candidate:`; None: nothing.
Keep = Callable[[Sequence[str]], Sequence[str | None]]

_CANDIDATE = "a=candidate:"
_LINE = re.compile(r"[a-z]=[ -~]*")  # in others than ASCII are characters that end a line, or part words, for some
_FOR_PEOPLE = re.compile(r"[si]=[^\x00-\x1f\x7f]*")
_ICE = re.compile(r"[A-Za-z0-9+/]{4,256}")
_ICE_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]+) ((?:[0-9A-Fa-f]{2}:){19,63}[0-9A-Fa-f]{2})")
_PORT = re.compile(r"[0-9]{1,5}(/[0-9]{1,5})?")
_TOKEN = re.compile(r"[!#-'*+.0-9A-Z^-z{|}~-]{1,64}")
_SINGLE = {"ice-ufrag": _ICE, "ice-pwd": _ICE_PWD, "setup": re.compile("[a-z]+"), "mid": _TOKEN}


@dataclass(frozen=True, slots=True)
class Section:
    """One m-line with what stands below it."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]  # names and values, of the whole session where it has none of its own

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    @property
    def rejected(self) -> bool:
        """Whether it is offered as nothing (RFC 3264 section 6): port 0, unless another one carries it."""
        return self.port == 0 and self.first("bundle-only") is None

    @property
    def direction(self) -> str:
        return next((key for key, _ in self.attributes if key in DIRECTIONS), "sendrecv")

    def codecs(self) -> list[tuple[str, str]]:
        """Name in capitals and parameters of each payload format."""
        maps = dict(value.partition(" ")[::2] for value in self.all("rtpmap"))
        parameters = dict(value.partition(" ")[::2] for value in self.all("fmtp"))
        return [(maps.get(one, "").partition("/")[0].upper(), parameters.get(one, "")) for one in self.formats]


@dataclass(frozen=True, slots=True)
class Description:
    """An offer that was read. `text` has CRLF at the end of every line."""

    text: str
    sections: tuple[Section, ...]

    @property
    def active(self) -> list[Section]:
        return [section for section in self.sections if not section.rejected]

    def of(self, kind: str) -> Section | None:
        return next((section for section in self.active if section.kind == kind), None)

    @property
    def ufrag(self) -> str:
        """Its name in ICE: one, since all sections are bundled."""
        return next((section.first("ice-ufrag") or "" for section in self.active), "")

    @property
    def speaks(self) -> bool:
        """Whether it opens a data channel."""
        return self.of("application") is not None


# --- reading ---------------------------------------------------------------------------------------------------------


def read_offer(text: str, direction: Direction) -> Description:
    """An offer to publish ("in") or to watch ("out"), checked. Raises `BadMessage`, `BadOffer` or `NoCommonCodec`."""
    description = _read(text)
    for section in description.active:
        _check_section(section)
    for section in description.sections:
        _check_single(section)
    _check_bundle(description)
    _check_video(description, direction)
    return description


def _read(text: str) -> Description:
    lines = _lines(text)
    if lines[0] != "v=0":
        raise BadMessage("an SDP begins with v=0 (RFC 8866)", code="bad_sdp")
    starts = [number for number, line in enumerate(lines) if line.startswith("m=")]
    if not starts:
        raise BadOffer("the offer has no media")
    if len(starts) > MOST_SECTIONS:
        raise BadOffer(f"the offer has {len(starts)} m-lines, {MOST_SECTIONS} are the most")
    general = _attributes(lines[: starts[0]])
    blocks = [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]
    sections = tuple(_section(block, general) for block in blocks)
    return Description("".join(f"{line}\r\n" for line in lines), sections)


def _lines(text: str) -> list[str]:
    """Its lines; some clients end them with LF alone, some leave an empty one at the end. Raises `BadMessage`.

    All are printable ASCII, which is all that is needed: a name or title in another language becomes `-`.
    """
    if text.count("\n") > MOST_LINES:
        raise BadOffer(f"the SDP has more than {MOST_LINES} lines")
    lines = text.rstrip("\r\n").replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE or not (_LINE.fullmatch(line) or _FOR_PEOPLE.fullmatch(line)):
            raise BadMessage(f"line {number} is none of an SDP (RFC 8866)", code="bad_sdp")
    return [line if line.isascii() else f"{line[:2]}-" for line in lines]


def _attributes(lines: Collection[str]) -> list[tuple[str, str]]:
    found = (line[2:].partition(":") for line in lines if line.startswith("a="))
    return [(name, value) for name, _, value in found]


def _section(block: list[str], general: list[tuple[str, str]]) -> Section:
    parts = block[0][2:].split(" ")
    if len(parts) < 4 or not _PORT.fullmatch(parts[1]):
        raise BadMessage("an m-line has a kind, a port, a protocol and formats (RFC 8866)", code="bad_sdp")
    kind, port, protocol, *formats = parts
    own = [(name, value) for name, value in _attributes(block[1:]) if name != "group"]  # groups are the session's
    names = {name for name, _ in own}
    if names.intersection(DIRECTIONS):
        names.update(DIRECTIONS)
    inherited = [(name, value) for name, value in general if name not in names]
    return Section(kind, int(port.partition("/")[0]), protocol, tuple(formats), (*own, *inherited))


# --- what may be offered ---------------------------------------------------------------------------------------------


def _check_section(section: Section) -> None:
    """Raises `BadOffer`."""
    if section.kind not in KINDS:
        raise BadOffer("media are audio, video and application (a data channel)")
    if not _ICE.fullmatch(section.first("ice-ufrag") or "") or not _ICE_PWD.fullmatch(section.first("ice-pwd") or ""):
        raise BadOffer("every m-line needs ice-ufrag and ice-pwd (RFC 8839)")
    prints = [match for value in section.all("fingerprint") if (match := _FINGERPRINT.fullmatch(value))]
    if not any(match.group(1).lower() in HASHES for match in prints):
        raise BadOffer(f"every m-line needs a fingerprint by {', '.join(HASHES)}: media without DTLS are not taken")
    if section.first("setup") not in ("actpass", "active", "passive"):
        raise BadOffer("every m-line needs setup:actpass, active or passive (RFC 8842)")
    if section.first("mid") is not None and not _TOKEN.fullmatch(section.first("mid") or ""):
        raise BadOffer("a mid is a token of at most 64 characters")
    if section.kind == "application":
        if "webrtc-datachannel" not in section.formats:
            raise BadOffer("an application m-line is webrtc-datachannel (RFC 8841)")
    elif "RTP/SAVP" not in section.protocol:
        raise BadOffer("audio and video are UDP/TLS/RTP/SAVPF (RFC 8829)")
    elif section.first("rtcp-mux") is None:
        raise BadOffer("audio and video need rtcp-mux (RFC 9725)")


def _check_single(section: Section) -> None:
    """What one takes the first of and another the last, of media offered as nothing too. Raises `BadOffer`."""
    for name, form in _SINGLE.items():
        values = section.all(name)
        if len(values) > 1 or not all(form.fullmatch(value) for value in values):
            raise BadOffer(f"an m-line has one {name} at most, as RFC 8839, 8842 and 5888 write it")


def _check_bundle(description: Description) -> None:
    """Raises `BadOffer` unless everything shares one transport."""
    kinds = [section.kind for section in description.active]
    for kind, most in MOST.items():
        if kinds.count(kind) > most:
            raise BadOffer(f"the offer has {kinds.count(kind)} of {kind}, {most} is the most (RFC 9725)")
    groups = [value.split() for value in description.sections[0].all("group")]
    bundle = next((group[1:] for group in groups if group[:1] == ["BUNDLE"]), [])  # of several the first counts
    if bundle and bundle[0] not in [section.first("mid") for section in description.sections]:
        raise BadOffer("a BUNDLE group begins with the mid of an m-line (RFC 9143)")
    if len(kinds) < 2:
        return
    mids = [section.first("mid") or "" for section in description.active]
    if len(set(mids)) < len(mids) or "" in mids:
        raise BadOffer("every m-line needs a mid of its own")
    if not set(mids) <= set(bundle):
        raise BadOffer("all media have to be in one BUNDLE group (RFC 9725)")


def _check_video(description: Description, direction: Direction) -> None:
    """Raises `BadOffer` or `NoCommonCodec`."""
    video = description.of("video")
    wanted = ("sendonly", "sendrecv") if direction == "in" else ("recvonly", "sendrecv")
    if video is None or video.direction not in wanted:
        verb = "sends" if direction == "in" else "asks for"
        raise BadOffer(f"the offer {verb} no video: its video m-line has to be {wanted[0]}")
    offered = video.codecs()
    if not any(_understood(name, parameters) for name, parameters in offered):
        names = sorted({_shown(name) for name, _ in offered} - {"RTX", "RED", "ULPFEC", "FLEXFEC-03", ""})
        raise NoCommonCodec(f"the gateway understands {SPOKEN}; offered are {', '.join(names) or 'none it knows'}")


def _understood(name: str, parameters: str) -> bool:
    """Whether a codec can be decoded, and made, here. Without a profile H264 is baseline (RFC 6184 section 8.1)."""
    if name != "H264":
        return name == "VP8"
    profile = re.search(r"profile-level-id=([0-9A-Fa-f]{6})(?![0-9A-Fa-f])", parameters)
    return profile is None or int(profile.group(1)[:2], 16) in H264_PROFILES


def _shown(name: str) -> str:
    """A codec's name as a peer wrote it, fit for an answer."""
    return name if re.fullmatch(r"[A-Z0-9.-]{1,16}", name) else ""


# --- candidates ------------------------------------------------------------------------------------------------------


def with_candidates(description: Description, keep: Keep) -> Description:
    """With what is kept of its candidates; the other lines as they are."""
    return replace(description, text="\r\n".join(_sifted(description.text.split("\r\n"), keep)))


def _sifted(lines: Sequence[str], keep: Keep) -> list[str]:
    kept = iter(keep([line.removeprefix(_CANDIDATE) for line in lines if line.startswith(_CANDIDATE)]))
    passed = []
    for line in lines:
        if not line.startswith(_CANDIDATE):
            passed.append(line)
        elif (candidate := next(kept)) is not None:
            passed.append(_CANDIDATE + candidate)
    return passed


def read_fragment(text: str, ufrag: str, keep: Keep) -> str | None:
    """What is left of `application/trickle-ice-sdpfrag` (RFC 8840); None: nothing that has to be passed on.

    Raises `BadMessage`, or `BadOffer` for an ICE restart: a peer's connection is begun anew instead.
    """
    lines = _lines(text)
    names = {line[12:] for line in lines if line.startswith("a=ice-ufrag:")}
    if names - {ufrag}:
        raise BadOffer("ICE restarts are not supported: publish or watch anew", code="ice_restart")
    kept = _sifted(lines, keep)
    news = [line for line in kept if line.startswith((_CANDIDATE, "a=end-of-candidates"))]
    return "".join(f"{line}\r\n" for line in kept) if news else None


def check_tag(expected: str, if_match: str | None) -> None:
    """If-Match of a PATCH (RFC 9725 section 4.3.1). Many clients send none. Raises `StaleTag` or `BadOffer`."""
    if if_match is None:
        return
    if if_match.strip() == "*":
        raise BadOffer("ICE restarts are not supported: publish or watch anew", code="ice_restart")
    if expected not in [tag.strip() for tag in if_match.split(",")]:
        raise StaleTag("If-Match names no state of this WebRTC session")
