"""RTSP cameras for benches: a clip is encoded once, and GStreamer's server sends it, as a process of its own.

The clip is the demo's yard as a camera sends it: H.264 without B-frames, 640x360, 15 fps, a keyframe every two seconds.
"""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from gateway.commands.scene import HEIGHT, PERIOD_S, WIDTH, Scene

FPS = 15
GOP = 30
START_S = 30.0
PYTHON = "/usr/bin/python3"  # the system's, which has the bindings
SCRIPT = Path(__file__).with_name("rtsp_server.py")
_PROBE = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("appsrc", "h264parse", "rtph264pay")))
"""


def missing() -> str:
    """Why there can be no cameras here; empty if there can."""
    if shutil.which(PYTHON) is None:
        return f"there is no {PYTHON}"
    found = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True).returncode == 0
    return "" if found else "GStreamer's RTSP server is not installed"


def encode(file: Path, *, seconds: float = PERIOD_S, gop: int = GOP) -> None:
    """Write the clip as `bench.rtsp_server` reads it: one slice a picture, and nothing looked ahead for."""
    import av

    scene, context = Scene(), av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate, context.thread_count = Fraction(1, FPS), Fraction(FPS), 1
    keys = f"scenecut=0:keyint={gop}:min-keyint={gop}:repeat-headers=1:slices=1"
    context.options = {"preset": "veryfast", "crf": "23", "bf": "0", "x264-params": keys}
    with file.open("wb") as output:

        def write(frame: av.VideoFrame | None) -> None:
            for packet in context.encode(frame):
                output.write(len(bytes(packet)).to_bytes(4) + bytes(packet))

        for number in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(scene.picture(number / FPS), format="bgr24")
            frame.pts = number
            write(frame)
        write(None)


@contextmanager
def cameras(count: int, folder: Path) -> Iterator[list[str]]:
    """So many cameras; their addresses. They all end with the block."""
    file = folder / "clip"
    if not file.exists():
        encode(file)
    port = free_port()
    process = subprocess.Popen(
        [PYTHON, str(SCRIPT), str(port), str(count), str(FPS), str(file)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], START_S)[0] or process.poll() is not None:
            raise RuntimeError("GStreamer's RTSP server does not start")
        yield [f"rtsp://127.0.0.1:{port}/{number}" for number in range(count)]
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
