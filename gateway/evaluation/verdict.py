"""Verdict: how right the analyzers of one suite were about one clip or set of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """One rule and whether it holds; `text` says what was expected and what came."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`hits`, `misses`, `false`: of what was to be found, and alerts for what was not there. `delays` in s.

    `seconds` of material were looked at, for alerts per hour; 0 where time means nothing. `figures` are not judged.
    """

    suite: str
    item: str
    variant: str
    checks: tuple[Check, ...] = ()
    hits: int = 0
    misses: int = 0
    false: int = 0
    delays: tuple[float, ...] = ()
    seconds: float = 0.0
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def text(self) -> str:
        """What did not hold, or everything in short."""
        failed = [f"{check.name}: {check.text}" for check in self.checks if not check.passed]
        return "; ".join(dict.fromkeys(failed or [check.text for check in self.checks]))


@dataclass(frozen=True, slots=True)
class Summary:
    """All verdicts of one suite and variant. Ratios are 0-1, None where nothing was to be found or told."""

    suite: str
    variant: str
    checks: int
    passed: int
    precision: float | None
    recall: float | None
    delay_s: float | None
    false_per_hour: float | None
    hours: float

    @classmethod
    def of(cls, suite: str, variant: str, verdicts: Iterable[Verdict]) -> Summary:
        mine = [one for one in verdicts if (one.suite, one.variant) == (suite, variant)]
        checks = [check for one in mine for check in one.checks]
        hits, misses, false = (sum(getattr(one, part) for one in mine) for part in ("hits", "misses", "false"))
        delays = [delay for one in mine for delay in one.delays]
        hours = sum(one.seconds for one in mine) / 3600
        timed = sum(one.false for one in mine if one.seconds)
        return cls(
            suite=suite,
            variant=variant,
            checks=len(checks),
            passed=sum(check.passed for check in checks),
            precision=hits / (hits + false) if hits + false else None,
            recall=hits / (hits + misses) if hits + misses else None,
            delay_s=median(delays) if delays else None,
            false_per_hour=timed / hours if hours else None,
            hours=hours,
        )


def summaries(verdicts: Iterable[Verdict]) -> list[Summary]:
    """One for each suite and variant, in the order in which they first come."""
    found = list(verdicts)
    pairs = dict.fromkeys((one.suite, one.variant) for one in found)
    return [Summary.of(suite, variant, found) for suite, variant in pairs]
