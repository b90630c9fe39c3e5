"""A real RTSP server, GStreamer's, as a child process of the test."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"  # the system's, which has the bindings
SCRIPT = Path(__file__).with_name("gst_server.py")
START_S = 30.0


@cache
def _missing() -> str:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer, Gst;"
    probe += "Gst.init(None); assert Gst.ElementFactory.find('x264enc')"
    try:
        return "" if subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode == 0 else "its RTSP server"
    except OSError:
        return PYTHON


def start(port: int, *credential: str, camera: str = "/h264") -> subprocess.Popen[bytes]:
    """A server that listens; skips the test where there is no GStreamer."""
    if missing := _missing():
        pytest.skip(f"needs GStreamer: there is no {missing}")
    command = [PYTHON, str(SCRIPT), str(port), *credential]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "CAMERA": camera})
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], START_S)[0], "GStreamer's server does not start"
    return process


@contextmanager
def gstreamer(port: int, *credential: str, camera: str = "/h264") -> Iterator[subprocess.Popen[bytes]]:
    """`camera`: the path whose pictures /camera sends."""
    process = start(port, *credential, camera=camera)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
