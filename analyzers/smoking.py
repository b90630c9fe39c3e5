"""Smoking: persons at whose upper body a cigarette is seen again and again.

A detector sees the cigarette, not the act, and in a single frame it also takes a microphone or a finger for one. So a
person is called a smoker only after several frames over more than a second agree. The detector looks at the whole
frame at 416 px, the size it was trained at: at 640 it finds no more (81 against 83 % of 112 smokers) and is fooled
three times as often (9 against 3 % of 112 others). In that picture a person needs some 150 px of height to be judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from analyzers._detector import STRIDE, Detector, Selection
from analyzers._follow import Follower
from analyzers._weights import WeightsMissing, WrongWeights, find_weights
from gateway import Analyzer, Box, Detection, Frame, Result, SessionInfo, Sighting, hookimpl

# Score in one frame that counts as evidence at sensitivity 0.5, measured on 224 stills and the clips: epoch 16 finds
# 83 % at 3 % false alarms with 0.4; epoch 8 scores lower and finds 85 % at 2 % with 0.25. Other weights: as the first.
PREFERRED = {"cigarette_yolov8n_e16.onnx": 0.4, "cigarette_yolov8n.onnx": 0.25}
OWN_WEIGHTS = 0.4

PERSON_SCORE = 0.35  # weaker persons are mostly furniture, or doubles of a stronger one
WINDOW_S = 3.0  # the frames that vote
LEAST_FRAMES = 3  # with evidence, among them
LEAST_SPAN_S = 1.2  # between the first and the last of these, so that 25 frames a second prove no more than 5
LEAST_SHARE = 0.5  # of the frames in which the person was looked at
CLOSE_UP = 0.1  # of the frame's longer side: a cigarette this large is near enough to need no person around it
CLOSE_UP_EVERY_S = 0.5  # how often a frame without persons is searched for one
WHOLE_FRAME = Box(0, 0, 1, 1)
NOBODY = Result(measures={"persons": 0, "smokers": 0})


@dataclass(frozen=True)
class SmokingOptions:
    sensitivity: float = 0.5  # 0-1; halves (at 1) or doubles (at 0) the score that a frame needs to count as evidence
    model: str = ""  # path or file name of an ONNX cigarette detector; empty searches for the known ones
    labels: tuple[str, ...] = ()  # the model's classes that are evidence; all when empty
    side: int = 416  # px the frame's longer side is scaled to for it; graphs of fixed size ignore it
    linger_s: float = 5.0  # s without evidence until the event ends

    def __post_init__(self) -> None:
        if not 0 <= self.sensitivity <= 1:
            raise ValueError(f"sensitivity must be 0-1, got {self.sensitivity}")
        if not STRIDE <= self.side <= 4096:
            raise ValueError(f"side must be {STRIDE}-4096 px, got {self.side}")
        if not self.linger_s >= 0:
            raise ValueError(f"linger_s must be 0 or more seconds, got {self.linger_s}")


@dataclass(slots=True)
class Votes:
    """What the frames of the last seconds said about one person: (time in s, score of the evidence or 0)."""

    cast: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now: float, score: float) -> None:
        self.cast.append((now, score))
        while now - self.cast[0][0] > WINDOW_S:
            self.cast.popleft()

    @property
    def share(self) -> float:
        """Of the frames, those with evidence; 0-1."""
        return len(self._for()) / len(self.cast) if self.cast else 0.0

    @property
    def score(self) -> float:
        """Mean score of the evidence, 0-1."""
        return fmean(score for _, score in self._for()) if self._for() else 0.0

    @property
    def carried(self) -> bool:
        """Whether the person is to be called a smoker."""
        votes = self._for()
        enough = len(votes) >= LEAST_FRAMES and votes[-1][0] - votes[0][0] >= LEAST_SPAN_S
        return enough and self.share >= LEAST_SHARE

    def _for(self) -> list[tuple[float, float]]:
        return [vote for vote in self.cast if vote[1] > 0]


@dataclass(slots=True)
class _Memory:
    options: SmokingOptions
    wanted: Selection
    people: Follower = field(default_factory=Follower)
    votes: dict[int, Votes] = field(default_factory=dict)
    searched_at: float = float("-inf")  # when a frame without persons was last looked at

    def due(self, persons: Sequence[Box], now: float) -> bool:
        """Whether a frame with these persons is to be looked at."""
        return bool(persons) or now - self.searched_at >= CLOSE_UP_EVERY_S

    def vote(self, persons: Sequence[Box], scores: Sequence[float], now: float) -> list[tuple[int, Votes]]:
        """Take one frame's evidence for each person; answers who they are and how they stand now."""
        ids = self.people.follow(persons, now)
        self.votes = {id_: self.votes.get(id_, Votes()) for id_ in self.people.followed}
        for id_, score in zip(ids, scores, strict=True):
            self.votes[id_].add(now, score)
        return [(id_, self.votes[id_]) for id_ in ids]


