"""Memories: what a worker's analyzers remember of each session, opened with its first frame, and its zones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo
from gateway.geometry import Areas, Shape, shape_from_json

Fill = Callable[[type[Analyzer], Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    memory: Any
    wishes: Mapping[str, Any]  # the session's options it was opened with
    zones: list[Any]  # and its zones


@dataclass(frozen=True, slots=True)
class _Drawn:
    zones: list[Any]
    shapes: tuple[Shape, ...]
    areas: Areas


_NOTHING_DRAWN = _Drawn([], (), Areas(()))


class Memories:
    """By session and analyzer. `fill` makes an analyzer's options of what a session wishes."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._drawn: dict[str, _Drawn] = {}

    def of(self, analyzer: Analyzer, session: Mapping[str, Any], wishes: Mapping[str, Any]) -> Any:
        """The analyzer's memory of this session, opened or, if its options have changed, configured anew.

        So it is when the zones have changed, if it says what to do then: other analyzers go on with what they have.
        Raises `UnknownOption`, and whatever the analyzer raises; then it is what it was.
        """
        key = (session["stream_id"], analyzer.name)
        kept = self._kept.get(key)
        drawn = self._drawn_on(session)
        redrawn = kept is not None and kept.zones != drawn.zones and _configures(analyzer)
        if kept is None or kept.wishes != wishes or redrawn:
            options = self._fill(type(analyzer), wishes)
            info = SessionInfo(session["stream_id"], session["camera_id"], session["name"], options, drawn.shapes)
            memory = analyzer.open(info) if kept is None else analyzer.configure(info, kept.memory)
            kept = self._kept[key] = _Kept(memory, wishes, drawn.zones)
        return kept.memory

    def areas(self, session: Mapping[str, Any]) -> Areas:
        """The session's zones, to be asked what is in them."""
        return self._drawn_on(session).areas

    def _drawn_on(self, session: Mapping[str, Any]) -> _Drawn:
        zones, stream_id = session.get("zones", []), session["stream_id"]
        if not zones:
            self._drawn.pop(stream_id, None)
            return _NOTHING_DRAWN
        if stream_id not in self._drawn or self._drawn[stream_id].zones != zones:
            shapes = tuple(map(shape_from_json, zones))
            self._drawn[stream_id] = _Drawn(zones, shapes, Areas(shapes))
        return self._drawn[stream_id]

    def forget(self, stream_id: str | None = None, analyzer: str | None = None) -> None:
        """Drop what is remembered of a session, or by an analyzer, or by that one of that session."""
        for key in list(self._kept):
            if stream_id in (None, key[0]) and analyzer in (None, key[1]):
                del self._kept[key]
        if stream_id is not None and analyzer is None:
            self._drawn.pop(stream_id, None)


def _configures(analyzer: Analyzer) -> bool:
    return type(analyzer).configure is not Analyzer.configure
