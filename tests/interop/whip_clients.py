"""Publishers and viewers that others have written, unmodified, as child processes; without them tests are skipped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.server import eventually

HERE = Path(__file__).parent
WIDTH, HEIGHT, FPS = 320, 240, 15

# Debian 12's client links libsoup 2, and its libnice brings libsoup 3 by way of gupnp-igd; the two refuse each other.
# Nothing in a WebRTC client calls gupnp-igd (UPnP is off), so functions that do nothing stand in for it.
NO_UPNP = """
unsigned long gupnp_simple_igd_get_type(void) { return 0; }
void *gupnp_simple_igd_thread_new(void) { return 0; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
"""


def drawn(number: int) -> np.ndarray:
    """A bar that moves to the right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left = number * 8 % (WIDTH - 40)
    image[:, left : left + 40] = (0, 200, 255)
    return image


class Client:
    """A child process that tells what happens to it, one JSON object a line; `end` closes its input."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def told(self, key: str) -> list[Any]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line[key] for line in lines if key in line]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@contextmanager
def started(log: Path, *command: str, **environment: str) -> Iterator[Client]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
            cwd=HERE.parent.parent,
        )
    try:
        yield Client(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # Debian's hangs up then
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


# --- libdatachannel, which is also what OBS is made with -------------------------------------------------------------


def libdatachannel() -> tuple[str, ...]:
    """The command before a script's name."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "node-datachannel").is_dir():
        pytest.skip("there is no libdatachannel: npm ci --prefix tests/interop")
    return (node,)


def publishing(log: Path, url: str, film: Path, token: str = "") -> Any:
    return started(log, *libdatachannel(), str(HERE / "publish.mjs"), url, str(film), str(FPS), token)


def watching(log: Path, url: str, token: str = "") -> Any:
    return started(log, *libdatachannel(), str(HERE / "watch.mjs"), url, token)


def film(path: Path) -> Path:
    """Two seconds of H.264, baseline, one access unit behind the other, each behind its length."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "x264-params": "keyint=15:repeat-headers=1:annexb=1",
    }
    with path.open("wb") as out:
        for number in range(2 * FPS):
            frame = av.VideoFrame.from_ndarray(drawn(number), format="bgr24")
            frame.pts = number
            for packet in encoder.encode(frame):
                out.write(struct.pack(">I", packet.size) + bytes(packet))
    return path


# --- ffmpeg's own muxer, as it is in PyAV's wheel --------------------------------------------------------------------


@contextmanager
def ffmpeg(log: Path, url: str, **options: str) -> Iterator[Client]:
    """In a process of its own: opening a URL blocks, and holds up whoever does it."""
    with started(log, sys.executable, "-m", "tests.interop.ffmpeg_whip", url, json.dumps(options)) as client:
        yield client


# --- GStreamer's, in Debian's simple-whip-client ---------------------------------------------------------------------


def whip_client(folder: Path) -> tuple[str, str]:
    """The program, and the folder of libraries that it needs first."""
    program, compiler = shutil.which("whip-client"), shutil.which("cc")
    if program is None or compiler is None:
        pytest.skip("there is no whip-client: apt install simple-whip-client gcc libc6-dev")
    source, library = folder / "upnp.c", folder / "libgupnp-igd-1.0.so.4"
    source.write_text(NO_UPNP)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return program, str(folder)


@contextmanager
def gstreamer(log: Path, url: str, *, codec: str = "vp8", token: str = "") -> Iterator[Client]:
    program, libraries = whip_client(log.parent)
    encoders = {
        "vp8": "vp8enc deadline=1 keyframe-max-dist=15 ! rtpvp8pay ! "
        "application/x-rtp,media=video,encoding-name=VP8,payload=96",
        "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! video/x-h264,profile=baseline ! "
        "rtph264pay config-interval=-1 ! application/x-rtp,media=video,encoding-name=H264,payload=96",
    }
    video = f"videotestsrc is-live=true pattern=ball ! video/x-raw,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
    sound = "audiotestsrc is-live=true wave=silence ! opusenc ! rtpopuspay"
    pipes = (
        *("-V", f"{video} ! videoconvert ! {encoders[codec]} ! queue"),
        *("-A", f"{sound} ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100 ! queue"),
    )
    command = (program, "-o", "-u", url, *pipes, *(("-t", token) if token else ()))
    with started(log, *command, LD_LIBRARY_PATH=libraries) as client:
        yield client


def connected(client: Client) -> None:
    """Wait until it says so. Raises `AssertionError`, with what it said instead."""
    eventually(lambda: "connected" in client.log.read_text() or client.process.poll() is not None)
    assert client.process.poll() is None, client.log.read_text()[-2000:]
