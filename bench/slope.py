"""A slope that a few odd samples do not move, with its interval: Theil and Sen's median of the slopes of all pairs.

Memory of a process grows in steps and has spikes, so a least-squares line says more of the spikes than of a leak. The
interval is Sen's, from the variance of Kendall's statistic with ties; it takes samples for independent, which memory in
steps is not quite, so it is rather too narrow than too wide. What warms up is left out: the first fifth of the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist, median

WARM_UP = 0.2  # of the samples
SURE = NormalDist().inv_cdf(0.975)  # for an interval of 95 %


@dataclass(frozen=True, slots=True)
class Slope:
    """In the unit of y per unit of x; `low` to `high` is the interval of 95 %."""

    slope: float
    low: float
    high: float

    @property
    def may_be_nothing(self) -> bool:
        return self.low <= 0 <= self.high

    def rounded(self, digits: int = 1) -> dict[str, float]:
        return {name: round(value, digits) for name, value in asdict(self).items()}


def settled_slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """Of the samples after the warm-up, in the order they were taken."""
    first = round(WARM_UP * len(x))
    return slope(x[first:], y[first:])


def slope(x: Sequence[float], y: Sequence[float]) -> Slope:
    """Raises `ValueError` for fewer than three different x: there is no interval."""
    if len(x) != len(y) or len(set(x)) < 3:
        raise ValueError(f"{len(x)} and {len(y)} samples at {len(set(x))} places give no slope")
    points = zip(x, y, strict=True)
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if a[0] != b[0])
    off = SURE * sqrt(_variance(y))
    last = len(slopes) - 1
    low, high = round((len(slopes) - off) / 2) - 1, round((len(slopes) + off) / 2)
    return Slope(median(slopes), slopes[min(last, max(0, low))], slopes[max(0, min(last, high))])


def _variance(y: Sequence[float]) -> float:
    """Of Kendall's statistic under no trend; equal values have no order among them (Sen 1968)."""
    count = len(y)
    tied = sum(ties * (ties - 1) * (2 * ties + 5) for ties in Counter(y).values())
    return (count * (count - 1) * (2 * count + 5) - tied) / 18
