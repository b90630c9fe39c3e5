"""Nothing of one session's state reaches another's: real clips, real weights, every built-in analyzer there is.

Four sessions of one worker, their frames in turns, two of the same clip: each gives exactly what it gives alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from gateway.commands.sources import Picture
from gateway.engine.plugins import BUILT_IN, discover, load
from gateway.evaluation.frames import frames
from gateway.evaluation.pipeline import Pipeline, Take
from gateway.evaluation.run import Run
from gateway.evaluation.variants import VARIANTS
from gateway.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLIPS = ("bag_synthetic_backpack.mp4", "smoking_corridor_a.mp4", "anomaly_fall_kitchen.mp4")
SECONDS = 8.0
OPTIONS: Mapping[str, Mapping[str, Any]] = {"bags": {"unattended_s": 1, "abandoned_s": 3}}  # so that there are events
TIMINGS = ("latency_ms", "age_ms")  # of the machine, not of the clip


def built_ins() -> list[str]:
    ours = [spec for spec in discover() if spec.distribution == BUILT_IN]
    return sorted(load(ours).analyzers)


@dataclass(frozen=True)
class Runs:
    """By clip. `together`: the first clip is there twice."""

    alone: list[Run]
    together: list[Run]
    afterwards: Run
    able: list[str]


@pytest.fixture(scope="module")
def runs(models_dir: str, media_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    settings = Settings(home=tmp_path_factory.mktemp("home"), models_dir=models_dir)
    clips = [media_dir / "clips" / name for name in CLIPS]
    if lacking := [clip.name for clip in clips if not clip.is_file()]:
        pytest.skip(f"{', '.join(lacking)} not among the clips")

    def take(clip: Path, able: list[str]) -> Take:
        options = {name: values for name, values in OPTIONS.items() if name in able}
        return Take(beginning(clip), tuple(able), options)

    async def run() -> Runs:
        async with Pipeline(settings).running() as pipeline:
            able = [name for name in built_ins() if pipeline.runners[name].state != "failed"]
            alone = [await pipeline.run(take(clip, able)) for clip in clips]
        async with Pipeline(settings).running() as pipeline:
            together = await pipeline.run_together([take(clip, able) for clip in [*clips, clips[0]]])
            afterwards = await pipeline.run(take(clips[0], able))
        return Runs(alone, together, afterwards, able)

    return asyncio.run(run())


def beginning(clip: Path) -> Iterator[Picture]:
    return takewhile(lambda picture: picture.at <= SECONDS, frames(clip, VARIANTS["5fps"]))


def answers(run: Run, analyzer: str) -> list[tuple[float, Mapping[str, Any]]]:
    """What it said of each frame, but for what the machine has a part in."""
    return [
        (row.at, {key: value for key, value in row.analyzers[analyzer].items() if key not in TIMINGS})
        for row in run.rows
    ]


def events(run: Run, analyzer: str) -> list[tuple[Any, ...]]:
    mine = [one for one in run.events if one.analyzer == analyzer]
    return [(o.event_type, o.at, o.until, o.score, o.box, o.person_id, o.bag_id, o.data) for o in mine]


@pytest.mark.parametrize("analyzer", built_ins())
@pytest.mark.parametrize("number", range(len(CLIPS)), ids=CLIPS)
def test_a_session_beside_others_gives_what_it_gives_alone(runs: Runs, analyzer: str, number: int) -> None:
    if analyzer not in runs.able:
        pytest.skip(f"{analyzer} cannot run here")
    alone, beside = runs.alone[number], runs.together[number]
    assert answers(beside, analyzer) == answers(alone, analyzer)
    assert events(beside, analyzer) == events(alone, analyzer)
    assert alone.unseen(analyzer) == 0


@pytest.mark.parametrize("analyzer", built_ins())
def test_the_same_clip_on_two_sessions_and_once_more_afterwards_gives_the_same(runs: Runs, analyzer: str) -> None:
    if analyzer not in runs.able:
        pytest.skip(f"{analyzer} cannot run here")
    first, *_, second = runs.together
    assert answers(second, analyzer) == answers(first, analyzer) == answers(runs.afterwards, analyzer)
    assert events(second, analyzer) == events(first, analyzer) == events(runs.afterwards, analyzer)


def test_something_was_seen_that_could_have_been_mixed_up(runs: Runs) -> None:
    seen = {
        name for run in runs.alone for row in run.rows for name, found in row.analyzers.items() if found["detections"]
    }
    assert {"objects", "motion", "smoking"} <= seen
    assert any(run.events for run in runs.alone)
