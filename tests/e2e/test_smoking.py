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
    assert answer["analyzers"] == ["motion", "objects", "smoking"]


def test_asking_for_smoking_runs_what_it_needs(seeing: Server) -> None:
    answer = seeing.http.post("/stream/request", json={"analyzers": ["smoking"]}).json()
    assert answer["analyzers"] == ["objects", "smoking"]


def test_wait_answers_with_the_objects_in_a_real_picture(seeing: Server, media_dir: Path) -> None:
    truth = json.loads((media_dir / "pictures" / "objects.json").read_text())
    stream_id = seeing.open(analyzers=["objects"])
    seeing.push(stream_id, picture("red"), wait=1)
    eventually(lambda: seeing.show(stream_id)["analyzers"][0]["state"] == "ready", within_s=60)
    name = "coco_000000000542.jpg"
    answer = seeing.push(stream_id, (media_dir / "pictures" / name).read_bytes(), wait=1)
    found = {item["label"] for item in answer["analyzers"]["objects"]["detections"]}
    assert found, truth
    for item in answer["analyzers"]["objects"]["detections"]:
        assert 0 <= item["score"] <= 1
        left, top, right, bottom = item["box"]
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


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
