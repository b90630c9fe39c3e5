"""MOT: how well tracks follow the truth: MOTA, IDF1, identity switches.

CLEAR MOT as Bernardin and Stiefelhagen define it (2008, EURASIP J. Image and Video Processing 246309), identity scores
as Ristani et al. do (2016, arXiv 1609.01775). Boxes belong together from an IoU of 0.5 on, as in MOTChallenge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lap
import numpy as np

from gateway.results import Box

if TYPE_CHECKING:
    import numpy.typing as npt

Seen = Sequence[tuple[int, Box]]  # of one frame: id and box; an id at most once

LEAST_IOU = 0.5


@dataclass(frozen=True, slots=True)
class MotScores:
    """Counts over all frames. `identified` are the boxes explained when each true id has at most one of ours."""

    truth: int = 0
    told: int = 0
    matched: int = 0
    switches: int = 0
    identified: int = 0

    @property
    def missed(self) -> int:
        return self.truth - self.matched

    @property
    def false(self) -> int:
        return self.told - self.matched

    @property
    def mota(self) -> float:
        """1 is perfect; below 0 if there are more errors than things. Without truth: 1 if nothing was told, else 0."""
        if not self.truth:
            return float(not self.told)
        return 1 - (self.missed + self.false + self.switches) / self.truth

    @property
    def idf1(self) -> float:
        """0-1, F1 of the boxes that have the right id."""
        both = self.truth + self.told
        return 2 * self.identified / both if both else 1.0

    def __add__(self, other: MotScores) -> MotScores:
        """Of two clips together. Their ids have nothing to do with each other."""
        return MotScores(
            self.truth + other.truth,
            self.told + other.told,
            self.matched + other.matched,
            self.switches + other.switches,
            self.identified + other.identified,
        )


def mot_scores(truth: Iterable[Seen], told: Iterable[Seen], *, least_iou: float = LEAST_IOU) -> MotScores:
    """Scores of what was told in each frame against the truth of each frame. Raises `ValueError` for an id twice."""
    partners: dict[int, int] = {}  # the last id of ours that a true one had
    together: Counter[tuple[int, int]] = Counter()
    counts: Counter[str] = Counter()
    for real, ours in zip(truth, told, strict=True):
        overlaps = _overlaps(_unique(real), _unique(ours), least_iou)
        together.update(overlaps.keys())
        matches = _clear_matches(overlaps, partners)
        counts["truth"] += len(real)
        counts["told"] += len(ours)
        counts["matched"] += len(matches)
        counts["switches"] += sum(partners.get(one, other) != other for one, other in matches.items())
        partners.update(matches)
    best = _assigned({pair: float(count) for pair, count in together.items()})
    return MotScores(identified=sum(together[pair] for pair in best), **counts)


def _unique(seen: Seen) -> dict[int, Box]:
    boxes = dict(seen)
    if len(boxes) != len(seen):
        raise ValueError(f"an id stands twice in one frame: {sorted(one for one, _ in seen)}")
    return boxes


def _overlaps(real: dict[int, Box], ours: dict[int, Box], least: float) -> dict[tuple[int, int], float]:
    """IoU of each pair that may belong together, by true id and ours."""
    found = {(one, other): a.iou(b) for one, a in real.items() for other, b in ours.items()}
    return {pair: iou for pair, iou in found.items() if iou >= least}


def _clear_matches(overlaps: dict[tuple[int, int], float], partners: dict[int, int]) -> dict[int, int]:
    """Ours by true id: pairs of before stay while they can, the rest get as much overlap as there is.

    As many matches as possible come first (2 a pair is more than any overlap), then overlap.
    """
    kept: dict[int, int] = {}
    for one, other in overlaps:
        if partners.get(one) == other and other not in kept.values():
            kept[one] = other
    taken = set(kept.values())
    free = {pair: 2 + iou for pair, iou in overlaps.items() if pair[0] not in kept and pair[1] not in taken}
    return kept | dict(_assigned(free))


def _assigned(gains: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """The pairs, each id in one at most, that gain most together; only pairs that gain something."""
    rows, columns = sorted({pair[0] for pair in gains}), sorted({pair[1] for pair in gains})
    if not gains:
        return []
    size = max(len(rows), len(columns))
    cost: npt.NDArray[Any] = np.zeros((size, size))
    for (row, column), gain in gains.items():
        cost[rows.index(row), columns.index(column)] = -gain
    _, partner, _ = lap.lapjv(cost)
    found = [(rows[row], columns[int(partner[row])]) for row in range(len(rows)) if partner[row] < len(columns)]
    return [pair for pair in found if pair in gains]
