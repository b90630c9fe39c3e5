"""The demo's judgement and its report: what the scene's script says must be seen, what was seen, and the figures.

Judged are the events of `motion` alone. Each interval of the script must be met by exactly one event whose beginning
and end lie within TOLERANCE_S of it, and there must be no other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gateway.commands.scene import Interval
from gateway.commands.table import table

TOLERANCE_S = 1.0  # one look at a busy machine, plus the 0.3 s that motion compares over
SETTLE_S = 2.0  # after motion has stopped: motion's linger of 1 s, 0.3 s of looking back, and a little


@dataclass(frozen=True, slots=True)
class Expected:
    """An interval of the script, as far as the run of `duration` seconds can have shown it.

    `closed`: begun and over, both must have been told. `open`: cut by the end of the run, so the beginning must have
    been told and the end may have been. `late`: begun so late that nothing about it can be asked.
    """

    start: float
    end: float
    state: Literal["closed", "open", "late"]


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that was told, in seconds since the scene began; `end` is None while it goes on."""

    id: str
    start: float
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One expected interval beside the event that met it, or one of the two alone."""

    expected: Expected | None
    seen: Seen | None
    problem: str = ""


def expect(intervals: Iterable[Interval], duration: float) -> list[Expected]:
    """What a run of `duration` seconds must have shown of `intervals`."""
    expected = []
    for interval in intervals:
        if interval.start >= duration:
            break
        state: Literal["closed", "open", "late"] = "closed"
        if interval.start > duration - TOLERANCE_S:
            state = "late"
        elif interval.end + SETTLE_S > duration:
            state = "open"
        expected.append(Expected(interval.start, min(interval.end, duration), state))
    return expected


def judge(expected: Sequence[Expected], seen: Sequence[Seen]) -> list[Row]:
    """Match both in the order of time. The run agrees if no row has a problem."""
    rows = []
    rest = sorted(seen, key=lambda event: event.start)
    for interval in expected:
        met = next((event for event in rest if abs(event.start - interval.start) <= TOLERANCE_S), None)
        if met is not None:
            rest.remove(met)
        rows.append(Row(interval, met, _compare(interval, met)))
    rows += [Row(None, event, "nothing moved") for event in rest]
    return sorted(rows, key=_begin)


def _compare(interval: Expected, event: Seen | None) -> str:
    if event is None:
        return "" if interval.state == "late" else "not seen"
    if event.end is None:
        return "no end was told" if interval.state == "closed" else ""
    if abs(event.end - interval.end) > TOLERANCE_S:
        return f"ended {event.end - interval.end:+.1f} s off"
    return ""


def _begin(row: Row) -> float:
    source = row.expected or row.seen
    return source.start if source else math.inf


@dataclass(slots=True)
class Run:
    """What one run of the demo was and saw. `status` is the last answer of `GET /stream/{id}`."""

    stream_id: str
    urls: Mapping[str, str]
    seconds: float
    truth_file: str
    sent: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)
    ages_ms: dict[str, list[float]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    failure: str = ""

    @property
    def agrees(self) -> bool:
        return not self.failure and not any(row.problem for row in self.rows)


def document(run: Run) -> dict[str, Any]:
    """The report for machines."""
    return {
        "ok": run.agrees,
        "failure": run.failure or None,
        "stream_id": run.stream_id,
        "urls": dict(run.urls),
        "seconds": round(run.seconds, 3),
        "truth_file": run.truth_file,
        "tolerance_s": TOLERANCE_S,
        "frames": {
            "sent": run.sent,
            "in": run.status.get("frames_in"),
            "analyzed": run.status.get("frames_analyzed"),
            "dropped": run.status.get("dropped", {}),
        },
        "latency_ms": {
            name: {"p50": quantile(ages, 0.5), "p95": quantile(ages, 0.95), "results": len(ages)}
            for name, ages in sorted(run.ages_ms.items())
        },
        "analyzers": run.status.get("analyzers", []),
        "events": run.events,
        "motion": [asdict(row) for row in run.rows],
    }


def text(run: Run) -> str:
    """The report for people."""
    analyzers = run.status.get("analyzers", [])
    frames = [
        ("sent", run.sent),
        ("in", run.status.get("frames_in")),
        ("analyzed", run.status.get("frames_analyzed")),
        *((f"dropped: {stage}, {reason}", n) for stage, reason, n in _drops(run.status.get("dropped", {}))),
    ]
    told = [
        (
            item["name"],
            item.get("state"),
            item.get("analyzed"),
            *_latency(run, item["name"]),
            run.events.get(item["name"], 0),
        )
        for item in analyzers
    ]
    parts = [
        table(("FRAMES", "NUMBER"), frames),
        table(("ANALYZER", "STATE", "ANALYZED", "P50 MS", "P95 MS", "EVENTS"), told),
        table(("MOTION EXPECTED", "SEEN", "VERDICT"), map(_row, run.rows)),
        _verdict(run),
    ]
    return "\n\n".join(parts)


def _drops(dropped: Mapping[str, Any]) -> Iterable[tuple[str, str, int]]:
    for stage, reasons in dropped.items():
        for reason, number in reasons.items():
            yield stage, reason, number


def _latency(run: Run, name: str) -> tuple[float | None, float | None]:
    ages = run.ages_ms.get(name, [])
    return quantile(ages, 0.5), quantile(ages, 0.95)


def _row(row: Row) -> tuple[str, str, str]:
    expected = f"{row.expected.start:.1f}-{row.expected.end:.1f} s" if row.expected else "-"
    if row.expected and row.expected.state != "closed":
        expected += f" ({row.expected.state})"
    seen = "-"
    if row.seen:
        seen = f"{row.seen.start:.1f}-" + (f"{row.seen.end:.1f} s" if row.seen.end is not None else "")
    return expected, seen, row.problem or "agrees"


def _verdict(run: Run) -> str:
    if run.failure:
        return f"failed: {run.failure}"
    expected = sum(row.expected is not None for row in run.rows)
    seen = sum(row.seen is not None for row in run.rows)
    verdict = "they agree" if run.agrees else "they do NOT agree"
    return f"motion: {expected} intervals expected, {seen} events seen, {verdict} (within {TOLERANCE_S:.0f} s)"


def quantile(values: Sequence[float], part: float) -> float | None:
    """Nearest-rank quantile; None of nothing."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(part * len(values)) - 1)], 1)
