"""Scripts that use the service, run as their users run them; and the clips they watch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import psutil

from gateway.settings import Settings

T = TypeVar("T")

PATIENCE_S = 40.0  # two cores, and other tests on them


def clip(path: Path, seconds: float = 2.0, size: tuple[int, int] = (320, 240)) -> Path:
    """A bright square that goes from left to right at 10 fps."""
    width, height = size
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * 10)):
            picture = np.full((height, width, 3), 40, np.uint8)
            left = number * 16 % (width - 60)
            picture[80:140, left : left + 60] = (0, 200, 255)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def settings(home: Path) -> Settings:
    """Without weights, so that `motion` is all that runs, and impatient."""
    return Settings(
        home=home,
        grace_s=0,
        models_dir="",
        media={"open_s": 3.0, "read_s": 3.0, "retry_max_s": 1.0},
        analysis={"default": ["motion"]},
    )


def until(condition: Callable[[], T | None], within_s: float = PATIENCE_S) -> T:
    """Ask until there is an answer that is true."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still not so after {within_s:g} s: {answer!r}"
        time.sleep(0.02)
    return answer


@contextmanager
def script(text: str, folder: Path, *, stdin: bool = False, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A plain script, run in a folder of its own as `python script.py`, with a data folder of its own."""
    path = folder / "script.py"
    path.write_text(text)
    passed = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEGATE_")}
    passed |= {"FRAMEGATE_HOME": str(folder / "home"), "FRAMEGATE_ANALYSIS__DEFAULT": '["motion"]'}
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=folder,
            env={**passed, **environment},
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=_interruptible,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background has it ignored


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    left: list[psutil.Process] = [one for one in processes if one.is_running() and one.status() != "zombie"]
    return left
