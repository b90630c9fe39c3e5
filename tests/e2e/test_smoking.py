"""Must show: a real clip, pushed in real time, and a viewer's socket that sees one smoker from beginning to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.sockets import socket_to

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, models_dir: str) -> Any:
    """A gateway with the real weights."""
    with running(tmp_path_factory.mktemp("seeing"), FRAMEGATE_MODELS_DIR=models_dir) as found:
        yield found


def test_the_weights_that_are_there_decide_the_default_analyzers(seeing: Server) -> None:
    answer = seeing.http.post("/stream/request").json()
    assert answer["analyzers"] == ["motion", "objects", "tracks", "anomaly", "bags", "faces", "smoking"]


def test_asking_for_smoking_runs_what_it_needs(seeing: Server) -> None:
    answer = seeing.http.post("/stream/request", json={"analyzers": ["smoking"]}).json()
    assert answer["analyzers"] == ["objects", "tracks", "smoking"]


def test_wait_answers_with_the_objects_in_a_real_picture(seeing: Server, media_dir: Path) -> None:
    stream_id = seeing.open(analyzers=["objects"])
    seeing.push(stream_id, picture("red"), wait=1)
    eventually(lambda: seeing.show(stream_id)["analyzers"][0]["state"] == "ready", within_s=60)
    pictures = json.loads((media_dir / "pictures" / "objects.json").read_text())[:8]
    missed = []
    for known in pictures:
        jpeg = (media_dir / "pictures" / known["file"]).read_bytes()
        seen = seeing.push(stream_id, jpeg, wait=1)["analyzers"]["objects"]["detections"]
        largest = max(known["objects"], key=lambda item: item["bbox_xywh"][2] * item["bbox_xywh"][3])
        left, top, width, height = largest["bbox_xywh"]
        truth = [left / known["width"], top / known["height"]]
        truth += [truth[0] + width / known["width"], truth[1] + height / known["height"]]
        if not any(item["label"] == largest["label"] and _overlap(item["box"], truth) > 0.5 for item in seen):
            missed.append((known["file"], largest["label"], seen))
    assert len(missed) <= 1, missed


def _overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_smoker_is_one_event_from_new_to_end(seeing: Server, media_dir: Path) -> None:
    clip = media_dir / "clips" / "smoking_corridor_a.mp4"
    warm = seeing.open(analyzers=["smoking"])
    seeing.push(warm, picture("red", (640, 480)), wait=1)
    eventually(lambda: {item["state"] for item in seeing.show(warm)["analyzers"]} == {"ready"}, within_s=60)
    stream_id = seeing.open(analyzers=["smoking"], grace_s=0)
    with socket_to(seeing, stream_id) as viewer:
        command = [sys.executable, "-m", "gateway", "push", str(clip), "--url", f"{seeing.url}/stream/{stream_id}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as push:
            told = _events_until(viewer, push)
    smoking = [event for event in told if event["event_type"] == "smoking"]
    phases: dict[str, list[str]] = {}
    for event in smoking:
        phases.setdefault(event["id"], []).append(event["phase"])
    assert phases, told
    for seen in phases.values():
        assert (seen[0], seen[-1], set(seen[1:-1]) <= {"update"}) == ("new", "end", True)
    assert len(phases) == 1, phases
    assert {(event["stream_id"], event["severity"] in ("info", "warning", "critical")) for event in smoking} == {
        (stream_id, True)
    }


def _events_until(viewer: Any, push: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """Events until the push is over and every one of them has ended, or the stream has."""
    told: list[dict[str, Any]] = []
    while True:
        try:
            message = json.loads(viewer.recv(timeout=30))
        except ConnectionClosed:
            return told
        if message["type"] == "event":
            told.append(message)
        open_ids = {event["id"] for event in told} - {event["id"] for event in told if event["phase"] == "end"}
        if push.poll() is not None and not open_ids:
            return told
