"""Limits: what one peer, one stream and the whole gateway may use. SECURITY.md says how each is answered."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.jpeg import MAX_PIXELS


def _address(value: str) -> str:
    ipaddress.ip_address(value)
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


IpAddress = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Section):
    """What one peer, one stream and the whole gateway may use. Beyond a limit there is an answer, never a crash."""

    max_message_bytes: int = Field(
        2 * 2**20, ge=1024, description="Largest WebSocket message or posted image, in bytes."
    )
    max_pixels: int = Field(
        MAX_PIXELS, ge=1, description="Largest picture, in px, read from its header before any decoder."
    )
    max_sessions: int = Field(256, ge=1, description="Live streams at once; one more is answered 503 with Retry-After.")
    max_viewers: int = Field(1024, ge=1, description="Viewers of one stream over all transports; one more gets 503.")
    max_fps: float = Field(
        60.0, gt=0, description="Frames per second taken from one publisher; the rest is dropped and counted."
    )
    viewer_stall_s: float = Field(
        10.0, gt=0, description="A client that takes not one byte of what waits for it for this long is reset, in s."
    )
    hello_s: float = Field(
        10.0, gt=0, description="A socket that negotiated framegate.v1 and says nothing for this long is closed, in s."
    )
    publisher_silence_s: float = Field(
        60.0, gt=0, description="A socket that published and sends no frame for this long is closed, in s."
    )
    flood_ratio: float = Field(
        10.0,
        ge=1,
        description="Frames of one socket at more than so many times what its stream takes (at least 10 per second)"
        " for flood_s close it.",
    )
    flood_s: float = Field(5.0, gt=0, description="How long a socket may send far too fast before it is closed, in s.")
    messages_per_s: float = Field(
        200.0, gt=0, description="Messages of one socket that are no frames, per second; more are dropped and told."
    )
    relays_per_s: float = Field(
        20.0, gt=0, description="Messages of one socket for everybody else, per second; more are dropped and told."
    )
    max_relay_bytes: int = Field(16 * 1024, ge=16, description="Largest message for everybody else, in bytes of JSON.")
    drain_s: float = Field(8.0, gt=0, description="How long a shutdown waits for clients to be told, in s.")

    # The listening socket, inherited by every connection.
    backlog: int = Field(1024, ge=1, description="Connections the kernel holds until they are accepted.")
    send_buffer_bytes: int = Field(
        256 * 1024, ge=4096, description="What the kernel may hold for one peer before its slowness shows, in bytes."
    )
    user_timeout_s: float = Field(
        10.0, gt=0, description="Data that stays unacknowledged for this long ends the connection (RFC 5482), in s."
    )
    tcp_idle_s: int = Field(30, ge=1, description="An idle connection is probed after this long, in s.")
    tcp_interval_s: int = Field(10, ge=1, description="Time between two probes of an idle connection, in s.")
    tcp_probes: int = Field(3, ge=1, description="Unanswered probes after which an idle connection has ended.")

    # Connections.
    max_connections: int = Field(16384, ge=16, description="Connections at once; beyond it only /health answers.")
    max_connections_per_address: int = Field(
        1024, ge=0, description="Connections of one address (IPv6: one /64); one more is reset; 0: no limit."
    )
    max_pending_per_address: int = Field(
        64, ge=0, description="Those of them that never finished a request; one more has 1 s for it; 0: no limit."
    )
    fd_reserve: int = Field(
        32, ge=0, description="File descriptors kept for the gateway itself; beyond it only /health answers."
    )
    admission_per_s: float = Field(
        200.0, ge=0, description="New sockets and streams per second; one more is answered 503; 0: no limit."
    )
    admission_per_address_s: float = Field(
        50.0, ge=0, description="The same for one address but loopback, at most twice as many at once; 0: no limit."
    )
    admission_burst: int = Field(250, ge=1, description="New sockets and streams that may come at once.")
    retry_after_max_s: int = Field(
        30, ge=1, description="Who is refused for load may come back after 1 s to this long, drawn by lot, in s."
    )

    # Requests.
    header_s: float = Field(10.0, gt=0, description="Time for the first byte and the whole header of a request, in s.")
    keep_alive_s: float = Field(5.0, gt=0, description="A connection without another request ends after this, in s.")
    max_header_bytes: int = Field(65536, ge=1024, description="Largest header of a request, in bytes.")
    max_headers: int = Field(100, ge=8, description="Most header fields of a request.")
    max_pipelined: int = Field(16, ge=1, description="Requests waiting behind one on the same connection.")
    max_ranges: int = Field(8, ge=1, description="Most ranges of a Range header.")
    body_bytes_per_s: float = Field(
        1024.0, ge=0, description="A body that comes more slowly over body_s is refused, in bytes/s; 0: no limit."
    )
    body_s: float = Field(20.0, gt=0, description="The time over which a body's speed is taken, in s.")
    max_body_bytes: int = Field(65536, ge=1024, description="Largest body of a request without a picture, in bytes.")
    max_json_depth: int = Field(32, ge=4, description="How deep arrays and objects may be nested in a JSON body.")

    # WebSockets.
    max_fragments: int = Field(4096, ge=1, description="Most frames of one WebSocket message.")
    max_control_bytes: int = Field(
        65536, ge=128, description="Answers to pings that a peer does not take, in bytes; beyond it, it is reset."
    )
    ping_s: float = Field(20.0, gt=0, description="A WebSocket is pinged this often, and has as long to answer, in s.")

    # Overload.
    memory_mb: int = Field(
        0, ge=0, description="Memory for the gateway and its workers, in MiB; 0: the cgroup's, else the machine's."
    )
    memory_refuse: float = Field(0.8, gt=0, description="Share of it at which new streams are refused.")
    memory_rest: float = Field(0.9, gt=0, description="Share at which analyzers but those in `overload_keep` rest.")
    memory_disconnect: float = Field(0.95, gt=0, description="Share at which the newest viewers are disconnected.")
    overload_keep: list[str] = Field(["motion"], description="Analyzers that go on when memory is short.")
    hang_s: float = Field(
        1.0, gt=0, description="An event loop that stands still for this long is reported with its stack, in s."
    )
    degraded_s: float = Field(60.0, gt=0, description="After that, /health says `degraded` for this long, in s.")
    log_repeat_s: float = Field(
        10.0, ge=0, description="The same refusal of the same peer is logged once in this time, in s."
    )
