"""Scene: descriptions are scored as CLIP does it, smoothed by time, and are events where they were marked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="the extra [scene] is not installed")

from analyzers._bicubic import Lens
from analyzers._clip import SCALE, Clip, find_clip, read_lens
from analyzers.scene import SceneAnalyzer, SceneOptions, smoothed
from gateway.analyzer import SessionInfo, fill_options
from gateway.errors import UnknownOption
from tests.analyzers import tiny_clip
from tests.analyzers.stage import frame_of, look, run

RED, GREEN, BLUE = ((0, 0, 255), (0, 255, 0), (255, 0, 0))  # BGR
LABELS = ("hot: a photo of red", "cold: blue", "green")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.make(tmp_path_factory.mktemp("models") / "tiny-clip")


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((90, 160, 3), colour, np.uint8)


def scene(folder: Path, **options: Any) -> SceneAnalyzer:
    return SceneAnalyzer(fill_options(SceneAnalyzer, {"model": str(folder), "labels": LABELS, **options}))


def test_the_description_that_fits_has_the_best_score(folder: Path) -> None:
    analyzer = scene(folder)
    best = [look(analyzer, frame_of(plain(colour))).data["label"] for colour in (RED, GREEN, BLUE)]
    assert best == ["hot", "green", "cold"]


def test_scores_are_the_softmax_of_scaled_cosines(folder: Path) -> None:
    lens = Lens()
    vectors = {name: (np.array(rgb) - lens.mean) / lens.std for name, rgb in tiny_clip.COLOURS.items()}
    units = {name: vector / np.linalg.norm(vector) for name, vector in vectors.items()}
    picture = (np.array([200, 60, 60]) / 255 - lens.mean) / lens.std
    picture /= np.linalg.norm(picture)
    powers = [math.exp(20 * float(units[name] @ picture)) for name in ("red", "blue", "green")]
    expected = [power / sum(powers) for power in powers]
    found = look(scene(folder), frame_of(plain((60, 60, 200)), quality=100)).data
    assert list(found["scores"]) == ["hot", "cold", "green"]
    assert list(found["scores"].values()) == pytest.approx(expected, abs=0.02)
    assert found["score"] == found["scores"]["hot"]


def test_descriptions_of_one_label_are_averaged(folder: Path) -> None:
    analyzer = scene(folder, labels=("warm: red", "warm: white", "cold: blue"))
    assert list(look(analyzer, frame_of(plain(RED))).data["scores"]) == ["warm", "cold"]


def test_the_temperature_is_the_models_own_or_clips(folder: Path, tmp_path: Path) -> None:
    files = find_clip(str(folder))
    assert files is not None
    assert Clip(files).scale == 20.0
    silent = find_clip(str(tiny_clip.make(tmp_path / "silent", scale=None)))
    assert silent is not None
    assert Clip(silent).scale == SCALE == 100.0


def test_a_text_of_fixed_length_is_filled_up_and_cut_off(folder: Path, tmp_path: Path) -> None:
    free, fixed = (find_clip(str(place)) for place in (folder, tiny_clip.make(tmp_path / "fixed", length=6)))
    assert free is not None
    assert fixed is not None
    assert Clip(fixed).text("red") == pytest.approx(Clip(free).text("red"), abs=1e-5)
    assert Clip(fixed).text("red " + "blue " * 50) == pytest.approx(Clip(free).text("red blue blue blue"), abs=1e-5)


def test_a_model_may_want_another_side_and_other_colours(tmp_path: Path) -> None:
    said = {"crop_size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    files = find_clip(str(tiny_clip.make(tmp_path / "other", lens=said)))
    assert files is not None
    assert Clip(files).lens == Lens(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert read_lens(None) == Lens()
    for wrong in ('{"crop_size": 5}', '{"image_std": [0, 1, 1]}', '{"image_mean": "x"}', "[]", "{"):
        (tmp_path / "wrong.json").write_text(wrong)
        with pytest.raises(ValueError, match=r"wrong\.json"):
            read_lens(tmp_path / "wrong.json")


def test_a_marked_label_is_one_event_with_an_end(folder: Path) -> None:
    analyzer = scene(folder, alerts=("hot",), smooth_s=2.0, linger_s=3.0)
    pictures = [plain(GREEN)] * 50 + [plain(RED)] * 100 + [plain(GREEN)] * 100
    frames = [frame_of(picture, at=index / 10, seq=index) for index, picture in enumerate(pictures)]
    _, events = run(frames, analyzer)
    told = [(event.phase, event.event_type, event.label) for event in events if event.phase != "update"]
    assert told == [("new", "scene.matched", "hot"), ("end", "scene.matched", "hot")]


def test_what_is_not_marked_is_no_event(folder: Path) -> None:
    assert look(scene(folder), frame_of(plain(RED))).sightings == ()


def test_it_looks_once_in_every_s_whatever_the_frame_rate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyzer = scene(folder, every_s=1.0)
    seen = Mock(wraps=analyzer._clip.image)
    monkeypatch.setattr(analyzer._clip, "image", seen)
    results, _ = run([frame_of(plain(RED), at=index / 25, seq=index) for index in range(76)], analyzer)
    assert seen.call_count == 4
    assert {frame["scene"].data["label"] for frame in results} == {"hot"}


def test_smoothing_goes_by_time() -> None:
    before, now = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    once = smoothed(before, now, 2.0, 3.0)
    twice = smoothed(smoothed(before, now, 1.0, 3.0), now, 1.0, 3.0)
    assert once == pytest.approx(twice)
    assert once[1] == pytest.approx(1 - math.exp(-2 / 3))
    assert smoothed(before, now, 1.0, 0.0) is now
    assert smoothed(None, now, 1.0, 3.0) is now


def test_a_streams_own_descriptions_are_read_a_few_a_frame(folder: Path) -> None:
    analyzer = scene(folder)
    mine = tuple(f"label{number}: photo of {number} red" for number in range(5))
    memory = analyzer.open(SessionInfo("mine", options=SceneOptions(model=str(folder), labels=mine)))
    said = [analyzer.analyze(frame_of(plain(RED), at=float(at), seq=at), memory).data for at in range(3)]
    assert [data.get("state") for data in said] == ["reading descriptions", "reading descriptions", None]
    assert list(said[2]["scores"]) == [f"label{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["one"]}, "labels must be 2-40"),
        ({"labels": ["a", ": b"]}, "a label is 1-64 characters"),
        ({"labels": ["a", "b: " + "x" * 400]}, "its prompt 1-300"),
        ({"labels": ["a", "b"], "alerts": ["c"]}, "there is no label 'c' among a, b"),
        ({"threshold": 0}, "threshold must be above 0"),
        ({"every_s": -1}, "every_s must be 0-3600"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownOption, match=said):
        fill_options(SceneAnalyzer, options)


def test_a_model_is_found_by_path_by_name_and_as_the_only_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEGATE_HOME", str(folder / "nowhere"))
    monkeypatch.setenv("FRAMEGATE_MODELS_DIR", str(folder.parent))
    found = find_clip(str(folder))
    assert found is not None
    assert find_clip("") == find_clip("tiny-clip") == found
    assert find_clip("other") is find_clip("/other/tiny-clip") is None
    assert SceneAnalyzer.weights(SceneOptions()) == (found.vision, found.text)
    assert SceneAnalyzer.missing(SceneOptions()) is None
    said = SceneAnalyzer.missing(SceneOptions(model="other"))
    assert said is not None
    assert "no CLIP model in other" in said


def test_a_network_of_another_kind_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    wrong = tiny_clip.make(tmp_path / "wrong")
    (wrong / "onnx" / "vision_model.onnx").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"vision_model\.onnx is not an ONNX model"):
        scene(wrong)
