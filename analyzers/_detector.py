"""Detector: an ONNX model of the YOLO family, from a picture to named boxes.

Where the graph's size is dynamic, the input is only as large as the picture needs: longest side `side`, the other
rounded up to the stride. For a 4:3 picture that is a quarter fewer pixels than the square, and a third more frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzers._coco import COCO_NAMES
from analyzers._heads import Candidates, Head, YoloxHead, recognise, suppress
from analyzers._letterbox import Letterbox, pixels_for
from analyzers._onnx import open_network
from analyzers._onnx_header import FLOAT16, read_header
from gateway import Box, Detection, Frame

if TYPE_CHECKING:
    from analyzers._letterbox import Pixels, Tensor
    from analyzers._onnx_header import Header

STRIDE = 32  # of the coarsest cells; input sides are multiples of it


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a model's boxes count. Each session may have its own; the model is the same.

    `confidence` and `iou` are 0-1; only these `classes`, all when empty; at most `most` of them, the best.
    """

    confidence: float = 0.25
    iou: float = 0.5
    most: int = 100
    classes: tuple[int, ...] = ()


class Detector:
    """A loaded detection model. Not safe to call from two threads at once. Raises `ValueError` for no detector."""

    def __init__(self, path: Path, *, side: int = 640) -> None:
        self._file = path.name
        self._header = read_header(path)
        self._network = open_network(path)
        self._canvas = _canvas(self._header, path.name)
        self._side = max(self._canvas) if self._canvas else side
        self._yolox = False
        head = self._probe()
        self._yolox = isinstance(head, YoloxHead)
        self._names = _names(self._header, head)
        self.runtime = self._network.runtime

    def classes(self, labels: Sequence[str]) -> tuple[int, ...]:
        """The class ids of these names. Raises `ValueError` for one the model does not know."""
        return tuple(self._class_of(label) for label in labels)

    def detect(self, frame: Frame, wanted: Selection) -> list[Detection]:
        """What is in the frame, best first."""
        return self.detect_in(pixels_for(frame, self._side), wanted)

    def detect_in(self, picture: Pixels, wanted: Selection) -> list[Detection]:
        """What is in a BGR picture, boxes 0-1 of it, best first."""
        letterbox = self._letterbox(picture.shape[1], picture.shape[0])
        # YOLOX was trained on BGR values of 0-255
        tensor = letterbox.fill(picture, rgb=not self._yolox, scale=1.0 if self._yolox else 1 / 255)
        output = self._run(tensor)
        head = self._head(output, letterbox)
        found = head.read(output[0], wanted.confidence)
        if wanted.classes:
            found = found.take(np.isin(found.classes, wanted.classes))
        if not head.final:
            found = suppress(found, wanted.iou, wanted.most)
        return list(self._detections(found, letterbox))[: wanted.most]

    def _letterbox(self, width: int, height: int) -> Letterbox:
        if self._canvas:
            return Letterbox.fixed((width, height), self._canvas, centred=not self._yolox)
        return Letterbox.rectangle((width, height), self._side, STRIDE)

    def _run(self, tensor: Tensor) -> Tensor:
        """The output for one picture, also where the graph insists on half precision or on a batch of more."""
        if batch := self._header.shape[0]:
            tensor = np.repeat(tensor, batch, axis=0) if batch > 1 else tensor
        if self._header.element == FLOAT16:
            return self._network.run(tensor.astype(np.float16)).astype(np.float32)
        return self._network.run(tensor)

    def _head(self, output: Tensor, letterbox: Letterbox) -> Head:
        canvas = letterbox.canvas_width, letterbox.canvas_height
        return recognise(output.shape, canvas, len(self._header.names))

    def _probe(self) -> Head:
        """Run once on grey: tells the kind of head, which decides how pictures are fed, and warms the runtime up."""
        letterbox = self._letterbox(self._side, self._side)
        picture = np.full((self._side, self._side, 3), 114, np.uint8)
        return self._head(self._run(letterbox.fill(picture)), letterbox)

    def _class_of(self, label: str) -> int:
        known = {name: index for index, name in self._names.items()}
        if label not in known:
            near = get_close_matches(label, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(list(known)[:10])} and so on"
            raise ValueError(f"option labels: {self._file} has no class {label}; {hint}")
        return known[label]

    def _detections(self, found: Candidates, letterbox: Letterbox) -> Iterator[Detection]:
        boxes = letterbox.to_frame(found.boxes).tolist()
        for corners, score, index in zip(boxes, found.scores.tolist(), found.classes.tolist(), strict=True):
            box = Box.clipped(*corners)
            if box.area > 0:  # a box may lie in the grey beside the picture
                yield Detection(self._names.get(index, f"class {index}"), min(score, 1.0), box)


def _canvas(header: Header, file: str) -> tuple[int, int] | None:
    """Width and height of a graph of fixed size, None where they are free."""
    if len(header.shape) != 4 or header.shape[1] not in (3, None):
        raise ValueError(f"{file}: a detector's input is [batch, 3, height, width], got {list(header.shape)}")
    _, _, height, width = header.shape
    return (width, height) if width and height else None


def _names(header: Header, head: Head) -> dict[int, str]:
    """The names in the file's metadata, else COCO's where the number of classes allows it."""
    if header.names:
        return header.names
    if head.classes in (None, len(COCO_NAMES)):
        return dict(enumerate(COCO_NAMES))
    return {index: f"class {index}" for index in range(head.classes or 0)}
