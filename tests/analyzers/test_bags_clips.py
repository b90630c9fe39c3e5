"""Bags on the shared clips, with the real detector, at 5 frames a second. Slow: the detector looks at every frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.bags import BagsAnalyzer, BagsOptions
from analyzers.objects import ObjectsAnalyzer, ObjectsOptions
from analyzers.tracks import TracksAnalyzer, TracksOptions
from tests.analyzers.stage import clip, run

# Not before the owner starts leaving, not more than 5 s after he is out of view, each plus `abandoned_s`.
LEFT = {
    "bag_aboda_v4": (BagsOptions(unattended_s=3, abandoned_s=10), 28.7, 37.4),
    "bag_synthetic_backpack": (BagsOptions(unattended_s=1, abandoned_s=3), 5.0, 8.0),
}


def alarms(path: Path, options: BagsOptions) -> list[tuple[str, float]]:
    chain = (
        ObjectsAnalyzer(ObjectsOptions(model="yolox_nano.onnx")),
        TracksAnalyzer(TracksOptions()),
        BagsAnalyzer(options),
    )
    _, events = run(clip(path, fps=5), *chain)
    begun = [event for event in events if event.phase == "new"]
    return [(event.event_type, event.started_at.minute * 60 + event.started_at.second) for event in begun]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT)
def test_a_bag_that_is_left_is_told_in_time(name: str, media: Path, models: Path) -> None:
    options, earliest, latest = LEFT[name]
    (unattended, _), (abandoned, at) = alarms(media / "clips" / f"{name}.mp4", options)
    assert (unattended, abandoned) == ("unattended", "abandoned")
    assert earliest - 1 < at <= latest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bag_attended_suitcase", "people_onebyone_45s", "people_vtest_30s"])
def test_where_no_bag_is_left_nothing_is_told(name: str, media: Path, models: Path) -> None:
    assert alarms(media / "clips" / f"{name}.mp4", BagsOptions(unattended_s=1, abandoned_s=3)) == []
