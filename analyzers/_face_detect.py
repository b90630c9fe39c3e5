"""Face detectors in ONNX: YuNet and SCRFD, from a frame to boxes with five points, run by whatever runs the models.

Told apart by their outputs, since a file's name may say nothing:

    YuNet   12 outputs, of each stride two scores, 4 box and 10 point offsets, one anchor a cell    BGR, 0-255
    SCRFD    9 outputs, of each stride one score, 4 distances and 10 point offsets, two anchors     RGB, (x-127.5)/128
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from analyzers._letterbox import Letterbox, pixels_for
from analyzers._onnx import open_network
from analyzers._onnx_header import read_header
from gateway import Box, Frame

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzers._face_align import Points
    from analyzers._letterbox import Tensor

    Rows = npt.NDArray[np.float64]  # (n, 15) x1 y1 x2 y2, five times x y, score; in px of the network's input

STRIDES = (8, 16, 32)
MOST = 200  # faces of a frame, the best
OVERLAP = 0.35  # of two boxes that overlap by more, the weaker goes


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face in a frame: its box, five points in px of the whole frame, score 0-1."""

    box: Box
    points: Points
    score: float


@dataclass(frozen=True, slots=True)
class _Kind:
    """One family. `least`: the score from which its faces count, measured; see docs/analyzers/faces.md."""

    name: str
    outputs: int
    anchors: int
    least: float


# YuNet's false finds (hair, walls, cloth) in 34 pictures and 5 clips scored 0.56-0.74, mostly below 0.7; faces, turned
# or small ones included, 0.72-0.96. SCRFD: its authors' 0.5, at which it counts all the pictures right.
YUNET = _Kind("YuNet", 12, 1, 0.7)
SCRFD = _Kind("SCRFD", 9, 2, 0.5)


class FaceDetector:
    """A loaded detector; `side` is the longer side in px of what it looks at.

    Raises `ValueError` for a file that is no face detector, and what opening the network raises.
    """

    def __init__(self, path: Path, *, side: int = 640) -> None:
        header = read_header(path)
        if len(header.shape) != 4:
            raise ValueError(f"{path.name}: a face detector's input is [1, 3, height, width], got {list(header.shape)}")
        _, _, height, width = header.shape
        self._canvas = (width, height) if width and height else None
        self.side = max(self._canvas) if self._canvas else side
        self._network = open_network(path, [(1, 3, self.side, self.side)])
        self.runtime = self._network.runtime
        self._kind = self._probe(path)

    @property
    def name(self) -> str:
        return self._kind.name

    def detect(self, frame: Frame, least: float = 0.0) -> list[FoundFace]:
        """The faces of a frame, largest first; `least` is the score from which they count, 0: the detector's own."""
        letterbox = self._letterbox(frame.width, frame.height)
        tensor = self._fed(pixels_for(frame, self.side), letterbox)
        rows = self._read(self._network.run_all(tensor), letterbox, least or self._kind.least)
        found = [face for face in _faces(rows, letterbox, frame) if face.box.area > 0]
        return sorted(found, key=lambda face: -face.box.area)

    def _probe(self, path: Path) -> _Kind:
        """Run once on grey: tells the kind, and warms the runtime up."""
        letterbox = self._letterbox(self.side, self.side)
        grey = np.full((self.side, self.side, 3), 114, np.uint8)
        shapes = [output.shape for output in self._network.run_all(letterbox.fill(grey, rgb=False, scale=1.0))]
        for kind in (YUNET, SCRFD):
            if len(shapes) == kind.outputs and sorted(_expected(kind, letterbox)) == sorted(map(_flat, shapes)):
                return kind
        raise ValueError(f"{path.name} is no face detector known here (YuNet or SCRFD with points): it gives {shapes}")

    def _letterbox(self, width: int, height: int) -> Letterbox:
        if self._canvas:
            return Letterbox.fixed((width, height), self._canvas, centred=False)
        return Letterbox.rectangle((width, height), self.side, STRIDES[-1])

    def _fed(self, picture: Any, letterbox: Letterbox) -> Tensor:
        if self._kind is YUNET:
            return letterbox.fill(picture, rgb=False, scale=1.0)
        tensor = letterbox.fill(picture, rgb=True, scale=1 / 128)
        tensor -= np.float32(127.5 / 128)
        return tensor

    def _read(self, outputs: Sequence[Tensor], letterbox: Letterbox, least: float) -> Rows:
        levels = [_level(outputs, self._kind, letterbox, stride) for stride in STRIDES]
        read = _yunet if self._kind is YUNET else _scrfd
        rows = np.concatenate([read(*level, stride, least) for level, stride in zip(levels, STRIDES, strict=True)])
        return _suppressed(rows, least)


