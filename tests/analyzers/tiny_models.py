"""Detectors small enough to be made on the spot: they find squares of pure red, green or blue, 32 px in the input.

Each has the output layout of a real family, so that everything from the JPEG to the named box is exercised without
weights. A cell of 32x32 px scores the mean of each colour in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from typing import Any

    Picture = np.ndarray[Any, Any]

NAMES = "{0: 'red', 1: 'green', 2: 'blue'}"
COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}  # BGR
SQUARES = {"red": (2, 1), "blue": (0, 0)}  # column and row of the cell


def picture(width: int = 128, height: int = 64, *, cell: int = 32) -> Picture:
    """A black picture with a red and a blue square, each filling one cell."""
    drawn = np.zeros((height, width, 3), np.uint8)
    for name, (column, row) in SQUARES.items():
        corner = (column * cell, row * cell)
        cv2.rectangle(drawn, corner, (corner[0] + cell - 1, corner[1] + cell - 1), COLOURS[name], -1)
    return drawn


class Graph:
    """Collects nodes; every method answers with the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def save(self, path: Path, output: str, shape: list[int | str | None], *, names: str | None, half: bool) -> Path:
        """Write the model with input `images` of `shape`, and `names` in its metadata."""
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("images", kind, shape)],
            [helper.make_tensor_value_info(output, kind, ["b", "rows", "columns"])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if names:
            helper.set_model_props(model, {"names": names, "stride": "32"})
        onnx.save(model, str(path))
        return path


def raw(
    path: Path,
    shape: list[int | str | None] | None = None,
    *,
    names: str | None = NAMES,
    int8: bool = False,
    half: bool = False,
    masks: int = 0,
) -> Path:
    """Ultralytics' raw head, [b, 4 + 3 + masks, anchors]; dynamic when no input shape is given."""
    graph = Graph()
    image = graph.op("Cast", "images", to=TensorProto.FLOAT) if half else "images"
    scores = _cells(graph, image, 32)
    if int8:
        scale, zero = graph.constant(1 / 127), graph.constant(0, np.int8)
        scores = graph.op("DequantizeLinear", graph.op("QuantizeLinear", scores, scale, zero), scale, zero)
    rows = [*_places(graph, scores), scores, *([_ones(graph, scores)] * masks)]
    output = _flat(graph, graph.op("Concat", *rows, axis=1), 7 + masks)
    if half:
        output = graph.op("Cast", output, to=TensorProto.FLOAT16)
    return graph.save(path, output, shape or ["batch", 3, "height", "width"], names=names, half=half)


def end_to_end(path: Path, shape: list[int | str | None] | None = None) -> Path:
    """The head of v10, v26 and nms=True, [b, k, 6]: corners, best score, its class."""
    graph = Graph()
    scores = _cells(graph, "images", 32)
    x, y, w, h = _places(graph, scores)
    half = graph.constant(0.5)
    corners = [
        graph.op(kind, centre, graph.op("Mul", size, half))
        for kind in ("Sub", "Add")
        for centre, size in ((x, w), (y, h))
    ]
    best = graph.op("ReduceMax", scores, axes=[1], keepdims=1)
    kind = graph.op("Cast", graph.op("ArgMax", scores, axis=1, keepdims=1), to=TensorProto.FLOAT)
    rows = _flat(graph, graph.op("Concat", *corners, best, kind, axis=1), 6)
    output = graph.op("Transpose", rows, perm=[0, 2, 1])
    return graph.save(path, output, shape or ["batch", 3, "height", "width"], names=NAMES, half=False)


def yolox(path: Path, shape: list[int | str | None]) -> Path:
    """YOLOX, [b, anchors, 5 + 3]; its classes count from blue, since it is fed BGR of 0-255."""
    graph = Graph()
    levels = []
    for stride in (8, 16, 32):
        scores = graph.op("Mul", _cells(graph, "images", stride), graph.constant(1 / 255))
        ones = _ones(graph, scores)
        middle = graph.op("Mul", ones, graph.constant(0.5))
        size = graph.op("Mul", ones, graph.constant(0))  # log(1 stride)
        certain = graph.op("Mul", ones, graph.constant(0.9 if stride == 32 else 0))
        levels.append(_flat(graph, graph.op("Concat", middle, middle, size, size, certain, scores, axis=1), 8))
    output = graph.op("Transpose", graph.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    return graph.save(path, output, shape, names="{0: 'blue', 1: 'green', 2: 'red'}", half=False)


def _cells(graph: Graph, image: str, stride: int) -> str:
    return graph.op("AveragePool", image, kernel_shape=[stride, stride], strides=[stride, stride])


def _ones(graph: Graph, scores: str) -> str:
    one = graph.op("ReduceMax", scores, axes=[1], keepdims=1)
    return graph.op("Add", graph.op("Mul", one, graph.constant(0)), graph.constant(1))


def _places(graph: Graph, scores: str) -> list[str]:
    """cx, cy, w, h of each 32 px cell."""
    ones = _ones(graph, scores)
    size = graph.op("Mul", ones, graph.constant(32))
    counts = [graph.op("CumSum", ones, graph.constant(axis, np.int64)) for axis in (3, 2)]
    centres = [graph.op("Mul", graph.op("Sub", count, graph.constant(0.5)), graph.constant(32)) for count in counts]
    return [*centres, size, size]


def _flat(graph: Graph, tensor: str, channels: int) -> str:
    return graph.op("Reshape", tensor, graph.constant([0, channels, -1], np.int64))
