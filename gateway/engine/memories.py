"""Memories: what a worker's analyzers remember of each session, opened with its first frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.analyzer import Analyzer, SessionInfo

Fill = Callable[[type[Analyzer], Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    memory: Any
    wishes: Mapping[str, Any]  # the session's options it was opened with


class Memories:
    """By session and analyzer. `fill` makes an analyzer's options of what a session wishes."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._kept: dict[tuple[str, str], _Kept] = {}

    def of(self, analyzer: Analyzer, session: Mapping[str, Any], wishes: Mapping[str, Any]) -> Any:
        """The analyzer's memory of this session, opened or, if its options have changed, configured anew.

        Raises `UnknownOption`, and whatever the analyzer raises; then it is what it was.
        """
        key = (session["stream_id"], analyzer.name)
        kept = self._kept.get(key)
        if kept is None or kept.wishes != wishes:
            info = SessionInfo(
                session["stream_id"], session["camera_id"], session["name"], self._fill(type(analyzer), wishes)
            )
            memory = analyzer.open(info) if kept is None else analyzer.configure(info, kept.memory)
            kept = self._kept[key] = _Kept(memory, wishes)
        return kept.memory

    def forget(self, stream_id: str | None = None, analyzer: str | None = None) -> None:
        """Drop what is remembered of a session, or by an analyzer, or by that one of that session."""
        for key in list(self._kept):
            if stream_id in (None, key[0]) and analyzer in (None, key[1]):
                del self._kept[key]
