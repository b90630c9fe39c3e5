"""Heads are told apart by shape and read by their own rules; suppression is by class."""

from __future__ import annotations

import numpy as np
import pytest

from analyzers._heads import Candidates, EndToEndHead, RawHead, YoloxHead, recognise, suppress


@pytest.mark.parametrize(
    ("shape", "canvas", "classes", "kind"),
    [
        ((1, 84, 8400), (640, 640), 80, RawHead),  # yolov8n
        ((1, 84, 8400), (640, 640), 0, RawHead),
        ((1, 5, 2184), (416, 256), 1, RawHead),  # one class
        ((1, 6, 8400), (640, 640), 2, RawHead),  # two classes: six rows
        ((1, 84, 21), (32, 32), 80, RawHead),  # more rows than anchors
        ((1, 116, 8400), (640, 640), 80, RawHead),  # with masks
        ((1, 300, 6), (640, 640), 80, EndToEndHead),  # v10, v26
        ((1, 100, 6), (640, 384), 0, EndToEndHead),  # nms=True
        ((1, 300, 38), (640, 640), 2, EndToEndHead),  # final boxes with masks
        ((1, 38, 8400), (640, 640), 2, RawHead),  # two prompts with masks
        ((1, 3549, 85), (416, 416), 0, YoloxHead),  # yolox_nano, yolox_tiny
        ((1, 8400, 85), (640, 640), 0, YoloxHead),  # yolox_s and larger
        ((1, 3549, 6), (416, 416), 0, YoloxHead),  # one class
    ],
)
def test_a_head_is_recognised_by_its_shape(
    shape: tuple[int, ...], canvas: tuple[int, int], classes: int, kind: type
) -> None:
    assert type(recognise(shape, canvas, classes)) is kind


@pytest.mark.parametrize("shape", [(1, 1000), (1, 4, 8400), (1, 25200, 85), (1, 3, 80, 80, 85)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="output"):
        recognise(shape, (640, 640), 0)


def test_raw_rows_are_centres_sizes_and_scores() -> None:
    output = np.zeros((4 + 2, 3), np.float32)
    output[:, 1] = [50, 40, 20, 10, 0.3, 0.8]
    output[:, 2] = [50, 40, 20, 10, 0.2, 0.1]
    read = RawHead(2).read(output, 0.25)
    assert read.boxes.tolist() == [[40, 35, 60, 45]]
    assert (read.scores.tolist(), read.classes.tolist()) == ([pytest.approx(0.8)], [1])


def test_rows_beyond_the_classes_are_no_scores() -> None:
    output = np.array([[50], [40], [20], [10], [0.1], [0.1], [9.9]], np.float32)
    assert RawHead(2).read(output, 0.25).scores.tolist() == []


def test_end_to_end_rows_are_final() -> None:
    output = np.array([[1, 2, 3, 4, 0.9, 17], [5, 6, 7, 8, 0.2, 3], [0, 0, 0, 0, 0, 0]], np.float32)
    read = EndToEndHead().read(output, 0.25)
    assert (read.boxes.tolist(), read.classes.tolist()) == ([[1, 2, 3, 4]], [17])
    assert EndToEndHead.final


def test_yolox_offsets_count_from_their_cell_in_strides() -> None:
    head = YoloxHead((64, 32), 2)  # 8x4 cells of 8 px, then 4x2 of 16, then 2x1 of 32
    output = np.zeros((32 + 8 + 2, 7), np.float32)
    output[8 + 3] = [0.5, 0.25, np.log(2), 0, 0.9, 0.1, 0.8]  # stride 8, row 1, column 3
    output[32 + 8 + 1] = [0.5, 0.5, 0, 0, 0.5, 0.9, 0.1]  # stride 32, row 0, column 1
    output[0] = [0, 0, 0, 0, 0.9, 0.2, 0.2]  # sure that something is there, of no class
    read = head.read(output, 0.25)
    np.testing.assert_allclose(read.boxes, [[28 - 8, 10 - 4, 28 + 8, 10 + 4], [48 - 16, 0, 48 + 16, 32]], rtol=1e-6)
    np.testing.assert_allclose(read.scores, [0.72, 0.45], rtol=1e-6)
    assert read.classes.tolist() == [1, 0]


def candidates(*rows: tuple[list[float], float, int]) -> Candidates:
    boxes, scores, classes = zip(*rows, strict=True)
    return Candidates(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(classes, np.int32))


def test_of_overlapping_boxes_of_a_class_the_best_stays() -> None:
    pair = candidates(([0, 0, 10, 10], 0.6, 0), ([1, 0, 11, 10], 0.9, 0))
    assert suppress(pair, 0.5, 10).boxes.tolist() == [[1, 0, 11, 10]]
    assert len(suppress(pair, 0.9, 10).scores) == 2


def test_boxes_of_different_classes_do_not_suppress_each_other() -> None:
    pair = candidates(([0, 0, 10, 10], 0.6, 0), ([0, 0, 10, 10], 0.9, 1))
    assert suppress(pair, 0.5, 10).classes.tolist() == [1, 0]


def test_the_best_come_first_and_no_more_than_asked() -> None:
    apart = candidates(*(([20.0 * i, 0, 20.0 * i + 10, 10], 0.1 * i, 0) for i in range(1, 6)))
    assert suppress(apart, 0.5, 3).scores.tolist() == pytest.approx([0.5, 0.4, 0.3])


def test_nothing_in_nothing_out() -> None:
    nothing = RawHead(2).read(np.zeros((6, 5), np.float32), 0.25)
    assert suppress(nothing, 0.5, 10).boxes.shape == (0, 4)
    assert YoloxHead((32, 32), 80).read(np.zeros((21, 85), np.float32), 0.25).boxes.shape == (0, 4)
