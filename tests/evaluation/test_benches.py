"""The benches of accuracy and cost: what they print on real material, and that they pass where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import benches

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def one_clip(tmp_path: Path, media_dir: Path) -> Path:
    """Material with one clip of 9 s."""
    (tmp_path / "clips").mkdir()
    clip = media_dir / "clips" / "faces_whitehouse.mp4"
    if not clip.is_file():
        pytest.skip(f"{clip.name} is not among the clips")
    (tmp_path / "clips" / "singer.mp4").symlink_to(clip)
    (tmp_path / "clips" / "truth.json").write_text('{"singer.mp4": {"kind": "faces in video"}}')
    return tmp_path


def test_a_man_with_a_microphone_at_his_mouth_is_no_smoker(one_clip: Path, models_dir: str) -> None:
    code, line = benches.run("accuracy", "smoking", "--quick", "--media", str(one_clip), timeout=550)
    assert code == 0
    assert line["smoking_quick"] == {
        **dict.fromkeys(("precision", "recall", "delay_s")),
        "checks": 1,
        "passed": 1,
        "false_per_hour": 0.0,
    }


def test_every_analyzer_costs_something_and_the_whole_is_their_sum(models_dir: str, media_dir: Path) -> None:
    code, line = benches.run("cost", "--quick", timeout=550)
    assert code == 0
    (costs,) = line["cpu_ms"].values()
    whole = costs.pop("all")
    assert {"decode", "motion", "objects", "tracks"} <= costs.keys()
    assert min(costs.values()) > 0
    assert sum(costs.values()) == pytest.approx(whole, abs=0.05)


def test_without_material_they_say_so_and_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEGATE_MEDIA_DIR", raising=False)
    assert benches.run("accuracy") == (
        0,
        {"bench": "accuracy", "skipped": "no FRAMEGATE_MODELS_DIR or no FRAMEGATE_MEDIA_DIR"},
    )
    assert benches.run("cost") == (0, {"bench": "cost", "skipped": "no clip people_onebyone_45s.mp4"})
