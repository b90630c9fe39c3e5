"""Weights are found by option, environment, then name in the folders; the answer to none says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers._weights import WeightsMissing, WrongWeights, find_weights
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.smoking import SmokingAnalyzer, SmokingOptions

NAMES = ("best.onnx", "second.onnx")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no folders or paths in the environment."""
    for variable in ("FRAMEGATE_MODELS_DIR", "FRAMEGATE_YOLO_MODEL_PATH", "YOLO_MODEL_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("FRAMEGATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    return folder / name


def test_the_option_wins_over_environment_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, other = put(tmp_path, "mine.onnx"), put(tmp_path, "other.onnx")
    put(tmp_path / "tree", "best.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path / "tree"))
    monkeypatch.setenv("YOLO_MODEL_PATH", str(other))
    assert find_weights(str(asked), NAMES, variables=["YOLO_MODEL_PATH"]) == asked
    assert find_weights("", NAMES, variables=["YOLO_MODEL_PATH"]) == other
    assert find_weights("", NAMES) == tmp_path / "tree" / "best.onnx"


def test_the_first_variable_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = put(tmp_path, "1.onnx"), put(tmp_path, "2.onnx")
    monkeypatch.setenv("YOLO_MODEL_PATH", str(second))
    monkeypatch.setenv("FRAMEGATE_YOLO_MODEL_PATH", str(first))
    assert find_weights("", NAMES, variables=["FRAMEGATE_YOLO_MODEL_PATH", "YOLO_MODEL_PATH"]) == first


def test_folders_are_searched_to_the_bottom_in_order(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home = put(home / "models", "best.onnx")
    assert find_weights("", NAMES) == at_home
    deep = put(tmp_path / "b" / "deep" / "er", "second.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert find_weights("", NAMES) == deep


def test_the_preferred_name_wins_within_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", "second.onnx")
    best = put(tmp_path / "z", "best.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    assert find_weights("", NAMES) == best


def test_a_bare_file_name_is_searched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = put(tmp_path / "deep", "mine.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    assert find_weights("mine.onnx", NAMES) == mine


def test_a_named_file_that_is_not_there_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "best.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"^option model: there is no file /nowhere/x\.onnx$"):
        find_weights("/nowhere/x.onnx", NAMES)


def test_pytorch_weights_are_answered_with_the_export_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_MODEL_PATH", "/models/yolov8n.pt")
    monkeypatch.delenv("FRAMEGATE_RUNTIME__ALLOW_PICKLE", raising=False)
    assert ObjectsAnalyzer.missing(ObjectsOptions()) is None  # not missing: wrong
    with pytest.raises(
        WrongWeights, match=r"`yolo export model=/models/yolov8n\.pt format=onnx dynamic=True`"
    ) as error:
        ObjectsAnalyzer(ObjectsOptions())
    assert str(error.value).startswith("YOLO_MODEL_PATH: ")


def test_missing_objects_weights_come_with_the_remedy() -> None:
    assert ObjectsAnalyzer.missing(ObjectsOptions()) == (
        "no detection model: none of objects_own.onnx, yolox_tiny.onnx, yolox_nano.onnx, yolox_s.onnx, yolo26n.onnx, "
        "yolo11n.onnx, yolov8n.onnx, yolov5nu.onnx in FRAMEGATE_MODELS_DIR or $FRAMEGATE_HOME/models; "
        "run `framegate models pull yolox_nano`, put one of these files there, or set YOLO_MODEL_PATH to an ONNX file"
    )


def test_missing_smoking_weights_come_with_the_remedy() -> None:
    reason = SmokingAnalyzer.missing(SmokingOptions())
    assert reason is not None
    assert reason.startswith(
        "no cigarette detector: none of smoking_own.onnx, cigarette_yolov8n_e16.onnx, cigarette_yolov8n.onnx in "
    )
    assert reason.endswith("or make one with `framegate models train smoking DATASET`")


def test_nothing_is_missing_where_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "coco", "yolov8n.onnx")
    put(tmp_path / "smoking", "cigarette_yolov8n.onnx")
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    assert ObjectsAnalyzer.missing(ObjectsOptions()) is None
    assert SmokingAnalyzer.missing(SmokingOptions()) is None
