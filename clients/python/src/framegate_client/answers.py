"""What the gateway answers to requests, as values. Each keeps the JSON it came from in `raw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from framegate_client.messages import AnalyzerState, Dropped
from framegate_client.protocol import Json, analyzer_states, time_of

Options = Mapping[str, Mapping[str, Any]]  # by analyzer


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What a stream is to be like; every field has the gateway's default.

    `analyzers`: None is the default set, () is none. `grace_s`: how long it lives after its last client left.
    """

    name: str = ""
    analyzers: Sequence[str] | None = None
    options: Options | None = None
    grace_s: float | None = None
    max_fps: float | None = None

    def to_json(self) -> dict[str, Any]:
        wish = {
            "name": self.name,
            "analyzers": None if self.analyzers is None else list(self.analyzers),
            "options": self.options,
            "grace_s": self.grace_s,
            "max_fps": self.max_fps,
        }
        return {key: value for key, value in wish.items() if value is not None}


class Changes(TypedDict, total=False):
    """What can be changed while a stream lives; None is the default again."""

    name: str | None
    analyzers: Sequence[str] | None
    options: Options
    grace_s: float | None
    max_fps: float | None
    paused: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """How to reach a stream. The addresses are paths of the gateway; `Client.url` completes them.

    They may hold tokens: who has the `websocket_url` publishes, who has one of the others watches.
    """

    stream_id: str
    websocket_url: str = field(repr=False)
    video_url: str = field(default="", repr=False)
    viewer_url: str = field(default="", repr=False)
    snapshot_url: str = field(default="", repr=False)
    events_url: str = field(default="", repr=False)
    expires_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """How a stream is doing. `frames_in` were taken; of them `dropped` says what was not seen, by whom and why."""

    stream_id: str
    name: str
    state: str
    reason: str | None
    paused: bool
    publishers: int
    viewers: int
    fps_in: float
    fps_analyzed: float
    frames_in: int
    frames_analyzed: int
    width: int | None
    height: int | None
    age_s: float
    analyzers: tuple[AnalyzerState, ...]
    options: Options
    dropped: Dropped
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a posted picture: `reason` says why it was not `accepted`, such as `max_fps`."""

    accepted: bool
    seq: int | None
    width: int | None
    height: int | None
    reason: str | None
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnalyzerInfo:
    """An installed analyzer. `options` is their JSON schema; `reason` and `traceback` say why one has failed."""

    name: str
    title: str
    version: str
    plugin: str
    state: str
    reason: str | None
    traceback: str | None
    needs: tuple[str, ...]
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    device: str | None
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin the gateway has found, and the analyzers in it."""

    name: str
    distribution: str | None
    version: str | None
    state: str
    traceback: str | None
    analyzers: tuple[str, ...]
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Health:
    status: str
    database: str
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """What the gateway is doing. `analyzers`: the state of each."""

    status: str
    version: str
    uptime_s: float
    streams: int
    analyzers: Mapping[str, str]
    raw: Json = field(repr=False)


# Each raises KeyError, TypeError or ValueError where the JSON is not what it is called.


def read_stream(raw: Json) -> Stream:
    return Stream(
        stream_id=str(raw["stream_id"]),
        websocket_url=str(raw["websocket_url"]),
        video_url=str(raw.get("video_url", "")),
        viewer_url=str(raw.get("viewer_url", "")),
        snapshot_url=str(raw.get("snapshot_url", "")),
        events_url=str(raw.get("events_url", "")),
        expires_at=time_of(raw.get("expires_at")),
        raw=raw,
    )


def read_stream_status(raw: Json) -> StreamStatus:
    return StreamStatus(
        stream_id=str(raw["stream_id"]),
        name=str(raw.get("name") or ""),
        state=str(raw["state"]),
        reason=raw.get("reason"),
        paused=bool(raw.get("paused")),
        publishers=int(raw.get("publishers", 0)),
        viewers=int(raw.get("viewers", 0)),
        fps_in=float(raw.get("fps_in", 0.0)),
        fps_analyzed=float(raw.get("fps_analyzed", 0.0)),
        frames_in=int(raw.get("frames_in", 0)),
        frames_analyzed=int(raw.get("frames_analyzed", 0)),
        width=raw.get("width"),
        height=raw.get("height"),
        age_s=float(raw.get("age_s", 0.0)),
        analyzers=analyzer_states(raw.get("analyzers")),
        options=raw.get("options") or {},
        dropped=raw.get("dropped") or {},
        raw=raw,
    )


def read_taken(raw: Json) -> Taken:
    return Taken(
        accepted=bool(raw["accepted"]),
        seq=raw.get("seq"),
        width=raw.get("width"),
        height=raw.get("height"),
        reason=raw.get("reason"),
        raw=raw,
    )


def read_analyzer(raw: Json) -> AnalyzerInfo:
    return AnalyzerInfo(
        name=str(raw["name"]),
        title=str(raw.get("title") or ""),
        version=str(raw.get("version") or ""),
        plugin=str(raw.get("plugin") or ""),
        state=str(raw["state"]),
        reason=raw.get("reason"),
        traceback=raw.get("traceback"),
        needs=tuple(raw.get("needs") or ()),
        labels=tuple(raw.get("labels") or ()),
        options=raw.get("options") or {},
        device=raw.get("device"),
        raw=raw,
    )


def read_plugin(raw: Json) -> PluginInfo:
    return PluginInfo(
        name=str(raw["name"]),
        distribution=raw.get("distribution"),
        version=raw.get("version"),
        state=str(raw["state"]),
        traceback=raw.get("traceback"),
        analyzers=tuple(raw.get("analyzers") or ()),
        raw=raw,
    )


def read_health(raw: Json) -> Health:
    return Health(status=str(raw["status"]), database=str(raw.get("database", "")), raw=raw)


def read_system(raw: Json) -> SystemStatus:
    return SystemStatus(
        status=str(raw["status"]),
        version=str(raw["version"]),
        uptime_s=float(raw.get("uptime_s", 0.0)),
        streams=int(raw.get("streams", 0)),
        analyzers=raw.get("analyzers") or {},
        raw=raw,
    )
