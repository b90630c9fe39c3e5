"""Objects names what is in real pictures, and its options mean what they say."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from gateway import Box, Result, SessionInfo
from gateway.analyzer import check_analyzer
from tests.analyzers import tiny_models
from tests.analyzers.stage import clip, frame_of, look

if TYPE_CHECKING:
    from pathlib import Path

    from gateway import Detection


def test_the_class_keeps_the_contract() -> None:
    check_analyzer(ObjectsAnalyzer)


def test_a_result_counts_each_label(tmp_path: Path) -> None:
    model = tiny_models.raw(tmp_path / "m.onnx")
    analyzer = ObjectsAnalyzer(ObjectsOptions(model=str(model), side=128, confidence=0.6))
    result = look(analyzer, frame_of(tiny_models.picture(), quality=100))
    assert {one.label: one.box for one in result.detections} == {
        "red": Box(0.5, 0.5, 0.75, 1.0),
        "blue": Box(0.0, 0.0, 0.25, 0.5),
    }
    assert (result.measures, result.sightings) == ({"red": 1, "blue": 1}, ())


def test_what_is_too_weak_to_be_told_is_faint_and_no_detection_changes_for_it(tmp_path: Path) -> None:
    """The tiny model is 0.982 sure of blue and 0.980 of red."""
    model = str(tiny_models.raw(tmp_path / "m.onnx"))
    frame = frame_of(tiny_models.picture(), quality=100)
    both, one, none = (
        look(ObjectsAnalyzer(ObjectsOptions(model=model, side=128, confidence=confidence)), frame)
        for confidence in (0.5, 0.981, 0.99)
    )
    assert [one.label for one in both.detections] == ["blue", "red"]
    assert (both.faint, one.detections, one.faint) == ((), both.detections[:1], both.detections[1:])
    assert (none.detections, none.faint, none.measures) == ((), both.detections, {})


def test_the_faint_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzers.objects.MOST_FAINT", 1)
    options = ObjectsOptions(model=str(tiny_models.raw(tmp_path / "m.onnx")), side=128, confidence=0.99)
    result = look(ObjectsAnalyzer(options), frame_of(tiny_models.picture(), quality=100))
    assert [one.label for one in result.faint] == ["blue"]


def test_an_empty_picture_gives_an_empty_result(tmp_path: Path) -> None:
    model = tiny_models.raw(tmp_path / "m.onnx")
    analyzer = ObjectsAnalyzer(ObjectsOptions(model=str(model), side=128, confidence=0.6))
    assert look(analyzer, frame_of(tiny_models.picture() * 0)) == Result()


def test_each_session_has_its_own_selection_of_one_model(tmp_path: Path) -> None:
    analyzer = ObjectsAnalyzer(
        ObjectsOptions(model=str(tiny_models.raw(tmp_path / "m.onnx")), side=128, confidence=0.6)
    )
    blue_only = analyzer.open(SessionInfo("a", options=replace(analyzer.options, labels=("blue",))))
    everything = analyzer.open(SessionInfo("b", options=analyzer.options))
    frame = frame_of(tiny_models.picture(), quality=100)
    assert [
        {one.label for one in analyzer.analyze(frame, memory).detections} for memory in (blue_only, everything)
    ] == [{"blue"}, {"red", "blue"}]


@pytest.mark.parametrize("wrong", [{"confidence": 1.1}, {"iou": -0.1}, {"side": 8}, {"max_detections": 0}])
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ObjectsOptions(**wrong)  # type: ignore[arg-type]


def matched(truth: list[Box], found: list[Detection]) -> int:
    """How many true boxes are met by a detection with IoU of at least 0.5."""
    return sum(any(box.iou(one.box) >= 0.5 for one in found) for box in truth)


@pytest.mark.parametrize(("model", "persons", "suitcases"), [("yolov8n.onnx", 44, 4), ("yolox_nano.onnx", 38, 1)])
def test_persons_and_suitcases_of_real_pictures(
    models: Path, media: Path, model: str, persons: int, suitcases: int
) -> None:
    analyzer = ObjectsAnalyzer(ObjectsOptions(model=model, labels=("person", "suitcase")))
    hits: Counter[str] = Counter()
    for entry in json.loads((media / "pictures" / "objects.json").read_text()):
        frame = frame_of((media / "pictures" / entry["file"]).read_bytes())
        found = look(analyzer, frame).detections
        for label in ("person", "suitcase"):
            truth = [
                Box.from_pixels(x, y, x + w, y + h, frame)
                for x, y, w, h in (one["bbox_xywh"] for one in entry["objects"] if one["label"] == label)
            ]
            hits[label] += matched(truth, [one for one in found if one.label == label])
    assert hits["person"] >= persons  # of 63, half of them tiny
    assert hits["suitcase"] >= suitcases  # of 4


def test_a_batch_of_real_pictures_sees_what_each_alone_shows(models: Path, media: Path) -> None:
    analyzer = ObjectsAnalyzer(ObjectsOptions(model="yolov8n.onnx"))
    frames = [frame_of(path.read_bytes()) for path in sorted((media / "pictures").glob("coco_*.jpg"))[:6]]
    memories = [analyzer.open(SessionInfo("s", options=analyzer.options)) for _ in frames]
    together = analyzer.analyze_batch(frames, memories)
    for frame, memory, result in zip(frames, memories, together, strict=True):
        alone = analyzer.analyze(frame, memory)
        assert result.measures == alone.measures
        assert [one.label for one in result.detections] == [one.label for one in alone.detections]
        for one, other in zip(result.detections, alone.detections, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box.iou(other.box) > 0.999


def test_int8_weights_see_what_the_float_ones_see(models: Path, media: Path) -> None:
    frame = frame_of((media / "pictures" / "coco_000000000572.jpg").read_bytes())
    seen = [
        [one.label for one in look(ObjectsAnalyzer(ObjectsOptions(model=name)), frame).detections]
        for name in ("yolov8n.onnx", "yolov8n_int8.onnx")
    ]
    assert seen[0] == seen[1] == ["suitcase", "person", "person"]


def test_one_person_at_a_time_at_the_table(models: Path, media: Path) -> None:
    analyzer = ObjectsAnalyzer(ObjectsOptions(labels=("person",)))
    frames = clip(media / "clips" / "people_onebyone_45s.mp4", fps=1, until=44)
    persons = {round(frame.at): len(look(analyzer, frame).detections) for frame in frames}
    empty = [*range(6), 20, 21, 22]
    assert persons == {second: 0 if second in empty else 1 for second in range(45)}


def test_walkers_on_the_campus_road_are_counted(models: Path, media: Path) -> None:
    analyzer = ObjectsAnalyzer(ObjectsOptions(confidence=0.4, labels=("person",)))
    frames = clip(media / "clips" / "people_vtest_30s.mp4", fps=1, until=21)
    persons = {round(frame.at): len(look(analyzer, frame).detections) for frame in frames}
    assert [persons[5], persons[20]] == pytest.approx([6, 7], abs=1)  # counted by eye
