"""Detector: an ONNX model of the YOLO family, from a picture to named boxes.

Where the graph's size is dynamic, the input is only as large as the picture needs: longest side `side`, the other
rounded up to the stride. For a 4:3 picture that is a quarter fewer pixels than the square, and a third more frames.
Pictures of one batch share a run where their inputs have one size; each is fed exactly as it would be alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzers._coco import COCO_NAMES
from analyzers._export import to_onnx
from analyzers._heads import Candidates, Head, YoloxHead, recognise, suppress
from analyzers._letterbox import Letterbox, pixels_for
from analyzers._onnx import open_network
from analyzers._onnx_header import FLOAT16, read_header
from gateway import Box, Detection, Frame

if TYPE_CHECKING:
    from analyzers._letterbox import Pixels, Tensor
    from analyzers._onnx_header import Header

STRIDE = 32  # of the coarsest cells; input sides are multiples of it
CAMERAS = ((1, 1), (4, 3), (16, 9))  # shapes of pictures a GPU is warmed up with


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
    """A loaded detection model; `side` is the longer side in px of what it looks at.

    Raises `ValueError` for no detector, and what opening the network raises.
    """

    def __init__(self, path: Path, *, side: int = 640) -> None:
        path = to_onnx(path)
        self._file = path.name
        self._header = read_header(path)
        self._canvas = _canvas(self._header, path.name)
        self._yolox = False
        self.side = max(self._canvas) if self._canvas else side
        self._network = open_network(path, self._shapes())
        head = self._probe()
        self._yolox = isinstance(head, YoloxHead)
        self._names = _names(self._header, head)
        self.runtime = self._network.runtime

    @property
    def batch(self) -> int:
        """How many pictures at once pay: as many as the graph insists on, else as its device likes; 0: it takes one."""
        fixed = self._header.shape[0]
        return 0 if fixed == 1 else fixed or self._network.batch

    def classes(self, labels: Sequence[str], *, option: str = "labels") -> tuple[int, ...]:
        """The class ids of these names. Raises `ValueError`, naming the option, for one the model does not know."""
        return tuple(self._class_of(label, option) for label in labels)

    def detect(self, frame: Frame, wanted: Selection) -> list[Detection]:
        """What is in the frame, best first."""
        return self.detect_in(pixels_for(frame, self.side), wanted)

    def detect_in(self, picture: Pixels, wanted: Selection) -> list[Detection]:
        """What is in a BGR picture, boxes 0-1 of it, best first."""
        return self._look([picture], [wanted])[0]

    def detect_batch(self, frames: Sequence[Frame], wanted: Sequence[Selection]) -> list[list[Detection]]:
        """The same for several frames at once, each with its own selection."""
        return self._look([pixels_for(frame, self.side) for frame in frames], wanted)

    def detect_as_is(self, pictures: Sequence[Pixels], wanted: Sequence[Selection]) -> list[list[Detection]]:
        """What is in BGR pictures that have the right scale already: none is enlarged to `side`, boxes 0-1 of each."""
        return self._look(pictures, wanted, fit=False)

    def _look(
        self, pictures: Sequence[Pixels], wanted: Sequence[Selection], *, fit: bool = True
    ) -> list[list[Detection]]:
        letterboxes = [self._letterbox(picture.shape[1], picture.shape[0], fit=fit) for picture in pictures]
        found: list[list[Detection]] = [[] for _ in pictures]
        for turn in self._turns(letterboxes):
            output = self._run(np.concatenate([self._fed(pictures[index], letterboxes[index]) for index in turn]))
            head = self._head(output, letterboxes[turn[0]])
            for index, item in zip(turn, output, strict=True):
                found[index] = self._read(head, item, letterboxes[index], wanted[index])
        return found

    def _turns(self, letterboxes: Sequence[Letterbox]) -> Iterator[list[int]]:
        """Which pictures share a run: those whose inputs have one size, as many as the graph takes."""
        most = self._header.shape[0] or len(letterboxes)
        together: dict[tuple[int, int], list[int]] = {}
        for index, letterbox in enumerate(letterboxes):
            together.setdefault((letterbox.canvas_width, letterbox.canvas_height), []).append(index)
        for indices in together.values():
            yield from (indices[first : first + most] for first in range(0, len(indices), most))

    def _fed(self, picture: Pixels, letterbox: Letterbox) -> Tensor:
        # YOLOX was trained on BGR values of 0-255
        return letterbox.fill(picture, rgb=not self._yolox, scale=1.0 if self._yolox else 1 / 255)

    def _read(self, head: Head, output: Tensor, letterbox: Letterbox, wanted: Selection) -> list[Detection]:
        found = head.read(output, wanted.confidence)
        if wanted.classes:
            found = found.take(np.isin(found.classes, wanted.classes))
        if not head.final:
            found = suppress(found, wanted.iou, wanted.most)
        return list(self._detections(found, letterbox))[: wanted.most]

    def _letterbox(self, width: int, height: int, *, fit: bool = True) -> Letterbox:
        if self._canvas:
            return Letterbox.fixed((width, height), self._canvas, centred=not self._yolox, enlarge=fit)
        return Letterbox.rectangle((width, height), self.side if fit else max(width, height), STRIDE)

    def _run(self, tensor: Tensor) -> Tensor:
        """The outputs, also where the graph insists on half precision or on a batch of more."""
        count, batch = len(tensor), self._header.shape[0] or len(tensor)
        if batch > count:
            tensor = np.concatenate([tensor, np.repeat(tensor[-1:], batch - count, axis=0)])
        if self._header.element == FLOAT16:
            return self._network.run(tensor.astype(np.float16)).astype(np.float32)[:count]
        return self._network.run(tensor)[:count]

    def _head(self, output: Tensor, letterbox: Letterbox) -> Head:
        canvas = letterbox.canvas_width, letterbox.canvas_height
        return recognise(output.shape, canvas, len(self._header.names))

    def _shapes(self) -> list[tuple[int, ...]]:
        """Of inputs to expect."""
        batch = self._header.shape[0] or 1
        boxes = dict.fromkeys(self._letterbox(*camera) for camera in CAMERAS)
        return list(dict.fromkeys((batch, 3, box.canvas_height, box.canvas_width) for box in boxes))

    def _probe(self) -> Head:
        """Run once on grey: tells the kind of head, which decides how pictures are fed, and warms the runtime up."""
        picture = np.full((self.side, self.side, 3), 114, np.uint8)
        letterbox = self._letterbox(self.side, self.side)
        return self._head(self._run(letterbox.fill(picture)), letterbox)

    def _class_of(self, label: str, option: str) -> int:
        known = {name: index for index, name in self._names.items()}
        if label not in known:
            near = get_close_matches(label, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(list(known)[:10])} and so on"
            raise ValueError(f"option {option}: {self._file} has no class {label}; {hint}")
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
