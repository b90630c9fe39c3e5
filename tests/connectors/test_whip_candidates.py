"""Candidates that point at this machine or its network: a listener there proves that no packet comes."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.media.messages import Shot, Told, Wish
from gateway.media.peers import Offer
from tests.media.rtc import pool
from tests.rtc_http import FRAGMENT, LOOPBACK, OBS, OFFERS, keep, met, post, refusal
from tests.server import Server, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

OWN = sorted({a.address for card in psutil.net_if_addrs().values() for a in card if a.family == socket.AF_INET})
LEADING_HERE = [
    *OWN,
    *("127.0.0.2", "127.255.255.254", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "localhost", "2130706433", "127.1"),
    *(f"::ffff:{address}" for address in OWN),
]
VP8 = OFFERS["gstreamer, vp8 and opus"]["sdp"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """At one port of every address of this machine."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as open_socket:
        open_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        open_socket.bind(("::", 0))
        yield open_socket


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The operator has opened all that can be opened; this machine cannot."""
    networks = '["0.0.0.0/0", "::/0"]'
    home = tmp_path_factory.mktemp("candidates")
    environment = {**LOOPBACK, "FRAMEGATE_WEBRTC__NETWORKS": networks, "FRAMEGATE_LIMITS__ADMISSION_PER_S": "0"}
    with running(home, **environment) as running_server:
        keep(running_server)
        yield running_server


def lines(port: int) -> str:
    found = [f"a=candidate:{n} 1 udp 2130706431 {address} {port} typ host" for n, address in enumerate(LEADING_HERE)]
    return "".join(f"{line}\r\n" for line in found)


def with_candidates(sdp: str, port: int) -> str:
    """In the first section, whose transport all share."""
    head, mid, rest = sdp.partition("a=mid:")
    return head + lines(port) + mid + rest


def heard(listener: socket.socket, within_s: float) -> bytes | None:
    listener.settimeout(within_s)
    try:
        return listener.recv(2048)
    except TimeoutError:
        return None


class Nobody:
    def picture(self, shot: Shot, jpeg: bytes) -> None: ...

    def told(self, told: Told) -> None: ...

    def wish(self, number: int) -> Wish:
        return Wish(number)


async def test_the_listener_hears_what_nobody_has_checked(listener: socket.socket, tmp_path: Path) -> None:
    """Else the tests below would prove nothing: a child tries whatever it is given."""
    async with pool(tmp_path) as running_pool:
        peer = await running_pool.offer(Offer("in", with_candidates(OBS, listener.getsockname()[1])), Nobody())
        packet = heard(listener, 10.0)
        peer.close()
    assert packet is not None
    assert packet[4:8] == b"\x21\x12\xa4\x42"  # a STUN request (RFC 8489 section 5)


@pytest.mark.parametrize("offer", [OBS, VP8], ids=["obs", "gstreamer"])
def test_no_packet_goes_to_this_machine_by_an_offer(server: Server, listener: socket.socket, offer: str) -> None:
    met(post(server, f"/stream/{server.open()}/whip", with_candidates(offer, listener.getsockname()[1])))
    assert heard(listener, 1.5) is None


def test_nor_by_what_trickles_in_later(server: Server, listener: socket.socket) -> None:
    location = met(post(server, f"/stream/{server.open()}/whip"))
    ufrag = re.search(r"a=ice-ufrag:(\S+)", OBS)
    assert ufrag
    fragment = f"a=ice-ufrag:{ufrag.group(1)}\r\na=ice-pwd:{'p' * 22}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    fragment += lines(listener.getsockname()[1])
    answer = server.http.patch(location, content=fragment.encode(), headers={"Content-Type": FRAGMENT})
    assert answer.status_code == 204
    assert heard(listener, 1.5) is None


@pytest.mark.parametrize("hidden", ["i=x\u2028", "i=x\x85", "s=x\u2029"], ids=ascii)
def test_nor_by_lines_within_a_line(server: Server, listener: socket.socket, hidden: str) -> None:
    head, mid, rest = OBS.partition("a=mid:")
    within = "".join(f"{hidden}{line}\r\n" for line in lines(listener.getsockname()[1]).split("\r\n") if line)
    met(post(server, f"/stream/{server.open()}/whip", head + within + mid + rest))
    assert heard(listener, 1.5) is None
    attribute = head + within.replace(hidden[:2], "a=", 1) + mid + rest
    assert refusal(post(server, f"/stream/{server.open()}/whip", attribute)) == (400, "bad_sdp")


def test_who_tries_is_counted(server: Server, listener: socket.socket) -> None:
    before = server.metric("framegate_rejected_total", code="ice_candidate_refused")
    post(server, f"/stream/{server.open()}/whip", with_candidates(OBS, listener.getsockname()[1]))
    assert server.metric("framegate_rejected_total", code="ice_candidate_refused") == before + 1


def test_hundreds_of_bad_offers_hold_up_nobody(server: Server) -> None:
    """The next request is answered as ever: nothing of an offer is parsed at length beside it."""
    path = f"/stream/{server.open()}/whip"
    bad = OBS + ("a=fmtp:96 " + "x=1;" * 28 + "\r\n") * 400 + "a=\x00\r\n"
    slowest = 0.0
    for number in range(300):
        assert post(server, path, bad).status_code == 400
        if number % 20 == 0:
            began = time.perf_counter()
            assert server.http.get("/health").json()["status"] == "ok"
            slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.5
