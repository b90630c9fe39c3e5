"""Report: verdicts as tables for people, as Markdown for pages and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from gateway.commands.table import table
from gateway.evaluation.examination import Outcome
from gateway.evaluation.verdict import Summary, Verdict, summaries
from gateway.frame import iso
from gateway.version import __version__

HEAD = ("SUITE", "VARIANT", "CHECKS", "PRECISION", "RECALL", "TIME TO ALERT", "FALSE/H", "HOURS")
ITEMS = ("SUITE", "CLIP", "VARIANT", "VERDICT", "WHAT")


def text(outcome: Outcome) -> str:
    """Every verdict, then a line for each suite and variant."""
    parts = [table(ITEMS, [_item(one) for one in outcome.verdicts])] if outcome.verdicts else []
    parts += [table(HEAD, [_line(one) for one in summaries(outcome.verdicts)])] if outcome.verdicts else []
    parts += [_roc(one) for one in outcome.verdicts if "roc" in one.figures]
    parts += ["\n".join(f"not run: {suite}: {reason}" for suite, reason in outcome.lacking.items())]
    return "\n\n".join(part for part in parts if part)


def markdown(outcome: Outcome) -> str:
    """The same as two tables, the verdicts by clip with a column for each variant."""
    found = summaries(outcome.verdicts)
    variants = list(dict.fromkeys(one.variant for one in outcome.verdicts))
    rows = dict.fromkeys((one.suite, one.item) for one in outcome.verdicts)
    cells = {(one.suite, one.item, one.variant): _cell(one) for one in outcome.verdicts}
    by_clip = [(suite, item, *(cells.get((suite, item, v), "") for v in variants)) for suite, item in rows]
    head = [word.lower() for word in HEAD]
    return f"{_pipes(head, map(_line, found))}\n\n{_pipes(['suite', 'clip', *variants], by_clip)}"


def document(outcome: Outcome, notes: Sequence[str]) -> dict[str, Any]:
    return {
        "framegate": __version__,
        "at": iso(outcome.began),
        "passed": outcome.passed,
        "analyzers": outcome.versions,
        "summaries": [asdict(one) for one in summaries(outcome.verdicts)],
        "verdicts": [{**asdict(one), "passed": one.passed} for one in outcome.verdicts],
        "not_run": outcome.lacking,
        "notes": list(notes),
    }


def _item(one: Verdict) -> tuple[str, ...]:
    return one.suite, one.item, one.variant, "ok" if one.passed else "FAIL", one.text or _found(one)


def _found(one: Verdict) -> str:
    """For a verdict without checks: what was found."""
    counts = f"{one.hits} found, {one.misses} missed, {one.false} false"
    return "; ".join([counts, *(f"{key} {value}" for key, value in one.figures.items())])


def _roc(one: Verdict) -> str:
    """Shares of wrong answers at every threshold, of pairs of the pictures as they were enrolled."""
    equal, count = one.figures["equal_error"], one.figures["pairs"]
    rows = [
        (f"{point['threshold']:.2f}", f"{point['false_accept']:.4f}", f"{point['false_reject']:.4f}")
        for point in one.figures["roc"]
    ]
    head = f"{one.suite}, {one.item}, {one.variant}: {count['same']} pairs of one person, {count['different']} of two"
    where = f"equal at {equal['threshold']:.2f}: {equal['false_accept']:.4f}, {equal['false_reject']:.4f}"
    return f"{head}\n{table(('COSINE', 'FALSE ACCEPT', 'FALSE REJECT'), rows)}\n{where}"


def _line(one: Summary) -> tuple[str, ...]:
    delay = "-" if one.delay_s is None else f"{one.delay_s:.1f} s"
    rate = "-" if one.false_per_hour is None else f"{one.false_per_hour:.1f}"
    counts = f"{one.passed}/{one.checks}"
    return one.suite, one.variant, counts, _ratio(one.precision), _ratio(one.recall), delay, rate, f"{one.hours:.3f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(one: Verdict) -> str:
    return "ok" if one.passed else "FAIL: " + one.text


def _pipes(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
