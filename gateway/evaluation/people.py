"""People: how many there are, that nobody is seen where nobody is, and that each keeps one id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from gateway.evaluation.material import Clip, spans
from gateway.evaluation.run import Row, Run
from gateway.evaluation.verdict import Check, Verdict

ANALYZER = "tracks"
AROUND_S = 0.5  # a count is the median of the frames this near
EDGE_S = 0.5  # how exactly the truth knows when somebody comes and goes
COUNT_SHARE = 0.2  # a count may be wrong by one, or by this share
SEEN_SHARE, EMPTY_SHARE, ID_SHARE = 0.8, 0.95, 0.6  # of frames


def judges(clip: Clip) -> bool:
    """Clips whose truth counts persons."""
    return any(key in clip.truth for key in ("persons_counted_by_eye", "persons", "empty")) or bool(_visible(clip))


def options(clip: Clip) -> Mapping[str, Mapping[str, Any]]:
    return {}


def _visible(clip: Clip) -> list[tuple[float, float]]:
    """When each person of `person_1_visible`, `person_2_visible` ... is there."""
    keys = sorted(key for key in clip.truth if key.startswith("person_") and key.endswith("_visible"))
    return [span for key in keys for span in spans(clip.truth[key])]


@dataclass(frozen=True, slots=True)
class Look:
    """One frame: the persons that are seen, and how many the analyzer counts, those hidden for a moment included."""

    at: float
    persons: list[Mapping[str, Any]]
    count: float


def judge(clip: Clip, run: Run, variant: str) -> Verdict:
    looks = [look for look in map(_look, run.rows) if look is not None and look.at >= 0]
    return Verdict(
        suite="people",
        item=clip.name,
        variant=variant,
        checks=(*_counts(clip, looks), *_empty(clip, looks), *_seen(clip, looks), *_most(clip, looks)),
        figures={
            "mean_persons": round(sum(look.count for look in looks) / max(1, len(looks)), 2),
            "most_persons": max((look.count for look in looks), default=0),
            "ids": len({item["track_id"] for look in looks for item in look.persons if item["track_id"] is not None}),
        },
    )


def _look(row: Row) -> Look | None:
    if "detections" not in row.analyzers.get(ANALYZER, {}):
        return None
    persons = [item for item in row.detections(ANALYZER) if item["label"] == "person"]
    return Look(row.at, persons, row.measures(ANALYZER).get("persons", len(persons)))


def _counts(clip: Clip, looks: Sequence[Look]) -> Iterator[Check]:
    for text, true in clip.truth.get("persons_counted_by_eye", {}).items():
        near = [look.count for look in looks if abs(look.at - float(text)) <= AROUND_S]
        seen = median(near) if near else 0
        most = max(1.0, COUNT_SHARE * true)
        yield Check(f"count at {text}", abs(seen - true) <= most, f"{seen:g} persons at {text}, truly {true}")


def _empty(clip: Clip, looks: Sequence[Look]) -> Iterator[Check]:
    for begin, end in spans(clip.truth.get("empty")):
        inside = [not look.persons for look in looks if begin + EDGE_S <= look.at <= end - EDGE_S]
        if inside:
            share = sum(inside) / len(inside)
            yield Check(f"empty {begin:g}-{end:g}", share >= EMPTY_SHARE, f"nobody in {share:.0%} of {begin:g}-{end:g}")


def _seen(clip: Clip, looks: Sequence[Look]) -> Iterator[Check]:
    mains: list[int] = []
    for begin, end in _visible(clip):
        inside = [look.persons for look in looks if begin + EDGE_S <= look.at <= end - EDGE_S]
        share = sum(map(bool, inside)) / max(1, len(inside))
        yield Check(f"seen {begin:g}-{end:g}", share >= SEEN_SHARE, f"seen in {share:.0%} of {begin:g}-{end:g}")
        ids = Counter(item["track_id"] for found in inside for item in found if item["track_id"] is not None)
        if ids:
            main, frames = ids.most_common(1)[0]
            one = frames / max(1, len(inside))
            yield Check("one id", one >= ID_SHARE, f"id {main} in {one:.0%} of {begin:g}-{end:g}, {len(ids)} ids")
            mains.append(main)
    if len(mains) > 1:
        yield Check("ids differ", len(set(mains)) == len(mains), f"ids of {len(mains)} persons: {mains}")


def _most(clip: Clip, looks: Sequence[Look]) -> Iterator[Check]:
    """Never more than there are."""
    most = 1 if "one at a time" in clip.kind else clip.truth.get("persons")
    if isinstance(most, int):
        share = sum(look.count > most for look in looks) / max(1, len(looks))
        yield Check("not too many", share <= 1 - EMPTY_SHARE, f"more than {most} in {share:.0%} of the frames")
