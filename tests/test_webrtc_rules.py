"""ICE servers in the settings: what stands there works, or the gateway says at its start that it does not."""

from __future__ import annotations

import pytest
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs
from pydantic import ValidationError

from gateway.webrtc_rules import Webrtc

SERVERS = [
    *("stun:[2001:db8::1]:3478", "stun:[2001:db8::1]", "stuns:stun.example.org:5349", "turn:turn.example.org"),
    *("stun:stun.example.org:65535", "stun:192.0.2.1:3478", "stun:stun.example.org", "stun:stun_1.example.org"),
    *("turn:turn.example.org:3478?transport=udp", "turns:[2001:db8::1]:443?transport=tcp"),
]
ASKED = ["stun:stun.example.org:65535", "stun:192.0.2.1:3478", "stun:stun.example.org", "stun:stun_1.example.org"]


def test_servers_are_told_as_they_stand_and_asked_where_that_can_be() -> None:
    rules = Webrtc(ice_servers=SERVERS)
    assert (rules.ice_servers, rules.asked) == (SERVERS, ASKED)


@pytest.mark.parametrize("url", ASKED)
def test_what_is_asked_is_understood_by_what_asks(url: str) -> None:
    host, _, port = url.removeprefix("stun:").partition(":")
    assert connection_kwargs([RTCIceServer(url)]) == {"stun_server": (host, int(port or 3478))}


@pytest.mark.parametrize(
    "url",
    [
        *("stun:host:port", "stun:host:0", "stun:host:65536", "stun:host:99999", "stun:host:", "stun:", "stun::3478"),
        *("stun:2001:db8::1", "stun:[2001:db8::1", "stun:[192.0.2.1]", "stun:[::g]", "stun:[::1%eth0]:1", "stun:[]:1"),
        *(
            "stun://host:3478",
            "stun:host:3478?transport=udp",
            "turn:host?transport=tls",
            "turn:host?transport=",
            "host",
        ),
        *("turn:us er@host", "turn:h\xf6st", "stun:host:\u0661", "stun:host\n", "turn:host:3478?transport=udp "),
    ],
)
def test_a_server_that_no_client_could_use_is_a_mistake_in_the_settings(url: str) -> None:
    with pytest.raises(ValidationError, match="expected stun:host:port, or turn:host:port"):
        Webrtc(ice_servers=[url])