def _flat(shape: Sequence[int]) -> tuple[int, int]:
    return int(np.prod(shape[:-1])), int(shape[-1])


def _expected(kind: _Kind, letterbox: Letterbox) -> Iterator[tuple[int, int]]:
    """Rows and columns of each output."""
    for stride in STRIDES:
        rows = _cells(letterbox, stride) * kind.anchors
        yield from [(rows, columns) for columns in (1, 4, 10)] + [(rows, 1)] * (kind.outputs == 12)


def _cells(letterbox: Letterbox, stride: int) -> int:
    return (letterbox.canvas_width // stride) * (letterbox.canvas_height // stride)


def _level(outputs: Sequence[Tensor], kind: _Kind, letterbox: Letterbox, stride: int) -> tuple[Any, Any, Any, Any]:
    """Scores (n, 1 or 2), boxes (n, 4), points (n, 5, 2) and anchors (n, 2, column and row) of one stride."""
    rows = _cells(letterbox, stride) * kind.anchors
    own = [output.reshape(rows, -1) for output in outputs if _flat(output.shape)[0] == rows]
    scores = np.concatenate([part for part in own if part.shape[1] == 1], axis=1)
    boxes, points = (next(part for part in own if part.shape[1] == columns) for columns in (4, 10))
    cells = np.arange(rows) // kind.anchors
    columns = letterbox.canvas_width // stride
    return scores, boxes, points.reshape(rows, 5, 2), np.stack([cells % columns, cells // columns], axis=1)


def _yunet(scores: Any, boxes: Any, points: Any, cells: Any, stride: int, least: float) -> Rows:
    """Centre offset and log size in strides, points as offsets; the score is the mean of class and objectness."""
    score = np.sqrt(np.clip(scores, 0, 1).prod(axis=1))
    kept = np.flatnonzero(score > least)
    centre = (cells[kept] + boxes[kept, :2]) * stride
    half = np.exp(boxes[kept, 2:]) * stride / 2
    marks = (points[kept] + cells[kept, None]) * stride
    return np.column_stack([centre - half, centre + half, marks.reshape(-1, 10), score[kept]]).astype(np.float64)


def _scrfd(scores: Any, boxes: Any, points: Any, cells: Any, stride: int, least: float) -> Rows:
    """Distances from the cell's corner to the four sides, and points as offsets from it, in strides."""
    score = scores[:, 0]
    kept = np.flatnonzero(score > least)
    corner = cells[kept] * stride
    near, far = corner - boxes[kept, :2] * stride, corner + boxes[kept, 2:] * stride
    marks = corner[:, None] + points[kept] * stride
    return np.column_stack([near, far, marks.reshape(-1, 10), score[kept]]).astype(np.float64)


def _suppressed(rows: Rows, least: float) -> Rows:
    boxes: Any = np.column_stack([rows[:, :2], rows[:, 2:4] - rows[:, :2]]).tolist()
    kept = cv2.dnn.NMSBoxes(boxes, rows[:, 14].tolist(), least, OVERLAP)
    return rows[np.asarray(kept, np.intp).reshape(-1)[:MOST]]


def _faces(rows: Rows, letterbox: Letterbox, frame: Frame) -> Iterator[FoundFace]:
    size = np.array([frame.width, frame.height], np.float64)
    for row in rows:
        corners = letterbox.to_frame(row[None, :4])[0]
        points = letterbox.to_frame(np.tile(row[4:14].reshape(5, 2), 2))[:, :2] * size
        yield FoundFace(Box.clipped(*corners), points, min(1.0, float(row[14])))
