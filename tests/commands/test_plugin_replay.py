"""`framegate plugin replay`: the same run twice is the same bytes; what changed is shown and counted."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import pytest

from gateway.commands.plugin_replay import Wish, plugin_replay
from gateway.commands.scene import Scene
from gateway.engine.plugins import PluginSpec
from gateway.settings import Settings
from gateway.testing.recording import Recording, compare
from gateway.testing.replaying import replay
from gateway.testing.subject import Announcer

pytestmark = pytest.mark.slow

PLUGIN = """
from gateway import Box, Detection, Result, Sighting, as_analyzer

@as_analyzer()
def lamp(frame, memory):
    count = memory["count"] = memory.get("count", 0) + 1
    if not {begin} <= count <= 14:
        return Result(measures={{"count": count}})
    detection = Detection("lamp", {score}, Box({x}, 0.2, {x} + 0.2, 0.4))
    return Result((detection,), {{"count": count}}, (Sighting("lamp.on", score={score}, linger_s=0.3),))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", models_dir="", yolo_model_path="")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20 pictures that says when they were taken, 0.1 s apart."""
    folder = tmp_path_factory.mktemp("clip")
    scene = Scene()
    lines = []
    for number in range(20):
        (folder / f"{number:04}.jpg").write_bytes(scene.jpeg(3 + number / 10))
        lines.append(json.dumps({"file": f"{number:04}.jpg", "at": number / 10}))
    (folder / "frames.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def plugin(path: Path, *, begin: int = 5, score: float = 0.8, x: float = 0.1) -> str:
    path.write_text(PLUGIN.format(begin=begin, score=score, x=x))
    return str(path)


def recorded(clip: Path, file: str) -> Recording:
    """A run in this very process."""
    spec = PluginSpec(Path(file).stem, path=file, version="file")
    saved = Path(file).with_suffix(".jsonl")
    task: dict[str, Any] = {
        "plugin": asdict(spec),
        "analyzer": "lamp",
        "settings": {},
        "given": {},
        "clip": str(clip),
        "fps": None,
    }
    with Path(os.devnull).open("wb") as nobody, saved.open("w") as out:
        replay(task, Announcer(nobody.fileno()), out)
    return Recording.read(saved)


def test_the_same_run_twice_is_the_same_bytes(clip: Path, settings: Settings, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert plugin_replay(settings, Wish(str(clip), "motion", save=one)) == 0
    assert plugin_replay(settings, Wish(str(clip), "motion", save=two, against=str(one))) == 0
    assert one.read_bytes() == two.read_bytes()
    header, *rows = [json.loads(line) for line in one.read_text().splitlines()]
    assert (header["analyzer"], header["clip"]["name"], header["needs"]) == ("motion", clip.name, [])
    assert [row["at"] for row in rows if "at" in row] == [number / 10 for number in range(20)]
    assert [row["event"]["event_type"] for row in rows if "event" in row] == ["motion"]
    assert str(tmp_path) not in one.read_text()


@pytest.mark.parametrize(
    ("change", "counts", "events"),
    [
        ({}, {}, []),
        ({"score": 0.81}, {}, []),
        (
            {"score": 0.7},
            {"score": 10, "sighting": 10},
            ["changed: lamp.on 0.40-1.30 s: score 0.800 -> 0.700, info -> info"],
        ),
        ({"x": 0.15}, {"moved": 10}, []),
        ({"x": 0.5}, {"vanished": 10, "appeared": 10}, []),
        (
            {"begin": 8},
            {"vanished": 3, "sighting": 3},
            ["shifted: lamp.on 0.40-1.30 s: start +0.30 s, end +0.00 s"],
        ),
        ({"begin": 99}, {"vanished": 10, "sighting": 10}, ["lost: lamp.on 0.40-1.30 s"]),
    ],
)
def test_what_another_version_sees_is_shown(
    change: dict[str, Any],
    counts: dict[str, int],
    events: list[str],
    clip: Path,
    tmp_path: Path,
) -> None:
    found = compare(recorded(clip, plugin(tmp_path / "old.py")), recorded(clip, plugin(tmp_path / "new.py", **change)))
    assert (dict(found.counts), found.events, found.same) == (counts, events, not counts)
    assert found.header == ["plugin: old -> new"]


def test_a_wider_tolerance_forgives_more(clip: Path, settings: Settings, tmp_path: Path) -> None:
    old, new = plugin(tmp_path / "old.py"), plugin(tmp_path / "new.py", x=0.12, score=0.7)
    assert plugin_replay(settings, Wish(str(clip), new, against=old)) == 1
    assert plugin_replay(settings, Wish(str(clip), new, against=old, tolerance="iou=0.5,score=0.2")) == 0


def test_differences_are_printed_for_people(
    clip: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = plugin(tmp_path / "old.py"), plugin(tmp_path / "new.py", score=0.7)
    plugin_replay(settings, Wish(str(clip), new, against=old))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"lamp 1 on {clip.name}: 20 frames"
    assert "frame 4 at 0.40 s: lamp at (0.100, 0.200, 0.300, 0.400): score 0.800 -> 0.700" in lines
    assert lines[-1] == "differs in 10 frames (10 score, 10 sighting) and 1 events"


def test_a_frame_that_fails_is_a_difference(
    clip: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = plugin(tmp_path / "old.py")
    new = tmp_path / "new.py"
    new.write_text(
        Path(old).read_text().replace("    if not", "    if count == 3: raise ValueError('three')\n    if not")
    )
    assert plugin_replay(settings, Wish(str(clip), str(new), against=old, json=True)) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first_error"] == "lamp: ValueError: three"
    assert found["against"]["frames"] == {"2": ["error: none -> lamp: ValueError: three"]}


def test_needs_are_run_first(clip: Path, settings: Settings, tmp_path: Path) -> None:
    chained = tmp_path / "chained.py"
    chained.write_text(
        "from gateway import Result, as_analyzer\n"
        "@as_analyzer(needs=('motion',))\n"
        "def chained(frame):\n"
        "    return Result(measures={'area': frame.results['motion'].measures['area']})\n"
    )
    saved = tmp_path / "saved.jsonl"
    assert plugin_replay(settings, Wish(str(clip), str(chained), save=saved)) == 0
    header, *rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert header["needs"] == [{"analyzer": "motion", "version": "1"}]
    assert max(row["result"]["measures"]["area"] for row in rows) > 0


def test_a_clip_keeps_its_own_times(settings: Settings, tmp_path: Path) -> None:
    video, saved = tmp_path / "yard.avi", tmp_path / "saved.jsonl"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 8, (640, 360))
    scene = Scene()
    for number in range(16):
        writer.write(scene.picture(3 + number / 8))
    writer.release()
    assert plugin_replay(settings, Wish(str(video), "motion", save=saved, fps=4)) == 0
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [row["at"] for row in rows if "at" in row] == [number / 4 for number in range(8)]


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        (Wish("/no/such.mp4", "motion"), "/no/such.mp4: no such file or folder"),
        (Wish("CLIP", "motoin"), "there is no file, plugin, distribution or analyzer motoin; did you mean motion?"),
        (Wish("CLIP", "objects"), "analyzer objects cannot run here: no detection model"),
        (Wish("CLIP", "motion", against="CLIP/frames.jsonl"), "CLIP/frames.jsonl is no recording"),
        (Wish("CLIP", "motion", tolerance="speed=1"), "expected iou=NUMBER, score=NUMBER"),
    ],
)
def test_what_cannot_be_replayed_is_one_line_and_exit_2(
    wish: Wish, line: str, clip: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Wish(
        wish.clip.replace("CLIP", str(clip)),
        wish.plugin,
        against=wish.against and wish.against.replace("CLIP", str(clip)),
        tolerance=wish.tolerance,
    )
    assert plugin_replay(settings, here) == 2
    assert capsys.readouterr().err.startswith(f"plugin replay: {line.replace('CLIP', str(clip))}")
