"""Smoking: persons at whose mouth or hands a cigarette is seen again and again.

The detector is shown each tracked person's upper body at one scale (`_smoking_view`), and its mirror image if there is
something to ask about. What can be a cigarette of that person (`_smoking_evidence`) is a vote; when several votes over
more than a second agree (`_smoking_votes`), that person smokes. Persons take turns: a crowd costs no more than a few.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from analyzers._detector import STRIDE, Detector, Selection
from analyzers._smoking_evidence import Surroundings, agreed, is_act
from analyzers._smoking_view import View, head_height
from analyzers._smoking_votes import Seen, Votes
from analyzers._thumbnail import thumbnail
from analyzers._weights import WeightsMissing, WrongWeights, find_weights
from gateway import Analyzer, Box, Detection, Frame, Result, SessionInfo, Sighting, hookimpl

# Score that counts as evidence at sensitivity 0.5. Measured on 224 stills when the weights were made: epoch 16 finds
# 83 % at 3 % false alarms with 0.4; epoch 8 scores lower and finds 85 % at 2 % with 0.25. Weights made by `framegate
# models` say it in their card; others: as the first.
OWN = "smoking_own.onnx"  # what `framegate models train smoking` makes
KNOWN = {"cigarette_yolov8n_e16.onnx": 0.4, "cigarette_yolov8n.onnx": 0.25}
PREFERRED = (OWN, *KNOWN)
OTHER_WEIGHTS = 0.4
TRAINED_SIDE = 416  # px; of the known ones, and what `framegate models train` takes unless told otherwise
LEAST_OWN, MOST_OWN = 0.05, 0.9  # a card that says anything else is not believed

PERSON_SCORE = 0.35  # persons without an id that are weaker are mostly furniture
DOUBLE = 0.5  # overlap (IoU) with a followed person, above which somebody without an id is that one
PART = 0.8  # of a box inside another person's, below his chin: his hand, taken for a person
LOOK_EVERY_S = 0.19  # five looks a second at each person say as much as 25; a little less, since clocks are not exact
FORGET_S = 10.0  # after which a person who is not seen is forgotten; longer than a track may be hidden
HOLD_S = 0.3  # a cigarette is drawn until the next look, if that comes soon
CLOSE_UP = 0.1  # of the frame's longer side: a cigarette this large is near enough to need no person around it
CLOSE_UP_EVERY_S = 0.5  # how often a frame without persons is searched for one
WHOLE_FRAME = Box(0, 0, 1, 1)
NOBODY, STRANGER = 0, -1  # whom votes are kept for without a track: the close-up, and those who have no id yet


@dataclass(frozen=True)
class SmokingOptions:
    sensitivity: float = 0.5  # 0-1; halves (at 1) or doubles (at 0) the score that a look needs to count as evidence
    model: str = ""  # path or file name of an ONNX cigarette detector; empty searches for the known ones
    prompts: tuple[str, ...] = ()  # the model's classes that are evidence, by name; all when empty
    side: int = 352  # px of the square in which the detector sees an upper body; graphs of fixed size have their own
    persons: int = 4  # looked at in one frame, in turns; more costs more
    linger_s: float = 5.0  # s without evidence until the event ends

    def __post_init__(self) -> None:
        if not 0 <= self.sensitivity <= 1:
            raise ValueError(f"sensitivity must be 0-1, got {self.sensitivity}")
        if not 4 * STRIDE <= self.side <= 4096:
            raise ValueError(f"side must be {4 * STRIDE}-4096 px, got {self.side}")
        if not 1 <= self.persons <= 100:
            raise ValueError(f"persons must be 1-100, got {self.persons}")
        if not self.linger_s >= 0:
            raise ValueError(f"linger_s must be 0 or more seconds, got {self.linger_s}")


@dataclass(slots=True)
class _Memory:
    options: SmokingOptions
    threshold: float
    wanted: Selection
    votes: dict[int, Votes] = field(default_factory=dict)  # by track id, NOBODY, STRANGER
    looked_at: dict[int, float] = field(default_factory=dict)
    seen_at: dict[int, float] = field(default_factory=dict)

    def due(self, key: int, now: float, every: float = LOOK_EVERY_S) -> bool:
        return now - self.looked_at.get(key, float("-inf")) >= every

    def remember(self, keys: Sequence[int], now: float) -> None:
        """These are there now; who has been away for long is forgotten."""
        self.seen_at.update(dict.fromkeys(keys, now))
        for key in [key for key, at in self.seen_at.items() if now - at > FORGET_S]:
            for known in (self.seen_at, self.looked_at, self.votes):
                known.pop(key, None)


@dataclass(slots=True)
class Look:
    """One person to be looked at in one frame; `found` is what the detector saw of him, boxes of the frame."""

    frame: Frame
    memory: _Memory
    surroundings: Surroundings
    key: int
    person: Box
    view: View
    found: list[Detection] = field(default_factory=list)

    @property
    def doubtful(self) -> bool:
        """Whether the mirror image is worth a look: half the score may become a whole one."""
        return any(one.score >= self.memory.threshold / 2 for one in self.found)

    def take(self, seen: Sequence[Detection], view: View) -> list[Detection]:
        """What was seen in a view of this person, as far as it can be his."""
        found = [replace(one, box=view.in_frame(one.box)) for one in seen]
        return [one for one in found if one.box.area > 0 and self.belongs(one)]

    def belongs(self, one: Detection) -> bool:
        if self.key == NOBODY:
            return max(one.box.width, one.box.height) >= CLOSE_UP
        return self.surroundings.belongs(one, self.person)

    @property
    def seen(self) -> Seen | None:
        """The evidence, once both views were looked at."""
        best = next(iter(self.found), None)
        if best is None or best.score < self.memory.threshold:
            return None
        act = is_act(best.label)
        near = act or self.key == NOBODY or self.surroundings.at_mouth(best.box, self.person)
        return Seen(best.box, best.score, self.frame.seq, self.frame.at, near, act)


class SmokingAnalyzer(Analyzer):
    """Cigarettes, the persons they belong to, and one event a smoker.

    Of a single picture: a `cigarette` among the detections is evidence at somebody's mouth or hand; there is one in it
    exactly if the picture, held still, becomes an event.
    """

    name = "smoking"
    title = "Smoking"
    version = "2"
    needs = ("tracks",)
    labels = ("cigarette", "smoking", "person", "smoker")
    event_types = ("smoking",)
    Options = SmokingOptions
    load_options = ("model", "side")
    options: SmokingOptions

    def __init__(self, options: SmokingOptions) -> None:
        super().__init__(options)
        self._weights = find_weights(options.model, PREFERRED)
        self._detector = Detector(self._weights, side=options.side)
        self.device, self.batch = self._detector.runtime, self._detector.batch
        self._selection(options)  # so that a wrong label is a failed start, not a failed frame

    @classmethod
    def missing(cls, options: SmokingOptions) -> str | None:
        try:
            find_weights(options.model, PREFERRED)
        except WeightsMissing as error:
            return (
                f"no cigarette detector: {error}; there is none to download: put your own there under one of these "
                f"names, or make one with `framegate models train smoking DATASET`"
            )
        except WrongWeights:
            pass  # a choice that cannot work is a failure, and said when the model is loaded
        return None

    @classmethod
    def weights(cls, options: SmokingOptions) -> tuple[Path]:
        return (find_weights(options.model, PREFERRED),)

    @classmethod
    def alone(cls, options: SmokingOptions) -> dict[str, Any]:
        """Options of `objects` under which it tells what the weights alone see in a whole picture."""
        weights = find_weights(options.model, PREFERRED)
        score = threshold(options.sensitivity, weights)
        return {"model": str(weights), "confidence": score, "side": TRAINED_SIDE, "labels": options.prompts}

    def open(self, session: SessionInfo) -> _Memory:
        score = threshold(session.options.sensitivity, self._weights)
        return _Memory(session.options, score, self._selection(session.options))

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        """Votes go on; what counts as evidence changes from here."""
        new = self.open(session)
        return replace(memory, options=new.options, threshold=new.threshold, wanted=new.wanted)

    def _selection(self, options: SmokingOptions) -> Selection:
        # A quarter: what one view hardly sees, the other may see well.
        score = threshold(options.sensitivity, self._weights) / 4
        return Selection(score, most=20, classes=self._detector.classes(options.prompts, option="prompts"))

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        return self.analyze_batch([frame], [memory])[0]

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[_Memory]) -> list[Result]:
        """Memories change only after the model has seen all frames."""
        looks = [_looks(frame, memory, self._detector.side) for frame, memory in zip(frames, memories, strict=True)]
        self._see([look for each in looks for look in each])
        return [_judged(frame, memory, each) for frame, memory, each in zip(frames, memories, looks, strict=True)]

    def _see(self, looks: Sequence[Look]) -> None:
        """Look at all as they are, then at the mirror image of those with something to ask about."""
        for look, seen in zip(looks, self._detected(looks, mirrored=False), strict=True):
            look.found = look.take(seen, look.view)
        doubtful = [look for look in looks if look.doubtful]
        for look, seen in zip(doubtful, self._detected(doubtful, mirrored=True), strict=True):
            look.found = agreed(look.found, look.take(seen, replace(look.view, mirrored=True)))

    def _detected(self, looks: Sequence[Look], *, mirrored: bool) -> list[list[Detection]]:
        pictures = [replace(look.view, mirrored=mirrored).picture(look.frame.to_bgr()) for look in looks]
        return self._detector.detect_as_is(pictures, [look.memory.wanted for look in looks])


def threshold(sensitivity: float, weights: Path) -> float:
    """Score that makes a cigarette evidence: the weights' own at sensitivity 0.5, twice that at 0, half at 1."""
    exported = weights.with_suffix(".onnx").name  # PyTorch weights of the same name are the same weights
    own = KNOWN.get(exported) or _of_card(weights) or OTHER_WEIGHTS
    return min(0.95, own * 2 ** (1 - 2 * sensitivity))


