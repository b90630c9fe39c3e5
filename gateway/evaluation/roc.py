"""ROC: how often faces of one person are refused, and of two taken for one, at every threshold; from labelled vectors.

What is accepted is a likeness (cosine) at or above the threshold. Identification is asked with each picture left out of
the gallery in turn, and with its whole person left out, who is a stranger then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]  # (d,), of unit length
    Labelled = Sequence[tuple[str, Vector]]  # whose face, and its vector

STEPS = tuple(round(0.05 * step, 2) for step in range(21))  # thresholds of a table, cosines 0-1


@dataclass(frozen=True, slots=True)
class Pairs:
    """Likenesses of all pairs of pictures: of one person, and of two."""

    same: tuple[float, ...]
    different: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RocPoint:
    """At this threshold: share of pairs of two persons that are accepted, and of one person that are refused (0-1)."""

    threshold: float
    false_accept: float
    false_reject: float


@dataclass(frozen=True, slots=True)
class Identification:
    """Numbers of pictures: asked with their person in the gallery and without, and what came of it.

    `rank1`: the nearest is the right person, whatever the likeness; `named`: and above the threshold; `mistaken`:
    another person is named; `refused`: nobody is. `strangers_named`: strangers who are called by somebody's name.
    """

    threshold: float
    known: int
    rank1: int
    named: int
    mistaken: int
    refused: int
    strangers: int
    strangers_named: int


def pairs(embeddings: Labelled) -> Pairs:
    """Of every two pictures once."""
    likeness = _likeness(embeddings)
    rows, columns = np.triu_indices(len(embeddings), 1)
    same = _same(embeddings)[rows, columns]
    values = likeness[rows, columns]
    return Pairs(tuple(values[same].tolist()), tuple(values[~same].tolist()))


def roc(found: Pairs, thresholds: Iterable[float] = STEPS) -> list[RocPoint]:
    """The points of the curve at these thresholds. Shares of no pairs at all are 0."""
    same, different = np.array(found.same), np.array(found.different)
    return [
        RocPoint(float(threshold), _share(different >= threshold), _share(same < threshold)) for threshold in thresholds
    ]


def equal_error(found: Pairs) -> RocPoint:
    """Where both shares are most nearly equal, at thresholds between neighbouring likenesses; the middle of several.

    Raises `ValueError` without pairs of both kinds.
    """
    if not found.same or not found.different:
        raise ValueError("an equal error rate takes pairs of one person and of two")
    values = np.unique([*found.same, *found.different])
    between = [float(values[0]), *((values[1:] + values[:-1]) / 2).tolist()]
    points = roc(found, between)
    least = min(abs(point.false_accept - point.false_reject) for point in points)
    best = [point for point in points if abs(point.false_accept - point.false_reject) == least]
    return best[len(best) // 2]


def area(found: Pairs) -> float:
    """Under the curve: how often a pair of one person is more alike than a pair of two; 0-1, ties count half."""
    same, different = np.array(found.same)[:, None], np.array(found.different)[None, :]
    if not same.size or not different.size:
        raise ValueError("the area takes pairs of one person and of two")
    return float((same > different).mean() + 0.5 * (same == different).mean())


def leave_one_out(embeddings: Labelled, threshold: float) -> Identification:
    """Each picture asked of a gallery of all others, and of one without its person; a person is as like as the nearest.

    Pictures of persons who have no other are strangers only.
    """
    likeness, same = _likeness(embeddings), _same(embeddings)
    names = [name for name, _ in embeddings]
    known = rank1 = named = mistaken = refused = strangers_named = 0
    for index, name in enumerate(names):
        row = likeness[index].copy()
        row[index] = -np.inf
        strange = np.where(same[index], -np.inf, row)
        strangers_named += bool(strange.max(initial=-np.inf) >= threshold)
        if names.count(name) < 2:
            continue
        known += 1
        right = names[int(row.argmax())] == name
        accepted = bool(row.max() >= threshold)
        rank1 += right
        named += right and accepted
        mistaken += accepted and not right
        refused += not accepted
    return Identification(threshold, known, rank1, named, mistaken, refused, len(names), strangers_named)


def curve(embeddings: Labelled) -> dict[str, Any]:
    """The points of a table and where both shares are equal, as plain JSON; nothing without pairs of both kinds."""
    found = pairs(embeddings)
    if not found.same or not found.different:
        return {}
    return {
        "pairs": {"same": len(found.same), "different": len(found.different)},
        "roc": [asdict(point) for point in roc(found)],
        "equal_error": asdict(equal_error(found)),
    }


def _likeness(embeddings: Labelled) -> npt.NDArray[np.float64]:
    matrix = np.stack([vector for _, vector in embeddings]).astype(np.float64) if embeddings else np.empty((0, 0))
    likeness: npt.NDArray[np.float64] = matrix @ matrix.T
    return likeness


def _same(embeddings: Labelled) -> npt.NDArray[np.bool_]:
    names = np.array([name for name, _ in embeddings], dtype=object)
    same: npt.NDArray[np.bool_] = names[:, None] == names[None, :]
    return same


def _share(of: npt.NDArray[np.bool_]) -> float:
    return float(of.mean()) if of.size else 0.0
