"""How well things are followed: MOTA, IDF1 and identity switches of scenes with exact truth, at 25 to 2 fps.

`python -m bench.tracking` compares our tracker with plain following by overlap and, where the packages are
installed, with ByteTrack as `trackers` has it. Weak detections are given to all that know what to do with them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from bench.walkers import ASPECT, Detector, Look, looks, scenes
from gateway import Box, Detection, Tracker
from gateway.commands.table import table
from gateway.evaluation.mot import MotScores, mot_scores

RATES = (25.0, 10.0, 5.0, 2.0)
STRONG = 0.25
Followed = list[tuple[int, Box]]
Follow = Callable[[Sequence[Detection], float], Followed]


def ours(fps: float) -> Follow:
    tracker = Tracker(strong=STRONG, aspect=ASPECT)

    def follow(found: Sequence[Detection], at: float) -> Followed:
        return [(one.id, one.detection.box) for one in tracker.update(found, at) if one.detection]

    return follow


def overlap(fps: float) -> Follow:
    """By the overlap with where each was last, best pairs first; new ids for the rest. Forgets after 3 s."""
    last: dict[int, tuple[Box, float]] = {}
    ids = count(1)

    def follow(found: Sequence[Detection], at: float) -> Followed:
        boxes = [one.box for one in found if one.score >= STRONG]
        known = {id_: box for id_, (box, seen_at) in last.items() if at - seen_at <= 3.0}
        pairs = sorted(
            ((box.iou(old), n, id_) for n, box in enumerate(boxes) for id_, old in known.items()), reverse=True
        )
        told: dict[int, int] = {}
        for iou, number, id_ in pairs:
            if iou >= 0.1 and number not in told and id_ not in told.values():
                told[number] = id_
        followed = [(told[n] if n in told else next(ids), box) for n, box in enumerate(boxes)]
        last.update({id_: (box, at) for id_, box in followed})
        return followed

    return follow


def bytetrack(fps: float) -> Follow:
    """`trackers.ByteTrackTracker`, told our rate and thresholds."""
    import numpy as np
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(
        lost_track_buffer=120,  # 4 s of 30 frames, which it scales to the rate
        frame_rate=fps,
        track_activation_threshold=STRONG,
        high_conf_det_threshold=STRONG,
    )
    size = np.array([1280, 720, 1280, 720])

    def follow(found: Sequence[Detection], at: float) -> Followed:
        corners = np.array([list(one.box) for one in found]).reshape(-1, 4) * size
        scores = np.array([one.score for one in found])
        seen = supervision.Detections(corners, confidence=scores, class_id=np.zeros(len(found), int))
        told = tracker.update(seen)
        ids = [] if told.tracker_id is None else told.tracker_id
        pairs = zip(ids, told.xyxy / size, strict=True)
        return [(int(id_), Box.clipped(*box)) for id_, box in pairs if id_ >= 0]

    return follow


def measure(follower: Callable[[float], Follow], fps: float, seeds: Iterable[int]) -> tuple[MotScores, float]:
    """All scenes with each seed: the scores, and ms a frame."""
    total, spent, frames = MotScores(), 0.0, 0
    for seed in seeds:
        for scene in scenes():
            seen = list(looks(scene, fps, Detector(), seed))
            started = time.perf_counter()
            told = played(follower(fps), seen)
            spent += time.perf_counter() - started
            total, frames = total + mot_scores([look.truth for look in seen], told), frames + len(seen)
    return total, spent / frames * 1e3


def played(follow: Follow, seen: Iterable[Look]) -> list[Followed]:
    return [follow(look.found, look.at) for look in seen]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.tracking", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    sides = {"ours": ours, "overlap": overlap}
    if importlib.util.find_spec("trackers"):
        sides["bytetrack"] = bytetrack
    rows: list[list[str]] = []
    found: dict[str, float] = {}
    for fps in RATES:
        for name, side in sides.items():
            scores, ms = measure(side, fps, seeds)
            rows.append(
                [f"{fps:g}", name, f"{scores.mota:.3f}", f"{scores.idf1:.3f}", str(scores.switches), f"{ms:.2f}"]
            )
            found |= {
                f"{name}_{fps:g}_mota": round(scores.mota, 4),
                f"{name}_{fps:g}_idf1": round(scores.idf1, 4),
                f"{name}_{fps:g}_switches": scores.switches,
            }
    print(table(["fps", "tracker", "MOTA", "IDF1", "switches", "ms/frame"], rows))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
