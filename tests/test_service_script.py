"""Scripts with the service, as their users run them: the older quick start, and every way in which a script can end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.jpeg import read_header
from tests.media import gstreamer
from tests.media.pulling import free_port
from tests.service_script import PATIENCE_S, alive, clip, descendants, script, until
from tests.structure.source import ROOT

HEAVY = ("av", "cv2", "onnxruntime", "numpy", "aiortc", "torch")


def quick_start() -> list[str]:
    """As the docs have it, without the import."""
    text = (ROOT / "docs" / "embedding.md").read_text()
    [block] = re.findall(r"```python\n(from gateway\.service import.*?)```", text, re.DOTALL)
    return [line for line in block.splitlines() if line]


def test_the_quick_start_of_the_docs_is_the_older_one() -> None:
    lines = [re.sub(r"\s+#.*", "", line) for line in quick_start()]
    assert lines == [
        "from gateway.service import MultiCameraService, CameraConfig",
        "svc = MultiCameraService()",
        'svc.set_event_callback(lambda camera_id, events: print(camera_id, [event["type"] for event in events]))',
        'svc.start_camera(CameraConfig(camera_id="CAM_01", source=0, db_path="framegate.db"))',
        'svc.start_camera(CameraConfig(camera_id="CAM_02", source="rtsp://...", device="cpu", preview_port=8090))',
        "...",
        'jpeg = svc.get_latest_jpeg("CAM_01")',
        'stats = svc.get_latest_stats("CAM_01")',
        "...",
        'svc.stop_camera("CAM_01")',
        "svc.stop_all()",
    ]


BETWEEN = """
import json, sys, time
cameras = ("CAM_01", "CAM_02", "CAM_03")
deadline = time.monotonic() + 60
while time.monotonic() < deadline and (
    not all(map(svc.get_latest_jpeg, cameras)) or svc.get_latest_stats("CAM_01")["state"] != "ended"
): time.sleep(0.1)
print("RUNNING", json.dumps([svc.get_latest_stats(camera) for camera in cameras]), flush=True)
sys.stdin.readline()
"""
AFTER = """
import psutil, threading
left = [psutil.Process().children() == [], len(threading.enumerate())]
print("RESULT", json.dumps([len(jpeg), stats, *left]), flush=True)
maps = {line.split("/")[-1] for line in open("/proc/self/maps")} if sys.platform == "linux" else set()
print("LOADED", json.dumps([sorted(set(sys.modules) & {"av", "cv2", "onnxruntime", "aiortc"}),
    sorted(name.strip() for name in maps if name.startswith(("libav", "libopencv", "libonnx")))]), flush=True)
"""


@pytest.mark.slow
def test_the_quick_start_runs_on_two_files_and_an_rtsp_camera(tmp_path: Path) -> None:
    """Verbatim but for the sources, a third camera, and a port that is free."""
    rtsp, preview = free_port(), free_port()
    one, two = clip(tmp_path / "one.mp4", 4.0), clip(tmp_path / "two.mp4", 4.0, (480, 360))
    third = f'svc.start_camera(CameraConfig(camera_id="CAM_03", source={str(two)!r}, loop=True))'
    pauses = iter((BETWEEN, ""))
    lines = [next(pauses) if line == "..." else line for line in quick_start()]
    lines.insert(lines.index(BETWEEN), third)
    text = "\n".join([*lines, AFTER]).replace("source=0", f"source={one.name!r}")
    text = text.replace("rtsp://...", f"rtsp://127.0.0.1:{rtsp}/h264").replace("8090", str(preview))
    with gstreamer.gstreamer(rtsp), script(text, tmp_path, stdin=True) as process:
        assert process.stdout is not None
        said: dict[str, Any] = {"events": []}
        for line in process.stdout:
            word, _, rest = line.partition(" ")
            if word in ("RUNNING", "RESULT", "LOADED"):
                said[word] = json.loads(rest)
            else:
                said["events"].append(line.strip())
            if word == "RUNNING":
                with httpx2.stream("GET", f"http://127.0.0.1:{preview}/stream", timeout=30) as answer:
                    assert next(answer.iter_raw()).startswith(b"--frame\r\n")
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "stderr").read_text()
    stderr = (tmp_path / "stderr").read_text()
    told = {one["camera_id"]: one for one in said["RUNNING"]}
    assert {name: (it["state"], it["width"], it["height"], it["error"]) for name, it in told.items()} == {
        "CAM_01": ("ended", 320, 240, None),
        "CAM_02": ("online", 320, 240, None),
        "CAM_03": ("online", 480, 360, None),
    }
    assert [it["session_id"][-4:] for it in said["RUNNING"]] == ["0001", "0002", "0003"]
    length, stats, childless, threads = said["RESULT"]
    assert length > 1000
    assert {key: stats[key] for key in ("faces", "ids", "bags", "owned")} == {
        "faces": 0,
        "ids": 0,
        "bags": 0,
        "owned": 0,
    }
    assert (childless, threads) == (True, 1)
    assert said["LOADED"] == [[], []]
    assert {"CAM_01 ['motion']", "CAM_03 ['motion']"} <= set(said["events"])
    assert (stderr, sorted(path.name for path in tmp_path.glob("*.db"))) == ("", [])


def test_importing_the_service_loads_no_heavy_library() -> None:
    code = f"import sys, gateway.service; print(sorted(set(sys.modules) & set({HEAVY})))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert found.stdout == "[]\n"


WATCHING = """
from gateway.service import MultiCameraService, CameraConfig
import threading, time
svc = MultiCameraService()
svc.set_event_callback(lambda camera_id, events: threading.Event().wait())
svc.start_camera(CameraConfig("A", "demo:", preview_port=0))
while not svc.get_latest_jpeg("A"): time.sleep(0.05)
print("WATCHING", flush=True)
"""
FORK = """
import os, sys
if (pid := os.fork()) == 0:
    try: svc.start_camera(CameraConfig("B", "demo:"))
    except RuntimeError as error: print("CHILD", error, svc.get_latest_stats("A"), flush=True)
    svc.stop_all()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), svc.get_latest_stats("A")["state"], flush=True)
