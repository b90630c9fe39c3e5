"""A model file that bears the name of a published one, and is another, is not loaded; the analyzer says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.engine.host import AnalyzerHost
from gateway.engine.plugins import BUILT_IN, discover
from gateway.engine.reports import check_state
from gateway.weights import examine, read_manifest


def prepared(options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What comes of loading `objects`."""
    specs = [spec for spec in discover() if spec.distribution == BUILT_IN and spec.name == "objects"]
    host = AnalyzerHost(specs, {"objects": options or {}})
    try:
        report = host.prepare("objects")
    finally:
        host.close()
    check_state(report)
    return report


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FRAMEGATE_YOLO_MODEL_PATH", "YOLO_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("FRAMEGATE_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_file_of_a_published_name_with_another_hash_is_refused_with_the_remedy(models: Path) -> None:
    (models / "yolox_nano.onnx").write_bytes(b"not the published file")
    report = prepared()
    (file,) = report["weights"]
    assert (report["state"], file["state"], file["licence"]) == ("failed", "wrong", "Apache-2.0")
    assert file["expected"] == read_manifest()["yolox_nano"].sha256 != file["sha256"]
    for word in (file["path"], file["sha256"], file["expected"], "framegate models pull yolox_nano", "option model"):
        assert word in report["reason"]


def test_weights_of_ones_own_are_loaded_under_another_name(models: Path) -> None:
    (models / "mine.onnx").write_bytes(b"no model at all")
    report = prepared({"model": "mine.onnx"})
    (file,) = report["weights"]
    assert (report["state"], file["state"], file["expected"]) == ("failed", "no reference", None)
    assert "SHA-256" not in report["reason"]  # it was tried


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    found = examine(tmp_path / "gone.onnx")
    assert (found["state"], found["sha256"], found["bytes"]) == ("unreadable", None, None)
