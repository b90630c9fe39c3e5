"""Objects: people, bags, vehicles and whatever else the detection model in use can name.

Runs YOLOX and any Ultralytics export to ONNX, chosen by option, environment or file name; names no weights of its own
to download. Each frame stands alone: following things over time is other analyzers' work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from analyzers._detector import STRIDE, Detector, Selection
from analyzers._weights import WeightsMissing, WrongWeights, find_weights
from gateway import Analyzer, Detection, Frame, Result, SessionInfo, hookimpl

# YOLOX first: yolox_nano is four times as fast as yolov8n on a CPU (8 against 30 ms on two cores), counts the same
# persons on the clips (40 against 46 of 63 in crowded stills) and is free to use (Apache-2.0, Ultralytics' weights are
# AGPL-3.0). For bags the others are better (suitcases in stills: 1 of 4 against 4 of 4): name one in option model.
PREFERRED = (
    *("yolox_tiny.onnx", "yolox_nano.onnx", "yolox_s.onnx"),
    *("yolo26n.onnx", "yolo11n.onnx", "yolov8n.onnx", "yolov5nu.onnx"),
)
VARIABLES = ("FRAMEGATE_YOLO_MODEL_PATH", "YOLO_MODEL_PATH")


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

    def open(self, session: SessionInfo) -> Selection:
        return self._selection(session.options)

    def _selection(self, options: ObjectsOptions) -> Selection:
        classes = self._detector.classes(options.labels)
        return Selection(options.confidence, options.iou, options.max_detections, classes)

    def analyze(self, frame: Frame, memory: Selection) -> Result:
        return _result(self._detector.detect(frame, memory))

    def analyze_batch(self, frames: Sequence[Frame], memories: Sequence[Selection]) -> list[Result]:
        return [_result(detections) for detections in self._detector.detect_batch(frames, memories)]


def _result(detections: Sequence[Detection]) -> Result:
    return Result(tuple(detections), measures=Counter(detection.label for detection in detections))


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [ObjectsAnalyzer]