time.sleep(1000)
"""
FORKED = [
    "CHILD this service was started before a fork; make a new one in the new process None",
    "7 online",
]
ENDS = {
    "its last line": ("", None, 0, []),
    "an exception": ("raise ValueError('mine')", None, 1, []),
    "Ctrl-C": ("time.sleep(1000)", signal.SIGINT, -signal.SIGINT, []),
    "SIGTERM": ("time.sleep(1000)", signal.SIGTERM, -signal.SIGTERM, []),
    "SIGKILL": ("time.sleep(1000)", signal.SIGKILL, -signal.SIGKILL, []),
    "a fork": (FORK, signal.SIGINT, -signal.SIGINT, FORKED),
}


@pytest.mark.skipif(sys.platform != "linux", reason="guards are Linux's")
@pytest.mark.parametrize(
    "end", [pytest.param(end, marks=[] if end == "Ctrl-C" else [pytest.mark.slow]) for end in ENDS]
)
def test_however_a_script_ends_it_leaves_no_process_behind(tmp_path: Path, end: str) -> None:
    """Though its callback never returns, and it has never heard of `stop_all`."""
    rest, number, code, lines = ENDS[end]
    with script(WATCHING + rest, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "WATCHING\n", (tmp_path / "stderr").read_text()
        started = descendants(process.pid)
        assert [process.stdout.readline().strip() for _ in lines] == lines
        began = time.monotonic()
        if number is not None:
            assert len(started) >= 4, "an analyzer's and a camera's process with a guard each"
            process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
        assert time.monotonic() - began < 10
        until(lambda: not alive(started))
    stderr = (tmp_path / "stderr").read_text()
    expected = {"an exception": "ValueError: mine", "Ctrl-C": "KeyboardInterrupt", "a fork": "KeyboardInterrupt"}
    assert stderr.strip().splitlines()[-1:] == ([expected[end]] if end in expected else [])


ENDING = """
from gateway.service import MultiCameraService, CameraConfig
import threading
svc, moving = MultiCameraService(), threading.Event()
def heard(camera_id, events):
    for event in events: print(event["phase"], event["type"], flush=True)
    moving.set()
svc.set_event_callback(heard, phases=("new", "end"))
svc.start_camera(CameraConfig("A", "moving.mp4"))
moving.wait(60)
"""


@pytest.mark.slow
def test_a_script_that_ends_hears_of_the_end_of_what_it_had_heard_begin(tmp_path: Path) -> None:
    clip(tmp_path / "moving.mp4", 60.0)
    with script(ENDING, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.read().splitlines() == ["new motion", "end motion"]
        assert process.wait(PATIENCE_S) == 0
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.slow
def test_the_example_prints_what_happens_and_keeps_pictures_of_events(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "multi_camera.py").read_text()
    path = clip(tmp_path / "moving.mp4", 30.0)
    with script(text.replace("sys.argv[1:]", f"[{str(path)!r}]"), tmp_path) as process:
        assert process.stdout is not None
        heard = until(lambda: next((line for line in process.stdout or () if "motion" in line), None))
        [picture] = until(lambda: list((tmp_path / "events").glob("CAM_01-*.jpg")))
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "stderr").read_text()
    assert heard.startswith("CAM_01: motion (info), score 0.")
    assert rest.endswith("stopped\n")
    assert (read_header(picture.read_bytes()).width, read_header(picture.read_bytes()).height) == (320, 240)
