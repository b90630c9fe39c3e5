"""Nothing of a pickle is opened unless the operator allows it; then it is exported once and runs as ONNX."""

from __future__ import annotations

import os
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from analyzers._export import to_onnx
from analyzers._weights import WrongWeights
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.smoking import SmokingAnalyzer, SmokingOptions, threshold
from gateway import Analyzer
from tests.analyzers.stage import frame_of, look

ALLOW = "FRAMEGATE_RUNTIME__ALLOW_PICKLE"


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.marker), os.O_CREAT)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(ALLOW, raising=False)
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    return tmp_path / "trap.pt"


def test_the_trap_works(trap: Path) -> None:
    os.close(pickle.loads(trap.read_bytes()))
    assert (trap.parent / "sprung").exists()


@pytest.mark.parametrize("allowed", ["", "0", "true"])
@pytest.mark.parametrize("smoking", [False, True])
def test_a_pickle_is_refused_unopened_with_what_it_can_do_and_the_ways_out(
    trap: Path, monkeypatch: pytest.MonkeyPatch, allowed: str, smoking: bool
) -> None:
    monkeypatch.setenv(ALLOW, allowed)
    with pytest.raises(WrongWeights) as error:
        load(str(trap), smoking=smoking)
    assert str(error.value) == (
        f"option model: {trap} is a pickle: opening it runs whatever code its maker put in, as this user. Name an "
        f"ONNX file (`yolo export model={trap} format=onnx dynamic=True`) or set runtime.allow_pickle ({ALLOW}=1)"
    )
    assert not (trap.parent / "sprung").exists()


def load(model: str, *, smoking: bool) -> Analyzer:
    if smoking:
        return SmokingAnalyzer(SmokingOptions(model=model))
    return ObjectsAnalyzer(ObjectsOptions(model=model))


def test_a_pickle_with_another_name_is_no_model_and_is_not_opened(trap: Path) -> None:
    other = trap.rename(trap.with_name("trap.onnx"))
    with pytest.raises(ValueError, match=r"^trap\.onnx is not an ONNX model$"):
        load(str(other), smoking=False)
    assert not (trap.parent / "sprung").exists()


def test_an_allowed_pickle_needs_the_extra(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("ultralytics"):
        pytest.skip("framegate[yolo] is installed")
    monkeypatch.setenv(ALLOW, "1")
    with pytest.raises(ValueError, match=r'^trap\.pt: exporting it takes ultralytics.*pip install "framegate\[yolo\]"'):
        load(str(trap), smoking=False)
    assert not (trap.parent / "sprung").exists()


def test_the_weights_that_are_known_keep_their_threshold_as_pickles() -> None:
    assert threshold(0.5, Path("cigarette_yolov8n.pt")) == threshold(0.5, Path("cigarette_yolov8n.onnx")) == 0.25


@pytest.mark.slow
def test_real_weights_are_exported_once_and_see_the_same(
    models: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not find_spec("ultralytics"):
        pytest.skip("needs an environment with framegate[yolo]")
    monkeypatch.setenv("FRAMEGATE_HOME", str(tmp_path))
    monkeypatch.setenv(ALLOW, "1")
    weights = models / "coco" / "yolov8n.pt"
    frame = frame_of((media / "pictures" / "coco_000000000572.jpg").read_bytes())
    ours = look(load(str(weights), smoking=False), frame).detections
    theirs = look(load(str(models / "coco" / "yolov8n.onnx"), smoking=False), frame).detections
    assert [one.label for one in ours] == [one.label for one in theirs] == ["suitcase", "person", "person"]
    for one, other in zip(ours, theirs, strict=True):
        assert one.box.iou(other.box) > 0.99
        assert one.score == pytest.approx(other.score, abs=0.005)
    (exported,) = (tmp_path / "models" / "exported").iterdir()
    made = exported.stat().st_mtime_ns
    assert to_onnx(weights) == exported
    assert exported.stat().st_mtime_ns == made
    assert "torch" not in sys.modules
