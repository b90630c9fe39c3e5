"""The last layers of YOLO networks: how each kind writes down what it saw, and how to read it.

Told apart by shape, since a file's name and metadata may say nothing:

    raw          [b, 4 + n, anchors]   Ultralytics v5u, v8, v9, v11, v12, YOLO-World v2, YOLOE: centre, size, class
                                       scores; needs suppression
    end to end   [b, k, 6]             v10, v26 and graphs exported with nms=True: corners, score, class; final
    YOLOX        [b, anchors, 5 + n]   offsets from a grid, objectness, class scores; needs suppression

Models that draw masks too, as YOLOE's do, have 32 more of what belongs to a box; these are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

_STRIDES = (8, 16, 32)
_MASK = 32  # coefficients of a mask


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes (n, 4) x1 y1 x2 y2 in px of the network input, scores (n,) 0-1, class ids (n,)."""

    boxes: Array
    scores: Array
    classes: npt.NDArray[np.int32]

    def take(self, chosen: npt.NDArray[Any]) -> Candidates:
        """Those at the indices, or where the mask is true."""
        return Candidates(self.boxes[chosen], self.scores[chosen], self.classes[chosen])


class Head(Protocol):
    """Reads one output, without its batch axis."""

    @property
    def final(self) -> bool:
        """Whether its boxes need no suppression any more."""

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart; None where the shape does not say."""

    def read(self, output: Array, confidence: float) -> Candidates:
        """What the output holds above `confidence`."""


def recognise(shape: tuple[int, ...], canvas: tuple[int, int], classes: int) -> Head:
    """The head that writes an output of `shape` for an input of `canvas` (width, height).

    `classes` is the number of names known, 0 if none. Raises `ValueError` for a shape no known head writes.
    """
    if len(shape) != 3:
        raise ValueError(f"a detector's output has 3 axes, got {list(shape)}")
    _, rows, columns = shape
    if rows == _cells(canvas) and columns > 5:
        return YoloxHead(canvas, columns - 5)
    raw_rows = (4 + classes, 4 + classes + _MASK)
    if columns in (6, 6 + _MASK) and rows not in raw_rows:
        return EndToEndHead()
    if rows > 4 and (rows in raw_rows or rows < columns):
        return RawHead(classes or rows - 4)
    raise ValueError(f"no known detector writes an output of {list(shape)} for an input of {canvas[0]}x{canvas[1]} px")


def suppress(candidates: Candidates, iou: float, most: int) -> Candidates:
    """Of boxes of one class that overlap by more than `iou`, keep the best; at most `most` in all, best first."""
    x1, y1, x2, y2 = candidates.boxes.T.astype(np.float64)
    boxes: Any = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)  # OpenCV's stubs know lists only
    scores: Any = candidates.scores
    classes: Any = candidates.classes
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores, classes, 0.0, iou)
    survivors = candidates.take(np.asarray(kept, np.intp).reshape(-1))
    return survivors.take(np.argsort(-survivors.scores, kind="stable")[:most])


@dataclass(frozen=True, slots=True)
class RawHead:
    """Rows cx, cy, w, h and one per class (further rows, as masks have, are ignored); no objectness."""

    classes: int
    final: ClassVar[bool] = False

    def read(self, output: Array, confidence: float) -> Candidates:
        scores = output[4 : 4 + self.classes]
        kept = np.flatnonzero(scores.max(axis=0) > confidence)
        scores = scores[:, kept]
        return Candidates(_corners(output[:4, kept].T), scores.max(axis=0), scores.argmax(axis=0).astype(np.int32))


@dataclass(frozen=True, slots=True)
class EndToEndHead:
    """Final boxes in rows of x1, y1, x2, y2, score, class, filled up with zeros."""

    final: ClassVar[bool] = True
    classes: ClassVar[None] = None

    def read(self, output: Array, confidence: float) -> Candidates:
        kept = output[output[:, 4] > confidence]
        return Candidates(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int32))


@dataclass(frozen=True, slots=True)
class YoloxHead:
    """Rows of x, y offset from their grid cell, log of w, h, all in strides, objectness, and a score per class."""

    canvas: tuple[int, int]
    classes: int
    final: ClassVar[bool] = False

    def read(self, output: Array, confidence: float) -> Candidates:
        grid, stride = _grid(self.canvas)
        # A score is objectness times class, so a cell whose objectness is too low needs no further look.
        near = np.flatnonzero(output[:, 4] > confidence)
        scores = output[near, 5:] * output[near, 4:5]
        best = scores.max(axis=1) if len(near) else np.empty(0, np.float32)
        sure = best > confidence
        near, scores = near[sure], scores[sure]
        centres = (output[near, :2] + grid[near]) * stride[near]
        sizes = np.exp(output[near, 2:4]) * stride[near]
        classes = scores.argmax(axis=1).astype(np.int32)
        return Candidates(_corners(np.concatenate([centres, sizes], axis=1)), best[sure], classes)


def _corners(boxes: Array) -> Array:
    """(n, 4) centre and size to corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _cells(canvas: tuple[int, int]) -> int:
    return sum((canvas[0] // stride) * (canvas[1] // stride) for stride in _STRIDES)


@lru_cache(maxsize=8)
def _grid(canvas: tuple[int, int]) -> tuple[Array, Array]:
    """Column and row of each cell (cells, 2) and its stride in px (cells, 1), strides 8, 16, 32 in turn."""
    cells, strides = [], []
    for stride in _STRIDES:
        ys, xs = np.mgrid[: canvas[1] // stride, : canvas[0] // stride]
        cells.append(np.stack([xs.ravel(), ys.ravel()], axis=1))
        strides.append(np.full((xs.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)
