"""Pictures: what `objects` finds in single pictures with labelled boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.evaluation.material import Still
from gateway.evaluation.run import Run
from gateway.evaluation.verdict import Verdict
from gateway.results import Box

IOU = 0.5


def judge(stills: Sequence[Still], runs: Sequence[Run], alone: Sequence[Run], variant: str) -> Verdict:
    """Precision and recall over the labels that the truth of these pictures uses; told, not judged."""
    labels = {item["label"] for still in stills for item in still.truth["objects"]}
    hits, misses, false = Counter[str](), Counter[str](), Counter[str]()
    for still, run in zip(stills, runs, strict=True):
        found = [item for item in run.rows[-1].detections("objects") if item["label"] in labels]
        matched = _matched(still, found)
        for item, right in zip(found, matched, strict=True):
            (hits if right else false)[item["label"]] += 1
        misses.update(item["label"] for item in still.truth["objects"])
    misses.subtract(hits)
    return Verdict(
        suite="objects",
        item=f"{len(stills)} pictures",
        variant=variant,
        hits=hits.total(),
        misses=misses.total(),
        false=false.total(),
        figures={label: f"{hits[label]} of {hits[label] + misses[label]}" for label in sorted(labels)},
    )


def _matched(still: Still, found: Sequence[Any]) -> list[bool]:
    """For each detection, best first, whether it is a labelled object that no better one was."""
    free = [(item["label"], _box(item["bbox_xywh"], still)) for item in still.truth["objects"]]
    right = []
    for item in found:
        box = Box(*item["box"])
        best = max((one for one in free if one[0] == item["label"]), key=lambda one: box.iou(one[1]), default=None)
        right.append(best is not None and box.iou(best[1]) >= IOU)
        if right[-1] and best is not None:
            free.remove(best)
    return right


def _box(xywh: Sequence[float], still: Still) -> Box:
    left, top, wide, high = xywh
    width, height = still.truth["width"], still.truth["height"]
    return Box.clipped(left / width, top / height, (left + wide) / width, (top + high) / height)
