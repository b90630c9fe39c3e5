"""Request: what a client may ask of a session, and of one that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.geometry import Shape


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a client may ask of a session. None: the default."""

    analyzers: tuple[str, ...] | None = None
    name: str = ""
    options: Mapping[str, Mapping[str, Any]] | None = None
    grace_s: float | None = None
    max_fps: float | None = None
    camera_id: str | None = None
    paused: bool = False
    zones: tuple[Shape, ...] = ()

    def changed(self, given: Mapping[str, Any]) -> SessionRequest:
        """With other values for the fields given. Of `options` only those named change; null is the default again."""
        if (said := given.get("options")) is None:
            return replace(self, **given)
        options = {name: {**(self.options or {}).get(name, {}), **values} for name, values in said.items()}
        known = {name: {k: v for k, v in values.items() if v is not None} for name, values in options.items()}
        return replace(self, **{**given, "options": {**(self.options or {}), **known}})
