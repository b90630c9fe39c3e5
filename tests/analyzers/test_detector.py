"""A detector finds the same squares whatever the layout of its output, its size and what runs it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from analyzers._detector import Detector, Selection
from gateway import Box
from tests.analyzers import tiny_models
from tests.analyzers.stage import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway import Detection

EXPECTED = {"red": Box(0.5, 0.5, 0.75, 1.0), "blue": Box(0.0, 0.0, 0.25, 0.5)}  # squares of 128x64


SURE = Selection(confidence=0.6)


def boxes(detections: list[Detection]) -> dict[str, Box]:
    return {detection.label: detection.box for detection in detections}


def found(model: Path, width: int = 128, height: int = 64, **options: object) -> dict[str, Box]:
    detector = Detector(model, side=128)
    wanted = replace(SURE, **options)  # type: ignore[arg-type]
    return boxes(detector.detect_in(tiny_models.picture(width, height), wanted))


def test_raw_head_of_dynamic_size(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx")) == EXPECTED


def test_raw_head_of_fixed_square(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx", [1, 3, 128, 128])) == EXPECTED


def test_raw_head_of_a_fixed_batch_of_three(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx", [3, 3, 64, 128])) == EXPECTED


def test_int8_graph(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx", int8=True)) == EXPECTED


def test_half_precision_graph(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx", half=True)) == EXPECTED


def test_end_to_end_head_of_dynamic_size(tmp_path: Path) -> None:
    assert found(tiny_models.end_to_end(tmp_path / "m.onnx")) == EXPECTED


def test_end_to_end_head_of_fixed_square(tmp_path: Path) -> None:
    assert found(tiny_models.end_to_end(tmp_path / "m.onnx", [1, 3, 128, 128])) == EXPECTED


def test_yolox_is_fed_bgr_at_the_top_left_without_scaling(tmp_path: Path) -> None:
    assert found(tiny_models.yolox(tmp_path / "m.onnx", [1, 3, 128, 128])) == EXPECTED


SIZES = ((128, 64), (256, 128), (64, 128), (100, 64), (128, 64))


@pytest.mark.parametrize(
    "make",
    [
        lambda path: tiny_models.raw(path),
        lambda path: tiny_models.raw(path, half=True),
        lambda path: tiny_models.raw(path, [3, 3, 128, 128]),
        lambda path: tiny_models.end_to_end(path),
        lambda path: tiny_models.yolox(path, [1, 3, 128, 128]),
    ],
)
def test_a_batch_of_many_sizes_gives_what_single_frames_give(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    detector = Detector(make(tmp_path / "m.onnx"), side=128)
    frames = [frame_of(tiny_models.picture(*size, cell=max(size) // 4), quality=100) for size in SIZES]
    wanted = [SURE, replace(SURE, most=1), SURE, SURE, replace(SURE, classes=(2,))]
    alone = [detector.detect(*each) for each in zip(frames, wanted, strict=True)]
    assert detector.detect_batch(frames, wanted) == alone
    assert [len(alone[index]) for index in (0, 1, 4)] == [2, 1, 1]
    assert detector.detect_batch([], []) == []


def test_frames_of_one_size_are_one_run(tmp_path: Path) -> None:
    detector = Detector(tiny_models.raw(tmp_path / "m.onnx"), side=128)
    shapes: list[tuple[int, ...]] = []
    run = detector._network.run
    detector._network.run = lambda tensor: shapes.append(tensor.shape) or run(tensor)  # type: ignore[method-assign, func-returns-value]
    detector.detect_batch([frame_of(tiny_models.picture(*size)) for size in SIZES], [SURE] * 5)
    assert shapes == [(3, 3, 64, 128), (1, 3, 128, 64), (1, 3, 96, 128)]


@pytest.mark.parametrize(("shape", "batch"), [(None, 1), ([1, 3, 64, 128], 0), ([4, 3, 64, 128], 4)])
def test_the_batch_wished_is_what_the_graph_insists_on_else_one_on_a_cpu(
    tmp_path: Path, shape: list[int | str | None] | None, batch: int
) -> None:
    assert Detector(tiny_models.raw(tmp_path / "m.onnx", shape)).batch == batch


def test_a_picture_of_twice_the_size_gives_the_same_boxes(tmp_path: Path) -> None:
    detector = Detector(tiny_models.raw(tmp_path / "m.onnx"), side=128)
    double = frame_of(tiny_models.picture(256, 128, cell=64), quality=100)
    assert boxes(detector.detect(double, SURE)) == EXPECTED


def test_only_wanted_classes_are_reported(tmp_path: Path) -> None:
    assert found(tiny_models.raw(tmp_path / "m.onnx"), classes=(2,)) == {"blue": EXPECTED["blue"]}


def test_no_more_than_the_best_are_reported(tmp_path: Path) -> None:
    assert len(found(tiny_models.raw(tmp_path / "m.onnx"), most=1)) == 1


def test_an_unknown_label_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"option labels: m\.onnx has no class gren; did you mean green\?"):
        Detector(tiny_models.raw(tmp_path / "m.onnx")).classes(["gren"])


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    model = tiny_models.raw(tmp_path / "m.onnx", [1, 3, 128, 128], names=None)
    assert found(model) == {"class 0": EXPECTED["red"], "class 2": EXPECTED["blue"]}


def test_a_black_picture_holds_nothing(tmp_path: Path) -> None:
    detector = Detector(tiny_models.raw(tmp_path / "m.onnx"), side=128)
    assert detector.detect_in(np.zeros((1, 1, 3), np.uint8), SURE) == []
    assert detector.detect_in(np.zeros((2, 500, 3), np.uint8), SURE) == []


@pytest.mark.parametrize("shape", [None, [1, 3, 128, 128]])
def test_opencv_takes_over_where_onnxruntime_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[int | str | None] | None
) -> None:
    model = tiny_models.raw(tmp_path / "m.onnx", shape)
    first = Detector(model, side=128)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    second = Detector(model, side=128)
    assert (first.runtime, second.runtime) == ("onnxruntime CPU", "opencv")
    assert second.batch == first.batch == (0 if shape else 1)
    assert second.detect_in(tiny_models.picture(), SURE) == first.detect_in(tiny_models.picture(), SURE)


def test_a_model_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    graph = tiny_models.Graph()
    model = graph.save(tmp_path / "m.onnx", graph.op("Identity", "images"), [1, 3, 64, 64], names=None, half=False)
    with pytest.raises(ValueError, match=r"a detector's output has 3 axes, got \[1, 3, 64, 64\]"):
        Detector(model)
