"""Pace: how many pictures a second analyzers and viewers wish of whoever can be asked for fewer than it has."""

from __future__ import annotations

from gateway.engine.session import Session

LEAST_FPS = 1.0  # of what anybody looks at: with fewer its stream would seem stale and its publisher silent


def most_fps(session: Session) -> float:
    """More it never takes."""
    return min(session.settings.media.fps, session.max_fps)


def paces(session: Session) -> list[float]:
    """Of each who looks at it now, in pictures per second."""
    most = most_fps(session)
    found = [] if session.lineup.paused else [stage.terms.fps or most for stage in session.stages]
    return [*found, most] if session.audience.picture_viewers() else found
