"""Events and results of the stream socket as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def describe_event(event: Mapping[str, Any]) -> str:
    """`motion end  info, score 0.81, lasted 3.4 s`."""
    words = [str(event.get("severity", "info"))]
    if (label := event.get("label")) and label != event.get("event_type"):
        words.append(str(label))
    if isinstance(score := event.get("score"), (int, float)):
        words.append(f"score {score:.2f}")
    words += [f"{key.removesuffix('_id')} {event[key]}" for key in ("person_id", "bag_id") if event.get(key)]
    if (lasted := duration(event)) is not None:
        words.append(f"lasted {lasted:.1f} s")
    return f"{event.get('event_type')} {event.get('phase')}  {', '.join(words)}"


def duration(event: Mapping[str, Any]) -> float | None:
    """Seconds from an event's beginning to its end; None while it goes on."""
    started, ended = event.get("started_at"), event.get("ended_at")
    if not (isinstance(started, str) and isinstance(ended, str)):
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()


def describe_results(latest: Mapping[str, Mapping[str, Any]]) -> str:
    """One line on what each analyzer saw last: `motion 1  objects 2 person, 1 car  smoking loading`."""
    return "  ".join(f"{name} {_seen(result)}" for name, result in sorted(latest.items())) or "no results yet"


def _seen(result: Mapping[str, Any]) -> str:
    state = result.get("state", "ready")
    if state != "ready":
        return str(state)
    counts: dict[str, int] = {}
    for detection in result.get("detections", ()):
        counts[detection["label"]] = counts.get(detection["label"], 0) + 1
    seen = ", ".join(f"{number} {label}" for label, number in sorted(counts.items())) or "nothing"
    return f"{seen} ({result['age_ms']:.0f} ms)" if "age_ms" in result else seen
