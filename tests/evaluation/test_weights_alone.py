"""Weights alone see the whole picture by the analyzer's own weights and threshold, and nothing else is done."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from analyzers.objects import ObjectsOptions
from analyzers.smoking import TRAINED_SIDE, SmokingAnalyzer, SmokingOptions
from gateway.evaluation.material import Still
from gateway.evaluation.pipeline import CannotEvaluate
from gateway.evaluation.variants import VARIANTS
from gateway.evaluation.weights_alone import look
from gateway.settings import Settings
from tests.analyzers import tiny_models

ORIGINAL = VARIANTS["original"]


def stills(folder: Path) -> list[Still]:
    """A red and a blue square, and nothing."""
    squares = tiny_models.picture(TRAINED_SIDE, TRAINED_SIDE)
    cv2.imwrite(str(folder / "squares.png"), squares)
    cv2.imwrite(str(folder / "black.png"), squares * 0)
    return [Still(folder / name, {}) for name in ("squares.png", "black.png")]


def test_they_are_options_of_objects_with_the_analyzers_own_score(tmp_path: Path) -> None:
    model = str(tiny_models.raw(tmp_path / "m.onnx"))
    alone = SmokingAnalyzer.alone(SmokingOptions(model=model, prompts=("red",), sensitivity=1.0))
    assert ObjectsOptions(**alone) == ObjectsOptions(model=model, confidence=0.2, side=416, labels=("red",))


async def test_each_picture_is_seen_once_by_the_chosen_weights(tmp_path: Path) -> None:
    smoking = {"model": str(tiny_models.raw(tmp_path / "m.onnx")), "prompts": ["red"]}
    settings = Settings(home=tmp_path / "home", analyzers={"smoking": smoking, "objects": {"labels": ["blue"]}})
    runs = await look(settings, "smoking", stills(tmp_path), ORIGINAL)
    seen = [[[one["label"] for one in row.detections("objects")] for row in run.rows] for run in runs]
    assert seen == [[["red"]], [[]]]


async def test_an_analyzer_without_weights_of_its_own_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(CannotEvaluate, match="motion does not say"):
        await look(Settings(home=tmp_path / "home"), "motion", stills(tmp_path), ORIGINAL)