def _of_card(weights: Path) -> float | None:
    """What the card beside the weights says was best on their validation pictures."""
    try:
        score = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["confidence"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return float(score) if isinstance(score, (int, float)) and LEAST_OWN <= score <= MOST_OWN else None


# --- who is looked at ------------------------------------------------------------------------------------------------


def _persons(frame: Frame) -> list[tuple[int, Box]]:
    """Those who are followed, by track id, and those who have no id yet, under `STRANGER`; no parts of others."""
    boxes = [one for one in frame.results["tracks"].detections if one.label == "person" and one.box.area > 0]
    size = frame.width, frame.height
    seen = [one for one in boxes if not any(_is_part(one.box, other.box, size) for other in boxes)]
    known = {one.track_id: one.box for one in seen if one.track_id is not None}
    others = [one.box for one in seen if one.track_id is None and one.score >= PERSON_SCORE]
    return [*known.items(), *((STRANGER, box) for box in others if all(box.iou(k) < DOUBLE for k in known.values()))]


def _is_part(box: Box, person: Box, size: tuple[int, int]) -> bool:
    """Whether a box is of somebody's hand or of what he holds. A child before him is left out with it."""
    below_chin = (box.y1 - person.y1) * size[1] >= head_height(person, *size)
    return below_chin and box.intersection(person) >= PART * box.area


def _looks(frame: Frame, memory: _Memory, side: int) -> list[Look]:
    """The persons whose turn it is, who has waited longest first; if there are none, the frame as a close-up."""
    persons, size = _persons(frame), (frame.width, frame.height)
    around = Surroundings.of(size, (box for _, box in persons), frame.results["tracks"].detections)
    if not persons:
        due = memory.due(NOBODY, frame.at, CLOSE_UP_EVERY_S)
        return [Look(frame, memory, around, NOBODY, WHOLE_FRAME, View.whole(frame, side))] if due else []
    turns = sorted(persons, key=lambda one: (memory.looked_at.get(one[0], float("-inf")), -one[1].area))
    views = ((key, box, View.of(frame, box, side)) for key, box in turns if memory.due(key, frame.at))
    looks = [Look(frame, memory, around, key, box, view) for key, box, view in views if view is not None]
    return looks[: memory.options.persons]


# --- what comes of it ------------------------------------------------------------------------------------------------


def _judged(frame: Frame, memory: _Memory, looks: Sequence[Look]) -> Result:
    """Take the votes of this frame, and say how everybody stands who is in it."""
    persons = dict(_persons(frame)) or {NOBODY: WHOLE_FRAME}
    for look in looks:
        _vote(memory, look)
    memory.remember(list(persons), frame.at)
    strangers = [look.seen for look in looks if look.key == STRANGER]
    standing = [(key, box, memory.votes[key]) for key, box in persons.items() if key in memory.votes]
    smokers = [(key, box, votes) for key, box, votes in standing if votes.carried]
    held = [votes.last for _, _, votes in standing if votes.last and frame.at - votes.last.at <= HOLD_S]
    evidence = [seen for seen in [*held, *strangers] if seen]
    return Result(
        (*map(_evidence, evidence), *(_person(key, box, votes) for key, box, votes in standing if votes.share > 0)),
        measures={"persons": len(_persons(frame)), "smokers": len(smokers)},
        sightings=tuple(_sighting(key, box, votes, memory.options.linger_s) for key, box, votes in smokers),
    )


def _vote(memory: _Memory, look: Look) -> None:
    memory.looked_at[look.key] = look.frame.at
    if look.key == STRANGER:
        return  # nobody knows whose it would be in the next frame
    votes, seen = memory.votes.setdefault(look.key, Votes()), look.seen
    if seen and votes.betters(seen):
        votes.best, votes.snapshot = seen, thumbnail(look.frame, _around(look.view, seen.box))
    votes.add(look.frame.at, seen)


def _around(view: View, box: Box) -> Box:
    """What a snapshot shows: what was looked at, and in any case the evidence."""
    x1, y1, x2, y2 = view.in_frame(WHOLE_FRAME)
    return Box(min(x1, box.x1), min(y1, box.y1), max(x2, box.x2), max(y2, box.y2))


def _evidence(seen: Seen) -> Detection:
    return Detection("smoking" if seen.act else "cigarette", min(1.0, seen.score), seen.box)


def _person(key: int, box: Box, votes: Votes) -> Detection:
    label = "smoker" if votes.carried else "person"
    attributes = {"evidence": round(votes.share, 3)}
    return Detection(label, votes.score, box, track_id=key or None, attributes=attributes)


def _sighting(key: int, box: Box, votes: Votes, linger_s: float) -> Sighting:
    return Sighting(
        "smoking",
        key=f"person-{key}" if key else "close-up",
        score=votes.score,
        label="smoker",
        box=box,
        severity="warning",
        linger_s=linger_s,
        data={"evidence": round(votes.share, 3), "best": _best(votes)},
    )


def _best(votes: Votes) -> dict[str, object] | None:
    """The surest evidence: in which frame and where, and a picture of it."""
    if votes.best is None:
        return None
    seen, box = votes.best, [round(value, 5) for value in votes.best.box]
    return {"seq": seen.seq, "at": round(seen.at, 2), "score": round(seen.score, 3), "box": box, "jpeg": votes.snapshot}


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [SmokingAnalyzer]
