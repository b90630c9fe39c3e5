"""Bags: an alert for a bag that was left, not before its owner has gone for long enough, and for no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.evaluation.material import Clip, spans
from gateway.evaluation.run import Run, Told
from gateway.evaluation.verdict import Check, Verdict
from gateway.results import Box

LATE_S = 5.0  # an alert may come this much after the owner has been out of view for `abandoned_s`
REMOVED_S = 5.0  # the word that a bag was taken may come this much after it moved off
LONG, SHORT = {"unattended_s": 3.0, "abandoned_s": 10.0}, {"unattended_s": 1.0, "abandoned_s": 3.0}
NEAR = 0.5  # an alert is about the bag if its middle lies in the bag's box, widened by this share on each side


@dataclass(frozen=True, slots=True)
class BagTruth:
    """A bag that was left. Times in s; `box` in 0-1 of the frame."""

    leaves: float
    out_of_view: float
    until: float
    box: Box | None
    moves_off: float | None
    reached: float | None

    @classmethod
    def of(cls, clip: Clip, seconds: float) -> BagTruth | None:
        """None for a clip in which no bag is left."""
        truth = clip.truth
        if "owner_starts_leaving" not in truth or "negative" in clip.kind:
            return None
        leaves = float(truth["owner_starts_leaving"])
        alone = spans(truth.get("unattended"))
        moves = truth.get("bag_moves_off")
        reached = truth.get("owner_reaches_bag", moves)
        return cls(
            leaves=leaves,
            out_of_view=float(truth.get("owner_out_of_view", alone[0][0] if alone else leaves)),
            until=alone[0][1] if alone else seconds,
            box=clip.box("bag_box_xywh"),
            moves_off=None if moves is None else float(moves),
            reached=None if reached is None else float(reached),
        )

    def about(self, event: Told) -> bool:
        """Whether an event is about this bag; one without a box is taken to be."""
        if self.box is None or event.box is None:
            return True
        x, y = event.box.center
        wide, high = self.box.width * NEAR, self.box.height * NEAR
        return self.box.x1 - wide <= x <= self.box.x2 + wide and self.box.y1 - high <= y <= self.box.y2 + high


def judges(clip: Clip) -> bool:
    """Clips of bags, left or not, and of people without any."""
    return "bag" in clip.kind or "people" in clip.kind or "owner_starts_leaving" in clip.truth


def options(clip: Clip) -> Mapping[str, Mapping[str, Any]]:
    """3 and 10 s where the bag is alone for long enough to be alerted by then (a clip without: where it lasts), else 1
    and 3 s; unless the truth says itself."""
    if "bags" in clip.options:
        return {"bags": clip.options["bags"]}
    truth = BagTruth.of(clip, clip.seconds)
    if truth is None:
        return {"bags": LONG if clip.seconds > LONG["abandoned_s"] else SHORT}
    fits = truth.out_of_view + LONG["abandoned_s"] + LATE_S <= truth.until
    return {"bags": LONG if fits else SHORT}


def judge(clip: Clip, run: Run, variant: str) -> Verdict:
    """Alerts are events `abandoned`."""
    chosen = options(clip)["bags"]
    alerts = run.of("abandoned")
    truth = BagTruth.of(clip, clip.seconds)
    if truth is None:
        check = Check("no alert", not alerts, f"no alert, got {_times(alerts)}" if alerts else "no alert")
        return Verdict("bags", clip.name, variant, (check,), false=len(alerts), seconds=run.seconds)
    earliest = truth.leaves + float(chosen["abandoned_s"])
    latest = min(truth.out_of_view + float(chosen["abandoned_s"]) + LATE_S, run.end)
    mine = [one for one in alerts if truth.about(one)]
    good = [one for one in mine if one.at >= earliest - 1e-3]
    false = len(alerts) - len(good[:1])
    return Verdict(
        suite="bags",
        item=clip.name,
        variant=variant,
        checks=(*_checks(alerts, mine, earliest, latest), *_removal(truth, run)),
        hits=min(1, len(good)),
        misses=1 - min(1, len(good)),
        false=false,
        delays=tuple(one.at - earliest for one in good[:1]),
        seconds=run.seconds,
        figures={
            **chosen,
            "alert_at": [round(one.at, 2) for one in alerts],
            "window": [round(earliest, 2), round(latest, 2)],
            "unattended_at": [round(one.at, 2) for one in run.of("unattended")],
            "removed": [[round(one.at, 2), one.data.get("by_owner")] for one in run.of("removed")],
        },
    )


def _checks(alerts: list[Told], mine: list[Told], earliest: float, latest: float) -> Iterator[Check]:
    window = f"alert at {_times(mine) or 'no time'}, expected {earliest:.1f}-{latest:.1f}"
    first = mine[0].at if mine else None
    yield Check("found", first is not None and first <= latest + 1e-3, window)
    if first is not None:
        yield Check("not early", first >= earliest - 1e-3, window)
    if len(mine) > 1:
        yield Check("once", False, f"{len(mine)} alerts for one bag, at {_times(mine)}")
    if others := [one for one in alerts if one not in mine]:
        yield Check("nothing else", False, f"alert for something else at {_times(others)}")


def _removal(truth: BagTruth, run: Run) -> Iterator[Check]:
    """That the bag was taken, by whom, and that it was not told before."""
    taken = [one for one in run.of("removed") if truth.about(one)]
    if truth.moves_off is None or truth.reached is None:
        if truth.box is not None:
            yield Check("not removed", not taken, f"removed at {_times(taken)}" if taken else "not removed")
        return
    begin, end = truth.reached, truth.moves_off + REMOVED_S
    right = [one for one in taken if begin <= one.at <= end and one.data.get("by_owner") is True]
    told = ", ".join(f"{one.at:.1f} (by owner: {one.data.get('by_owner')})" for one in taken) or "no time"
    text = f"removed at {told}, expected by its owner in {begin:.1f}-{end:.1f}"
    yield Check("removed by its owner", len(taken) == len(right) == 1, text)


def _times(events: list[Told]) -> str:
    return ", ".join(f"{one.at:.1f}" for one in events)
