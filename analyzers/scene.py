"""Scene: which of some descriptions fits the picture best, without ever having been trained on any of them.

A CLIP-type model gives the picture and each description a vector (`_clip`); how near they are, through a softmax, are
the scores. They are of these descriptions only: one of them always fits best, so one should say that nothing is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzers._clip import Clip, find_clip, lacks_libraries
from gateway import Analyzer, Frame, Result, SessionInfo, Sighting, hookimpl

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.float64]

SIDE = 640  # px; the model sees 224, so twice that of the shorter side of any common picture
MOST_LABELS, MOST_PROMPT = 40, 300  # descriptions, characters of one
READ_AT_ONCE = 2  # descriptions read while a frame waits; one is 20 to 100 ms of a core
KEPT = 1000  # vectors of descriptions
DEFAULT = (
    "ordinary: a photo of an ordinary scene where nothing special happens",
    "empty: a photo of an empty place without people",
    "people: a photo of some people",
    "crowd: a photo of a dense crowd of people",
    "vehicles: a photo of cars and trucks on a road",
    "fire: a photo of a fire with flames",
    "smoke: a photo of a place full of smoke",
    "fight: a photo of people fighting",
    "flood: a photo of a flooded place under water",
    "dark: a photo taken in the dark where nothing can be seen",
)


@dataclass(frozen=True)
class SceneOptions:
    model: str = ""  # folder of a CLIP-type model, by path or name; empty: the first one found
    labels: tuple[str, ...] = DEFAULT  # each "label" or "label: what its pictures show", which are averaged by label
    alerts: tuple[str, ...] = ()  # labels that are events
    threshold: float = 0.6  # 0-1; how sure, after smoothing, to be of an event
    every_s: float = 1.0  # s between two looks at a stream
    smooth_s: float = 3.0  # s; time constant of the smoothing, 0: none
    linger_s: float = 5.0  # s without it until the event ends
    whole: bool = False  # squeeze the whole picture into the model's square, instead of looking at its middle

    def __post_init__(self) -> None:
        if not 2 <= len(self.labels) <= MOST_LABELS:
            raise ValueError(f"labels must be 2-{MOST_LABELS} descriptions, got {len(self.labels)}")
        for label, prompt in map(split, self.labels):
            if not (1 <= len(label) <= 64 and label.isprintable() and 1 <= len(prompt) <= MOST_PROMPT):
                raise ValueError(f"labels: a label is 1-64 characters, its prompt 1-{MOST_PROMPT}, got {label[:80]!r}")
        known = {label for label, _ in map(split, self.labels)}
        if unknown := set(self.alerts) - known:
            raise ValueError(f"alerts: there is no label {min(unknown)!r} among {', '.join(sorted(known))}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and up to 1, got {self.threshold}")
        for name in ("every_s", "smooth_s", "linger_s"):
            if not 0 <= getattr(self, name) <= 3600:
                raise ValueError(f"{name} must be 0-3600 s, got {getattr(self, name)}")


def split(description: str) -> tuple[str, str]:
    """Label and prompt of an entry of `labels`. Prompts are sentences because the captions CLIP read were."""
    label, colon, prompt = description.partition(":")
    return label.strip(), prompt.strip() if colon else f"a photo of {label.strip()}"


@dataclass(slots=True)
class _Memory:
    options: SceneOptions
    looked_at: float = float("-inf")
    scores: Scores | None = None  # smoothed, by label in order
    result: Result = field(default_factory=Result)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(label for label, _ in map(split, self.options.labels)))


class SceneAnalyzer(Analyzer):
    """A score for each description, and an event for those that were marked."""

    name = "scene"
    title = "Scene"
    event_types = ("scene.matched",)
    Options = SceneOptions
    load_options = ("model",)
    options: SceneOptions
    side = SIDE

    def __init__(self, options: SceneOptions) -> None:
        super().__init__(options)
        files = find_clip(options.model)
        if files is None:
            raise FileNotFoundError(_no_model(options.model))
        self._clip = Clip(files)
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}
        self.device = self._clip.runtime
        self._read(options.labels, len(options.labels))

    @classmethod
    def missing(cls, options: SceneOptions) -> str | None:
        return lacks_libraries() or (None if find_clip(options.model) else _no_model(options.model))

    @classmethod
    def weights(cls, options: SceneOptions) -> Sequence[Path]:
        files = find_clip(options.model)
        return (files.vision, files.text) if files else ()

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options)

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        if not self._read(memory.options.labels, READ_AT_ONCE):
            return Result(data={"state": "reading descriptions"})
        if frame.at - memory.looked_at >= memory.options.every_s - 1e-3:
            scores = self._scores(frame, memory)
            memory.scores = smoothed(memory.scores, scores, frame.at - memory.looked_at, memory.options.smooth_s)
            memory.looked_at = frame.at
            memory.result = _result(memory, memory.scores)
        return memory.result

    def _read(self, labels: Sequence[str], most: int) -> bool:
        """Have the vectors of these descriptions, of which at most so many are made now; whether all are there."""
        if len(self._vectors) > KEPT:
            self._vectors.clear()
        new = [prompt for _, prompt in map(split, labels) if prompt not in self._vectors]
        for prompt in new[:most]:
            self._vectors[prompt] = self._clip.text(prompt)
        return len(new) <= most

    def _scores(self, frame: Frame, memory: _Memory) -> Scores:
        """The softmax over labels of how near this frame is to each."""
        picture = self._clip.image(frame.scaled(SIDE), whole=memory.options.whole)
        sums: dict[str, npt.NDArray[np.float32]] = {}
        for label, prompt in map(split, memory.options.labels):
            sums[label] = sums[label] + self._vectors[prompt] if label in sums else self._vectors[prompt]
        texts = np.stack([total / np.linalg.norm(total) for total in sums.values()])
        logits = self._clip.scale * (texts @ picture).astype(np.float64)
        powers = np.exp(logits - logits.max())
        scores: Scores = powers / powers.sum()
        return scores


def smoothed(before: Scores | None, now: Scores, elapsed_s: float, constant_s: float) -> Scores:
    """Exponential smoothing by time, not by frames: after `constant_s` a new picture counts 63 %."""
    if before is None or constant_s == 0:
        return now
    share = 1 - math.exp(-elapsed_s / constant_s)
    return before + share * (now - before)


def _result(memory: _Memory, scores: Scores) -> Result:
    options = memory.options
    rated = {name: round(float(score), 4) for name, score in zip(memory.names, scores, strict=True)}
    best = max(rated, key=lambda name: rated[name])
    sightings = tuple(
        Sighting(
            "scene.matched", key=name, label=name, score=rated[name], severity="warning", linger_s=options.linger_s
        )
        for name in memory.names
        if name in options.alerts and rated[name] >= options.threshold
    )
    return Result(sightings=sightings, data={"label": best, "score": rated[best], "scores": rated})


def _no_model(model: str) -> str:
    wanted = f"no CLIP model in {model}" if model else "no CLIP model in FRAMEGATE_MODELS_DIR or $FRAMEGATE_HOME/models"
    return f"{wanted}: a folder with vision_model.onnx, text_model.onnx and tokenizer.json (docs/analyzers/scene.md)"


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [SceneAnalyzer]
