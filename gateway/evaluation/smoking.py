"""Smoking: told while somebody smokes and at no other time; of pictures, as rightly as the weights alone would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.evaluation.material import Clip, Still, spans
from gateway.evaluation.run import Run
from gateway.evaluation.verdict import Check, Verdict

EVENT = "smoking"
EDGE_S = 1.0  # how exactly the truth knows when somebody begins and ends


def judges(clip: Clip) -> bool:
    """Every clip: where the truth names no smoking there is none."""
    return True


def options(clip: Clip) -> Mapping[str, Mapping[str, Any]]:
    return {"smoking": clip.options.get("smoking", {})}


def judge(clip: Clip, run: Run, variant: str) -> Verdict:
    told, true = run.of(EVENT), spans(clip.truth.get(EVENT))
    first = [next((one for one in told if one.overlaps(begin, end)), None) for begin, end in true]
    false = [one for one in told if not any(one.overlaps(begin - EDGE_S, end + EDGE_S) for begin, end in true)]
    delays = tuple(max(0.0, one.at - begin) for one, (begin, _) in zip(first, true, strict=True) if one is not None)
    times = ", ".join(f"{one.at:.1f}-{one.until:.1f}" for one in told) or "never"
    return Verdict(
        suite="smoking",
        item=clip.name,
        variant=variant,
        checks=tuple(_checks(true, len(delays), len(false), times)),
        hits=len(delays),
        misses=len(true) - len(delays),
        false=len(false),
        delays=delays,
        seconds=run.seconds,
        figures={"told": [[round(one.at, 2), round(one.until, 2)] for one in told], **_placed(clip, run)},
    )


def _checks(true: list[tuple[float, float]], found: int, false: int, times: str) -> Iterator[Check]:
    if true:
        spoken = ", ".join(f"{begin:.1f}-{end:.1f}" for begin, end in true)
        yield Check("found", found == len(true), f"told {times}, true {spoken}")
    if not true or false:
        yield Check("nothing else", not false, f"told {times}" if false else "not told")


def _placed(clip: Clip, run: Run) -> dict[str, Any]:
    """Share of the frames with a labelled cigarette in which one was seen there."""
    marked = [item for item in clip.truth.get("frames", ()) if item.get("cigarette")]
    if not marked or clip.size is None:
        return {}
    rows = {round(row.at, 2): row for row in run.rows}
    looked = [(item, rows[round(item["t"], 2)]) for item in marked if round(item["t"], 2) in rows]
    right = sum(_hit(item["cigarette"], row.detections("smoking"), clip.size) for item, row in looked)
    return {"cigarettes_seen": round(right / len(looked), 3)} if looked else {}


def _hit(true: Sequence[Sequence[float]], seen: list[Mapping[str, Any]], size: tuple[int, int]) -> bool:
    """Whether the middle of a cigarette that was seen lies in a true one, widened by its own size."""
    for item in seen:
        if item["label"] != "cigarette":
            continue
        x = (item["box"][0] + item["box"][2]) / 2 * size[0]
        y = (item["box"][1] + item["box"][3]) / 2 * size[1]
        if any(abs(x - left - w / 2) <= w and abs(y - top - h / 2) <= h for left, top, w, h in true):
            return True
    return False


def judge_stills(stills: Sequence[Still], runs: Sequence[Run], alone: Sequence[Run], variant: str) -> Verdict:
    """What is told of pictures, beside what the weights alone see in them: anything at all."""
    true = [bool(still.truth["smoking"]) for still in stills]
    told = [bool(run.of(EVENT)) for run in runs]
    seen = [any(row.detections("objects") for row in run.rows) for run in alone]
    ours, weights = _ratios(true, told), _ratios(true, seen)
    checks = [
        Check(
            name,
            ours[name] >= weights[name] - 1e-9,
            f"{name} {ours[name]:.2f}, of the weights alone {weights[name]:.2f}",
        )
        for name in ("precision", "recall")
    ]
    wrong = [still.path.name for still, t, s in zip(stills, true, told, strict=True) if t != s]
    return Verdict(
        suite="smoking",
        item=f"{len(stills)} pictures",
        variant=variant,
        checks=tuple(checks),
        hits=sum(t and s for t, s in zip(true, told, strict=True)),
        misses=sum(t and not s for t, s in zip(true, told, strict=True)),
        false=sum(s and not t for t, s in zip(true, told, strict=True)),
        figures={"weights": weights, "wrong": wrong},
    )


def _ratios(true: Sequence[bool], told: Sequence[bool]) -> dict[str, float]:
    hits = sum(t and s for t, s in zip(true, told, strict=True))
    return {
        "precision": round(hits / sum(told), 4) if any(told) else 1.0,
        "recall": round(hits / sum(true), 4) if any(true) else 1.0,
    }
