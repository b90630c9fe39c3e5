"""Objects: people, bags, vehicles and whatever else the detection model in use can name.

Runs YOLOX and any Ultralytics export to ONNX, chosen by option, environment or file name; names no weights of its own
to download. Each frame stands alone: following things over time is other analyzers' work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analyzers._detector import STRIDE, Detector, Selection
from analyzers._weights import WeightsMissing, WrongWeights, find_weights
from gateway import Analyzer, Detection, Frame, Result, SessionInfo, hookimpl

if TYPE_CHECKING:
    from pathlib import Path

# YOLOX first: yolox_nano is four times as fast as yolov8n on a CPU (8 against 30 ms on two cores), counts the same
# persons on the clips (40 against 46 of 63 in crowded stills) and is free to use (Apache-2.0, Ultralytics' weights are
# AGPL-3.0). For bags the others are better (suitcases in stills: 1 of 4 against 4 of 4): name one in option model.
PREFERRED = (
    "objects_own.onnx",  # what `framegate models train objects` makes
    *("yolox_tiny.onnx", "yolox_nano.onnx", "yolox_s.onnx"),
    *("yolo26n.onnx", "yolo11n.onnx", "yolov8n.onnx", "yolov5nu.onnx"),
)
VARIABLES = ("FRAMEGATE_YOLO_MODEL_PATH", "YOLO_MODEL_PATH")

# Boxes that are too weak to be told still continue a track (analyzer tracks): half hidden persons, bags seen from afar.
# Below 0.05 a box says hardly more than that the model has looked there.
FAINT = 0.05
MOST_FAINT = 100  # of a frame


@dataclass(frozen=True)
class ObjectsOptions:
    model: str = ""  # path or file name of a detector (ONNX); empty searches for the preferred ones
    confidence: float = 0.25  # 0-1; detections below are not reported
    iou: float = 0.5  # 0-1; of two boxes of one class that overlap by more, the weaker goes
    labels: tuple[str, ...] = ()  # report only these classes; all when empty
    side: int = 640  # px the longer side is scaled to; larger sees smaller things, slower; fixed graphs ignore it
    max_detections: int = 100  # the best ones of a frame

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0-1, got {getattr(self, name)}")
        if not STRIDE <= self.side <= 4096:
            raise ValueError(f"side must be {STRIDE}-4096 px, got {self.side}")
        if self.max_detections < 1:
            raise ValueError(f"max_detections must be 1 or more, got {self.max_detections}")


class ObjectsAnalyzer(Analyzer):
    """Boxes of what the model knows, best first, and how many there are of each."""

    name = "objects"
    title = "Objects"
    Options = ObjectsOptions
    load_options = ("model", "side")
    options: ObjectsOptions

    def __init__(self, options: ObjectsOptions) -> None:
        super().__init__(options)
        weights = find_weights(options.model, PREFERRED, variables=VARIABLES)
        self._detector = Detector(weights, side=options.side)
        self.device, self.batch, self.side = self._detector.runtime, self._detector.batch, self._detector.side
        self._selection(options)  # so that a wrong label is a failed start, not a failed frame

    @classmethod
    def missing(cls, options: ObjectsOptions) -> str | None:
        try:
            find_weights(options.model, PREFERRED, variables=VARIABLES)
        except WeightsMissing as error:
            return (
                f"no detection model: {error}; run `framegate models pull yolox_nano`, put one of these files there, "
                f"or set YOLO_MODEL_PATH to an ONNX file"
            )
        except WrongWeights:
            pass  # a choice that cannot work is a failure, and said when the model is loaded
        return None

    @classmethod
    def weights(cls, options: ObjectsOptions) -> tuple[Path]:
        return (find_weights(options.model, PREFERRED, variables=VARIABLES),)

    def open(self, session: SessionInfo) -> Selection:
        return self._selection(session.options)

    def _selection(self, options: ObjectsOptions) -> Selection:
        classes = self._detector.classes(options.labels)
        return Selection(options.confidence, options.iou, options.max_detections, classes)

    def analyze(self, frame: Frame, memory: Selection) -> Result:
        return _result(self._detector.detect(frame, _all(memory)), memory)

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[Selection]) -> list[Result]:
        seen = self._detector.detect_batch(frames, [_all(memory) for memory in memories])
        return [_result(detections, memory) for detections, memory in zip(seen, memories, strict=True)]


def _all(wanted: Selection) -> Selection:
    """The same with the faint ones. Suppression begins with the best, so they take nothing from the others."""
    return replace(wanted, confidence=min(FAINT, wanted.confidence), most=wanted.most + MOST_FAINT)


def _result(detections: Sequence[Detection], wanted: Selection) -> Result:
    """Those that are sure enough are told, best first."""
    ranked = sorted(detections, key=lambda one: -one.score)
    told = tuple(one for one in ranked if one.score > wanted.confidence)[: wanted.most]
    faint = tuple(one for one in ranked if one.score <= wanted.confidence)[:MOST_FAINT]
    return Result(told, measures=Counter(detection.label for detection in told), faint=faint)


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [ObjectsAnalyzer]
