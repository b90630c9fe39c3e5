"""A comparison: both sides measured in turns, and what came of it as a table and as one line of JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.cores import split
from gateway.commands.table import table

VOID = 3  # exit code of a run that says nothing about the server
MOST_S = 15.0  # of a window; generators do not answer pings, which come after 20 s
WARM_UP = 0.25  # of a window, before it
FULL = 0.05  # less than this share of a core left over: it is used up

Count = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement of one side: things a second, and cores its processes and the generators used (1.0 is one).

    `load_bound`: the generators could do no more, or could have no more of their core.
    """

    rate: float
    server: float = 0.0
    generator: float = 0.0
    load_bound: bool = False

    @property
    def void(self) -> bool:
        """Whether it says something of the generators instead of the server."""
        return self.load_bound and self.server < 1 - FULL


def window(count: Count, server: Count, generators: Sequence[Count], seconds: float) -> Window:
    """Watch a counter, and the CPU seconds of the server and the generators, for a while, after a warm-up."""

    def read() -> tuple[float, ...]:
        asked = time.perf_counter()
        counted = count()
        at = (asked + time.perf_counter()) / 2  # a saturated server answers late
        return at, counted, server(), *(cpu() for cpu in generators)

    time.sleep(seconds * WARM_UP)
    before = read()
    time.sleep(seconds)
    took, counted, served, *used = (now - then for now, then in zip(read(), before, strict=True))
    shares = [cpu / took for cpu in used]
    load_bound = sum(shares) > 1 - FULL and (max(shares) > 1 - FULL or len(split()[1]) == 1)
    return Window(counted / took, served / took, sum(shares), load_bound)


Measure = Callable[[float], Window]


@dataclass(slots=True)
class Case:
    """One thing compared: how each side is measured, given the seconds, and the windows there are."""

    name: str
    gateway: Measure
    plain: Measure
    ours: list[Window] = field(default_factory=list)
    theirs: list[Window] = field(default_factory=list)

    def measure(self, seconds: float, *, gateway_first: bool) -> None:
        turns = [(self.gateway, self.ours), (self.plain, self.theirs)]
        for measure, windows in turns if gateway_first else reversed(turns):
            windows.append(measure(seconds))

    @property
    def quotients(self) -> list[float]:
        """Ours over theirs, each pair measured one after the other, so that what slows the machine slows both."""
        return [our.rate / their.rate for our, their in zip(self.ours, self.theirs, strict=True)]


def measure(cases: Sequence[Case], options: argparse.Namespace) -> None:
    """All cases, round by round, the sides taking turns at going first."""
    for number in range(options.rounds):
        for case in cases:
            case.measure(options.seconds, gateway_first=number % 2 == 0)


def options(description: str, *, seconds: float, rounds: int) -> argparse.Namespace:
    """`--seconds`, `--rounds` and `--quick`, which stands for about a tenth of the time."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seconds", type=float, default=seconds, help="length of one window (at most 15)")
    parser.add_argument("--rounds", type=int, default=rounds, help="windows per side and case")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, for a look")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.rounds = seconds / 2, max(1, rounds // 4)
    if not (0 < chosen.seconds <= MOST_S and chosen.rounds > 0):
        parser.error(f"--seconds must be above 0 and at most {MOST_S:.0f}, --rounds at least 1")
    return chosen


def report(bench: str, cases: Sequence[Case], *, unit: str, more: Mapping[str, Any] | None = None) -> int:
    """Print the table and the line; the exit code."""
    print(table(["case", "side", unit, "min", "max", "CPU %", "CPU µs each", "load CPU %"], _rows(cases)))
    print()
    print(table(["case", "gateway / plain", "min", "max"], [[c.name, *_spread(c.quotients, 3)] for c in cases]))
    void = any(each.void for case in cases for each in (*case.ours, *case.theirs))
    if void:
        print("\nVOID: the load generator was at its limit and the server was not, so this says nothing of the server.")
    line: dict[str, Any] = {"bench": bench, "unit": unit, "void": void, **(more or {})}
    for case in cases:
        line[f"{case.name}_ratio"] = round(median(case.quotients), 3)
        line[case.name] = {"gateway": _figures(case.ours), "plain": _figures(case.theirs)}
    print(json.dumps(line))
    sys.stdout.flush()
    return VOID if void else 0


def _rows(cases: Sequence[Case]) -> list[list[str]]:
    return [
        [case.name, side, *_spread([each.rate for each in windows], 1), *_cpu(windows)]
        for case in cases
        for side, windows in (("gateway", case.ours), ("plain", case.theirs))
    ]


def _spread(values: Sequence[float], digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in (median(values), min(values), max(values))]


def _cpu(windows: Sequence[Window]) -> list[str]:
    """CPU of the server, the same for one of what is counted, and of the load."""
    server, load = median(each.server for each in windows), median(each.generator for each in windows)
    return [f"{100 * server:.0f}", f"{_cost_us(windows):.1f}", f"{100 * load:.0f}"]


def _cost_us(windows: Sequence[Window]) -> float:
    return median(1e6 * each.server / each.rate for each in windows)


def _figures(windows: Sequence[Window]) -> dict[str, float]:
    rates = [each.rate for each in windows]
    return {
        "median": round(median(rates), 1),
        "min": round(min(rates), 1),
        "max": round(max(rates), 1),
        "cost_us": round(_cost_us(windows), 1),
        "server_cpu": round(median(each.server for each in windows), 2),
        "load_cpu": round(median(each.generator for each in windows), 2),
    }
