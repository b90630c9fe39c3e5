"""The real engine on clips' time: every frame is looked at, in order, at its own time, and events have clips' times."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.evaluation.frames import frames
from gateway.evaluation.pipeline import CannotEvaluate, Pipeline, Take
from gateway.evaluation.run import Run
from gateway.evaluation.variants import VARIANTS
from gateway.settings import Settings
from tests.evaluation.clips import make

RECORDER = '''
from gateway import Analyzer, Box, Detection, Result, Sighting

class Recorder(Analyzer):
    """Tells the time that a frame has, and sights something from 1.0 to 1.5 s."""
    name = "recorder"
    def open(self, session):
        return {"frames": 0}
    def analyze(self, frame, memory):
        memory["frames"] += 1
        if frame.at > 3:
            raise RuntimeError("too late for me")
        shown = (Sighting("event", box=Box(0.1, 0.1, 0.2, 0.2), linger_s=0.3),) if 1.0 <= frame.at <= 1.5 else ()
        box = Box(0, 0, 0.25, 0.5)
        return Result((Detection("thing", 0.5, box),), {"at": frame.at, "frames": memory["frames"]}, shown)
'''


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    plugin = tmp_path / "recorder.py"
    plugin.write_text(
        RECORDER + "from gateway import hookimpl\n\n@hookimpl\ndef register_analyzers():\n    return [Recorder]\n"
    )
    return Settings(home=tmp_path / "home", plugins=[str(plugin)])


def take(clip: Path, variant: str = "original", *analyzers: str) -> Take:
    return Take(frames(clip, VARIANTS[variant]), analyzers or ("recorder",))


def measured(run: Run) -> list[tuple[float, float, float]]:
    told = [(row.at, row.measures("recorder")) for row in run.rows]
    return [(at, measures["at"], measures["frames"]) for at, measures in told]


async def test_every_frame_is_looked_at_in_order_at_its_time_in_the_clip(settings: Settings, tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", fps=10, seconds=2.5)
    async with Pipeline(settings).running() as pipeline:
        run = await pipeline.run(take(clip))
    times = [picture.at for picture in frames(clip, VARIANTS["original"])]
    assert measured(run) == [(at, at, number) for number, at in enumerate(times, 1)]
    (event,) = run.events
    assert (event.event_type, event.analyzer) == ("event", "recorder")
    assert (event.at, event.until) == pytest.approx((1.0, 1.5), abs=1e-3)
    assert (run.states, run.unseen("recorder"), run.versions) == ({}, 0, {"recorder": "1"})


async def test_clips_in_turns_are_told_apart_and_begin_anew(settings: Settings, tmp_path: Path) -> None:
    one = make(tmp_path / "one.mp4", fps=10, seconds=2)
    two = make(tmp_path / "two.mp4", fps=7, seconds=1)
    async with Pipeline(settings).running() as pipeline:
        alone = [await pipeline.run(take(clip)) for clip in (one, two)]
        together = await pipeline.run_together([take(clip) for clip in (one, two, one)])
    assert list(map(measured, together)) == [measured(alone[0]), measured(alone[1]), measured(alone[0])]


async def test_frames_an_analyzer_breaks_on_are_counted_as_not_looked_at(settings: Settings, tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", fps=5, seconds=4)
    async with Pipeline(settings).running() as pipeline:
        run = await pipeline.run(take(clip))
    assert run.unseen("recorder") == 4  # of 3.2, 3.4, 3.6 and 3.8 s
    assert len(run.rows) == 20


async def test_boxes_of_a_mirrored_run_are_told_in_the_clips_own_coordinates(
    settings: Settings, tmp_path: Path
) -> None:
    clip = make(tmp_path / "clip.mp4", fps=5, seconds=1.4)
    async with Pipeline(settings).running() as pipeline:
        run = (await pipeline.run(take(clip, "mirrored"))).in_clip(VARIANTS["mirrored"])
    assert run.rows[0].detections("recorder")[0]["box"] == [0.75, 0, 1.0, 0.5]
    assert tuple(run.events[0].box or ()) == pytest.approx((0.8, 0.1, 0.9, 0.2))


async def test_what_cannot_be_run_is_said_in_a_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video")
    async with Pipeline(settings).running() as pipeline:
        with pytest.raises(CannotEvaluate, match="no analyzer"):
            await pipeline.run(take(make(tmp_path / "clip.mp4"), "original", "nobody"))
        with pytest.raises(CannotEvaluate, match="cannot be opened as video"):
            await pipeline.run(take(tmp_path / "no.mp4"))
