"""WebRTC: who may connect, by which addresses and ports. The section `webrtc` of the settings."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.limits import IpAddress, Network, Section

_SERVER = re.compile(  # RFC 7064, 7065
    r"(stuns?|(?P<turn>turns?)):(\[(?P<literal>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(?(turn)(\?transport=(udp|tcp))?)"
)


class Webrtc(Section):
    """WebRTC in (WHIP) and out (WHEP)."""

    addresses: list[IpAddress] = Field(
        [], description="Addresses of this machine that WebRTC uses; none named: all but loopback."
    )
    hosts: list[IpAddress] = Field(
        [],
        description="Addresses under which clients reach this machine from outside, told them besides its own:"
        " behind NAT with the ports forwarded, or in a container.",
    )
    port_min: int = Field(0, ge=0, le=65535, description="First UDP port that WebRTC uses; 0: any free one.")
    port_max: int = Field(0, ge=0, le=65535, description="Last UDP port that WebRTC uses; a peer takes one.")
    ice_servers: list[str] = Field(
        [], description="STUN and TURN servers, told to clients: `stun:host:3478`, `turn:host:3478?transport=udp`."
    )
    turn_user: str = Field("", description="User of the TURN servers among them.")
    turn_password: SecretStr | None = Field(None, description="Password of that user; every client is told it.")
    turn_secret: SecretStr | None = Field(
        None, description="Secret shared with the TURN servers: each client gets a user and password of its own."
    )
    turn_s: float = Field(86400.0, gt=0, description="How long such a user and password hold, in s.")
    networks: list[Network] = Field(
        [],
        description="Private networks of clients, `192.168.1.0/24`: candidates there are tried from here too. Clients"
        " that reach this machine by themselves need none.",
    )
    candidates: int = Field(16, ge=0, description="Candidates of one client that are tried; more are passed over.")
    max_peers: int = Field(256, ge=1, description="WebRTC clients at once; one more is answered 503.")
    max_peers_per_address: int = Field(
        64, ge=0, description="WebRTC clients of one address at once; one more is answered 429; 0: no limit."
    )
    peers_per_child: int = Field(64, ge=1, description="WebRTC clients of one media child; more start another one.")
    answer_s: float = Field(5.0, gt=0, description="An offer that is not answered within this time is refused, in s.")
    connect_s: float = Field(15.0, gt=0, description="A client that does not connect within this time is ended, in s.")
    consent_s: float = Field(
        30.0, gt=0, description="A client that has not answered for this long has gone (RFC 7675), in s."
    )
    silent_s: float = Field(
        10.0, gt=0, description="A publisher that is connected and sends no picture for this long is ended, in s."
    )
    fps: float = Field(30.0, gt=0, le=1000, description="Pictures per second to WebRTC viewers, at most.")
    bitrate_kbps: int = Field(2000, ge=50, description="Bit rate of pictures to WebRTC viewers, in kbit/s.")

    @field_validator("ice_servers")
    @classmethod
    def _check_servers(cls, value: list[str]) -> list[str]:
        for item in value:
            if not _is_server(item):
                raise ValueError(f"{item}: expected stun:host:port, or turn:host:port?transport=udp")
        return value

    @model_validator(mode="after")
    def _check_ports(self) -> Self:
        if bool(self.port_min) != bool(self.port_max) or self.port_min > self.port_max:
            raise ValueError("port_min and port_max are a range, or both 0")
        return self

    @property
    def asked(self) -> list[str]:
        """The servers that tell this machine its address outside: STUN, and by IPv4, which alone is ever translated."""
        return [item for item in self.ice_servers if item.startswith("stun:") and "[" not in item]


def _is_server(text: str) -> bool:
    match = _SERVER.fullmatch(text)
    if match is None or not 1 <= int(match["port"] or 1) <= 65535:
        return False
    try:
        ipaddress.IPv6Address(match["literal"] or "::")
    except ValueError:
        return False
    return True
