"""Media: how cameras and other sources are pulled, and from where. The section `media` of the settings."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator

from gateway.limits import Network, Section


class Media(Section):
    """Sources that the gateway pulls: RTSP, HTTP, files, devices."""

    networks: list[Network] = Field(
        [],
        description="Private networks that cameras are in, `192.168.1.0/24`. Public addresses need none; this machine,"
        " link-local and metadata addresses are never in one.",
    )
    endpoints: list[str] = Field(
        [],
        description="Single addresses with port that may be pulled from wherever they lie, as a media server on this"
        " machine: `127.0.0.1:8554`. Never the gateway's own.",
    )
    folders: list[Path] = Field([], description="Folders whose files an admin may pull as `file:///path`.")
    open_s: float = Field(5.0, gt=0, description="A source that does not open within this time is tried again, in s.")
    read_s: float = Field(5.0, gt=0, description="A source that sends nothing for this long is opened anew, in s.")
    no_frame_s: float = Field(
        10.0, gt=0, description="A source that sends, but no picture for this long, is opened anew, in s."
    )
    retry_max_s: float = Field(
        30.0, ge=1, description="Longest pause between two attempts at a source, in s; the first ones are 1, 2, 4."
    )
    auth_retry_s: float = Field(
        60.0, ge=1, description="Least pause after a source refused its user or password, in s: cameras lock out."
    )
    lost_s: float = Field(
        15.0, ge=0, description="A camera that gives no picture for this long is the event `camera_lost`, in s."
    )
    snapshot_s: float = Field(1.0, gt=0, description="A source of single pictures is asked this often at most, in s.")
    fps: float = Field(
        15.0, gt=0, le=1000, description="Pictures per second of a source, for viewers and analyzers without a pace."
    )
    main_s: float = Field(
        10.0,
        ge=0,
        description="The main stream of a camera with two is read for this long after the last viewer left, in s.",
    )
    side: int = Field(1920, ge=16, description="Longer side of a pulled picture, in px; larger ones are scaled down.")
    streams_per_child: int = Field(16, ge=1, description="Sources that one media child reads; more start another one.")
    memory_mb: int = Field(
        2048, ge=0, description="A media child that holds more gives its sources to another one, in MiB; 0: no limit."
    )
    ping_s: float = Field(
        2.0, gt=0, description="Media children are pinged this often, and ended if they are twice as late, in s."
    )
    nice: int = Field(5, ge=0, le=19, description="Niceness of media children.")
    tls_verify: bool = Field(True, description="Refuse cameras whose certificate does not hold (rtsps, https).")
    tls_ca: Path | None = Field(None, description="Certificates that cameras' ones are checked against, a PEM file.")

    @field_validator("endpoints")
    @classmethod
    def _check_endpoints(cls, value: list[str]) -> list[str]:
        for item in value:
            host, _, port = item.rpartition(":")
            ipaddress.ip_address(host.strip("[]"))
            if not (port.isdigit() and 1 <= int(port) <= 65535):
                raise ValueError(f"{item}: expected an address and a port, 127.0.0.1:8554")
        return value

    @field_validator("tls_ca", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value
