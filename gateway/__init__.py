"""Framegate's public names for plugin authors. Importing this loads no picture, media or model library.

Those of tracking come when they are asked for: they bring numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.analyzer import Analyzer, SessionInfo
from gateway.connector import Capture, Connector, Demand, SourceFailed
from gateway.errors import GatewayError
from gateway.events import Event
from gateway.frame import Frame
from gateway.function import as_analyzer
from gateway.geometry import Line, Zone
from gateway.hookspecs import hookimpl
from gateway.person_files import FileLibrary
from gateway.persons import FaceEmbedding, Match, MemoryLibrary, Person, StudiedFace
from gateway.results import Box, Detection, Result, Sighting
from gateway.version import __version__

if TYPE_CHECKING:
    from gateway.tracking import Track, Tracker

__all__ = [
    "Analyzer",
    "Box",
    "Capture",
    "Connector",
    "Demand",
    "Detection",
    "Event",
    "FaceEmbedding",
    "FileLibrary",
    "Frame",
    "GatewayError",
    "Line",
    "Match",
    "MemoryLibrary",
    "Person",
    "Result",
    "SessionInfo",
    "Sighting",
    "SourceFailed",
    "StudiedFace",
    "Track",
    "Tracker",
    "Zone",
    "__version__",
    "as_analyzer",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name in ("Track", "Tracker"):
        from gateway import tracking

        return getattr(tracking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
