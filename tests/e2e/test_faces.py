"""A real gateway with tiny weights: who is enrolled by the command is named in the stream, while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.analyzers import tiny_faces, tiny_models
from tests.analyzers.tiny_faces import scene
from tests.server import Server, eventually, running


def jpeg(**faces: tuple[int, int]) -> bytes:
    return cv2.imencode(".jpg", scene(**faces), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


@pytest.mark.slow
@pytest.mark.e2e
def test_who_is_enrolled_while_the_gateway_runs_is_named_and_forgotten_again(tmp_path: Path) -> None:
    """The worker is confined, and sees the library all the same. A picture is looked at every 0.2 s of its time."""
    tiny_faces.detector(tmp_path / "models" / "tiny_detector.onnx")
    tiny_faces.embedder(tmp_path / "models" / "tiny_embedder.onnx")
    tiny_models.raw(tmp_path / "models" / "yolov8n.onnx")
    options = {"faces": {"detector": "tiny_detector.onnx", "model": "tiny_embedder.onnx"}}
    image = tmp_path / "anna.jpg"
    image.write_bytes(jpeg(rgbw=(0, 0)))
    environment = {
        "FRAMEGATE_MODELS_DIR": str(tmp_path / "models"),
        "FRAMEGATE_HOME": str(tmp_path / "data"),
        "FRAMEGATE_ANALYZERS": json.dumps(options),
    }
    with running(tmp_path, **environment) as server:
        stream_id = server.open(analyzers=["faces"])
        eventually(lambda: _seen(server, stream_id)["state"] == "ready")
        assert _seen(server, stream_id)["measures"] == {"faces": 1, "ids": 0}
        assert command(environment, "add", "Anna Adler", str(image), "--id", "a-1") == 0
        eventually(lambda: _seen(server, stream_id)["measures"] == {"faces": 1, "ids": 1})
        assert _seen(server, stream_id)["detections"][0]["person"] == "a-1"
        assert command(environment, "remove", "a-1") == 0
        assert _seen(server, stream_id)["measures"] == {"faces": 1, "ids": 0}
        assert "Anna Adler" not in server.log


def _seen(server: Server, stream_id: str) -> Any:
    answer = server.push(stream_id, jpeg(rgbw=(0, 0)), wait=1)
    return answer["analyzers"]["faces"]


def command(environment: dict[str, str], *arguments: str) -> int:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "faces", *arguments],
        env={**inherited, **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode
