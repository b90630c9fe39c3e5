"""Anomalies: each labelled one told within seconds; no fall where nobody falls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gateway.evaluation.material import Clip, spans
from gateway.evaluation.run import Run, Told
from gateway.evaluation.verdict import Check, Verdict

TYPES = ("fall", "running", "crowd", "loitering", "intrusion", "line_crossed", "camera_tampered")
JUDGED = ("fall",)  # where the truth names none there is none; the others nobody has labelled throughout
EARLY_S, LATE_S = 0.5, 5.0  # an alert may come this long before the beginning, and after the end


def judges(clip: Clip) -> bool:
    return True


def options(clip: Clip) -> Mapping[str, Mapping[str, Any]]:
    return {"anomaly": clip.options.get("anomaly", {})}


def judge(clip: Clip, run: Run, variant: str) -> Verdict:
    """A type that the truth names is judged throughout; `fall` in every clip."""
    named = [kind for kind in TYPES if spans(clip.truth.get(kind))]
    judged = dict.fromkeys((*named, *JUDGED))
    checks, delays, misses, false = [], [], 0, 0
    for kind in judged:
        told, true = run.of(kind), spans(clip.truth.get(kind))
        found = [next((one for one in told if _fits(one, span)), None) for span in true]
        wrong = [one for one in told if not any(_fits(one, span) for span in true)]
        delays += [one.at - begin for one, (begin, _) in zip(found, true, strict=True) if one is not None]
        misses += found.count(None)
        false += len(wrong)
        checks.append(_check(kind, true, told, passed=None not in found and not wrong))
    return Verdict(
        suite="anomaly",
        item=clip.name,
        variant=variant,
        checks=tuple(checks),
        hits=len(delays),
        misses=misses,
        false=false,
        delays=tuple(delays),
        seconds=run.seconds,
        figures={"told": dict(Counter(one.event_type for one in run.events if one.event_type in TYPES))},
    )


def _fits(event: Told, span: tuple[float, float]) -> bool:
    return span[0] - EARLY_S <= event.at <= span[1] + LATE_S


def _check(kind: str, true: list[tuple[float, float]], told: list[Told], *, passed: bool) -> Check:
    times = ", ".join(f"{one.at:.1f}" for one in told)
    expected = ", ".join(f"{begin:.1f}-{end:.1f}" for begin, end in true)
    text = (
        f"{kind} at {times or 'no time'}, true {expected}" if true else f"{kind} at {times}" if told else f"no {kind}"
    )
    return Check(kind, passed, text)
