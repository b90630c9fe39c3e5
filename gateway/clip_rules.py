"""Clips: how events get pictures and short films, and how long these are kept. The section `clips` of the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.limits import Section


class Clips(Section):
    """Pictures and MP4s of events, from a ring of what came last."""

    on: bool = Field(True, description="Give events a picture and a clip. Streams without analyzers keep nothing.")
    severity: Literal["info", "warning", "critical"] = Field(
        "info", description="Least severity of an event that gets a picture and a clip."
    )
    pre_s: float = Field(5.0, ge=0, le=60, description="A clip begins this long before its event, in s.")
    post_s: float = Field(5.0, ge=0, le=60, description="A clip ends this long after its event, in s.")
    most_s: float = Field(
        30.0, ge=1, le=300, description="Longest clip, in s; an event that lasts longer is shown from its beginning."
    )
    fps: float = Field(
        5.0, gt=0, le=60, description="Pictures per second of a clip; H.264 that a camera sends is kept as it is."
    )
    side: int = Field(1280, ge=64, le=4096, description="Longer side of a clip that is encoded here, in px.")
    session_mb: float = Field(
        16.0, gt=0, description="What one stream keeps in memory for clips, in MiB; the oldest goes first."
    )
    total_mb: float = Field(
        256.0, gt=0, description="What all streams and the clips that wait to be made keep in memory, in MiB."
    )
    waiting: int = Field(16, ge=1, description="Clips that wait to be made; for one more the oldest is given up.")
    make_s: float = Field(60.0, gt=0, description="A clip that takes longer to make is given up, in s.")
    keep_s: float = Field(7 * 86400.0, gt=0, description="Pictures and clips are kept for this long, in s.")
    quota_mb: float = Field(
        2048.0, gt=0, description="Space on disk for pictures and clips, in MiB; the oldest goes first."
    )
    nice: int = Field(15, ge=0, le=19, description="Niceness of the process that makes clips.")
