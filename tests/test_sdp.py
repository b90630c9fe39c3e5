"""Offers of WebRTC clients: what is taken, what is refused and why, and what is left of their candidates."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import BadMessage, BadOffer, GatewayError, NoCommonCodec, StaleTag
from gateway.ice import Candidates
from gateway.sdp import check_tag, read_fragment, read_offer, with_candidates

VECTORS = json.loads((Path(__file__).parent / "vectors" / "offers.json").read_text())["vectors"]
SOUND = [vector for vector in VECTORS if "refused" not in vector]
OBS = VECTORS[0]["sdp"]
VIEWER = VECTORS[-1]["sdp"]


def everything(candidates: Sequence[str]) -> Sequence[str]:
    return candidates


def nothing(candidates: Sequence[str]) -> list[None]:
    return [None] * len(candidates)


def refusal(sdp: str, direction: Any = "in") -> tuple[int, str, str]:
    with pytest.raises(GatewayError) as caught:
        read_offer(sdp, direction)
    return caught.value.status, caught.value.code, caught.value.detail


# --- what real clients send ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", SOUND, ids=lambda vector: vector["name"])
def test_an_offer_of_a_real_client_is_taken_as_it_is(vector: dict[str, Any]) -> None:
    offer = read_offer(vector["sdp"], vector["direction"])
    assert offer.text == vector["sdp"]
    assert offer.text.count("a=candidate:") == vector["candidates"]
    assert offer.ufrag
    assert f"a=ice-ufrag:{offer.ufrag}\r\n" in vector["sdp"]
    video = offer.of("video")
    assert video is not None
    assert set(vector["codecs"]) <= {name for name, _ in video.codecs()}


@pytest.mark.parametrize("vector", [v for v in VECTORS if "refused" in v], ids=lambda vector: vector["name"])
def test_a_codec_nobody_understands_here_is_refused_with_those_that_are(vector: dict[str, Any]) -> None:
    told = f"the gateway understands H264 (to High profile) and VP8; offered are {vector['codecs'][0]}"
    assert refusal(vector["sdp"]) == (406, "codec", told)


@pytest.mark.parametrize("vector", SOUND, ids=lambda vector: vector["name"])
def test_without_candidates_all_other_lines_stay(vector: dict[str, Any]) -> None:
    offer = with_candidates(read_offer(vector["sdp"], vector["direction"]), nothing)
    assert offer.text.split("\r\n") == [
        line for line in vector["sdp"].split("\r\n") if not line.startswith("a=candidate:")
    ]


def test_a_viewers_data_channel_is_seen() -> None:
    assert read_offer(VIEWER, "out").speaks
    assert not read_offer(OBS, "in").speaks


def test_lines_may_end_with_a_newline_alone_and_are_passed_on_with_both() -> None:
    assert read_offer(OBS.replace("\r\n", "\n"), "in").text == OBS


def test_media_that_are_offered_as_nothing_do_not_count() -> None:
    offer = read_offer(re.sub(r"m=audio \d+ ", "m=audio 0 ", OBS), "in")
    assert [section.kind for section in offer.active] == ["video"]


# --- what is refused -------------------------------------------------------------------------------------------------


def changed(old: str, new: str, sdp: str = OBS, *, times: int = -1) -> str:
    assert old in sdp
    return sdp.replace(old, new, times)


def without(start: str, sdp: str = OBS) -> str:
    kept = [line for line in sdp.split("\r\n") if not line.startswith(start)]
    assert len(kept) < sdp.count("\r\n") + 1
    return "\r\n".join(kept)


@pytest.mark.parametrize(
    "text",
    [
        *("", "\r\n", "{}", "v=1\r\n", "hello", "v=0\r\n\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "v=0\nx"),
        *("v=0\r\na=\x00", "v=0\r\na=\x1b[2J", "v=0\r\nM=video", "v=0\r\nm=video\r\n", "v=0\r\nm=video -1 RTP 96\r\n"),
        "v=0\r\na=" + "x" * 5000,
    ],
    ids=repr,
)
def test_what_is_no_sdp_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage) as caught:
        read_offer(text, "in")
    assert (caught.value.status, caught.value.code) == (400, "bad_sdp")


@pytest.mark.parametrize(
    ("sdp", "why"),
    [
        ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "the offer has no media"),
        (OBS + "a=x\r\n" * 512, "the SDP has more than 512 lines"),
        (OBS + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 3, "the offer has 5 m-lines, 4 are the most"),
        (changed("m=audio", "m=text"), "media are audio, video and application (a data channel)"),
        (without("a=ice-ufrag"), "every m-line needs ice-ufrag and ice-pwd (RFC 8839)"),
        (changed("a=ice-pwd:", "a=ice-pwd:!"), "every m-line needs ice-ufrag and ice-pwd (RFC 8839)"),
        (without("a=rtcp-mux"), "audio and video need rtcp-mux (RFC 9725)"),
        (changed("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "audio and video are UDP/TLS/RTP/SAVPF (RFC 8829)"),
        (
            changed("a=setup:actpass", "a=setup:holdconn"),
            "every m-line needs setup:actpass, active or passive (RFC 8842)",
        ),
        (changed("a=mid:1", "a=mid:0"), "every m-line needs a mid of its own"),
        (changed("a=mid:1", "a=mid:" + "1" * 65), "a mid is a token of at most 64 characters"),
        (
            changed("a=mid:1", "a=mid:1\r\na=mid:2"),
            "an m-line has one mid at most, as RFC 8839, 8842 and 5888 write it",
        ),
        (
            changed("a=ice-pwd:", f"a=ice-ufrag:{'u' * 300}\r\na=ice-pwd:", times=1),
            "an m-line has one ice-ufrag at most, as RFC 8839, 8842 and 5888 write it",
        ),
        (
            re.sub(r"m=audio \d+ ", "m=audio 0 ", changed("a=ice-ufrag:", "a=ice-ufrag:!", times=1)),
            "an m-line has one ice-ufrag at most, as RFC 8839, 8842 and 5888 write it",
        ),
        (changed("BUNDLE 0 1", "BUNDLE x 0 1"), "a BUNDLE group begins with the mid of an m-line (RFC 9143)"),
        (
            changed("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\r\na=group:BUNDLE 0 1"),
            "all media have to be in one BUNDLE group (RFC 9725)",
        ),
        (
            changed("a=mid:0", "a=mid:0\r\na=group:BUNDLE 0 1", without("a=group:BUNDLE")),
            "all media have to be in one BUNDLE group (RFC 9725)",
        ),
        (changed("BUNDLE 0 1", "BUNDLE 0"), "all media have to be in one BUNDLE group (RFC 9725)"),
        (without("a=group:BUNDLE"), "all media have to be in one BUNDLE group (RFC 9725)"),
        (changed("m=audio", "m=video"), "the offer has 2 of video, 1 is the most (RFC 9725)"),
        (changed("a=sendonly", "a=recvonly"), "the offer sends no video: its video m-line has to be sendonly"),
        (changed("a=sendonly", "a=inactive"), "the offer sends no video: its video m-line has to be sendonly"),
    ],
    ids=lambda value: value if len(value) < 100 else "sdp",
)
def test_an_offer_that_cannot_be_answered_says_why(sdp: str, why: str) -> None:
    assert refusal(sdp) == (422, "sdp", why)


@pytest.mark.parametrize("hash_function", ["sha-1", "md5", "none"])
def test_media_without_a_strong_fingerprint_are_refused(hash_function: str) -> None:
    told = "every m-line needs a fingerprint by sha-256, sha-384, sha-512: media without DTLS are not taken"
    assert refusal(changed("fingerprint:sha-256", f"fingerprint:{hash_function}")) == (422, "sdp", told)
    assert refusal(without("a=fingerprint")) == (422, "sdp", told)


def test_an_offer_for_the_other_direction_is_refused() -> None:
    assert refusal(OBS, "out") == (422, "sdp", "the offer asks for no video: its video m-line has to be recvonly")
    assert refusal(VIEWER, "in")[:2] == (422, "sdp")


@pytest.mark.parametrize(
    ("profile", "taken"),
    [("42e01f", True), ("42001f", True), ("4d0028", True), ("640032", True), ("6e0028", False), ("f4001f", False)],
)
def test_h264_is_taken_up_to_its_high_profile(profile: str, taken: bool) -> None:
    sdp = changed("profile-level-id=42e01f", f"profile-level-id={profile}")
    if taken:
        assert read_offer(sdp, "in").text == sdp
    else:
        with pytest.raises(NoCommonCodec):
            read_offer(sdp, "in")


def test_a_codecs_name_is_told_only_if_it_is_fit_for_an_answer() -> None:
    sdp = changed("H264/90000", "<script>alert(1)</script>/90000")
    assert refusal(sdp)[2] == "the gateway understands H264 (to High profile) and VP8; offered are none it knows"


def test_a_thousand_bad_offers_hold_up_nobody() -> None:
    """The longest that are parsed at all, on the loop: 64 KiB in 512 lines."""
    line = "a=fmtp:96 " + "x=1;" * 28 + "\r\n"
    sdp = (OBS + line * (510 - OBS.count("\r\n")))[: 64 * 1024]
    slowest = 0.0
    for _ in range(1000):
        began = time.thread_time()
        with pytest.raises(GatewayError):
            read_offer(sdp + "a=\x00\r\n", "in")
        slowest = max(slowest, time.thread_time() - began)
    assert slowest < 0.05


# --- lines that some read otherwise -----------------------------------------------------------------------------------

BREAKS = ("\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")  # to `str.splitlines`, besides LF
SPACES = ("\t", "\x1f", "\xa0", "\u1680", "\u2003", "\u202f", "\u3000")  # to `str.split`


@pytest.mark.parametrize("character", [*BREAKS, *SPACES, "\xe9", "\ufeff"], ids=repr)
def test_a_line_with_anything_but_printable_ascii_is_refused(character: str) -> None:
    hidden = f"a=x:{character}a=candidate:1 1 udp 1 169.254.169.254 53 typ host\r\n"
    with pytest.raises(BadMessage) as caught:
        read_offer(OBS + hidden, "in")
    assert (caught.value.status, caught.value.code) == (400, "bad_sdp")
    with pytest.raises(BadMessage):
        read_fragment(FRAGMENT.format("AjxB") + hidden, "AjxB", everything)


def test_but_a_name_or_title_in_another_language_is_left_out() -> None:
    named = changed("s=-", "s=Kamera \xfcber der T\xfcr\u2028a=x", changed("a=mid:0", "a=mid:0\r\ni=\u8138"))
    assert read_offer(named, "in").text == changed("a=mid:0", "a=mid:0\r\ni=-")
    assert "\r\ns=- \r\n" in read_offer(changed("s=-", "s=- "), "in").text


def words(*usual: str, strange: Sequence[str] = (), one_in: int = 16) -> st.SearchStrategy[str]:
    """Something strange one time in so many."""
    return st.sampled_from([*usual * (len(strange) * one_in // len(usual) or 1), *strange])


between = words(" ", strange=["  ", *SPACES], one_in=60)
fields = [
    words("1", strange=["", "1\xa01\xa0udp\xa01\xa010.0.0.5\xa02000\xa0typ\xa0host"]),
    words("1", strange=["2", "01", "\u0661", "+1"]),
    words("udp", "UDP", strange=["tcp", "1"]),
    words("1", "2130706431", strange=["+1", "1_0", "\u0661"]),
    words("8.8.8.8", "::ffff:8.8.8.8", strange=["10.0.0.5", "169.254.169.254", "fec0::1", "a.b"], one_in=3),
    words("9999", "09999", strange=["53", "0053", "+53", "5_3", "\u0665\u0663", "99999"], one_in=6),
    words("typ"),
    words("host", "srflx", strange=["prflx"]),
    words("", "raddr", strange=["a=candidate:1"]),
]
named = st.tuples(*(part for field in fields for part in (field, between))).map("".join)
starts = words(
    "a=candidate:",
    "a=candidate:",
    "a=x:",
    strange=["a=Candidate:", "a= candidate:", "a=candidate :", "a=candidate", "s=", "i=", "m=", ""],
    one_in=4,
)
ends = words("\r\n", "\n", strange=BREAKS[-3:], one_in=4)
smuggled = st.lists(st.tuples(starts, named, ends).map("".join), min_size=1, max_size=4).map("".join)


class Kept:
    """What `Candidates` passed on."""

    def __init__(self) -> None:
        self._candidates = Candidates(networks=[], most=1000)
        self.ends: set[tuple[str, int]] = set()

    def keep(self, values: Sequence[str]) -> list[str | None]:
        passed = self._candidates.keep(values)
        read = [candidate_from_sdp(value) for value in passed if value is not None]
        self.ends.update((candidate.ip, candidate.port) for candidate in read)
        return passed

    def check(self, found: Sequence[RTCIceCandidate]) -> None:
        assert {(candidate.ip, candidate.port) for candidate in found} <= self.ends
        for candidate in found:
            assert ipaddress.ip_address(candidate.ip).is_global
            assert 1024 <= candidate.port <= 65535


@settings(max_examples=300, deadline=None)
@given(smuggled, st.sampled_from(["s=", "a=group", "m=audio", "a=mid:0", "m=video", "a=mid:1"]))
@example("a=x:\u2028a=candidate:1 1 udp 1 169.254.169.254 53 typ host\r\n", "a=mid:0")
@example("i=x\u2029a=candidate:1 1 udp 1 169.254.169.254 53 typ host\r\n", "a=mid:0")
@example("a=candidate:x\xa01\xa0udp\xa01\xa010.0.0.5\xa053\xa0typ\xa0host 1 udp 1 8.8.8.8 9999 typ host\r\n", "a=mid:0")
def test_no_parser_finds_a_candidate_that_was_not_kept(lines: str, before: str) -> None:
    kept = Kept()
    try:
        offer = with_candidates(read_offer(changed(before, lines + before, times=1), "in"), kept.keep)
    except GatewayError:
        return
    found = [candidate for media in SessionDescription.parse(offer.text).media for candidate in media.ice_candidates]
    kept.check(found)


@settings(max_examples=300, deadline=None)
@given(smuggled)
@example("a=x:\u2028a=candidate:1 1 udp 1 169.254.169.254 53 typ host\r\n")
def test_nor_one_in_a_fragment(lines: str) -> None:
    kept = Kept()
    try:
        fragment = read_fragment(FRAGMENT.format("AjxB") + lines, "AjxB", kept.keep) or ""
    except GatewayError:
        return
    found = [line.partition(":")[2] for line in fragment.splitlines() if line.startswith("a=candidate:")]
    kept.check([candidate_from_sdp(value) for value in found])


# --- candidates and fragments ----------------------------------------------------------------------------------------

FRAGMENT = "a=ice-ufrag:{}\r\na=ice-pwd:y5im1w3J0+vAm/DIQf2u9j\r\nm=video 9 RTP/AVP 0\r\na=mid:video0\r\n"
CANDIDATE = "a=candidate:1 1 UDP 2114977791 198.51.100.7 40000 typ host\r\n"
END = "a=end-of-candidates\r\n"


def test_a_fragment_is_passed_on_without_the_candidates_that_are_refused() -> None:
    head = FRAGMENT.format("AjxB")
    assert read_fragment(head + CANDIDATE + END, "AjxB", everything) == head + CANDIDATE + END
    assert read_fragment(head + CANDIDATE + END, "AjxB", nothing) == head + END
    assert read_fragment(head + CANDIDATE, "AjxB", nothing) is None


def test_a_fragment_of_another_ufrag_is_an_ice_restart() -> None:
    with pytest.raises(BadOffer) as caught:
        read_fragment(FRAGMENT.format("Other") + CANDIDATE, "AjxB", everything)
    assert (caught.value.status, caught.value.code) == (422, "ice_restart")


@pytest.mark.parametrize("text", ["", "candidate:1 1 UDP", "a=candidate:\x00"])
def test_what_is_no_fragment_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage):
        read_fragment(text, "AjxB", everything)


def test_an_if_match_has_to_name_the_state_there_is() -> None:
    check_tag('"one"', None)
    check_tag('"one"', '"one"')
    check_tag('"one"', '"two", "one"')
    with pytest.raises(StaleTag):
        check_tag('"one"', '"two"')
    with pytest.raises(BadOffer):
        check_tag('"one"', "*")
