"""What differs between two results, and between two lists of events, beyond a tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from gateway.results import Detection, Result, Sighting

Kind = Literal["appeared", "vanished", "moved", "score", "measure", "data", "sighting", "error"]

PAIR_IOU = 0.3  # boxes of one label that overlap by less are two things, not one that moved


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much two results may differ and still be the same.

    `iou` is the least overlap of a box with itself, `score` the most that a score may change, `measure` the most that
    a number may change in proportion to its size (or absolutely, below 1), `seconds` the most that an event's beginning
    or end may shift.
    """

    iou: float = 0.9
    score: float = 0.02
    measure: float = 0.001
    seconds: float = 0.2

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """From "iou=0.8,score=0.05"; what is not named keeps its default. Raises `ValueError`."""
        known = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            name, _, number = part.partition("=")
            if name.strip() not in known:
                raise ValueError(f"expected {', '.join(f'{one}=NUMBER' for one in known)}, got {part!r}")
            values[name.strip()] = float(number)
        return cls(**values)


DEFAULT = Tolerance()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was; `text` says what, before and after."""

    kind: Kind
    text: str


def assert_same(result: Result, golden: Result, tolerance: Tolerance = DEFAULT) -> None:
    """Raise `AssertionError` naming every difference between a result and the one it should be."""
    found = list(differences(golden, result, tolerance))
    assert not found, "not the golden result:\n" + "\n".join(f"  {one.text}" for one in found)


def differences(before: Result, after: Result, tolerance: Tolerance = DEFAULT) -> Iterator[Difference]:
    """How `after` differs from `before`. The order of detections does not matter."""
    yield from _detections(before.detections, after.detections, tolerance)
    for name in sorted({*before.measures, *after.measures}):
        old, new = before.measures.get(name), after.measures.get(name)
        if not _alike(old, new, tolerance):
            yield Difference("measure", f"measure {name}: {_short(old)} -> {_short(new)}")
    if not _alike(before.data, after.data, tolerance):
        yield Difference("data", f"data: {_short(before.data)} -> {_short(after.data)}")
    yield from _sightings(before.sightings, after.sightings, tolerance)


def pairs(before: Sequence[Detection], after: Sequence[Detection]) -> Iterator[tuple[int, int]]:
    """Indices of detections that are the same thing: the best overlapping pair of one label first, each once."""
    candidates = (
        (old.box.iou(new.box) if old.box != new.box else 1.0, -i, -j)
        for i, old in enumerate(before)
        for j, new in enumerate(after)
        if old.label == new.label
    )
    left, right = set(range(len(before))), set(range(len(after)))
    for iou, i, j in sorted(candidates, reverse=True):
        if iou >= PAIR_IOU and -i in left and -j in right:
            left.remove(-i)
            right.remove(-j)
            yield -i, -j


def _detections(before: Sequence[Detection], after: Sequence[Detection], tolerance: Tolerance) -> Iterator[Difference]:
    met = sorted(pairs(before, after))
    for i in sorted(set(range(len(before))) - {i for i, _ in met}):
        yield Difference("vanished", f"{_name(before[i])} vanished")
    for j in sorted(set(range(len(after))) - {j for _, j in met}):
        yield Difference("appeared", f"{_name(after[j])} appeared")
    for i, j in met:
        yield from _pair(before[i], after[j], tolerance)


def _pair(old: Detection, new: Detection, tolerance: Tolerance) -> Iterator[Difference]:
    iou = old.box.iou(new.box)
    if old.box != new.box and iou < tolerance.iou:
        yield Difference("moved", f"{_name(old)} moved to {_corners(new)}: IoU {iou:.2f}")
    if abs(old.score - new.score) > tolerance.score + 1e-9:
        yield Difference("score", f"{_name(old)}: score {old.score:.3f} -> {new.score:.3f}")
    for part in ("track_id", "attributes", "zones", "person"):
        if not _alike(getattr(old, part), getattr(new, part), tolerance):
            change = f"{_short(getattr(old, part))} -> {_short(getattr(new, part))}"
            yield Difference("data", f"{_name(old)}: {part} {change}")


def _sightings(before: Sequence[Sighting], after: Sequence[Sighting], tolerance: Tolerance) -> Iterator[Difference]:
    old, new = ({(one.event_type, one.key): one for one in side} for side in (before, after))
    for key in sorted({*old, *new}):
        name = f"sighting {key[0]} of {key[1]}"
        if key not in old or key not in new:
            yield Difference("sighting", f"{name} {'appeared' if key in new else 'vanished'}")
        elif abs(old[key].score - new[key].score) > tolerance.score + 1e-9:
            yield Difference("sighting", f"{name}: score {old[key].score:.3f} -> {new[key].score:.3f}")


def _alike(old: Any, new: Any, tolerance: Tolerance) -> bool:
    """Equal, but for numbers that differ by no more than they may."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return math.isclose(old, new, rel_tol=tolerance.measure, abs_tol=tolerance.measure)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_alike(old[key], new[key], tolerance) for key in old)
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(_alike(a, b, tolerance) for a, b in zip(old, new, strict=True))
    return bool(old == new)


def _name(one: Detection) -> str:
    return f"{one.label} at {_corners(one)}"


def _corners(one: Detection) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in one.box) + ")"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
