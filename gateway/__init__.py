"""Framegate's public names for plugin authors. Importing this loads no picture, media or model library."""

from gateway.analyzer import Analyzer, SessionInfo
from gateway.errors import GatewayError
from gateway.events import Event
from gateway.frame import Frame
from gateway.function import as_analyzer
from gateway.hookspecs import hookimpl
from gateway.results import Box, Detection, Result, Sighting
from gateway.version import __version__

__all__ = [
    "Analyzer",
    "Box",
    "Detection",
    "Event",
    "Frame",
    "GatewayError",
    "Result",
    "SessionInfo",
    "Sighting",
    "__version__",
    "as_analyzer",
    "hookimpl",
]