class SmokingAnalyzer(Analyzer):
    """Cigarettes, the persons they belong to, and one event a smoker."""

    name = "smoking"
    title = "Smoking"
    needs = ("objects",)
    labels = ("cigarette", "person", "smoker")
    event_types = ("smoking",)
    Options = SmokingOptions
    load_options = ("model", "side")
    options: SmokingOptions

    def __init__(self, options: SmokingOptions) -> None:
        super().__init__(options)
        self._weights = find_weights(options.model, tuple(PREFERRED))
        self._detector = Detector(self._weights, side=options.side)
        self.device, self.batch, self.side = self._detector.runtime, self._detector.batch, self._detector.side
        self._selection(options)  # so that a wrong label is a failed start, not a failed frame

    @classmethod
    def missing(cls, options: SmokingOptions) -> str | None:
        try:
            find_weights(options.model, tuple(PREFERRED))
        except WeightsMissing as error:
            return (
                f"no cigarette detector: {error}; there is none to download: put your own there under one of these "
                f"names, or train one (`yolo train`, class cigarette) and name its ONNX export in option model"
            )
        except WrongWeights:
            pass  # a choice that cannot work is a failure, and said when the model is loaded
        return None

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options, self._selection(session.options))

    def _selection(self, options: SmokingOptions) -> Selection:
        confidence = threshold(options.sensitivity, self._weights.name)
        return Selection(confidence, classes=self._detector.classes(options.labels))

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        persons = _persons(frame)
        if not memory.due(persons, frame.at):
            return NOBODY
        return _judged(frame, memory, persons, self._detector.detect(frame, memory.wanted))

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[_Memory]) -> list[Result]:
        """Memories change only after the model has seen all frames."""
        persons = [_persons(frame) for frame in frames]
        results = [NOBODY] * len(frames)
        due = [index for index, frame in enumerate(frames) if memories[index].due(persons[index], frame.at)]
        seen = self._detector.detect_batch([frames[index] for index in due], [memories[index].wanted for index in due])
        for index, cigarettes in zip(due, seen, strict=True):
            results[index] = _judged(frames[index], memories[index], persons[index], cigarettes)
        return results


def _persons(frame: Frame) -> list[Box]:
    found = frame.results["objects"].detections
    return [one.box for one in found if one.label == "person" and one.score >= PERSON_SCORE]


def _judged(frame: Frame, memory: _Memory, persons: list[Box], cigarettes: list[Detection]) -> Result:
    """What the votes say after this frame. One without persons is taken whole, if a cigarette is near enough."""
    count = len(persons)
    if not persons:
        memory.searched_at = frame.at
        cigarettes = [one for one in cigarettes if max(one.box.width, one.box.height) >= CLOSE_UP]
        persons = [WHOLE_FRAME] if cigarettes else []
    standing = memory.vote(persons, evidence(persons, cigarettes), frame.at)
    return _result(cigarettes, list(zip(persons, standing, strict=True)), count, memory.options.linger_s)


def _result(
    cigarettes: Sequence[Detection], persons: Sequence[tuple[Box, tuple[int, Votes]]], count: int, linger_s: float
) -> Result:
    smokers = [(box, id_, votes) for box, (id_, votes) in persons if votes.carried]
    people = (_person(box, id_, votes) for box, (id_, votes) in persons if votes.share > 0)
    return Result(
        (*(Detection("cigarette", one.score, one.box) for one in cigarettes), *people),
        measures={"persons": count, "smokers": len(smokers)},
        sightings=tuple(_sighting(box, id_, votes, linger_s) for box, id_, votes in smokers),
    )


def _sighting(box: Box, id_: int, votes: Votes, linger_s: float) -> Sighting:
    return Sighting(
        "smoking",
        key=f"person-{id_}",
        score=votes.score,
        label="smoker",
        box=box,
        severity="warning",
        linger_s=linger_s,
        data={"evidence": round(votes.share, 3)},
    )


def threshold(sensitivity: float, weights: str) -> float:
    """Score that makes a cigarette evidence: the weights' own at sensitivity 0.5, twice that at 0, half at 1."""
    exported = Path(weights).with_suffix(".onnx").name  # PyTorch weights of the same name are the same weights
    return min(0.95, PREFERRED.get(exported, OWN_WEIGHTS) * 2 ** (1 - 2 * sensitivity))


def evidence(persons: Sequence[Box], cigarettes: Sequence[Detection]) -> list[float]:
    """For each person the best score among the cigarettes that are his, 0 if none is."""
    scores = [0.0] * len(persons)
    for cigarette in cigarettes:
        owners = [index for index, box in enumerate(persons) if _within_reach(box, cigarette.box)]
        if owners:
            nearest = min(owners, key=lambda index: _distance_to_head(persons[index], cigarette.box))
            scores[nearest] = max(scores[nearest], cigarette.score)
    return scores


def _within_reach(person: Box, cigarette: Box) -> bool:
    """Whether a cigarette is where mouth and hands of a smoker are: the upper 60 % of the body, with a margin.

    Of somebody cut off by the lower edge of the picture, as in any close-up, the whole box is upper body (boxes at an
    edge end a few percent short of it).
    """
    x, y = cigarette.center
    margin = 0.15 * person.width
    depth = 1.0 if person.y2 > 0.95 else 0.6
    beside = person.x1 - margin <= x <= person.x2 + margin
    return beside and person.y1 - 0.05 * person.height <= y <= person.y1 + depth * person.height


def _distance_to_head(person: Box, cigarette: Box) -> float:
    """From the cigarette to where the mouth about is, in body heights."""
    (x, y), (middle, _) = cigarette.center, person.center
    mouth = person.y1 + 0.15 * person.height
    return float(((x - middle) ** 2 + (y - mouth) ** 2) ** 0.5) / max(person.height, 1e-6)


def _person(box: Box, id_: int, votes: Votes) -> Detection:
    label = "smoker" if votes.carried else "person"
    return Detection(label, votes.score, box, track_id=id_, attributes={"evidence": round(votes.share, 3)})


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [SmokingAnalyzer]
