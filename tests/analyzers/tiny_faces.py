"""A face detector and an embedder small enough to be made on the spot, with the layouts of the real ones.

A face is a square of 128 px in a picture of 512x256 that is anything but black (32 px in the detector's input, which is
a quarter of that); whose it is, its four quarters say by their colours. Mirrored faces are alike, as real ones are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

from analyzers._face_align import SIDE, TEMPLATE
from tests.analyzers.tiny_models import Graph

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    Picture = Any  # (h, w, 3) uint8 BGR

CELL, SCALE = 32, 4  # px of a face in the detector's input, and how much larger the pictures are
WIDTH, HEIGHT = 128, 64  # of the detector's input
FACE = CELL * SCALE
COLOURS = {"r": (40, 40, 255), "g": (40, 255, 40), "b": (255, 40, 40), "w": (255, 255, 255), "k": (90, 90, 90)}


def scene(**faces: tuple[int, int]) -> Picture:
    """A black picture with a face named by its quarters, such as `rgbw`, in each of these cells (column, row)."""
    drawn: Picture = np.zeros((HEIGHT * SCALE, WIDTH * SCALE, 3), np.uint8)
    for quarters, (column, row) in faces.items():
        x, y = column * FACE, row * FACE
        drawn[y : y + FACE, x : x + FACE] = face(quarters)
    return drawn


def face(quarters: str) -> Picture:
    """128x128, dotted so that it is sharp."""
    small = np.array([COLOURS[one] for one in quarters], np.uint8).reshape(2, 2, 3)
    large: Picture = cv2.resize(small, (FACE, FACE), interpolation=cv2.INTER_NEAREST)
    for x in range(0, FACE, 12):
        large[:, x : x + 3] //= 2
    return large


def detector(path: Path, *, strides: tuple[int, ...] = (8, 16, 32)) -> Path:
    """YuNet's twelve outputs: a face in every cell of 32 px as sure as the cell is bright."""
    graph, outputs = Graph(), []
    for stride in strides:
        pooled = graph.op("AveragePool", "images", kernel_shape=[stride, stride], strides=[stride, stride])
        bright = graph.op("ReduceMax", pooled, axes=[1], keepdims=1)
        sure = graph.op("Mul", bright, graph.constant(1 / 128 if stride == CELL else 0))
        score = graph.op("Clip", sure, graph.constant(0), graph.constant(1))
        none = graph.op("Mul", bright, graph.constant(0))
        outputs += [(_rows(graph, score, 1), 1), (_rows(graph, score, 1), 1)]
        for values in ([0.5, 0.5, 0, 0], (TEMPLATE / SIDE).ravel()):
            spread = graph.op("Add", none, graph.constant(np.reshape(values, (1, -1, 1, 1))))
            outputs.append((_rows(graph, spread, len(values)), len(values)))
    return _save(graph, path, [1, 3, HEIGHT, WIDTH], [([1, None, columns], name) for name, columns in outputs])


def embedder(path: Path, *, dark: bool = False) -> Path:
    """48 numbers: the mean colours of a grid of 4x4. `dark`: all zero, as broken weights give."""
    graph = Graph()
    pooled = graph.op("AveragePool", "images", kernel_shape=[28, 28], strides=[28, 28])
    if dark:
        pooled = graph.op("Mul", pooled, graph.constant(0))
    vector = graph.op("Reshape", pooled, graph.constant([0, -1], np.int64))
    return _save(graph, path, ["batch", 3, SIDE, SIDE], [(["batch", 48], vector)])


def _rows(graph: Graph, tensor: str, columns: int) -> str:
    """(1, columns, h, w) as (1, cells, columns)."""
    turned = graph.op("Transpose", tensor, perm=[0, 2, 3, 1])
    return graph.op("Reshape", turned, graph.constant([1, -1, columns], np.int64))


def _save(graph: Graph, path: Path, shape: list[Any], outputs: list[tuple[list[Any], str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = helper.make_graph(
        graph.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for dims, name in outputs],
        graph.constants,
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path
